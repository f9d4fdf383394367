//! What the gateway's screens are made of: what keys have spent, how deployments are doing, the playground, the export.

use crate::{
    fire,
    gateway::{Desk, SOUND, chat, deployment, serve, unending, until},
};
use axum::{
    Router,
    body::Body,
    http::{Method, Request, StatusCode, header},
    routing::any,
};
use futures::StreamExt;
use serde_json::{Value, json};
use std::{collections::BTreeSet, sync::atomic::Ordering};
use syndarix_llm::{ErrorKind, ModelGroup, ProviderKind, scripted};
use tokio::task::JoinSet;
use tower::ServiceExt;
use uuid::Uuid;

const CHAT: &str = "/v1/chat/completions";
const BUSY: &str =
    "[[rule]]\nname = 'r'\nfault = { kind = 'status', status = 429, retry_after_seconds = 90 }\n";

fn below(desk: &Desk, path: &str) -> String {
    format!("/api/v1/projects/{}{path}", desk.project)
}

/// How one deployment is doing, as this person's project sees it.
async fn health(desk: &Desk, token: &str, project: &str, name: &str) -> Value {
    let path = format!("/api/v1/projects/{project}/gateway/deployments");
    let (status, health) = desk.app.get(&path, token).await;
    assert_eq!(status, StatusCode::OK, "{health}");
    health["deployments"].as_array().unwrap().iter().find(|one| one["name"] == name).unwrap().clone()
}

/// A group whose first deployment refuses its key, and whose second answers.
async fn two() -> (Desk, [JoinSet<()>; 2]) {
    let refusing = Router::new().fallback(any(|| async { (StatusCode::UNAUTHORIZED, "no such key") }));
    let (bad, first) = serve(refusing).await;
    let (good, second) = serve(scripted::router(scripted::Script::from_toml(SOUND).unwrap())).await;
    let chain = vec![
        deployment("first", ProviderKind::OpenAi, bad),
        deployment("second", ProviderKind::Anthropic, good),
    ];
    (Desk::with(vec![ModelGroup::new("code", chain)]).await, [first, second])
}

fn question(model: &str) -> Value {
    json!({ "model": model, "system": "Be brief.", "prompt": "Count.", "max_tokens": 90 })
}

/// Events by name, with their data.
fn events(text: &str) -> Vec<(String, Value)> {
    let frames = text.split("\n\n").filter_map(|frame| frame.strip_prefix("event: "));
    let parts = frames.map(|frame| frame.split_once("\ndata: ").unwrap());
    parts.map(|(name, data)| (name.to_owned(), serde_json::from_str(data).unwrap())).collect()
}

async fn play(desk: &Desk, body: Value) -> (StatusCode, String) {
    let request = Request::post(below(desk, "/gateway/playground"))
        .header(header::AUTHORIZATION, format!("Bearer {}", desk.token))
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(body.to_string()));
    let (status, _, text) = desk.send(request.unwrap()).await;
    (status, text)
}

async fn states(desk: &Desk) -> Vec<String> {
    sqlx::query_scalar("select state from usage where project_id = $1 order by at, id")
        .bind(desk.project.parse::<Uuid>().unwrap())
        .fetch_all(desk.app.app.pool())
        .await
        .unwrap()
}

#[tokio::test]
async fn a_key_shows_what_was_spent_with_it_and_with_no_other() {
    let desk = Desk::scripted(SOUND).await;
    let keys = below(&desk, "/gateway-keys");
    desk.app.post(&keys, &desk.token, json!({ "name": "idle" })).await;
    desk.ask(CHAT, &desk.key, &chat("openai")).await;

    let (_, listed) = desk.app.get(&keys, &desk.token).await;

    let spent = |index: usize| {
        let key = &listed["items"][index];
        (
            key["spent_micro_usd"].clone(),
            key["simulated_micro_usd"].clone(),
            key["reserved_micro_usd"].clone(),
        )
    };
    assert_eq!(spent(0), (json!(0), json!(0), json!(0)), "{listed}");
    let (real, simulated, reserved) = spent(1);
    assert_eq!((real, reserved), (json!(0), json!(0)), "a scripted answer costs no real money");
    assert!(simulated.as_i64().unwrap() > 0, "{listed}");
}

