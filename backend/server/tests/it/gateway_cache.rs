//! Answers that are given again: where the project wants it, to the same question, for so long, and to nobody else.

use crate::{
    fire::until,
    gateway::{Desk, SOUND, chat, dear, deployment, serve},
};
use axum::{
    Json, Router,
    body::Body,
    http::{HeaderMap, Method, Request, StatusCode, header},
    routing::post,
};
use chrono::TimeDelta;
use serde_json::{Value, json};
use syndarix::features::gateway::forget_expired_answers;
use syndarix_llm::{ModelGroup, ProviderKind, scripted};
use uuid::Uuid;

const CHAT: &str = "/v1/chat/completions";
const MESSAGES: &str = "/v1/messages";
const SAID: &str = "one two three four five six seven eight nine ten";

/// A desk whose project has answers given again for a minute.
async fn with_cache(script: &str) -> Desk {
    let desk = Desk::scripted(script).await;
    set(&desk, &desk.project, &desk.token, json!(60)).await;
    desk
}

async fn set(desk: &Desk, project: &str, token: &str, seconds: Value) {
    let (status, project) = change(desk, project, token, &seconds).await;
    assert_eq!((status, &project["gateway_cache_seconds"]), (StatusCode::OK, &seconds));
}

async fn change(desk: &Desk, project: &str, token: &str, seconds: &Value) -> (StatusCode, Value) {
    let body = json!({ "gateway_cache_seconds": seconds });
    desk.app.send(Method::PATCH, &format!("/api/v1/projects/{project}"), Some(token), Some(body)).await
}

/// What the answer's header says, and the answer.
async fn ask(desk: &Desk, path: &str, body: &Value) -> (String, String) {
    let (status, headers, text) = desk.ask(path, &desk.key, body).await;
    assert_eq!(status, StatusCode::OK, "{text}");
    (said(&headers), text)
}

fn said(headers: &HeaderMap) -> String {
    headers["x-syndarix-cache"].to_str().unwrap().to_owned()
}

/// It is written down beside the answer.
async fn kept(desk: &Desk, answers: i64) {
    until("the answer is kept", async || (count(desk).await == answers).then_some(())).await;
}

async fn count(desk: &Desk) -> i64 {
    sqlx::query_scalar("select count(*) from gateway_cache").fetch_one(desk.app.app.pool()).await.unwrap()
}

/// Calls that asked a model, and those that did not, with what these cost and their tokens.
async fn booked(desk: &Desk) -> (i64, i64, i64) {
    sqlx::query_as(
        "select count(*) filter (where not from_cache), count(*) filter (where from_cache),
                coalesce(sum(cost_micro_usd + tokens_in + tokens_out) filter (where from_cache), 0)::bigint
           from usage where project_id = $1 and state = 'settled' and key_id is not null",
    )
    .bind(desk.project.parse::<Uuid>().unwrap())
    .fetch_one(desk.app.app.pool())
    .await
    .unwrap()
}

fn streamed(model: &str) -> Value {
    let mut body = chat(model);
    body["stream"] = json!(true);
    body
}

#[tokio::test]
async fn no_answer_is_given_twice_unless_the_project_wants_it() {
    let desk = Desk::scripted(SOUND).await;
    for _ in 0..2 {
        assert_eq!(ask(&desk, CHAT, &chat("openai")).await.0, "off");
    }
    for wrong in [json!(0), json!(604_801)] {
        let (status, problem) = change(&desk, &desk.project, &desk.token, &wrong).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(problem["errors"][0]["field"], "gateway_cache_seconds");
    }
    set(&desk, &desk.project, &desk.token, json!(60)).await;
    assert_eq!(ask(&desk, CHAT, &chat("openai")).await.0, "miss");
    kept(&desk, 1).await;
    set(&desk, &desk.project, &desk.token, Value::Null).await;
    assert_eq!(count(&desk).await, 0, "nothing is left of what nobody wants any more");
    assert_eq!(ask(&desk, CHAT, &chat("openai")).await.0, "off");
    assert_eq!(booked(&desk).await, (4, 0, 0));
}

