//! Why runs and stories do not go on: the reason, whose move it is, and until when.

use crate::{scene::Scene, support::TestApp};
use axum::http::StatusCode;
use serde_json::{Value, json};
use syndarix_domain::run::{Command, Run, Wait};

async fn waiting(scene: &Scene<'_>, below: &str) -> Value {
    let (status, shown) = scene.test.get(&scene.path(below), &scene.token).await;
    assert_eq!(status, StatusCode::OK, "{shown}");
    shown["waiting"].clone()
}

async fn execute(scene: &Scene<'_>, sql: &str) {
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned())).execute(scene.test.app.pool()).await.unwrap();
}

#[tokio::test]
async fn a_story_without_a_run_says_who_can_help_it_on() {
    let test = TestApp::start().await;
    let scene = Scene::analysis(&test).await;
    let (status, story) =
        test.post(&scene.path("/stories"), &scene.token, json!({ "title": "Second" })).await;
    assert_eq!(status, StatusCode::CREATED, "{story}");
    assert_eq!((&story["waiting"]["on"], &story["waiting"]["owner"]), (&json!("start"), &json!("member")));
    let path = format!("/stories/{}", story["id"].as_str().unwrap());
    let (status, _) = test.post(&scene.path(&format!("{path}/start")), &scene.token, json!({})).await;
    assert_eq!(status, StatusCode::OK);

    execute(&scene, "update job set run_at = now() - interval '1 minute' where kind = 'stage.work'").await;
    let unpolled = waiting(&scene, &path).await;
    assert_eq!((&unpolled["on"], &unpolled["owner"]), (&json!("queue"), &json!("operator")), "{unpolled}");

    execute(&scene, "update project set agent_limit = 1").await;
    execute(
        &scene,
        "update job set due = false, run_at = now() + interval '1 hour', last_error = 'busy' where kind = 'stage.work'",
    )
    .await;
    let put_off = waiting(&scene, &path).await;
    assert_eq!((&put_off["on"], &put_off["owner"]), (&json!("queue"), &json!("operator")), "{put_off}");

    execute(
        &scene,
        "insert into worker (incarnation, name, lock_key, last_seen) values (gen_random_uuid(), 'one', 1, now())",
    )
    .await;
    let full = waiting(&scene, &path).await;
    assert_eq!((&full["on"], &full["owner"]), (&json!("agent"), &json!("admin")), "{full}");
    assert!(full["detail"].as_str().unwrap().contains("all 1 agents"), "{full}");
    assert!(full["since"].is_string() && full["deadline"].is_string(), "{full}");
}

#[tokio::test]
async fn a_story_waits_for_what_its_run_waits_for() {
    let test = TestApp::start().await;
    let scene = Scene::analysis(&test).await;
    let asked = scene.offer_requirements().await;
    let story = waiting(&scene, &format!("/stories/{}", scene.story)).await;
    assert_eq!((&story["on"], &story["approval_id"]), (&json!("approval"), &json!(asked.id)), "{story}");
    assert_eq!(story, waiting(&scene, &format!("/runs/{}", scene.run)).await);
}

#[tokio::test]
async fn a_run_whose_call_may_have_taken_effect_says_so() {
    let test = TestApp::start().await;
    let scene = Scene::analysis(&test).await;
    let asked = scene.offer_requirements().await;
    execute(&scene, "update step set status = 'unknown' where kind = 'tool'").await;
    let run = waiting(&scene, &format!("/runs/{}", scene.run)).await;
    assert_eq!(
        (&run["on"], &run["owner"], &run["approval_id"]),
        (&json!("unknown_outcome"), &json!("approver"), &json!(asked.id))
    );
    assert!(run["detail"].as_str().unwrap().contains("complete_task"), "{run}");
}

#[tokio::test]
async fn a_run_whose_worker_is_lost_says_so() {
    let test = TestApp::start().await;
    let scene = Scene::analysis(&test).await;
    scene.due().await;
    execute(
        &scene,
        "update job set owner = gen_random_uuid(), lease_until = now() - interval '1 minute' where kind = 'run.advance'",
    )
    .await;
    let run = waiting(&scene, &format!("/runs/{}", scene.run)).await;
    assert_eq!((&run["on"], &run["owner"]), (&json!("worker_lost"), &json!("operator")), "{run}");
}

#[tokio::test]
async fn a_job_in_the_line_of_its_rate_is_not_ready_and_misses_no_worker() {
    let test = TestApp::start().await;
    let scene = Scene::analysis(&test).await;
    scene.due().await;
    execute(
        &scene,
        "update job set due = false, in_line_at = now(), rate = row('model', 1, 60)::rate_limit,
                run_at = now() - interval '1 minute' where kind = 'run.advance'",
    )
    .await;

    let run = waiting(&scene, &format!("/runs/{}", scene.run)).await;
    let (_, jobs) = test.get("/api/v1/jobs", &scene.token).await;

    assert_eq!((&run["on"], &run["owner"]), (&json!("turn"), &json!("syndarix")), "{run}");
    let queues = jobs["queues"].as_array().unwrap();
    let agent = queues.iter().find(|queue| queue["queue"] == "agent").unwrap();
    assert_eq!((&agent["depth"], &agent["workers"]), (&json!(0), &json!(0)), "{agent}");
    assert_eq!(jobs["items"][0]["state"], "scheduled", "{jobs}");
}

#[tokio::test]
async fn a_run_that_waits_for_a_budget_of_a_period_says_when_it_begins_anew() {
    let test = TestApp::start().await;
    let scene = Scene::analysis(&test).await;
    let mut uow = scene.uow();
    uow.execute::<Run>(scene.project, scene.run, &Command::BeginModelCall).await.unwrap();
    let wait = Wait::Budget { detail: "the budget of the day is used up".into() };
    uow.execute::<Run>(scene.project, scene.run, &Command::Park { wait }).await.unwrap();
    uow.commit().await.unwrap();
    let run = format!("/runs/{}", scene.run);
    let total = waiting(&scene, &run).await;
    assert_eq!((&total["on"], &total["owner"]), (&json!("budget"), &json!("admin")), "{total}");
    assert_eq!(total["deadline"], Value::Null, "only a person can help");

    execute(
        &scene,
        "insert into budget (id, organisation_id, project_id, scope, scope_id, period, hard_limit_micro_usd, updated_at)
         select gen_random_uuid(), organisation_id, id, 'project', id, 'day', 1, now() from project",
    )
    .await;
    let of_the_day = waiting(&scene, &run).await;
    assert!(of_the_day["deadline"].as_str().unwrap().contains("T00:00:00"), "{of_the_day}");
}