#[tokio::test]
async fn a_project_sees_how_deployments_do_by_its_own_calls_and_nothing_of_how_they_are_asked() {
    let desk = Desk::scripted(SOUND).await;
    desk.ask(CHAT, &desk.key, &chat("openai")).await;
    let other = desk.app.user("otto").await;
    let elsewhere = desk.app.project(&other).await;

    let mine = health(&desk, &desk.token, &desk.project, "openai").await;
    let theirs = health(&desk, &other, &elsewhere, "openai").await;

    assert_eq!((&mine["recent"]["requests"], &mine["recent"]["failures"]), (&json!(1), &json!(0)));
    for figure in ["latency_p50_ms", "latency_p95_ms", "first_content_p50_ms"] {
        assert!(mine["recent"][figure].is_i64(), "{figure}: {mine}");
        assert!(theirs["recent"][figure].is_null(), "{figure}: {theirs}");
    }
    assert_eq!(theirs["recent"]["requests"], 0);
    assert_eq!((&mine["model"], &mine["price_known"]), (&json!("model-of-openai"), &json!(true)));
    assert_eq!((&mine["breaker"]["state"], &mine["last_error"]), (&json!("closed"), &Value::Null));
    let (_, text) = desk.app.text(&below(&desk, "/gateway/deployments"), &desk.token).await;
    assert!(!text.contains("127.0.0.1") && !text.contains("key"), "{text}");
}

#[tokio::test]
async fn figures_are_of_the_last_hour_and_the_last_failure_stays() {
    let (desk, _providers) = two().await;
    desk.ask(CHAT, &desk.key, &chat("code")).await;
    let before = health(&desk, &desk.token, &desk.project, "first").await;
    assert_eq!((&before["recent"]["requests"], &before["recent"]["failures"]), (&json!(1), &json!(1)));

    sqlx::query("update usage set at = at - interval '61 minutes'")
        .execute(desk.app.app.pool())
        .await
        .unwrap();

    let after = health(&desk, &desk.token, &desk.project, "first").await;
    assert_eq!(after["recent"]["requests"], 0);
    assert_eq!(after["last_error"]["kind"], "auth", "{after}");
    assert!(after["last_error"]["message"].as_str().unwrap().contains("no such key"), "{after}");
    assert_eq!(health(&desk, &desk.token, &desk.project, "second").await["last_error"], Value::Null);
}

#[tokio::test]
async fn figures_of_very_many_calls_are_of_the_last_ones() {
    let desk = Desk::scripted(SOUND).await;
    sqlx::query(
        "insert into usage (id, project_id, attempt, deployment, provider, model, state, reserved_micro_usd, at, latency_ms)
         select gen_random_uuid(), $1, 1, 'openai', 'p', 'm', 'settled', 0, $2::timestamptz - n * interval '1 ms',
                case when n <= 10000 then 7 else 9000 end
           from generate_series(1, 10100) n",
    )
    .bind(desk.project.parse::<Uuid>().unwrap())
    .bind(desk.app.clock.now())
    .execute(desk.app.app.pool())
    .await
    .unwrap();

    let shown = health(&desk, &desk.token, &desk.project, "openai").await;

    assert_eq!(
        (&shown["recent"]["requests"], &shown["recent"]["latency_p95_ms"]),
        (&json!(10_000), &json!(7))
    );
}

#[tokio::test]
async fn a_deployment_that_is_left_alone_says_until_when() {
    let desk = Desk::scripted(BUSY).await;
    desk.ask(CHAT, &desk.key, &chat("openai")).await;

    let shown = health(&desk, &desk.token, &desk.project, "openai").await;

    assert_eq!(shown["breaker"]["state"], "open");
    let until: chrono::DateTime<chrono::Utc> = shown["breaker"]["until"].as_str().unwrap().parse().unwrap();
    let wait = until - desk.app.clock.now();
    assert!((60..=90).contains(&wait.num_seconds()), "{wait}");
    assert_eq!(shown["last_error"]["kind"], "rate_limited", "{shown}");
    assert_eq!(health(&desk, &desk.token, &desk.project, "anthropic").await["breaker"]["state"], "closed");
}