#[tokio::test]
async fn the_same_question_is_answered_once_in_every_format_and_as_a_stream_and_the_rest_costs_nothing() {
    let desk = with_cache(SOUND).await;
    assert_eq!(ask(&desk, CHAT, &chat("group-openai")).await.0, "miss");
    kept(&desk, 1).await;
    let (again, whole) = ask(&desk, CHAT, &chat("group-openai")).await;
    let whole: Value = serde_json::from_str(&whole).unwrap();
    assert_eq!((again.as_str(), &whole["choices"][0]["message"]["content"]), ("hit", &json!(SAID)));
    assert_eq!(whole["usage"]["prompt_tokens"], 70, "what it took when it was made");
    let (again, whole) = ask(&desk, MESSAGES, &chat("group-openai")).await;
    let whole: Value = serde_json::from_str(&whole).unwrap();
    assert_eq!((again.as_str(), &whole["content"][0]["text"]), ("hit", &json!(SAID)));
    for (path, end) in [(CHAT, "data: [DONE]\n\n"), (MESSAGES, "message_stop\"}\n\n")] {
        let (status, headers, stream) = desk.ask(path, &desk.key, &streamed("group-openai")).await;
        assert_eq!((status, said(&headers).as_str()), (StatusCode::OK, "hit"));
        assert_eq!(headers[header::CONTENT_TYPE], "text/event-stream; charset=utf-8");
        assert_eq!(
            (&headers["x-syndarix-deployment"], &headers["x-syndarix-attempts"]),
            (&"openai".parse().unwrap(), &"0".parse().unwrap())
        );
        assert!(stream.contains("seven") && stream.ends_with(end), "{stream}");
    }
    assert_eq!(booked(&desk).await, (1, 4, 0));

    // A stream's answer is kept as well, and another model's is another's.
    assert_eq!(ask(&desk, MESSAGES, &streamed("group-anthropic")).await.0, "miss");
    kept(&desk, 2).await;
    assert_eq!(ask(&desk, CHAT, &chat("group-anthropic")).await.0, "hit");
    let path = format!("/api/v1/projects/{}/gateway/deployments", desk.project);
    let (_, health) = desk.app.get(&path, &desk.token).await;
    let recent = |one: &Value| one["recent"]["requests"].as_i64().unwrap();
    let requests: i64 = health["deployments"].as_array().unwrap().iter().map(recent).sum();
    assert_eq!(requests, 2, "nobody else was asked: {health:#}");
}

#[tokio::test]
async fn whoever_watches_hears_of_an_answer_that_was_known_as_of_any_other_and_that_it_cost_nothing() {
    let desk = with_cache(SOUND).await;
    ask(&desk, CHAT, &chat("openai")).await;
    kept(&desk, 1).await;
    let (_, headers, _) = desk.ask(CHAT, &desk.key, &chat("openai")).await;
    assert_eq!(said(&headers), "hit");

    let path = format!("/api/v1/projects/{}/events?limit=500", desk.project);
    let (_, log) = desk.app.get(&path, &desk.token).await;

    let costs: Vec<&Value> =
        log["items"].as_array().unwrap().iter().filter(|event| event["type"] == "cost.recorded").collect();
    assert_eq!(costs.len(), 2, "{log}");
    let call = headers["x-syndarix-call-id"].to_str().unwrap();
    let (asked, known) = (&costs[0]["data"], &costs[1]["data"]);
    assert_eq!(costs[1]["subject"], format!("usage/{call}"));
    assert!(asked["cost_micro_usd"].as_i64().unwrap() > 0, "{asked}");
    for figure in ["cost_micro_usd", "tokens_in", "tokens_out"] {
        assert_eq!(known[figure], 0, "{figure}: {known}");
    }
    assert_eq!((&known["model"], &known["from_cache"]), (&asked["model"], &json!(true)));
    for field in asked.as_object().unwrap().keys() {
        assert!(known.get(field).is_some(), "{field}: whoever reads one reads the other: {known}");
    }
}

#[tokio::test]
async fn a_budget_of_nothing_serves_what_is_known_and_a_limit_of_the_minute_refuses_it() {
    let desk = with_cache(SOUND).await;
    ask(&desk, CHAT, &chat("openai")).await;
    kept(&desk, 1).await;
    let path = format!("/api/v1/projects/{}/budget", desk.project);
    let nothing = json!({ "hard_limit_micro_usd": 0 });
    let (status, _) = desk.app.send(Method::PUT, &path, Some(&desk.token), Some(nothing)).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(ask(&desk, CHAT, &chat("openai")).await.0, "hit");
    let other = desk.ask(CHAT, &desk.key, &chat("anthropic")).await;
    assert_eq!((other.0, said(&other.1).as_str()), (StatusCode::PAYMENT_REQUIRED, "miss"), "{}", other.2);

    let (_, slow) =
        desk.make(json!({ "name": "slow", "requests_per_minute": 1, "models": ["openai"] })).await;
    assert_eq!(said(&desk.ask(CHAT, &slow, &chat("openai")).await.1), "hit");
    assert_eq!(desk.ask(CHAT, &slow, &chat("openai")).await.0, StatusCode::TOO_MANY_REQUESTS);
    let (_, narrow) = desk.make(json!({ "name": "narrow", "models": ["anthropic"] })).await;
    assert_eq!(desk.ask(CHAT, &narrow, &chat("openai")).await.0, StatusCode::FORBIDDEN);
    assert_eq!(count(&desk).await, 1, "a refusal is no answer");
}

#[tokio::test]
async fn what_a_later_model_answered_because_the_first_was_too_dear_is_not_kept() {
    let (address, _provider) = serve(scripted::router(scripted::Script::from_toml(SOUND).unwrap())).await;
    let chain = vec![dear("dear", address), deployment("cheap", ProviderKind::OpenAi, address)];
    let desk = Desk::with(vec![ModelGroup::new("both", chain)]).await;
    set(&desk, &desk.project, &desk.token, json!(60)).await;
    desk.limit(1_000).await;
    let (status, headers, answer) = desk.ask(CHAT, &desk.key, &chat("both")).await;
    assert_eq!((status, said(&headers).as_str()), (StatusCode::OK, "miss"), "{answer}");
    assert_eq!(headers["x-syndarix-deployment"], "cheap");

    // What is written beside calls is waited for.
    desk.app.app.gateway.close().await;

    assert_eq!(count(&desk).await, 0);
}

