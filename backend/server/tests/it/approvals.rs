//! Questions and answers: what is shown, who wins, what an answer wakes, and that silence is never consent.

use crate::{
    scene::{Asked, Scene},
    support::TestApp,
};
use axum::http::StatusCode;
use serde_json::{Value, json};
use syndarix::{
    db::Author,
    features::approvals::{self, Decision},
};
use syndarix_domain::{
    actor::Actor,
    approval::Outcome,
    ids::UserId,
    run::{self, Phase},
    stage::StageName,
    story,
};

async fn decide(scene: &Scene<'_>, token: &str, asked: &Asked, answer: Value) -> (StatusCode, Value) {
    let mut body = json!({ "digest": asked.digest });
    body.as_object_mut().unwrap().extend(answer.as_object().unwrap().clone());
    scene.test.post(&format!("{}/decision", asked.path), token, body).await
}

#[tokio::test]
async fn an_approved_result_moves_the_story_on_in_the_same_transaction() {
    let test = TestApp::start().await;
    let scene = Scene::analysis(&test).await;
    let asked = scene.offer_requirements().await;
    let (status, view) =
        decide(&scene, &scene.token, &asked, json!({ "outcome": "approved", "note": "Yes." })).await;
    assert_eq!(status, StatusCode::OK, "{view}");
    assert_eq!(view["state"], "approved");
    assert_eq!(view["decided"]["by"]["name"], "maria");
    assert_eq!(view["decided"]["note"], "Yes.");
    assert_eq!(scene.run_state().await.phase.name(), "succeeded");
    assert_eq!(scene.in_stage().await, Some(StageName::Design));
    assert_eq!(scene.story_state().await.acceptance, ["A button downloads a CSV file"]);
}

#[tokio::test]
async fn what_the_approver_edited_reaches_the_story() {
    let test = TestApp::start().await;
    let scene = Scene::analysis(&test).await;
    let asked = scene.offer_requirements().await;
    let (_, view) = test.get(&asked.path, &scene.token).await;
    assert_eq!(view["arguments_editable"], true);
    let wrong = json!({ "outcome": "approved_with_changes", "arguments": { "acceptance_criteria": [] } });
    let (status, problem) = decide(&scene, &scene.token, &asked, wrong).await;
    assert_eq!(
        (status, problem["errors"][0]["field"].as_str()),
        (StatusCode::UNPROCESSABLE_ENTITY, Some("arguments"))
    );
    let edit = json!({ "acceptance_criteria": ["It exports CSV", "It exports 1 million rows"] });
    let answer = json!({ "outcome": "approved_with_changes", "arguments": edit });
    let (status, view) = decide(&scene, &scene.token, &asked, answer).await;
    assert_eq!(status, StatusCode::OK, "{view}");
    assert_eq!(view["state"], "approved_with_changes");
    assert_eq!(scene.story_state().await.acceptance, ["It exports CSV", "It exports 1 million rows"]);
    let Phase::Succeeded { result, .. } = scene.run_state().await.phase else { unreachable!() };
    assert_eq!(result.summary, "It is done.");
}

#[tokio::test]
async fn the_second_of_two_answers_learns_who_was_first() {
    let test = TestApp::start().await;
    let scene = Scene::analysis(&test).await;
    let paul = scene.member("paul", "approver").await;
    let asked = scene.offer_requirements().await;
    decide(&scene, &scene.token, &asked, json!({ "outcome": "approved" })).await;
    let (status, problem) =
        decide(&scene, &paul, &asked, json!({ "outcome": "rejected", "note": "No." })).await;
    assert_eq!(status, StatusCode::CONFLICT, "{problem}");
    assert_eq!(problem["code"], "approval_already_decided");
    assert_eq!(problem["decided_by"]["name"], "maria");
    assert_eq!(problem["outcome"], "approved");
    assert_eq!(problem["decided_at"], "2100-01-01T09:00:00+00:00");
    assert_eq!(scene.run_state().await.phase.name(), "succeeded");
}

