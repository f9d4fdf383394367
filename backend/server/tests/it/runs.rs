//! Runs: what is shown, cancelling, retrying, and that none is left alone.

use crate::{scene::Scene, support::TestApp};
use axum::http::StatusCode;
use chrono::Duration;
use serde_json::{Value, json};
use syndarix::features::runs;
use syndarix_domain::{
    run::{self, Phase},
    stage::StageName,
    story,
};
use syndarix_jobs::{Claim, Cursor, Outcome};
use uuid::Uuid;

fn path(scene: &Scene<'_>, rest: &str) -> String {
    scene.path(&format!("/runs/{}{rest}", scene.run))
}

async fn jobs_of(scene: &Scene<'_>) -> i64 {
    sqlx::query_scalar("select count(*) from job where concurrency_key = $1")
        .bind(format!("run:{}", scene.run))
        .fetch_one(scene.test.app.pool())
        .await
        .unwrap()
}

#[tokio::test]
async fn a_run_is_shown_with_its_steps_and_what_it_cost() {
    let test = TestApp::start().await;
    let scene = Scene::analysis(&test).await;
    scene.spend(700, false).await;
    scene.spend(40, true).await;
    let asked = scene.offer_requirements().await;
    let (status, run) = test.get(&path(&scene, ""), &scene.token).await;
    assert_eq!(status, StatusCode::OK, "{run}");
    assert_eq!((&run["state"], &run["stage"]), (&json!("waiting"), &json!("analysis")));
    let waiting = &run["waiting"];
    assert_eq!(
        (&waiting["on"], &waiting["detail"], &waiting["approval_id"], &waiting["owner"]),
        (&json!("approval"), &json!("a human's decision"), &json!(asked.id), &json!("approver"))
    );
    assert!(waiting["since"].is_string(), "{waiting}");
    assert_eq!((&run["cost_micro_usd"], &run["simulated_micro_usd"]), (&json!(700), &json!(40)));
    assert_eq!((&run["tokens_in"], &run["tokens_out"]), (&json!(200), &json!(20)));
    assert_eq!((&run["summary"], &run["confidence"]), (&json!("It is done."), &json!(0.91)));
    assert_eq!(run["limits"]["max_steps"], 200);
    let kinds: Vec<&Value> = run["steps"].as_array().unwrap().iter().map(|step| &step["kind"]).collect();
    assert_eq!(kinds, ["model", "tool"]);
    let (_, approval) = test.get(&asked.path, &scene.token).await;
    assert_eq!((&approval["cost_micro_usd"], &approval["simulated_micro_usd"]), (&json!(700), &json!(40)));
    let (_, agent) = test.get(&scene.path(&format!("/agents/{}", scene.agent)), &scene.token).await;
    assert_eq!(
        (&agent["spent_micro_usd"], &agent["simulated_micro_usd"], &agent["runs"]),
        (&json!(700), &json!(40), &json!(1))
    );
    for (query, count) in [
        (String::new(), 1),
        (format!("?story_id={}", scene.story), 1),
        (format!("?agent_id={}&state=waiting", scene.agent), 1),
        ("?state=succeeded".to_owned(), 0),
        (format!("?story_id={}", Uuid::now_v7()), 0),
    ] {
        let (_, list) = test.get(&scene.path(&format!("/runs{query}")), &scene.token).await;
        assert_eq!(list["items"].as_array().unwrap().len(), count, "{query}");
    }
}

#[tokio::test]
async fn a_long_result_is_cut_in_the_view_and_says_so() {
    let test = TestApp::start().await;
    let scene = Scene::analysis(&test).await;
    scene.call("filesystem__read").await;
    sqlx::query("update step set status = 'done', result = $1 where kind = 'tool'")
        .bind(json!({ "text": "x".repeat(100_000), "is_error": false }))
        .execute(test.app.pool())
        .await
        .unwrap();
    let (_, run) = test.get(&path(&scene, ""), &scene.token).await;
    let output = run["steps"][1]["output"].as_str().unwrap();
    assert!(output.len() < 17_000 && output.ends_with("[... 84000 characters more]"), "{}", output.len());
}