#[tokio::test]
async fn nobody_is_given_what_another_project_was_answered() {
    let mut desk = with_cache(SOUND).await;
    ask(&desk, CHAT, &chat("openai")).await;
    kept(&desk, 1).await;
    let (maria, otto) = (desk.token.clone(), desk.app.user("otto").await);
    let mut answers = 1;
    for token in [maria, otto] {
        desk.project = desk.app.project(&token).await;
        desk.token = token;
        set(&desk, &desk.project, &desk.token, json!(60)).await;
        desk.key = desk.make(json!({ "name": "another" })).await.1;
        assert_eq!(ask(&desk, CHAT, &chat("openai")).await.0, "miss");
        answers += 1;
        kept(&desk, answers).await;
        assert_eq!(ask(&desk, CHAT, &chat("openai")).await.0, "hit");
    }
}

#[tokio::test]
async fn an_answer_is_given_again_until_its_time_is_over_and_is_then_gone() {
    let desk = with_cache(SOUND).await;
    let begun = desk.app.clock.now();
    ask(&desk, CHAT, &chat("openai")).await;
    kept(&desk, 1).await;
    desk.app.clock.set(begun + TimeDelta::seconds(59));
    assert_eq!(ask(&desk, CHAT, &chat("openai")).await.0, "hit");
    let (app, now) = (&desk.app.app, begun + TimeDelta::seconds(60));
    forget_expired_answers(app, now - TimeDelta::seconds(1)).await.unwrap();
    assert_eq!(count(&desk).await, 1);
    desk.app.clock.set(now);
    forget_expired_answers(app, now).await.unwrap();
    assert_eq!(count(&desk).await, 0);
    assert_eq!(ask(&desk, CHAT, &chat("openai")).await.0, "miss");
    kept(&desk, 1).await;
    // The sweep may come late: what is over is over.
    desk.app.clock.set(now + TimeDelta::seconds(61));
    assert_eq!(ask(&desk, CHAT, &chat("openai")).await.0, "miss");
}

#[tokio::test]
async fn a_client_may_want_a_new_answer_and_what_is_no_answer_is_not_kept() {
    let failing = "[[rule]]\nname = 'r'\ntimes = 1\nfault = { kind = 'status', status = 400 }\n";
    let desk = with_cache(&format!("{failing}\n{SOUND}")).await;
    let (status, headers, _) = desk.ask(CHAT, &desk.key, &chat("openai")).await;
    assert_eq!((status, said(&headers).as_str()), (StatusCode::BAD_REQUEST, "miss"));
    assert_eq!(ask(&desk, CHAT, &chat("openai")).await.0, "miss", "a failure was not kept");
    kept(&desk, 1).await;
    let request = Request::post(CHAT)
        .header("x-api-key", &desk.key)
        .header(header::CACHE_CONTROL, "max-age=0, No-Cache")
        .body(Body::from(chat("openai").to_string()));
    let (status, headers, _) = desk.send(request.unwrap()).await;
    assert_eq!((status, said(&headers).as_str()), (StatusCode::OK, "off"));
    assert_eq!(booked(&desk).await, (2, 0, 0));
    // What only the provider understands is answered with its own words; and as a stream it is not kept.
    let mut seeded = chat("openai");
    seeded["seed"] = json!(7);
    assert_eq!(ask(&desk, CHAT, &seeded).await.0, "miss");
    kept(&desk, 2).await;
    assert_eq!(ask(&desk, CHAT, &seeded).await.0, "hit");
    seeded["stream"] = json!(true);
    assert_eq!(ask(&desk, CHAT, &seeded).await.0, "off");
}

#[tokio::test]
async fn embeddings_are_given_again_as_they_were() {
    let vectors = json!({"object": "list", "model": "e", "data": [{"object": "embedding", "index": 0, "embedding": [0.25]}],
        "usage": {"prompt_tokens": 3, "total_tokens": 3}});
    let answer = vectors.clone();
    let provider = Router::new().route("/v1/embeddings", post(|| async { Json(answer) }));
    let desk = Desk::over(provider).await;
    set(&desk, &desk.project, &desk.token, json!(60)).await;
    let body = json!({ "model": "openai", "input": "words" });
    assert_eq!(ask(&desk, "/v1/embeddings", &body).await.0, "miss");
    kept(&desk, 1).await;
    let (again, text) = ask(&desk, "/v1/embeddings", &body).await;
    assert_eq!((again.as_str(), serde_json::from_str::<Value>(&text).unwrap()), ("hit", vectors));
    assert_eq!(ask(&desk, "/v1/embeddings", &json!({ "model": "openai", "input": "word" })).await.0, "miss");
}