#[tokio::test]
async fn of_many_answers_at_once_exactly_one_counts() {
    let test = TestApp::start().await;
    let scene = Scene::analysis(&test).await;
    let paul = scene.member("paul", "approver").await;
    let asked = scene.offer_requirements().await;
    let tokens = [&scene.token, &paul, &scene.token, &paul, &scene.token, &paul];
    let answers = tokens.iter().enumerate().map(|(n, token)| {
        let answer = if n % 2 == 0 {
            json!({ "outcome": "approved" })
        } else {
            json!({ "outcome": "rejected", "note": "No." })
        };
        decide(&scene, token, &asked, answer)
    });
    let answered = futures::future::join_all(answers).await;
    let (won, lost): (Vec<_>, Vec<_>) = answered.iter().partition(|(status, _)| *status == StatusCode::OK);
    assert_eq!(won.len(), 1, "{answered:?}");
    assert!(lost.iter().all(|(status, problem)| {
        *status == StatusCode::CONFLICT
            && problem["code"] == "approval_already_decided"
            && problem["outcome"] == won[0].1["state"]
    }));
    let decided: i64 = sqlx::query_scalar("select count(*) from event where type = 'approval.decided.v1'")
        .fetch_one(test.app.pool())
        .await
        .unwrap();
    assert_eq!(decided, 1);
}

#[tokio::test]
async fn a_decision_about_something_else_than_what_was_shown_is_refused() {
    let test = TestApp::start().await;
    let scene = Scene::analysis(&test).await;
    let asked = scene.offer_requirements().await;
    let body = json!({ "outcome": "approved", "digest": "0".repeat(64) });
    let (status, problem) = test.post(&format!("{}/decision", asked.path), &scene.token, body).await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert_eq!(problem["code"], "approval_changed");
    assert_eq!(problem["current_digest"], asked.digest);
    assert_eq!(scene.run_state().await.phase.name(), "waiting");
}

#[tokio::test]
async fn an_answer_that_lacks_what_it_needs_names_the_field() {
    let test = TestApp::start().await;
    let scene = Scene::analysis(&test).await;
    let asked = scene.offer_requirements().await;
    let comment = |path: &str, line: i64, side: &str| json!({ "outcome": "changes_requested", "comments": [{ "path": path, "line": line, "side": side, "body": "b" }] });
    for (answer, field) in [
        (json!({ "outcome": "changes_requested" }), "note"),
        (json!({ "outcome": "rejected", "note": "  " }), "note"),
        (json!({ "outcome": "approved", "arguments": { "acceptance_criteria": ["x"] } }), "arguments"),
        (json!({ "outcome": "approved_with_changes" }), "arguments"),
        (json!({ "outcome": "rejected", "note": "n".repeat(10_001) }), "note"),
        (comment("", 1, "new"), "comments[0].path"),
        (comment("a", 0, "new"), "comments[0].line"),
        (comment("a", 1, "middle"), "comments[0].side"),
    ] {
        let (status, problem) = decide(&scene, &scene.token, &asked, answer).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{field}: {problem}");
        assert_eq!(problem["errors"][0]["field"], field);
    }
    assert_eq!(scene.run_state().await.phase.name(), "waiting");
}

#[tokio::test]
async fn the_same_key_gives_the_first_answer_again() {
    let test = TestApp::start().await;
    let scene = Scene::analysis(&test).await;
    let asked = scene.offer_requirements().await;
    let body = json!({ "outcome": "approved", "digest": asked.digest });
    let path = format!("{}/decision", asked.path);
    let (first, again) = (
        test.post_once(&path, &scene.token, "key-1", body.clone()).await,
        test.post_once(&path, &scene.token, "key-1", body).await,
    );
    assert_eq!(first.0, StatusCode::OK, "{}", first.1);
    assert_eq!(first, again);
}

#[tokio::test]
async fn viewers_and_strangers_do_not_decide() {
    let test = TestApp::start().await;
    let scene = Scene::analysis(&test).await;
    let viewer = scene.member("vera", "viewer").await;
    let stranger = test.user("sam").await;
    let asked = scene.offer_requirements().await;
    let approve = json!({ "outcome": "approved" });
    assert_eq!(decide(&scene, &viewer, &asked, approve.clone()).await.0, StatusCode::FORBIDDEN);
    assert_eq!(decide(&scene, &stranger, &asked, approve).await.0, StatusCode::NOT_FOUND);
    assert_eq!(test.get(&asked.path, &stranger).await.0, StatusCode::NOT_FOUND);
    assert_eq!(test.get(&asked.path, &viewer).await.0, StatusCode::OK);
    let (_, inbox) = test.get("/api/v1/approvals", &stranger).await;
    assert_eq!((inbox["items"].as_array().unwrap().len(), &inbox["unresolved"]), (0, &json!(0)));
}

