//! Virtual keys: shown once, rotated, revoked, ended, and what was spent with them.

use super::{Desk, PATHS, SOUND, chat, deployment, json_of, serve, until};
use crate::scene::hire;
use axum::{
    body::Body,
    http::{Method, Request, StatusCode},
};
use serde_json::{Value, json};
use sqlx::Connection;
use std::time::{Duration, Instant};
use syndarix::{features::costs, http};
use syndarix_domain::ids::ProjectId;
use syndarix_llm::{Deployment, ModelGroup, ProviderKind, Rates, scripted};
use tokio::task::JoinSet;
use tower::ServiceExt;
use uuid::Uuid;

#[tokio::test]
async fn a_key_is_shown_once_and_good_until_it_is_rotated_or_revoked() {
    let desk = Desk::scripted(SOUND).await;
    let asked = async |key: &str| desk.ask(PATHS[0], key, &chat("openai")).await.0;
    let (id, key) = desk.make(json!({ "name": "a script" })).await;
    assert_eq!(asked(&key).await, StatusCode::OK);

    let (_, listed) = desk.app.get(&desk.path(""), &desk.token).await;
    assert!(!listed.to_string().contains(&key), "{listed}");
    let shown = listed["items"].as_array().unwrap().iter().find(|one| one["id"] == *id).unwrap();
    assert!(key.starts_with(shown["prefix"].as_str().unwrap()));

    let (status, rotated) = desk.app.post(&desk.path(&format!("/{id}/rotate")), &desk.token, json!({})).await;
    assert_eq!(status, StatusCode::OK, "{rotated}");
    let fresh = rotated["secret"].as_str().unwrap().to_owned();
    assert_eq!((asked(&key).await, asked(&fresh).await), (StatusCode::UNAUTHORIZED, StatusCode::OK));

    let path = desk.path(&format!("/{id}"));
    let (status, _) = desk.app.send(Method::DELETE, &path, Some(&desk.token), None).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    assert_eq!(asked(&fresh).await, StatusCode::UNAUTHORIZED);
    let (status, _) = desk.app.post(&desk.path(&format!("/{id}/rotate")), &desk.token, json!({})).await;
    assert_eq!(status, StatusCode::NOT_FOUND, "what is revoked stays so");
}

/// Rotates a key; its new secret.
async fn rotated(desk: &Desk, id: &str, overlap: Value) -> String {
    let path = desk.path(&format!("/{id}/rotate"));
    let (status, made) = desk.app.post(&path, &desk.token, overlap).await;
    assert_eq!(status, StatusCode::OK, "{made}");
    made["secret"].as_str().unwrap().to_owned()
}

/// What is said to each of these keys, once what was known of them has run out.
async fn said_to(desk: &Desk, keys: [&str; 2]) -> [StatusCode; 2] {
    [said_later(desk, keys[0]).await.0, said_later(desk, keys[1]).await.0]
}

const BOTH: [StatusCode; 2] = [StatusCode::OK; 2];
const NEW_ONE: [StatusCode; 2] = [StatusCode::UNAUTHORIZED, StatusCode::OK];
const NEITHER: [StatusCode; 2] = [StatusCode::UNAUTHORIZED; 2];

#[tokio::test]
async fn the_secret_before_is_good_beside_the_new_one_until_the_database_says_that_the_overlap_is_over() {
    let desk = Desk::scripted(SOUND).await;
    let (id, old) = desk.make(json!({ "name": "a script" })).await;
    let fresh = rotated(&desk, &id, json!({ "overlap_seconds": 3_600 })).await;
    assert_eq!(said_to(&desk, [&old, &fresh]).await, BOTH);
    let (_, listed) = desk.app.get(&desk.path(""), &desk.token).await;
    let shown = listed["items"].as_array().unwrap().iter().find(|one| one["id"] == *id).unwrap();
    assert!(
        shown["previous_until"].is_string() && fresh.starts_with(shown["prefix"].as_str().unwrap()),
        "{shown}"
    );
    let told: Value = sqlx::query_scalar(
        "select data from event where type = 'gateway_key.changed.v1' and data ->> 'change' = 'rotated'",
    )
    .fetch_one(desk.app.app.pool())
    .await
    .unwrap();
    assert_eq!(
        (&told["overlap_seconds"], &told["previous_until"]),
        (&json!(3_600), &shown["previous_until"])
    );

    desk.app.clock.set(desk.app.clock.now() + chrono::TimeDelta::days(30));
    assert_eq!(said_to(&desk, [&old, &fresh]).await, BOTH, "this machine's clock says nothing of it");

    sqlx::query("update gateway_key set previous_until = now() where previous_until is not null")
        .execute(desk.app.app.pool())
        .await
        .unwrap();
    assert_eq!(said_to(&desk, [&old, &fresh]).await, NEW_ONE);
}

