//! The reconcilers: one row that cannot be moved does not stop the others, git is asked before a merge is called
//! failed, and what is kept too long goes.

use crate::{scene::Scene, support::TestApp};
use serde_json::json;
use sqlx::AssertSqlSafe;
use syndarix::{
    db::Author,
    features::{costs, runs, workflow},
};
use syndarix_domain::{
    ids::{PullRequestId, StoryId},
    pull_request::{self, PullRequest},
    run::{self, Phase},
    story::{self, StageOutput, Story},
};
use syndarix_forge::{BranchName, Identity, Key, MergeOutcome, MergeRequest, ObjectId};
use uuid::Uuid;

async fn execute(test: &TestApp, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(test.app.pool()).await.unwrap();
}

async fn count(test: &TestApp, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(test.app.pool()).await.unwrap()
}

/// A job that went to the dead letters a moment ago.
async fn bury(test: &TestApp, kind: &str, payload: serde_json::Value, key: String) {
    sqlx::query(
        "insert into job_dead (id, queue, kind, payload, priority, concurrency_key, attempt, max_attempts, rescues, fence, reason, errors, created_at)
         values (1, 'default', $1, $2, 2, $3, 12, 12, 0, 1, 'worker lost', '[]', now())",
    )
    .bind(kind)
    .bind(payload)
    .bind(key)
    .execute(test.app.pool())
    .await
    .unwrap();
}

/// As if nothing had happened to anything for a minute.
const LATER: &str = "update run set updated_at = now() - interval '1 minute';
                     update story set updated_at = now() - interval '1 minute'";

#[tokio::test]
async fn a_run_that_cannot_be_moved_on_does_not_keep_the_others() {
    let test = TestApp::start().await;
    let broken = Scene::analysis(&test).await;
    let lost = Scene::in_project(&test, broken.token.clone(), broken.project).await;
    bury(&test, "run.advance", json!({}), format!("run:{}", broken.run)).await;
    execute(&test, &format!("update run set state = state - 'limits' where id = '{}'", broken.run)).await;
    execute(&test, "update agent set status = 'paused'").await;
    execute(&test, LATER).await;
    runs::schedule(&test.app).await.unwrap();
    test.ring(Uuid::nil(), "runs.reconcile").await;
    // It got a job again, which found its agent paused.
    assert!(matches!(lost.run_state().await.phase, Phase::Waiting { wait: run::Wait::Paused { .. }, .. }));
    assert_eq!(count(&test, "select count(*) from job_dead where kind = 'runs.reconcile'").await, 0);
}

async fn waiting_story(scene: &Scene<'_>) -> StoryId {
    let wish = workflow::CreateStory {
        title: "Wait".into(),
        description: String::new(),
        points: None,
        sprint_id: None,
    };
    let app = &scene.test.app;
    let story = workflow::write(app, Author::system(), scene.project, &wish).await.unwrap();
    workflow::command(app, Author::system(), scene.project, story.0, &story::Command::Start).await.unwrap();
    execute(scene.test, "delete from job where kind = 'stage.work'").await;
    story
}

/// Jobs that are to work on the stage of a story.
async fn stage_jobs(test: &TestApp, story: StoryId) -> i64 {
    sqlx::query_scalar("select count(*) from job where concurrency_key = $1")
        .bind(format!("story:{story}"))
        .fetch_one(test.app.pool())
        .await
        .unwrap()
}

#[tokio::test]
async fn a_story_that_cannot_be_moved_on_does_not_keep_the_others() {
    let test = TestApp::start().await;
    let scene = Scene::analysis(&test).await;
    let (broken, lost) = (waiting_story(&scene).await, waiting_story(&scene).await);
    execute(&test, &format!("update story set state = state - 'title' where id = '{broken}'")).await;
    execute(&test, "update project set agent_limit = 0").await;
    execute(&test, LATER).await;
    workflow::schedule(&test.app).await.unwrap();
    test.ring(Uuid::nil(), "stories.reconcile").await;
    assert_eq!(stage_jobs(&test, lost).await, 1, "its stage is to be worked on");
    assert_eq!(count(&test, "select count(*) from job_dead where kind = 'stories.reconcile'").await, 0);
}