#[tokio::test]
async fn a_decision_after_a_restart_wakes_the_run() {
    let test = TestApp::start().await;
    let scene = Scene::analysis(&test).await;
    let asked = scene.offer_requirements().await;
    let restarted = test.another().await;
    let maria: uuid::Uuid = sqlx::query_scalar("select id from app_user where name = 'maria'")
        .fetch_one(restarted.pool())
        .await
        .unwrap();
    let decision = Decision {
        outcome: Outcome::ChangesRequested,
        digest: asked.digest.clone(),
        note: "Name the columns.".into(),
        comments: Vec::new(),
        arguments: None,
    };
    let author = Author::of(Actor::User(UserId(maria)));
    approvals::decide(&restarted, author, scene.project, asked.id, &decision).await.unwrap();
    let (_, view) = test.get(&asked.path, &scene.token).await;
    assert_eq!(view["state"], "changes_requested");
    let run = scene.run_state().await;
    assert!(matches!(run.phase, Phase::Thinking { step: None }), "{:?}", run.phase);
    let due: i64 =
        sqlx::query_scalar("select count(*) from job where kind = 'run.advance' and concurrency_key = $1")
            .bind(format!("run:{}", scene.run))
            .fetch_one(test.app.pool())
            .await
            .unwrap();
    assert_eq!(due, 1);
    // The call that offered the result has the human's words as its result.
    let (_, run) = test.get(&scene.path(&format!("/runs/{}", scene.run)), &scene.token).await;
    assert_eq!(run["steps"][1]["output"], "maria wants changes: Name the columns.");
}

#[tokio::test]
async fn a_merge_is_shown_with_its_diff_at_the_asked_head() {
    let test = TestApp::start().await;
    let mut scene = Scene::analysis(&test).await;
    let pr = scene.reach_review().await;
    let asked = scene.offer_merge(pr).await;
    // Somebody pushes to the branch without the pull request knowing it yet.
    crate::scene::commit(&test, scene.project, "feature", "later.txt", "later\n").await;
    let (status, view) = test.get(&asked.path, &scene.token).await;
    assert_eq!(status, StatusCode::OK, "{view}");
    assert_eq!(view["lane"], "critical");
    assert_eq!(view["action"], "pull_request_merge");
    assert_eq!(view["confidence"], 0.91);
    assert_eq!(
        view["policy"],
        json!({ "autonomy": "milestone", "rule": "pull request merge: a person decides at autonomy level milestone" })
    );
    assert_eq!(view["payload"], Value::Null);
    let files: Vec<&str> =
        view["diff"]["files"].as_array().unwrap().iter().map(|file| file["path"].as_str().unwrap()).collect();
    assert_eq!(files, ["export.csv"]);
    assert_eq!(view["diff"]["head"], view["arguments"]["head"]);
    assert!(view["diff"]["files"][0]["patch"].as_str().unwrap().contains("+a;b"));
    assert_eq!(view["run"]["stage"], "review");
    assert_eq!(view["run"]["summary"], "It is done.");
    assert_eq!(view["story"]["phase"], "review");
    assert_eq!(view["pull_request"]["number"], 1);
    assert_eq!(view["requested_by"]["type"], "agent");
    assert_eq!(
        view["consequences"]["approve"],
        "Pull request 1 is merged into main by the merge queue, then the project's tests run."
    );
    assert_eq!(view["timeline"][0]["type"], "approval.requested");
    assert!(view["budget"]["spent_micro_usd"].is_i64());
}

#[tokio::test]
async fn line_comments_on_a_merge_go_back_to_the_engineer_together() {
    let test = TestApp::start().await;
    let mut scene = Scene::analysis(&test).await;
    let pr = scene.reach_review().await;
    let asked = scene.offer_merge(pr).await;
    let comments = json!([
        { "path": "export.csv", "line": 1, "side": "new", "body": "Use commas." },
        { "path": "README.md", "line": null, "side": "old", "body": "Mention it." },
    ]);
    let (status, view) =
        decide(&scene, &scene.token, &asked, json!({ "outcome": "changes_requested", "comments": comments }))
            .await;
    assert_eq!(status, StatusCode::OK, "{view}");
    assert_eq!(view["comments"], comments);
    let story = scene.story_state().await;
    assert_eq!(story.round, 1);
    assert_eq!(story.feedback[0].from, "maria");
    assert_eq!(story.feedback[0].comments.len(), 2);
    assert_eq!(scene.in_stage().await, Some(StageName::Implementation));
}