#[tokio::test]
async fn both_secrets_of_an_overlap_count_against_the_same_limits_and_budget() {
    let desk = Desk::scripted(SOUND).await;
    let limits = json!({ "name": "slow", "requests_per_minute": 2, "hard_limit_micro_usd": 9_000_000 });
    let (id, old) = desk.make(limits).await;
    let fresh = rotated(&desk, &id, json!({ "overlap_seconds": 60 })).await;
    let ask = async |key: &str| desk.ask(PATHS[0], key, &chat("openai")).await.0;
    assert_eq!([ask(&old).await, ask(&fresh).await], BOTH);
    assert_eq!([ask(&old).await, ask(&fresh).await], [StatusCode::TOO_MANY_REQUESTS; 2]);
    let (_, listed) = desk.app.get(&desk.path(""), &desk.token).await;
    let usage = desk.usage().await;
    assert!(usage.len() == 2 && usage.iter().all(|row| row.0 == id.parse::<Uuid>().ok()), "{usage:?}");
    assert!(spent(&listed, &id)[1] > 0, "{listed}");
}

#[tokio::test]
async fn a_key_has_two_secrets_at_the_most_and_revoking_it_ends_both() {
    let desk = Desk::scripted(SOUND).await;
    let (id, first) = desk.make(json!({ "name": "a script" })).await;
    let overlap = json!({ "overlap_seconds": 604_800 });
    let second = rotated(&desk, &id, overlap.clone()).await;
    let third = rotated(&desk, &id, overlap.clone()).await;
    assert_eq!(said_later(&desk, &first).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(said_to(&desk, [&second, &third]).await, BOTH);

    let fourth = rotated(&desk, &id, json!({})).await;
    assert_eq!(said_to(&desk, [&second, &third]).await, NEITHER, "without an overlap both end at once");
    let fifth = rotated(&desk, &id, overlap).await;
    assert_eq!(said_to(&desk, [&fourth, &fifth]).await, BOTH);
    let path = desk.path(&format!("/{id}"));
    let (status, _) = desk.app.send(Method::DELETE, &path, Some(&desk.token), None).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    let ask = async |key: &str| desk.ask(PATHS[0], key, &chat("openai")).await.0;
    assert_eq!([ask(&fourth).await, ask(&fifth).await], NEITHER);
}

#[tokio::test]
async fn an_overlap_is_not_longer_than_seven_days_and_none_where_nothing_is_said() {
    let desk = Desk::scripted(SOUND).await;
    let (id, old) = desk.make(json!({ "name": "a script" })).await;
    let path = desk.path(&format!("/{id}/rotate"));
    for overlap in [-1, 604_801] {
        let body = json!({ "overlap_seconds": overlap });
        let (status, problem) = desk.app.post(&path, &desk.token, body).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{problem}");
        assert_eq!(problem["errors"][0]["field"], "overlap_seconds", "{problem}");
    }
    assert_eq!(said_later(&desk, &old).await.0, StatusCode::OK, "what is refused changes nothing");
    let (status, made) = desk.app.send(Method::POST, &path, Some(&desk.token), None).await;
    assert_eq!((status, &made["key"]["previous_until"]), (StatusCode::OK, &Value::Null), "{made}");
    assert_eq!(said_to(&desk, [&old, made["secret"].as_str().unwrap()]).await, NEW_ONE);
}

#[tokio::test]
async fn another_process_knows_of_a_revoked_key_within_seconds() {
    let desk = Desk::scripted(SOUND).await;
    let other = http::router(desk.app.another().await);
    let ask = async || {
        let request = Request::post(PATHS[0]).header("x-api-key", &desk.key);
        let request = request.body(Body::from(chat("openai").to_string())).unwrap();
        other.clone().oneshot(request).await.unwrap().status()
    };
    assert_eq!(ask().await, StatusCode::OK);
    sqlx::query("update gateway_key set revoked_at = now()").execute(desk.app.app.pool()).await.unwrap();
    let started = Instant::now();
    while ask().await != StatusCode::UNAUTHORIZED {
        assert!(started.elapsed() < Duration::from_secs(6));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_key_ends_when_it_was_said_to() {
    let desk = Desk::scripted(SOUND).await;
    let at = desk.app.clock.now() + chrono::TimeDelta::hours(1);
    let (_, key) = desk.make(json!({ "name": "short", "expires_at": at })).await;
    assert_eq!(desk.ask(PATHS[0], &key, &chat("openai")).await.0, StatusCode::OK);
    desk.app.clock.set(at);
    assert_eq!(desk.ask(PATHS[0], &key, &chat("openai")).await.0, StatusCode::UNAUTHORIZED);
}

/// What is said to this key once what was known of it has run out.
async fn said_later(desk: &Desk, key: &str) -> (StatusCode, Value) {
    let project = ProjectId(desk.project.parse().unwrap());
    desk.app.app.gateway.forget_settings(project);
    let (status, _, answer) = desk.ask(PATHS[0], key, &chat("openai")).await;
    (status, json_of(&answer))
}

/// Refused as a revoked one is, with what to do.
async fn has_ended(desk: &Desk, key: &str) {
    let (status, answer) = said_later(desk, key).await;
    assert_eq!((status, &answer["error"]["code"]), (StatusCode::UNAUTHORIZED, &json!("invalid_api_key")));
    let message = answer["error"]["message"].as_str().unwrap();
    assert!(message.contains("has left the project: ask an admin"), "{message}");
}

#[tokio::test]
async fn a_key_does_not_outlive_the_membership_of_its_person() {
    let desk = Desk::scripted(SOUND).await;
    desk.app.user("sam").await;
    let (_, organisations) = desk.app.get("/api/v1/organisations", &desk.token).await;
    let organisation = organisations["items"][0]["id"].as_str().unwrap();
    for (members, role) in [
        (format!("/api/v1/projects/{}/members", desk.project), "viewer"),
        (format!("/api/v1/organisations/{organisation}/members"), "admin"),
    ] {
        let sam = json!({ "email": "sam@example.org", "role": role });
        let (status, sam) = desk.app.post(&members, &desk.token, sam).await;
        assert_eq!(status, StatusCode::CREATED, "{sam}");
        let (_, key) = desk.make(json!({ "name": "Sam's", "user_id": sam["user_id"] })).await;
        assert_eq!(said_later(&desk, &key).await.0, StatusCode::OK, "{members}");

        let path = format!("{members}/{}", sam["user_id"].as_str().unwrap());
        let (status, problem) = desk.app.send(Method::DELETE, &path, Some(&desk.token), None).await;

        assert_eq!(status, StatusCode::NO_CONTENT, "{problem}");
        has_ended(&desk, &key).await;
        assert_eq!(said_later(&desk, &desk.key).await.0, StatusCode::OK, "others' keys stay good");
    }
}

#[tokio::test]
async fn a_key_does_not_outlive_its_agent_and_none_is_made_for_one_that_was_terminated() {
    let desk = Desk::scripted(SOUND).await;
    let project = ProjectId(desk.project.parse().unwrap());
    let agent = hire(&desk.app, project, "engineer").await;
    let (_, key) = desk.make(json!({ "name": "its own", "agent_id": agent })).await;
    let command = async |what: &str| {
        let path = format!("/api/v1/projects/{project}/agents/{agent}/{what}");
        let (status, answer) = desk.app.post(&path, &desk.token, json!({})).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
    };
    command("pause").await;
    assert_eq!(said_later(&desk, &key).await.0, StatusCode::OK, "a paused one comes back");

    command("terminate").await;

    has_ended(&desk, &key).await;
    let another = json!({ "name": "another", "agent_id": agent });
    let (status, problem) = desk.app.post(&desk.path(""), &desk.token, another).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{problem}");
    assert!(problem.to_string().contains("was terminated"), "{problem}");
}

#[tokio::test]
async fn a_soft_limit_leads_no_key_to_a_cheaper_group_that_it_may_not_name() {
    let (address, _provider) = serve(scripted::router(scripted::Script::from_toml(SOUND).unwrap())).await;
    let group = |name: &str| {
        ModelGroup::new(format!("{name}-group"), vec![deployment(name, ProviderKind::OpenAi, address)])
    };
    let dear = ModelGroup { cheaper: Some("cheap-group".into()), ..group("dear") };
    let desk = Desk::with(vec![dear, group("cheap")]).await;
    let (_, narrow) = desk.make(json!({ "name": "narrow", "models": ["dear-group"] })).await;
    let (_, wide) = desk.make(json!({ "name": "wide", "models": ["dear-group", "cheap-group"] })).await;
    let answering = async |key: &str| {
        let (status, headers, body) = desk.ask(PATHS[0], key, &chat("dear-group")).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        headers["x-syndarix-deployment"].to_str().unwrap().to_owned()
    };
    assert_eq!(answering(&wide).await, "dear", "before there is a limit");
    let limits = json!({ "hard_limit_micro_usd": null, "soft_limit_micro_usd": 1 });
    let path = format!("/api/v1/projects/{}/budget", desk.project);
    desk.app.send(Method::PUT, &path, Some(&desk.token), Some(limits)).await;

    let answered = [answering(&wide).await, answering(&narrow).await];

    assert_eq!(answered, ["cheap", "dear"]);
}

#[tokio::test]
async fn a_hard_limit_leads_no_key_to_a_cheaper_group_that_it_may_not_name() {
    let (address, _provider) = serve(scripted::router(scripted::Script::from_toml(SOUND).unwrap())).await;
    let rates = Rates { input: 1_000_000_000, output: 1_000_000_000, ..Rates::FREE };
    let dear = Deployment { prices: Some(rates), ..deployment("dear", ProviderKind::OpenAi, address) };
    let cheap = deployment("cheap", ProviderKind::OpenAi, address);
    let dear =
        ModelGroup { cheaper: Some("cheap-group".into()), ..ModelGroup::new("dear-group", vec![dear]) };
    let desk = Desk::with(vec![dear, ModelGroup::new("cheap-group", vec![cheap])]).await;
    let (_, narrow) = desk.make(json!({ "name": "narrow", "models": ["dear-group"] })).await;
    let (_, wide) = desk.make(json!({ "name": "wide", "models": ["dear-group", "cheap-group"] })).await;
    let path = format!("/api/v1/projects/{}/budget", desk.project);
    let limits = json!({ "hard_limit_micro_usd": 1_000 });
    desk.app.send(Method::PUT, &path, Some(&desk.token), Some(limits)).await;

    let (status, headers, body) = desk.ask(PATHS[0], &wide, &chat("dear-group")).await;
    let refused = desk.ask(PATHS[0], &narrow, &chat("dear-group")).await;

    assert_eq!(status, StatusCode::OK, "{body}");
    assert_eq!(headers["x-syndarix-deployment"], "cheap");
    assert_eq!(refused.0, StatusCode::PAYMENT_REQUIRED, "{}", refused.2);
}

#[tokio::test]
async fn when_a_key_was_last_used_is_written_down() {
    let desk = Desk::scripted(SOUND).await;
    desk.ask(PATHS[0], &desk.key, &chat("openai")).await;
    let started = Instant::now();
    loop {
        let (_, listed) = desk.app.get(&desk.path(""), &desk.token).await;
        if !listed["items"][0]["last_used_at"].is_null() {
            break;
        }
        assert!(started.elapsed() < Duration::from_secs(10), "{listed}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn models_are_those_that_the_key_may_ask_for() {
    let desk = Desk::scripted(SOUND).await;
    let (_, narrow) = desk.make(json!({ "name": "narrow", "models": ["anthropic"] })).await;
    let get = async |path: &str, key: &str, version: bool| {
        let mut request = Request::get(path).header("x-api-key", key);
        if version {
            request = request.header("anthropic-version", "2023-06-01");
        }
        let (status, _, body) = desk.send(request.body(Body::empty()).unwrap()).await;
        (status, json_of(&body))
    };
    let (_, all) = get("/v1/models", &desk.key, false).await;
    let ids: Vec<&str> =
        all["data"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["group-anthropic", "group-openai", "anthropic", "openai"]);
    let (_, few) = get("/v1/models", &narrow, true).await;
    assert_eq!((&few["data"][0]["id"], &few["has_more"]), (&json!("anthropic"), &json!(false)));
    assert_eq!(get("/v1/models/openai", &narrow, false).await.0, StatusCode::FORBIDDEN);
    assert_eq!(get("/v1/models/openai", &desk.key, false).await.0, StatusCode::OK);
    assert_eq!(get("/v1/models", "", false).await.0, StatusCode::UNAUTHORIZED);
}

/// What a key is shown to have spent and to hold: real, simulated, reserved.
fn spent(listed: &Value, id: &str) -> [i64; 3] {
    let key = listed["items"].as_array().unwrap().iter().find(|one| one["id"] == id).unwrap();
    ["spent_micro_usd", "simulated_micro_usd", "reserved_micro_usd"].map(|field| key[field].as_i64().unwrap())
}

#[tokio::test]
async fn what_a_key_has_spent_is_not_added_up_from_its_calls_however_many_there_are() {
    let desk = Desk::scripted(SOUND).await;
    let (free, key) = desk.make(json!({ "name": "without a budget" })).await;
    let (limited, poor) = desk.make(json!({ "name": "with one", "hard_limit_micro_usd": 9_000_000 })).await;
    let ask = async || {
        for key in [&key, &poor] {
            assert_eq!(desk.ask(PATHS[0], key, &chat("openai")).await.0, StatusCode::OK);
        }
    };
    let listed = async || desk.app.get(&desk.path(""), &desk.token).await.1;
    let execute = async |sql: &'static str| sqlx::query(sql).execute(desk.app.app.pool()).await.unwrap();
    ask().await;
    let one = spent(&listed().await, &free);
    assert!(one[1] > 0 && one == spent(&listed().await, &limited), "{one:?}");

    // What is summed up by the hour, and what a budget counts, is not read call by call any more.
    execute("update usage set at = at - interval '3 hours'").await;
    costs::schedule(&desk.app.app).await.unwrap();
    desk.app.ring(Uuid::nil(), "costs.reconcile").await;
    execute("update usage set cost_micro_usd = 1000 * cost_micro_usd").await;
    let after = listed().await;
    assert_eq!((spent(&after, &free), spent(&after, &limited)), (one, one), "{after}");

    // What came since is added to it.
    ask().await;
    let after = listed().await;
    let two = [0, 2 * one[1], 0];
    assert_eq!((spent(&after, &free), spent(&after, &limited)), (two, two), "{after}");
    execute("update usage set state = 'reserved', reserved_micro_usd = 7 where at > '2100-01-01T08:00:00Z'")
        .await;
    assert_eq!(spent(&listed().await, &free), [0, one[1], 7]);
}

#[tokio::test]
async fn whoever_guesses_keys_leaves_the_database_to_others() {
    let desk = Desk::scripted(SOUND).await;
    let mut apart = sqlx::PgConnection::connect_with(&desk.app.app.pool().connect_options()).await.unwrap();
    let mut held = apart.begin().await.unwrap();
    sqlx::query("lock table gateway_key in access exclusive mode").execute(&mut *held).await.unwrap();
    let guesses = (0..100).map(|n| {
        let key = format!("{}{n:04}", &desk.key[..desk.key.len() - 4]);
        let (router, body) = (desk.app.router.clone(), Body::from(chat("openai").to_string()));
        async move {
            let request = Request::post(PATHS[0]).header("x-api-key", key).body(body).unwrap();
            router.oneshot(request).await.unwrap().status()
        }
    });
    let mut guesses: JoinSet<StatusCode> = guesses.collect();
    let waiting = async || {
        let sql = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()";
        sqlx::query_scalar::<_, i64>(sql).fetch_one(desk.app.app.pool()).await.unwrap() > 0
    };
    until("the first of them are looked up", waiting).await;

    let (status, _) = desk.app.get(&format!("/api/v1/projects/{}", desk.project), &desk.token).await;

    assert_eq!(status, StatusCode::OK, "while none of them is answered");
    held.rollback().await.unwrap();
    let (_, made) = desk.make(json!({ "name": "new" })).await;
    assert_eq!(desk.ask(PATHS[0], &made, &chat("openai")).await.0, StatusCode::OK, "a new key works at once");
    while let Some(status) = guesses.join_next().await {
        let status = status.unwrap();
        assert!(matches!(status, StatusCode::UNAUTHORIZED | StatusCode::SERVICE_UNAVAILABLE), "{status}");
    }
}
