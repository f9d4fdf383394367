//! What a run is about to wait for comes while it parks: it is found by the one or by the other, and never lost.
//!
//! An approval needs no such test: its question is written in the transaction that parks the run, so nobody can answer
//! before.

use crate::{scene::Scene, support::TestApp};
use axum::http::StatusCode;
use serde_json::json;
use sqlx::{PgConnection, PgPool};
use std::{future::Future, time::Duration};
use syndarix::{
    db::Author,
    features::costs::{self, SetBudget},
};
use syndarix_domain::run::{Phase, Wait};
use syndarix_llm::{Deployment, ModelGroup, ModelGroups, scripted};
use tokio::net::TcpListener;

/// Holds every run that is about to wait, after it looked whether it must and before it says so.
const GATE: &str = "
create function stop_at_the_gate() returns trigger language plpgsql as
    'begin perform pg_advisory_xact_lock_shared(4711); return new; end';
create trigger gate before update on run for each row when (new.phase = 'waiting') execute function stop_at_the_gate();
select pg_advisory_lock(4711)";

const AT_THE_GATE: &str = "select count(*) from pg_stat_activity
  where datname = current_database() and wait_event_type = 'Lock' and wait_event = 'advisory'";

/// Somebody waits for what the run at the gate has looked at.
const BEHIND_THE_RUN: &str = "select count(*) from pg_stat_activity
  where datname = current_database() and wait_event_type = 'Lock' and wait_event <> 'advisory'";

async fn until_some(pool: &PgPool, what: &'static str) {
    let found = async {
        while sqlx::query_scalar::<_, i64>(what).fetch_one(pool).await.unwrap() == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), found).await.expect("it never came to that");
}

/// Gives the signal when the run stands at the gate, and opens the gate when the signal is given or waits for the run.
async fn signal_at_the_gate(test: &TestApp, signal: impl Future<Output = ()>) {
    let pool = test.app.pool();
    let mut gate: PgConnection = pool.acquire().await.unwrap().detach();
    sqlx::raw_sql(GATE).execute(&mut gate).await.unwrap();
    let meanwhile = async {
        until_some(pool, AT_THE_GATE).await;
        tokio::pin!(signal);
        let given = tokio::select! {
            () = &mut signal => true,
            () = until_some(pool, BEHIND_THE_RUN) => false,
        };
        sqlx::raw_sql("select pg_advisory_unlock(4711)").execute(&mut gate).await.unwrap();
        if !given {
            signal.await;
        }
    };
    tokio::join!(test.run_jobs(), meanwhile);
    test.run_jobs().await;
}

pub(crate) async fn answering() -> ModelGroups {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let script = "name = \"busy\"\n[[rule]]\nname = \"asks for patience\"\nwhen = {}\nfault = { kind = \"status\", status = 429, retry_after_seconds = 600 }\n";
    tokio::task::spawn(scripted::serve(listener, scripted::Script::from_toml(script).unwrap()));
    let deployment: Deployment = serde_json::from_value(json!({
        "name": "scripted", "provider": "scripted", "base_url": format!("http://{address}/v1"),
        "model": "scripted-model", "context_window": 100_000, "max_output": 1_000, "endpoint_access": "private_network",
    }))
    .unwrap();
    let group = ModelGroup::new("default", vec![deployment]);
    ModelGroups::new(vec![group]).unwrap()
}

pub(crate) async fn set_budget(scene: &Scene<'_>, limit: i64) {
    let limits = SetBudget { hard_limit_micro_usd: Some(limit), soft_limit_micro_usd: None };
    costs::set(&scene.test.app, Author::system(), scene.project, &limits).await.unwrap();
}

#[tokio::test]
async fn a_budget_that_is_raised_while_a_run_parks_for_want_of_it_wakes_the_run() {
    let test = TestApp::with_models(answering().await).await;
    let scene = Scene::analysis(&test).await;
    set_budget(&scene, 1).await;
    scene.due().await;
    signal_at_the_gate(&test, Box::pin(set_budget(&scene, 50_000_000))).await;
    let phase = scene.run_state().await.phase;
    assert!(
        matches!(phase, Phase::Waiting { wait: Wait::RateLimit { .. }, .. }),
        "it went on until the model asked for patience: {phase:?}"
    );
}

#[tokio::test]
async fn a_run_without_the_budget_parks_until_it_is_raised() {
    let test = TestApp::with_models(answering().await).await;
    let scene = Scene::analysis(&test).await;
    set_budget(&scene, 1).await;
    scene.due().await;
    test.run_jobs().await;
    let phase = scene.run_state().await.phase;
    assert!(matches!(phase, Phase::Waiting { wait: Wait::Budget { .. }, .. }), "{phase:?}");
    set_budget(&scene, 50_000_000).await;
    test.run_jobs().await;
    let phase = scene.run_state().await.phase;
    assert!(matches!(phase, Phase::Waiting { wait: Wait::RateLimit { .. }, .. }), "{phase:?}");
}

#[tokio::test]
async fn an_agent_that_is_resumed_while_its_run_parks_goes_on() {
    let test = TestApp::with_models(answering().await).await;
    let scene = Scene::analysis(&test).await;
    let agent = scene.path(&format!("/agents/{}", scene.agent));
    let (status, _) = test.post(&format!("{agent}/pause"), &scene.token, json!({})).await;
    assert_eq!(status, StatusCode::OK);
    scene.due().await;
    let resume = async {
        let (status, resumed) = test.post(&format!("{agent}/resume"), &scene.token, json!({})).await;
        assert_eq!(status, StatusCode::OK, "{resumed}");
    };
    signal_at_the_gate(&test, Box::pin(resume)).await;
    let phase = scene.run_state().await.phase;
    assert!(
        !matches!(phase, Phase::Waiting { wait: Wait::Paused { .. }, .. }),
        "nobody wakes it any more: {phase:?}"
    );
}
