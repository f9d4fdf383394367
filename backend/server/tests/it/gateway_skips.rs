//! Whom calls passed over, as it is on record: with the call, also where nobody was asked at all, and for its project only.

use crate::gateway::{Desk, SOUND, chat, dear, deployment, serve, until};
use axum::http::StatusCode;
use serde_json::{Value, json};
use syndarix::features::llm::PassedOver;
use syndarix_domain::ids::{CallId, ProjectId};
use syndarix_llm::{Cause, ModelGroup, ProviderKind, Skipped, scripted};
use tokio::task::JoinSet;
use uuid::Uuid;

const CHAT: &str = "/v1/chat/completions";
const BUSY: &str =
    "[[rule]]\nname = 'r'\nfault = { kind = 'status', status = 429, retry_after_seconds = 90 }\n";

/// A group whose first deployment is busy, and whose second answers.
async fn both() -> (Desk, [JoinSet<()>; 2]) {
    let (busy, first) = serve(scripted::router(scripted::Script::from_toml(BUSY).unwrap())).await;
    let (sound, second) = serve(scripted::router(scripted::Script::from_toml(SOUND).unwrap())).await;
    let chain = [("busy", busy), ("sound", sound)];
    let chain = chain.map(|(name, address)| deployment(name, ProviderKind::OpenAi, address)).to_vec();
    (Desk::with(vec![ModelGroup::new("both", chain)]).await, [first, second])
}

/// Asks, and says how that ended and the call's id.
async fn ask(desk: &Desk, model: &str) -> (StatusCode, String) {
    let (status, headers, _) = desk.ask(CHAT, &desk.key, &chat(model)).await;
    (status, headers["x-syndarix-call-id"].to_str().unwrap().to_owned())
}

/// The way that a call took.
async fn way(desk: &Desk, call: &str) -> (StatusCode, Value) {
    let path = format!("/api/v1/projects/{}/usage/calls/{call}", desk.project);
    desk.app.get(&path, &desk.token).await
}

/// How many rows there are, and how often what they say was so.
async fn rows(desk: &Desk) -> (i64, i64) {
    sqlx::query_as("select count(*), coalesce(sum(times), 0)::bigint from usage_skip where project_id = $1")
        .bind(desk.project.parse::<Uuid>().unwrap())
        .fetch_one(desk.app.app.pool())
        .await
        .unwrap()
}

#[tokio::test]
async fn who_was_passed_over_is_on_record_with_the_call_and_of_other_calls_nothing_is_written() {
    let (desk, _providers) = both().await;
    let (first, second) = (ask(&desk, "both").await, ask(&desk, "both").await);
    assert_eq!((first.0, second.0), (StatusCode::OK, StatusCode::OK));
    // It is written beside the answer.
    until("it is written down", async || rows(&desk).await.0 > 0).await;

    let (tried, passed_over) = (way(&desk, &first.1).await.1, way(&desk, &second.1).await.1);

    let attempts = |way: &Value| {
        let attempts = way["attempts"].as_array().unwrap().iter();
        attempts.map(|one| (one["deployment"].clone(), one["outcome"].clone())).collect::<Vec<_>>()
    };
    let busy = (json!("busy"), json!("failed"));
    let sound = (json!("sound"), json!("settled"));
    assert_eq!(attempts(&tried), [busy, sound.clone()], "in their order");
    assert_eq!((&tried["skipped"], attempts(&passed_over)), (&json!([]), vec![sound]), "{tried}");
    let skip = &passed_over["skipped"][0];
    assert_eq!(
        (&skip["deployment"], &skip["kind"], &skip["times"]),
        (&json!("busy"), &json!("cooling_down"), &json!(1)),
        "{passed_over}"
    );
    assert!(skip["reason"].as_str().unwrap().contains("cooling down"), "{skip}");
    let path = format!("/api/v1/projects/{}/usage/calls", desk.project);
    let (_, list) = desk.app.get(&path, &desk.token).await;
    for row in list["items"].as_array().unwrap() {
        assert_eq!(row["skipped"], i64::from(row["call_id"] == second.1.as_str()), "{row}");
    }
    assert_eq!(rows(&desk).await, (1, 1));
}

#[tokio::test]
async fn a_call_for_which_nobody_was_asked_is_found_by_its_id_with_everyone_that_was_passed_over() {
    let desk = Desk::scripted(BUSY).await;
    ask(&desk, "openai").await;
    let (status, call) = ask(&desk, "openai").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);

    until("it is written down", async || way(&desk, &call).await.0 == StatusCode::OK).await;

    let (_, way_of_it) = way(&desk, &call).await;
    assert_eq!((&way_of_it["call_id"], &way_of_it["attempts"]), (&json!(call), &json!([])));
    assert_eq!(way_of_it["skipped"][0]["deployment"], "openai", "{way_of_it}");
    let (status, problem) = way(&desk, &Uuid::now_v7().to_string()).await;
    assert_eq!(status, StatusCode::NOT_FOUND, "{problem}");
    let other = desk.app.user("otto").await;
    let elsewhere = desk.app.project(&other).await;
    let path = format!("/api/v1/projects/{elsewhere}/usage/calls/{call}");
    assert_eq!(desk.app.get(&path, &other).await.0, StatusCode::NOT_FOUND, "it is not a call of theirs");
}

#[tokio::test]
async fn a_client_that_asks_again_and_again_without_money_leaves_nothing() {
    let (address, _provider) = serve(scripted::router(scripted::Script::from_toml(SOUND).unwrap())).await;
    let chain = vec![dear("first", address), dear("second", address)];
    let desk = Desk::with(vec![ModelGroup::new("both", chain)]).await;
    desk.limit(1_000).await;
    for _ in 0..3 {
        assert_eq!(ask(&desk, "both").await.0, StatusCode::PAYMENT_REQUIRED);
    }

    // What is written beside calls is waited for.
    desk.app.app.gateway.close().await;

    assert_eq!(rows(&desk).await, (0, 0));
}

#[tokio::test]
async fn a_run_that_asks_again_and_again_leaves_one_row_for_each_that_it_passed_over() {
    let desk = Desk::scripted(SOUND).await;
    let of = (ProjectId(desk.project.parse().unwrap()), CallId(Uuid::now_v7()));
    let skipped =
        |for_ms| Cause::Skipped { deployment: "busy".into(), reason: Skipped::CoolingDown { for_ms } };
    let narrow = Cause::Skipped {
        deployment: "narrow".into(),
        reason: Skipped::Untranslatable { reason: "no\0 pictures".into() },
    };
    let now = desk.app.clock.now();
    assert!(PassedOver::of(of, &[], now).is_none(), "there is nothing to write");
    for for_ms in [9_000, 8_000, 7_000] {
        let call = PassedOver::of(of, &[skipped(for_ms), skipped(for_ms), narrow.clone()], now).unwrap();
        desk.app.app.ledger.passed_over(call).await;
    }

    let (_, way) = way(&desk, &of.1.to_string()).await;

    let told = way["skipped"].as_array().unwrap().iter();
    let told: Vec<_> = told.map(|one| (one["kind"].as_str().unwrap(), one["times"].clone())).collect();
    assert_eq!(told, [("cooling_down", json!(3)), ("untranslatable", json!(3))]);
    assert!(
        way["skipped"][0]["reason"].as_str().unwrap().contains("another 7 s"),
        "as it was the last time: {way}"
    );
    assert_eq!(rows(&desk).await, (2, 6));
}
