//! Pull requests over REST: where they may go, and that a merge that was made is one.

use crate::{
    desk::Desk,
    scene::{Scene, commit},
    support::TestApp,
};
use axum::http::StatusCode;
use serde_json::{Value, json};
use syndarix_domain::{ids::ProjectId, pull_request::PullRequest, stage::StageName};
use syndarix_forge::{BranchName, Identity, Key, MergeOutcome, MergeRequest, ObjectId};

impl Desk {
    async fn offer(&self, base: &str, story: Option<&str>) -> (StatusCode, Value) {
        let body =
            json!({ "title": "Export", "head_branch": "feature", "base_branch": base, "story_id": story });
        self.post("/pull-requests", body).await
    }

    fn project_id(&self) -> ProjectId {
        ProjectId(self.project.parse().unwrap())
    }
}

#[tokio::test]
async fn a_base_branch_that_cannot_be_one_or_is_not_there_is_refused() {
    let desk = Desk::open().await;
    commit(&desk.app, desk.project_id(), "feature", "export.csv", "a;b\n").await;
    for base in ["--upload-pack=x", "nowhere", "../../etc", ""] {
        let (status, problem) = desk.offer(base, None).await;
        assert_eq!(
            (status, &problem["errors"][0]["field"]),
            (StatusCode::UNPROCESSABLE_ENTITY, &json!("base_branch")),
            "{base}: {problem}"
        );
    }
    let (_, list) = desk.get("/pull-requests").await;
    assert_eq!(list["items"], json!([]), "nothing was opened");
    let (status, offered) = desk.offer("main", None).await;
    assert_eq!((status, &offered["base_branch"]), (StatusCode::CREATED, &json!("main")), "{offered}");
}

#[tokio::test]
async fn a_change_of_a_story_goes_to_the_default_branch_only() {
    let desk = Desk::open().await;
    commit(&desk.app, desk.project_id(), "release", "notes.md", "1\n").await;
    commit(&desk.app, desk.project_id(), "feature", "export.csv", "a;b\n").await;
    let story = desk.story("Export").await;
    let (status, problem) = desk.offer("release", Some(&story)).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(problem["detail"].as_str().unwrap().contains("default branch, `main`"), "{problem}");
    let (status, offered) = desk.offer("release", None).await;
    assert_eq!((status, &offered["base_branch"]), (StatusCode::CREATED, &json!("release")), "{offered}");
}

#[tokio::test]
async fn a_project_without_a_repository_says_so() {
    let desk = Desk::open().await;
    commit(&desk.app, desk.project_id(), "feature", "export.csv", "a;b\n").await;
    let (_, offered) = desk.offer("main", None).await;
    desk.app.app.forge.delete_repository(desk.project_id().0).await.unwrap();
    let (status, problem) = desk.offer("main", None).await;
    assert_eq!((status, &problem["code"]), (StatusCode::CONFLICT, &json!("no_repository")), "{problem}");
    let diff = format!("/pull-requests/{}/diff", offered["id"].as_str().unwrap());
    let (status, problem) = desk.get(&diff).await;
    assert_eq!((status, &problem["code"]), (StatusCode::CONFLICT, &json!("no_repository")), "{problem}");
}

/// The merge as an earlier attempt of the queue made it.
async fn merge(test: &TestApp, pr: &PullRequest) -> ObjectId {
    let who = Identity::new("Syndarix", "merge-queue@syndarix.localhost").unwrap();
    let request = MergeRequest {
        base_branch: BranchName::new("main").unwrap(),
        head_branch: BranchName::new(&pr.head_branch).unwrap(),
        expected_head: ObjectId::new(&pr.head).unwrap(),
        title: pr.title.clone(),
        body: String::new(),
        story: None,
        pull_request: None,
        author: who.clone(),
        committer: who,
        at: 1_700_000_000,
        key: Key::new(format!("merge-{}", pr.id)).unwrap(),
    };
    match test.app.forge.merge(pr.project.0, &request).await.unwrap() {
        MergeOutcome::Merged { commit } => commit,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_merge_that_was_made_is_not_recorded_as_failed_when_the_last_attempt_fails() {
    let test = TestApp::start().await;
    let mut scene = Scene::analysis(&test).await;
    let pr = scene.reach_review().await;
    let asked = scene.offer_merge(pr).await;
    let (status, _) = test
        .post(
            &format!("{}/decision", asked.path),
            &scene.token,
            json!({ "outcome": "approved", "digest": asked.digest }),
        )
        .await;
    assert_eq!(status, StatusCode::OK);
    let state = test.app.store.read::<PullRequest>(scene.project, pr).await.unwrap().state;
    let commit = merge(&test, &state).await;
    // Nobody gets the repository's lock: every attempt to merge fails from now on.
    let lock = test.app.config.repositories().join(format!("{}.git/syndarix.lock", scene.project));
    std::fs::remove_file(&lock).unwrap();
    std::fs::create_dir(&lock).unwrap();
    sqlx::query("update job set max_attempts = 1 where kind = 'pull_request.merge'")
        .execute(test.app.pool())
        .await
        .unwrap();

    test.run_jobs().await;

    let (_, shown) = test.get(&scene.path(&format!("/pull-requests/{pr}")), &scene.token).await;
    assert_eq!((&shown["state"], &shown["merge_commit"]), (&json!("merged"), &json!(commit.to_string())));
    assert_eq!(scene.in_stage().await, Some(StageName::Testing));
}