/// Parks as many runs of other agents and stories as a turn looks at, and more, with ids that come before all others: the
/// run of the scene, which waits for a human, and its story, so many times over.
async fn crowd(scene: &Scene<'_>) {
    scene.offer_requirements().await;
    let id = "('00000000-0000-4000-8000-' || lpad(to_hex(n), 12, '0'))::uuid";
    for (table, given, columns) in [
        ("run", "id", "project_id, version, phase, state, updated_at"),
        ("story", "id", "project_id, version, phase, state, updated_at"),
        (
            "agent",
            "id, current_run_id, name",
            "project_id, agent_type_id, type_version, role, status, last_activity_at, created_at",
        ),
    ] {
        let values = if table == "agent" { format!("{id}, {id}, n::text") } else { id.to_owned() };
        let of = if table == "agent" { "current_run_id" } else { "id" };
        let row = if table == "story" { scene.story.to_string() } else { scene.run.to_string() };
        let sql = format!(
            "insert into {table} ({given}, {columns}) select {values}, {columns} from {table}, generate_series(1, 1500) n where {of} = '{row}'"
        );
        execute(scene.test, &sql).await;
    }
}

#[tokio::test]
async fn a_run_that_was_at_work_is_found_at_once_however_many_are_parked() {
    let test = TestApp::start().await;
    let parked = Scene::analysis(&test).await;
    crowd(&parked).await;
    let lost = Scene::in_project(&test, parked.token.clone(), parked.project).await;
    execute(&test, "update agent set status = 'paused'").await;
    execute(&test, LATER).await;
    runs::schedule(&test.app).await.unwrap();

    test.ring(Uuid::nil(), "runs.reconcile").await;

    // It got a job again, which found its agent paused.
    assert!(matches!(lost.run_state().await.phase, Phase::Waiting { wait: run::Wait::Paused { .. }, .. }));
}

#[tokio::test]
async fn a_parked_run_whose_question_is_gone_is_found_when_its_turn_comes() {
    let test = TestApp::start().await;
    let parked = Scene::analysis(&test).await;
    crowd(&parked).await;
    let lost = Scene::in_project(&test, parked.token.clone(), parked.project).await;
    let asked = lost.offer_requirements().await;
    execute(&test, &format!("update approval set phase = 'cancelled' where id = '{}'", asked.id)).await;
    execute(&test, LATER).await;
    runs::schedule(&test.app).await.unwrap();

    test.ring(Uuid::nil(), "runs.reconcile").await;
    let first = lost.run_state().await.phase.name();
    test.ring(Uuid::nil(), "runs.reconcile").await;
    let second = lost.run_state().await.phase.name();

    assert_eq!((first, second), ("waiting", "failed"));
}

#[tokio::test]
async fn a_story_that_moved_is_found_at_once_however_many_wait() {
    let test = TestApp::start().await;
    let parked = Scene::analysis(&test).await;
    crowd(&parked).await;
    let lost = waiting_story(&parked).await;
    execute(&test, "update project set agent_limit = 0").await;
    execute(&test, LATER).await;
    workflow::schedule(&test.app).await.unwrap();

    test.ring(Uuid::nil(), "stories.reconcile").await;

    assert_eq!(stage_jobs(&test, lost).await, 1, "its stage is to be worked on");
}

fn request(pr: &PullRequest) -> MergeRequest {
    let somebody = Identity::new("Ada", "ada@example.org").unwrap();
    MergeRequest {
        base_branch: BranchName::new(&pr.base_branch).unwrap(),
        head_branch: BranchName::new(&pr.head_branch).unwrap(),
        expected_head: ObjectId::new(&pr.head).unwrap(),
        title: "Merge".into(),
        body: String::new(),
        story: None,
        pull_request: None,
        author: somebody.clone(),
        committer: somebody,
        at: 1_700_000_000,
        key: Key::new(format!("merge-{}", pr.id)).unwrap(),
    }
}