#[tokio::test]
async fn a_rejected_merge_blocks_the_story_and_merges_nothing() {
    let test = TestApp::start().await;
    let mut scene = Scene::analysis(&test).await;
    let pr = scene.reach_review().await;
    let asked = scene.offer_merge(pr).await;
    decide(&scene, &scene.token, &asked, json!({ "outcome": "rejected", "note": "Not now." })).await;
    let story::Phase::Blocked { reason, .. } = scene.story_state().await.phase else { unreachable!() };
    assert_eq!(reason, "rejected by maria: Not now.");
    test.run_jobs().await;
    let (_, shown) = test.get(&scene.path(&format!("/pull-requests/{pr}")), &scene.token).await;
    assert_eq!(shown["merge_commit"], Value::Null);
}

#[tokio::test]
async fn an_approved_merge_is_merged_by_the_queue() {
    let test = TestApp::start().await;
    let mut scene = Scene::analysis(&test).await;
    let pr = scene.reach_review().await;
    let asked = scene.offer_merge(pr).await;
    decide(&scene, &scene.token, &asked, json!({ "outcome": "approved" })).await;
    test.run_jobs().await;
    let (_, shown) = test.get(&scene.path(&format!("/pull-requests/{pr}")), &scene.token).await;
    assert_eq!(shown["state"], "merged", "{shown}");
    assert_eq!(scene.in_stage().await, Some(StageName::Testing));
    // A decided question still shows the change that was decided about.
    let (_, view) = test.get(&asked.path, &scene.token).await;
    assert_eq!(view["diff"]["files"][0]["path"], "export.csv");
}

#[tokio::test]
async fn the_inbox_shows_every_project_that_one_sees_and_filters() {
    let test = TestApp::start().await;
    let scene = Scene::analysis(&test).await;
    let asked = scene.offer_requirements().await;
    test.clock.set(test.clock.now() + chrono::Duration::minutes(1));
    let second = test.project(&scene.token).await.parse().unwrap();
    let other = Scene::in_project(&test, scene.token.clone(), second).await;
    other.offer_requirements().await;
    let count = async |query: &str| {
        let (status, inbox) = test.get(&format!("/api/v1/approvals{query}"), &scene.token).await;
        assert_eq!(status, StatusCode::OK, "{inbox}");
        assert_eq!(inbox["unresolved"], if query.contains("decided") { 1 } else { 2 });
        inbox["items"].as_array().unwrap().len()
    };
    assert_eq!(count("").await, 2);
    assert_eq!(count(&format!("?project_id={}", scene.project)).await, 1);
    assert_eq!(count("?lane=critical").await, 2);
    assert_eq!(count("?lane=routine").await, 0);
    assert_eq!(count("?lane=critical&category=routine").await, 0);
    assert_eq!(count("?category=critical&limit=1").await, 1);
    let (_, page) = test.get("/api/v1/approvals?limit=1", &scene.token).await;
    let (_, rest) = test
        .get(
            &format!("/api/v1/approvals?limit=1&cursor={}", page["next_cursor"].as_str().unwrap()),
            &scene.token,
        )
        .await;
    assert_eq!(page["items"][0]["id"], json!(asked.id), "the one that lapses first comes first");
    assert_ne!(rest["items"][0]["id"], json!(asked.id));
    decide(&scene, &scene.token, &asked, json!({ "outcome": "approved" })).await;
    assert_eq!(count("?state=decided").await, 1);
    let (_, own) = test.get(&scene.path("/approvals"), &scene.token).await;
    assert_eq!(own["items"].as_array().unwrap().len(), 1);
    assert_eq!(
        test.get("/api/v1/approvals?state=open", &scene.token).await.0,
        StatusCode::UNPROCESSABLE_ENTITY
    );
}

#[tokio::test]
async fn who_decides_while_reading_on_skips_no_question() {
    let test = TestApp::start().await;
    let scene = Scene::analysis(&test).await;
    let mut asked = vec![scene.offer_requirements().await];
    for minute in 1..4 {
        test.clock.set(test.clock.now() + chrono::Duration::minutes(minute));
        let project = test.project(&scene.token).await.parse().unwrap();
        asked.push(Scene::in_project(&test, scene.token.clone(), project).await.offer_requirements().await);
    }
    let (_, page) = test.get("/api/v1/approvals?limit=2", &scene.token).await;
    let first: Vec<&Value> = page["items"].as_array().unwrap().iter().map(|item| &item["id"]).collect();
    assert_eq!(first, [&json!(asked[0].id), &json!(asked[1].id)], "what lapses first comes first");
    for question in &asked[..2] {
        decide(&scene, &scene.token, question, json!({ "outcome": "approved" })).await;
    }

    let rest = format!("/api/v1/approvals?limit=2&cursor={}", page["next_cursor"].as_str().unwrap());
    let (_, rest) = test.get(&rest, &scene.token).await;

    let second: Vec<&Value> = rest["items"].as_array().unwrap().iter().map(|item| &item["id"]).collect();
    assert_eq!(second, [&json!(asked[2].id), &json!(asked[3].id)]);
    assert_eq!(rest["next_cursor"], Value::Null);
    let (status, problem) = test.get("/api/v1/approvals?cursor=50", &scene.token).await;
    assert_eq!(
        (status, &problem["errors"][0]["field"]),
        (StatusCode::UNPROCESSABLE_ENTITY, &json!("cursor"))
    );
}