#[tokio::test]
async fn a_story_shows_its_timeline_its_changes_and_its_tests() {
    let test = TestApp::start().await;
    let mut scene = Scene::analysis(&test).await;
    let story = scene.path(&format!("/stories/{}", scene.story));
    assert_eq!(test.get(&format!("{story}/changes"), &scene.token).await.0, StatusCode::NOT_FOUND);
    scene.reach_review().await;
    let (_, timeline) = test.get(&format!("{story}/timeline"), &scene.token).await;
    assert_eq!(timeline["items"].as_array().unwrap().len(), 4);
    let (status, diff) = test.get(&format!("{story}/changes"), &scene.token).await;
    assert_eq!((status, &diff["files"][0]["path"]), (StatusCode::OK, &json!("export.csv")));
    sqlx::query(
        "insert into test_run (id, project_id, story_id, run_id, step_id, commit_id, command, passed, exit_code, duration_ms, output, isolation, at)
         values ($1, $2, $3, $4, $1, 'abc', 'make test', true, 0, 1200, 'ok', '{\"level\": \"landlock\", \"detail\": \"\"}', $5)",
    )
    .bind(Uuid::now_v7())
    .bind(scene.project.0)
    .bind(scene.story.0)
    .bind(scene.run.0)
    .bind(test.clock.now())
    .execute(test.app.pool())
    .await
    .unwrap();
    let (_, tests) = test.get(&format!("{story}/tests"), &scene.token).await;
    assert_eq!(
        (&tests["items"][0]["isolation"], &tests["items"][0]["commit"]),
        (&json!("landlock"), &json!("abc"))
    );
    let nothing = scene.path(&format!("/stories/{}/timeline", Uuid::now_v7()));
    assert_eq!(test.get(&nothing, &scene.token).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_cancelled_run_blocks_its_story_frees_its_agent_and_takes_its_jobs_away() {
    let test = TestApp::start().await;
    let scene = Scene::analysis(&test).await;
    scene.call("filesystem__read").await;
    scene.due().await;
    let (status, run) =
        test.post(&path(&scene, "/cancel"), &scene.token, json!({ "reason": "wrong story" })).await;
    assert_eq!(status, StatusCode::OK, "{run}");
    assert_eq!((&run["state"], &run["reason"]), (&json!("cancelled"), &json!("wrong story")));
    assert_eq!(jobs_of(&scene).await, 0);
    let (_, shown) = test.get(&path(&scene, ""), &scene.token).await;
    assert_eq!(shown["steps"][1]["status"], "interrupted");
    let story::Phase::Blocked { reason, .. } = scene.story_state().await.phase else { unreachable!() };
    assert_eq!(reason, "the run was cancelled: wrong story");
    let (_, agent) = test.get(&scene.path(&format!("/agents/{}", scene.agent)), &scene.token).await;
    assert_eq!((&agent["status"], &agent["current_run_id"]), (&json!("idle"), &Value::Null));
    assert_eq!(
        test.post(&path(&scene, "/cancel"), &scene.token, json!({})).await.0,
        StatusCode::OK,
        "asked again"
    );
}

#[tokio::test]
async fn a_retry_has_the_stage_worked_again() {
    let test = TestApp::start().await;
    let scene = Scene::analysis(&test).await;
    let (status, problem) = test.post(&path(&scene, "/retry"), &scene.token, json!({})).await;
    assert_eq!((status, &problem["code"]), (StatusCode::CONFLICT, &json!("not_retryable")));
    test.post(&path(&scene, "/cancel"), &scene.token, json!({ "reason": "x" })).await;
    let (status, problem) = test.post(&path(&scene, "/retry"), &scene.token, json!({ "from_step": 3 })).await;
    assert_eq!(
        (status, &problem["errors"][0]["field"]),
        (StatusCode::UNPROCESSABLE_ENTITY, &json!("from_step"))
    );
    let (status, run) = test.post(&path(&scene, "/retry"), &scene.token, json!({})).await;
    assert_eq!(status, StatusCode::OK, "{run}");
    assert_eq!(scene.in_stage().await, Some(StageName::Analysis));
    let queued: i64 = sqlx::query_scalar("select count(*) from job where kind = 'stage.work'")
        .fetch_one(test.app.pool())
        .await
        .unwrap();
    assert_eq!(queued, 1);
    let (status, problem) = test.post(&path(&scene, "/retry"), &scene.token, json!({})).await;
    assert_eq!((status, &problem["code"]), (StatusCode::CONFLICT, &json!("not_retryable")));
}

/// The reconciler looks at the run as if nothing had happened to it for a minute.
async fn reconcile_later(scene: &Scene<'_>) {
    sqlx::query("update run set updated_at = now() - interval '1 minute'")
        .execute(scene.test.app.pool())
        .await
        .unwrap();
    runs::schedule(&scene.test.app).await.unwrap();
    scene.test.ring(Uuid::nil(), "runs.reconcile").await;
}

async fn pause_everybody(scene: &Scene<'_>) {
    sqlx::query("update agent set status = 'paused'").execute(scene.test.app.pool()).await.unwrap();
}

#[tokio::test]
async fn a_run_that_lost_its_job_gets_a_new_one() {
    let test = TestApp::start().await;
    let scene = Scene::analysis(&test).await;
    pause_everybody(&scene).await;
    reconcile_later(&scene).await;
    // The new job found the agent paused and parked the run: so it ran.
    assert!(matches!(scene.run_state().await.phase, Phase::Waiting { wait: run::Wait::Paused { .. }, .. }));
    reconcile_later(&scene).await;
    assert_eq!(jobs_of(&scene).await, 0);
}

#[tokio::test]
async fn people_are_told_of_a_run_whose_work_was_given_up() {
    let test = TestApp::start().await;
    let scene = Scene::analysis(&test).await;
    sqlx::query(
        "insert into job_dead (id, queue, kind, payload, priority, concurrency_key, attempt, max_attempts, rescues, fence, reason, errors, created_at)
         values (1, 'agent', 'run.advance', '{}', 2, $1, 12, 12, 0, 1, 'no disk', '[]', now())",
    )
    .bind(format!("run:{}", scene.run))
    .execute(test.app.pool())
    .await
    .unwrap();
    reconcile_later(&scene).await;
    let run = scene.run_state().await;
    assert!(
        matches!(&run.phase, Phase::Stalled { reason, .. } if reason == "its job was given up: no disk"),
        "{run:?}"
    );
    assert!(matches!(scene.story_state().await.phase, story::Phase::Blocked { .. }));
    let told: Vec<(String, String)> = sqlx::query_as("select subject, state from notification_delivery")
        .fetch_all(test.app.pool())
        .await
        .unwrap();
    assert_eq!(told, [(format!("run/{}", scene.run), "sent".to_owned())]);
}

#[tokio::test]
async fn waiting_for_people_is_nothing_to_repair() {
    let test = TestApp::start().await;
    let scene = Scene::analysis(&test).await;
    scene.offer_requirements().await;
    test.clock.set(test.clock.now() + Duration::days(20));
    reconcile_later(&scene).await;
    assert!(matches!(scene.run_state().await.phase, Phase::Waiting { .. }));
}

#[tokio::test]
async fn a_wait_for_the_providers_that_nobody_ends_is_ended() {
    let test = TestApp::start().await;
    let scene = Scene::analysis(&test).await;
    let until = "2020-01-01T00:00:00Z".parse().unwrap();
    let mut uow = scene.uow();
    let park = run::Command::Park { wait: run::Wait::RateLimit { until, detail: "429".into() } };
    uow.execute::<run::Run>(scene.project, scene.run, &park).await.unwrap();
    uow.commit().await.unwrap();
    scene.forget_jobs().await;
    pause_everybody(&scene).await;
    reconcile_later(&scene).await;
    assert!(matches!(scene.run_state().await.phase, Phase::Waiting { wait: run::Wait::Paused { .. }, .. }));
}

#[tokio::test]
async fn a_run_whose_job_is_in_back_off_says_when_it_goes_on_and_how_often_it_is_still_tried() {
    let test = TestApp::start().await;
    let scene = Scene::analysis(&test).await;
    sqlx::query(
        "insert into job (queue, project_id, kind, payload, due, run_at, concurrency_key, attempt, max_attempts, last_error)
         values ('agent', $1, 'run.advance', '{}', false, now() + interval '1 hour', $2, 3, 12, 'no answer')",
    )
    .bind(scene.project.0)
    .bind(format!("run:{}", scene.run))
    .execute(test.app.pool())
    .await
    .unwrap();
    let (_, run) = test.get(&path(&scene, ""), &scene.token).await;
    let waiting = &run["waiting"];
    assert_eq!(
        (&waiting["on"], &waiting["owner"], &waiting["detail"]),
        (&json!("retry"), &json!("syndarix"), &json!("no answer"))
    );
    let job = &waiting["job"];
    assert_eq!((&job["attempts"], &job["attempts_left"]), (&json!(3), &json!(9)));
    assert!(job["next_retry_at"].is_string() && job["next_retry_at"] == waiting["deadline"], "{waiting}");

    sqlx::query("update job set due = true, run_at = now() where attempt = 3")
        .execute(test.app.pool())
        .await
        .unwrap();
    let (_, run) = test.get(&path(&scene, ""), &scene.token).await;
    let waiting = &run["waiting"];
    assert_eq!((&waiting["on"], &waiting["owner"]), (&json!("queue"), &json!("operator")), "no worker is up");
    assert_eq!(waiting["job"]["polled"], false);
}

#[tokio::test]
async fn a_run_is_seen_as_it_was_at_every_version_of_its_history() {
    let test = TestApp::start().await;
    let scene = Scene::analysis(&test).await;
    scene.offer_requirements().await;
    let (status, history) = test.get(&path(&scene, "/history"), &scene.token).await;
    assert_eq!(status, StatusCode::OK, "{history}");
    let items = history["items"].as_array().unwrap();
    assert_eq!((&items[0]["type"], &items[0]["version"]), (&json!("run.started"), &json!(1)));
    assert_eq!(items.last().unwrap()["phase"], "waiting");
    for item in items {
        let at = path(&scene, &format!("?version={}", item["version"]));
        let (status, then) = test.get(&at, &scene.token).await;
        assert_eq!((status, &then["state"]), (StatusCode::OK, &item["phase"]), "{item}");
        assert_eq!(then["version"], item["version"]);
        let steps = then["steps"].as_array().unwrap().len();
        assert_eq!(Some(u64::try_from(steps).unwrap()), then["steps_count"].as_u64(), "{then}");
    }
    let (status, _) = test.get(&path(&scene, "?version=99"), &scene.token).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let (status, _) = test.get(&scene.path(&format!("/runs/{}/history", scene.story)), &scene.token).await;
    assert_eq!(status, StatusCode::NOT_FOUND, "a story is no run");
}

#[tokio::test]
async fn the_steps_that_the_benchmark_counts_are_in_the_journal_and_each_brings_the_job_of_the_next() {
    let test = TestApp::start().await;
    let scene = Scene::analysis(&test).await;
    scene.due().await;
    let mut conn = test.app.pool().acquire().await.unwrap();
    for _ in 0..3 {
        let lease = std::time::Duration::from_secs(60);
        let wanted = Claim { queue: "agent", owner: Uuid::now_v7(), limit: 1, lease };
        let claimed = syndarix_jobs::claim(&mut conn, wanted, &mut Cursor::default()).await.unwrap();
        let [(job, lease)] = &claimed.jobs[..] else { panic!("no job of the run: {claimed:?}") };

        let (run, outcome) = runs::bench::step(&test.app, job, *lease).await.unwrap();

        assert_eq!(run, scene.run);
        if outcome == Outcome::Done {
            lease.complete(&mut conn).await.unwrap();
        }
    }
    let journal: Vec<(i32, String, String)> =
        sqlx::query_as("select number, kind, status from step where run_id = $1 order by number")
            .bind(scene.run.0)
            .fetch_all(&mut *conn)
            .await
            .unwrap();
    let done = |number, kind: &str| (number, kind.to_owned(), "done".to_owned());
    assert_eq!(journal, [done(1, "model"), done(2, "tool"), done(3, "model")]);
    assert_eq!(jobs_of(&scene).await, 1, "the next one");
}