#[tokio::test]
async fn that_a_caller_went_away_speaks_against_no_deployment() {
    let desk = Desk::scripted(SOUND).await;
    desk.ask(CHAT, &desk.key, &chat("openai")).await;
    sqlx::query("update usage set state = 'failed', error = 'the reader went away', error_kind = $1")
        .bind(ErrorKind::Cancelled.name())
        .execute(desk.app.app.pool())
        .await
        .unwrap();

    let shown = health(&desk, &desk.token, &desk.project, "openai").await;

    assert_eq!((&shown["recent"]["requests"], &shown["last_error"]), (&json!(0), &Value::Null));
}

#[tokio::test]
async fn a_person_asks_a_model_and_sees_which_way_the_call_took() {
    let (desk, _providers) = two().await;

    let (status, text) = play(&desk, question("code")).await;

    assert_eq!(status, StatusCode::OK, "{text}");
    let events = events(&text);
    let names: Vec<&str> = events.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!((names.first(), names.last()), (Some(&"head"), Some(&"end")), "{text}");
    assert_eq!(events[0].1["deployment"], "second");
    assert_eq!(events[0].1["simulated"], true);
    let said: String = events
        .iter()
        .filter(|(name, _)| name == "text")
        .map(|(_, data)| data["text"].as_str().unwrap())
        .collect();
    assert_eq!(said, "one two three four five six seven eight nine ten");
    let end = &events.last().unwrap().1;
    assert_eq!((&end["error"], &end["stop"]), (&Value::Null, &json!("end_turn")), "{end}");
    let way: Vec<(&str, &str)> = end["attempts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["deployment"].as_str().unwrap(), one["outcome"].as_str().unwrap()))
        .collect();
    assert_eq!(way, [("first", "failed"), ("second", "settled")]);
    assert_eq!(end["attempts"][0]["error_kind"], "auth", "{end}");
    assert_eq!((&end["tokens_in"], &end["tokens_out"]), (&json!(70), &json!(20)));
    assert_eq!(end["cost_micro_usd"], 0);
    assert!(end["simulated_micro_usd"].as_i64().unwrap() > 0, "{end}");
}

#[tokio::test]
async fn what_a_person_asks_costs_the_project_and_the_audit_says_who_asked() {
    let desk = Desk::scripted(SOUND).await;

    let (_, text) = play(&desk, question("openai")).await;

    let call = events(&text).last().unwrap().1["call_id"].clone();
    assert_eq!(states(&desk).await, ["settled"]);
    let (_, budget) = desk.app.get(&below(&desk, "/budget"), &desk.token).await;
    assert!(budget["simulated_micro_usd"].as_i64().unwrap() > 0, "{budget}");
    assert_eq!(budget["reserved_micro_usd"], 0);
    let (_, audit) = desk.app.get(&below(&desk, "/audit?type=playground"), &desk.token).await;
    let entry = &audit["items"][0];
    assert_eq!((&entry["actor"]["name"], &entry["data"]["call_id"]), (&json!("maria"), &call), "{audit}");
    assert!(!audit.to_string().contains("Be brief"), "what was asked is nobody's business: {audit}");
}

#[tokio::test]
async fn usage_says_who_asked_in_the_playground_and_whose_key_it_was() {
    let desk = Desk::scripted(SOUND).await;
    let maria: Uuid =
        sqlx::query_scalar("select id from app_user").fetch_one(desk.app.app.pool()).await.unwrap();
    let cached = json!({ "gateway_cache_seconds": 60 });
    desk.app.send(Method::PATCH, &below(&desk, ""), Some(&desk.token), Some(cached)).await;
    let (_, hers) = desk.make(json!({ "name": "hers", "user_id": maria })).await;

    play(&desk, question("openai")).await;
    let (_, headers, _) = desk.ask(CHAT, &hers, &chat("openai")).await;
    fire::until("the answer is given again", async || {
        let (_, headers, _) = desk.ask(CHAT, &hers, &chat("openai")).await;
        (headers["x-syndarix-cache"] == "hit").then_some(())
    })
    .await;
    desk.ask(CHAT, &desk.key, &chat("anthropic")).await;

    let (_, csv) = desk.app.text(&below(&desk, "/usage/export"), &desk.token).await;
    let lines = csv.lines().skip(1).map(|line| line.split(',').collect::<Vec<_>>());
    let who: BTreeSet<(&str, &str)> = lines.map(|cells| (cells[2], cells[cells.len() - 1])).collect();
    let maria = maria.to_string();
    assert_eq!(who, BTreeSet::from([("", maria.as_str()), ("hers", maria.as_str()), ("test", "")]), "{csv}");
    let call = headers["x-syndarix-call-id"].to_str().unwrap();
    let (_, way) = desk.app.get(&below(&desk, &format!("/usage/calls/{call}")), &desk.token).await;
    let attempt = &way["attempts"][0];
    assert_eq!((&attempt["user_id"], &attempt["user_name"]), (&json!(maria), &json!("maria")), "{way}");
}

#[tokio::test]
async fn without_money_a_person_is_told_so_and_nobody_is_asked() {
    let desk = Desk::scripted(SOUND).await;
    let body = json!({ "hard_limit_micro_usd": 0 });
    desk.app.send(Method::PUT, &below(&desk, "/budget"), Some(&desk.token), Some(body)).await;

    let (status, text) = play(&desk, question("openai")).await;

    let events = events(&text);
    assert_eq!((status, events.len()), (StatusCode::OK, 1), "{text}");
    let end = &events[0].1;
    assert_eq!((&end["error"]["status"], &end["error"]["code"]), (&json!(402), &json!("budget_exceeded")));
    assert_eq!(end["attempts"], json!([]));
    assert!(states(&desk).await.is_empty());
}

#[tokio::test]
async fn when_nobody_answers_a_person_is_told_of_everyone_that_was_tried_or_passed_over() {
    let desk = Desk::scripted(BUSY).await;
    let end = async || events(&play(&desk, question("openai")).await.1).pop().unwrap().1;

    let (tried, passed_over) = (end().await, end().await);

    assert_eq!(tried["attempts"][0]["outcome"], "failed", "{tried}");
    assert_eq!(tried["error"]["retry_after_seconds"], 90);
    assert_eq!(passed_over["attempts"], json!([]));
    assert_eq!(passed_over["skipped"][0]["deployment"], "openai");
    assert!(passed_over["skipped"][0]["reason"].as_str().unwrap().contains("cooling down"), "{passed_over}");
}

#[tokio::test]
async fn when_somebody_answers_a_person_is_told_who_was_passed_over_and_why() {
    let (busy, _busy) = serve(scripted::router(scripted::Script::from_toml(BUSY).unwrap())).await;
    let (sound, _sound) = serve(scripted::router(scripted::Script::from_toml(SOUND).unwrap())).await;
    let chain = [("busy", busy), ("sound", sound)];
    let chain = chain.map(|(name, address)| deployment(name, ProviderKind::OpenAi, address)).to_vec();
    let desk = Desk::with(vec![ModelGroup::new("both", chain)]).await;
    let end = async || events(&play(&desk, question("both")).await.1).pop().unwrap().1;

    let (first, second) = (end().await, end().await);

    assert_eq!((first["attempts"].as_array().unwrap().len(), &first["skipped"]), (2, &json!([])), "{first}");
    assert_eq!(second["attempts"].as_array().unwrap().len(), 1, "{second}");
    assert_eq!((&second["error"], &second["skipped"][0]["deployment"]), (&Value::Null, &json!("busy")));
    assert!(second["skipped"][0]["reason"].as_str().unwrap().contains("cooling down"), "{second}");
}

#[tokio::test]
async fn when_a_soft_limit_is_reached_a_person_is_told_of_the_cheaper_group_that_answers() {
    let (address, _provider) = serve(scripted::router(scripted::Script::from_toml(SOUND).unwrap())).await;
    let group = |name: &str| {
        ModelGroup::new(format!("{name}-group"), vec![deployment(name, ProviderKind::OpenAi, address)])
    };
    let dear = ModelGroup { cheaper: Some("cheap-group".into()), ..group("dear") };
    let desk = Desk::with(vec![dear, group("cheap")]).await;
    let end = async || events(&play(&desk, question("dear-group")).await.1).pop().unwrap().1;
    let before = end().await;
    let limits = json!({ "hard_limit_micro_usd": null, "soft_limit_micro_usd": 1 });
    desk.app.send(Method::PUT, &below(&desk, "/budget"), Some(&desk.token), Some(limits)).await;

    let after = end().await;

    assert_eq!(
        (&before["downgraded_to"], &before["attempts"][0]["deployment"]),
        (&Value::Null, &json!("dear"))
    );
    assert_eq!(
        (&after["downgraded_to"], &after["attempts"][0]["deployment"]),
        (&json!("cheap-group"), &json!("cheap"))
    );
    let (_, shown) = desk.app.get(&below(&desk, "/gateway/deployments"), &desk.token).await;
    let dear = shown["groups"].as_array().unwrap().iter().find(|one| one["name"] == "dear-group").unwrap();
    assert_eq!((&dear["cheaper"], &dear["routing"]), (&json!("cheap-group"), &json!("order")));
    assert_eq!(dear["chain"], json!([{ "deployment": "dear", "weight": 1 }]));
    let asked = async |end: &Value| {
        let path = format!("/usage/calls?call_id={}", end["call_id"].as_str().unwrap());
        desk.app.get(&below(&desk, &path), &desk.token).await.1["items"][0]["downgraded_to"].clone()
    };
    assert_eq!((asked(&before).await, asked(&after).await), (Value::Null, json!("cheap-group")));
}

#[tokio::test]
async fn a_question_that_cannot_be_asked_is_refused_by_its_field() {
    let desk = Desk::scripted(SOUND).await;
    let with = |field: &str, value: Value| {
        let mut body = question("openai");
        body[field] = value;
        body
    };
    let cases = [
        (with("model", json!("nobody")), "model"),
        (with("prompt", json!(" ")), "prompt"),
        (with("prompt", json!("x".repeat(100_001))), "prompt"),
        (with("system", json!("x".repeat(100_001))), "system"),
        (with("max_tokens", json!(0)), "max_tokens"),
        (with("max_tokens", json!(128_001)), "max_tokens"),
        (with("temperature", json!(1)), "temperature"),
    ];
    for (body, field) in cases {
        let (status, problem) = desk.app.post(&below(&desk, "/gateway/playground"), &desk.token, body).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{field}: {problem}");
        assert_eq!(problem["errors"][0]["field"], field, "{problem}");
    }
    assert!(states(&desk).await.is_empty());
}

#[tokio::test]
async fn who_may_only_look_or_approve_spends_nothing() {
    let desk = Desk::scripted(SOUND).await;
    for role in ["viewer", "approver"] {
        let token = desk.app.user(role).await;
        let member = json!({ "email": format!("{role}@example.org"), "role": role });
        let (status, _) = desk.app.post(&below(&desk, "/members"), &desk.token, member).await;
        assert_eq!(status, StatusCode::CREATED);

        let (status, problem) =
            desk.app.post(&below(&desk, "/gateway/playground"), &token, question("openai")).await;

        assert_eq!(status, StatusCode::FORBIDDEN, "{problem}");
        assert_eq!(desk.app.get(&below(&desk, "/gateway/deployments"), &token).await.0, StatusCode::OK);
    }
}

#[tokio::test]
async fn a_person_who_leaves_stops_the_model_and_is_recorded() {
    let (provider, under_way) = unending();
    let desk = Desk::over(provider).await;
    let request = Request::post(below(&desk, "/gateway/playground"))
        .header(header::AUTHORIZATION, format!("Bearer {}", desk.token))
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(question("anthropic").to_string()))
        .unwrap();
    let response = desk.app.router.clone().oneshot(request).await.unwrap();
    let mut body = response.into_body().into_data_stream();
    let mut seen = String::new();
    while !seen.contains("event: text") {
        seen.push_str(std::str::from_utf8(&body.next().await.unwrap().unwrap()).unwrap());
    }

    drop(body);

    // The answer has no end: whoever waited for it would wait for ever.
    until("the model is stopped", async || under_way.load(Ordering::SeqCst) == 0).await;
    until("the call is recorded", async || states(&desk).await == ["failed"]).await;
}