#[tokio::test]
async fn a_story_says_whose_answer_it_waits_for() {
    let test = TestApp::start().await;
    let mut scene = Scene::analysis(&test).await;
    let pr = scene.reach_review().await;
    scene.offer_merge(pr).await;
    let sentence = async || {
        let (_, story) = test.get(&scene.path(&format!("/stories/{}", scene.story)), &scene.token).await;
        story["waiting_for"].as_str().unwrap().to_owned()
    };
    assert_eq!(sentence().await, "waiting for maria's approval of pull request 1 since 2100-01-01 09:00 UTC");
    scene.member("sam", "approver").await;
    assert!(sentence().await.starts_with("waiting for an approver's approval of pull request 1"));
}

#[tokio::test]
async fn silence_is_reminded_then_escalated_then_expires_and_is_never_consent() {
    let test = TestApp::start().await;
    let scene = Scene::analysis(&test).await;
    let asked = scene.offer_requirements().await;
    for (timer, kind) in [
        ("approval.remind", "approval.reminded"),
        ("approval.remind", "approval.reminded"),
        ("approval.expire", "approval.expired"),
    ] {
        test.ring(asked.id.0, timer).await;
        let (_, view) = test.get(&asked.path, &scene.token).await;
        assert_eq!(view["timeline"].as_array().unwrap().last().unwrap()["type"], kind, "{view}");
    }
    let (_, view) = test.get(&asked.path, &scene.token).await;
    assert_eq!(view["state"], "expired");
    assert!(view["timeline"][2]["text"].as_str().unwrap().starts_with("escalated"));
    let run = scene.run_state().await;
    assert!(matches!(&run.phase, Phase::Failed { reason, .. } if reason.contains("nobody answered")));
    assert!(matches!(scene.story_state().await.phase, story::Phase::Blocked { .. }));
    let (status, problem) = decide(&scene, &scene.token, &asked, json!({ "outcome": "approved" })).await;
    assert_eq!((status, &problem["outcome"]), (StatusCode::CONFLICT, &json!("expired")));
    assert_eq!(problem["decided_by"], Value::Null);
}

#[tokio::test]
async fn a_question_for_knowledge_is_answered_with_the_note() {
    let test = TestApp::start().await;
    let scene = Scene::analysis(&test).await;
    let asked = scene.ask_for_knowledge("Which separator?").await;
    let (status, problem) = decide(&scene, &scene.token, &asked, json!({ "outcome": "approved" })).await;
    assert_eq!((status, &problem["errors"][0]["field"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!("note")));
    let (status, view) =
        decide(&scene, &scene.token, &asked, json!({ "outcome": "approved", "note": "Semicolon." })).await;
    assert_eq!(status, StatusCode::OK, "{view}");
    assert!(matches!(scene.run_state().await.phase, Phase::Thinking { .. }));
    let (_, run) = test.get(&scene.path(&format!("/runs/{}", scene.run)), &scene.token).await;
    assert_eq!(run["steps"].as_array().unwrap().last().unwrap()["output"], "Semicolon.");
}

#[tokio::test]
async fn a_cancelled_run_withdraws_its_question() {
    let test = TestApp::start().await;
    let scene = Scene::analysis(&test).await;
    let asked = scene.offer_requirements().await;
    let mut uow = scene.uow();
    let cancel = run::Command::Cancel { reason: "not wanted".into() };
    uow.execute::<run::Run>(scene.project, scene.run, &cancel).await.unwrap();
    uow.commit().await.unwrap();
    let (_, view) = test.get(&asked.path, &scene.token).await;
    assert_eq!(view["state"], "cancelled");
    let (status, problem) = decide(&scene, &scene.token, &asked, json!({ "outcome": "approved" })).await;
    assert_eq!((status, &problem["code"]), (StatusCode::CONFLICT, &json!("approval_already_decided")));
}