/// Under review no more: the merge queue has begun with it.
async fn begin_merge(scene: &Scene<'_>, id: PullRequestId) -> PullRequest {
    let mut uow = scene.uow();
    let pr: PullRequest = uow.load(scene.project, id).await.unwrap();
    let output = StageOutput::Review { head: pr.head };
    let finish = story::Command::FinishStage { run: scene.run, output };
    uow.execute::<Story>(scene.project, scene.story, &finish).await.unwrap();
    let pr = uow.execute(scene.project, id, &pull_request::Command::BeginMerge).await.unwrap();
    uow.commit().await.unwrap();
    execute(scene.test, "delete from job where kind = 'pull_request.merge'").await;
    bury(scene.test, "pull_request.merge", json!({ "pull_request": id }), "merge".into()).await;
    pr
}

async fn reconciled(scene: &Scene<'_>, id: PullRequestId) -> pull_request::Phase {
    execute(scene.test, LATER).await;
    workflow::schedule(&scene.test.app).await.unwrap();
    scene.test.ring(Uuid::nil(), "stories.reconcile").await;
    scene.test.app.store.read::<PullRequest>(scene.project, id).await.unwrap().state.phase
}

#[tokio::test]
async fn a_merge_that_git_holds_is_a_merge_although_its_job_was_given_up() {
    let test = TestApp::start().await;
    let mut scene = Scene::analysis(&test).await;
    let id = scene.reach_review().await;
    let pr = begin_merge(&scene, id).await;
    let made = test.app.forge.merge(scene.project.0, &request(&pr)).await.unwrap();
    let MergeOutcome::Merged { commit: made } = made else { unreachable!("{made:?}") };
    let phase = reconciled(&scene, id).await;
    assert!(
        matches!(&phase, pull_request::Phase::Merged { commit, .. } if *commit == made.to_string()),
        "{phase:?}"
    );
}

#[tokio::test]
async fn a_merge_that_git_does_not_hold_has_failed_when_its_job_was_given_up() {
    let test = TestApp::start().await;
    let mut scene = Scene::analysis(&test).await;
    let id = scene.reach_review().await;
    begin_merge(&scene, id).await;
    let phase = reconciled(&scene, id).await;
    assert!(matches!(phase, pull_request::Phase::ChangesRequested), "{phase:?}");
}

#[tokio::test]
async fn answers_to_commands_are_kept_for_a_day() {
    let test = TestApp::start().await;
    execute(
        &test,
        "insert into idempotency (id, request_hash, created_at)
         select gen_random_uuid(), '', now() - make_interval(hours => n) from generate_series(0, 48) n",
    )
    .await;
    costs::schedule(&test.app).await.unwrap();
    test.ring(Uuid::nil(), "costs.reconcile").await;
    assert_eq!(count(&test, "select count(*) from idempotency").await, 24);
}

#[tokio::test]
async fn whom_calls_passed_over_is_kept_for_thirty_days_however_much_there_is() {
    let test = TestApp::start().await;
    let owner = test.user("maria").await;
    let project = test.project(&owner).await;
    // One on each day, and more of them than one statement forgets.
    sqlx::query(
        "insert into usage_skip (project_id, call_id, deployment, kind, reason, at)
         select $1, gen_random_uuid(), 'busy', 'cooling_down', 'cooling down', $2 - make_interval(days => n, hours => 1)
           from generate_series(0, 6000) n",
    )
    .bind(project.parse::<Uuid>().unwrap())
    .bind(test.clock.now())
    .execute(test.app.pool())
    .await
    .unwrap();
    costs::schedule(&test.app).await.unwrap();
    test.ring(Uuid::nil(), "costs.reconcile").await;
    assert_eq!(count(&test, "select count(*) from usage_skip").await, 30);
}