#[tokio::test]
async fn why_a_call_went_as_it_did_is_found_by_the_id_that_its_client_was_told() {
    let (desk, _providers) = two().await;
    let (status, headers, text) = desk.ask(CHAT, &desk.key, &chat("code")).await;
    assert_eq!(status, StatusCode::OK, "{text}");
    let call = headers["x-syndarix-call-id"].to_str().unwrap().to_owned();
    desk.ask(CHAT, &desk.key, &chat("second")).await;
    let shown = async |query: &str| {
        let (_, list) = desk.app.get(&below(&desk, &format!("/usage/calls{query}")), &desk.token).await;
        list["items"].as_array().unwrap_or_else(|| panic!("{list}")).clone()
    };

    let found = shown(&format!("?call_id={call}")).await;

    assert_eq!((shown("").await.len(), found.len()), (3, 2), "{found:?}");
    assert!(found.iter().all(|one| one["call_id"] == call && one["key_name"] == "test"), "{found:?}");
    let attempt = |number: i32| found.iter().find(|one| one["attempt"] == number).unwrap();
    let (failed, answered) = (attempt(1), attempt(2));
    assert_eq!((&failed["deployment"], &failed["outcome"]), (&json!("first"), &json!("failed")));
    assert_eq!(failed["error_kind"], "auth", "{failed}");
    assert!(failed["error"].as_str().unwrap().contains("no such key"), "{failed}");
    assert_eq!((&answered["deployment"], &answered["outcome"]), (&json!("second"), &json!("settled")));
    assert_eq!((&answered["error_kind"], &answered["error"]), (&Value::Null, &Value::Null));
    assert!(answered["first_content_ms"].is_i64(), "{answered}");
    assert_eq!((&answered["unpriced"], &answered["downgraded_to"]), (&json!(false), &Value::Null));
    let other = desk.app.user("otto").await;
    let elsewhere = desk.app.project(&other).await;
    let path = format!("/api/v1/projects/{elsewhere}/usage/calls?call_id={call}");
    assert_eq!(desk.app.get(&path, &other).await.1["items"], json!([]), "it is not a call of theirs");
}

#[tokio::test]
async fn what_was_spent_is_exported_as_lines_of_a_span_and_of_one_project() {
    let desk = Desk::scripted(SOUND).await;
    desk.app.post(&below(&desk, "/gateway-keys"), &desk.token, json!({ "name": "=1+1" })).await;
    desk.ask(CHAT, &desk.key, &chat("openai")).await;
    let other = desk.app.user("otto").await;
    let elsewhere = desk.app.project(&other).await;
    let lines = async |query: &str| {
        let (status, text) =
            desk.app.text(&below(&desk, &format!("/usage/export{query}")), &desk.token).await;
        assert_eq!(status, StatusCode::OK, "{text}");
        text.lines().map(str::to_owned).collect::<Vec<_>>()
    };

    let all = lines("").await;

    assert_eq!(all.len(), 2, "{all:?}");
    assert!(all[0].starts_with("at,agent,gateway_key,"), "{all:?}");
    let last = "sprint_id,step_id,model_group,downgraded_to,first_content_ms,gateway_key_id,user_id";
    assert!(all[0].ends_with(&format!(",error_kind,{last}")), "{all:?}");
    let cells: Vec<&str> = all[1].split(',').collect();
    assert_eq!((cells.len(), cells[2], cells[9], cells[10]), (31, "test", "openai", "settled"), "{all:?}");
    assert_eq!(cells[23..28], ["", "", "", "openai", ""], "no failure, no sprint, no step: {all:?}");
    assert!(cells[28].parse::<u64>().is_ok(), "{all:?}");
    assert_eq!((cells[11], cells[12], cells[15]), ("70", "20", "0"), "real and simulated are apart: {all:?}");
    assert_eq!(lines("?from=2100-01-01T09:00:00Z").await.len(), 2);
    assert_eq!(lines("?until=2100-01-01T09:00:00Z").await.len(), 1);
    let path = format!("/api/v1/projects/{elsewhere}/usage/export");
    assert_eq!(
        desk.app.text(&path, &other).await.1.lines().count(),
        1,
        "another project's calls are not in it"
    );
    let backwards = "/usage/export?from=2100-01-02T00:00:00Z&until=2100-01-01T00:00:00Z";
    assert_eq!(desk.app.get(&below(&desk, backwards), &desk.token).await.0, StatusCode::UNPROCESSABLE_ENTITY);
}
