//! Limits of size, money and pace, as callers are told of them.

use super::{Desk, PATHS, SOUND, chat, dear, deployment, json_of, serve};
use axum::http::{Method, StatusCode, header};
use futures::future::join_all;
use serde_json::json;
use syndarix_llm::{ModelGroup, ProviderKind, scripted};
use uuid::Uuid;

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_in_the_callers_format() {
    let desk = Desk::scripted(SOUND).await;
    let body = json!({"model": "openai", "messages": "x".repeat(33 << 20)});
    let (status, _, answer) = desk.ask(PATHS[1], &desk.key, &body).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(json_of(&answer)["error"]["type"], "request_too_large");
}

#[tokio::test]
async fn no_money_is_402_which_no_sdk_tries_again() {
    let desk = Desk::scripted(SOUND).await;
    let budget = format!("/api/v1/projects/{}/budget", desk.project);
    let body = json!({ "hard_limit_micro_usd": 0 });
    let (status, _) = desk.app.send(Method::PUT, &budget, Some(&desk.token), Some(body)).await;
    assert_eq!(status, StatusCode::OK);
    for (path, streamed) in [(PATHS[0], false), (PATHS[1], false), (PATHS[0], true), (PATHS[1], true)] {
        let mut body = chat("openai");
        body["stream"] = json!(streamed);
        let (status, headers, answer) = desk.ask(path, &desk.key, &body).await;
        assert_eq!(status, StatusCode::PAYMENT_REQUIRED, "{answer}");
        assert_eq!(headers["x-should-retry"], "false");
        assert!(json_of(&answer)["error"]["message"].as_str().unwrap().contains("budget"), "{answer}");
    }
}

#[tokio::test]
async fn where_a_model_that_there_is_money_for_is_only_busy_clients_are_told_when_to_come_back() {
    let busy = "[[rule]]\nname = 'r'\nfault = { kind = 'status', status = 429, retry_after_seconds = 90 }\n";
    let (address, _provider) = serve(scripted::router(scripted::Script::from_toml(busy).unwrap())).await;
    let chain = vec![dear("dear", address), deployment("local", ProviderKind::OpenAi, address)];
    let desk = Desk::with(vec![ModelGroup::new("both", chain)]).await;
    desk.limit(1_000).await;
    // It says so at first, and is left alone for that then.
    for expected in [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE] {
        let (status, headers, answer) = desk.ask(PATHS[0], &desk.key, &chat("both")).await;
        assert_eq!((status, headers.get("x-should-retry")), (expected, None), "{answer}");
        let wait: u64 = headers[header::RETRY_AFTER].to_str().unwrap().parse().unwrap();
        assert!((30..=90).contains(&wait), "{wait}");
    }
}

#[tokio::test]
async fn no_number_of_calls_at_once_passes_the_budget_of_a_key() {
    let desk = Desk::scripted(SOUND).await;
    let body = chat("openai");
    // What one call reserves, and what it costs in the end.
    desk.ask(PATHS[0], &desk.key, &body).await;
    let (reserved, cost): (i64, i64) =
        sqlx::query_as("select reserved_micro_usd, cost_micro_usd from usage where key_id is not null")
            .fetch_one(desk.app.app.pool())
            .await
            .unwrap();
    assert!(cost > 0 && reserved >= cost, "{reserved} {cost}");
    let limit = reserved + 3 * cost;
    let (id, key) = desk.make(json!({ "name": "poor", "hard_limit_micro_usd": limit })).await;

    let answers = join_all((0..24).map(|_| desk.ask(PATHS[0], &key, &body))).await;
    // One after the other, until nothing is left: what others reserved is back by then.
    let mut last = StatusCode::OK;
    for _ in 0..24 {
        last = desk.ask(PATHS[0], &key, &body).await.0;
    }

    let fine = |status: StatusCode| {
        status == StatusCode::OK
            || status == StatusCode::PAYMENT_REQUIRED
            || status == StatusCode::TOO_MANY_REQUESTS
    };
    assert!(
        answers.iter().all(|(status, ..)| fine(*status)),
        "{:?}",
        answers.iter().map(|(status, ..)| *status).collect::<Vec<_>>()
    );
    assert_eq!(last, StatusCode::PAYMENT_REQUIRED);
    let spent: i64 = sqlx::query_scalar("select sum(cost_micro_usd)::bigint from usage where key_id = $1")
        .bind(id.parse::<Uuid>().unwrap())
        .fetch_one(desk.app.app.pool())
        .await
        .unwrap();
    assert!(
        spent <= limit && spent + reserved > limit,
        "{spent} of {limit}: all that fits is spent, and no more"
    );
}

#[tokio::test]
async fn a_key_is_told_its_limits_and_when_to_come_back() {
    let desk = Desk::scripted(SOUND).await;
    let limits = json!({ "name": "slow", "requests_per_minute": 2, "tokens_per_minute": 100_000 });
    let (_, key) = desk.make(limits).await;
    let (status, headers, _) = desk.ask(PATHS[0], &key, &chat("openai")).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(headers["x-ratelimit-limit-requests"], "2");
    assert_eq!(headers["x-ratelimit-remaining-requests"], "1");
    assert_eq!(headers["x-ratelimit-limit-tokens"], "100000");
    let (_, headers, _) = desk.ask(PATHS[1], &key, &chat("openai")).await;
    assert_eq!(headers["anthropic-ratelimit-requests-remaining"], "0");
    assert!(headers["anthropic-ratelimit-tokens-reset"].to_str().unwrap().ends_with('Z'));
    let (status, headers, answer) = desk.ask(PATHS[0], &key, &chat("openai")).await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
    let wait: u64 = headers[header::RETRY_AFTER].to_str().unwrap().parse().unwrap();
    assert!((1..=30).contains(&wait), "{wait}");
    assert_eq!(json_of(&answer)["error"]["code"], "rate_limit_exceeded");
    assert_eq!(
        desk.ask(PATHS[0], &desk.key, &chat("openai")).await.0,
        StatusCode::OK,
        "others are not held up"
    );
}

#[tokio::test]
async fn to_have_tokens_counted_is_a_request_like_others() {
    let desk = Desk::scripted(SOUND).await;
    let (_, key) = desk.make(json!({ "name": "slow", "requests_per_minute": 2 })).await;
    let path = "/v1/messages/count_tokens";
    for left in ["1", "0"] {
        let (status, headers, answer) = desk.ask(path, &key, &chat("anthropic")).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        assert_eq!(headers["anthropic-ratelimit-requests-remaining"], left);
    }
    let (status, headers, answer) = desk.ask(path, &key, &chat("anthropic")).await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
    assert!(
        headers.contains_key(header::RETRY_AFTER)
            && headers.contains_key("anthropic-ratelimit-requests-limit")
    );
    assert_eq!(json_of(&answer)["error"]["type"], "rate_limit_error");
}

#[tokio::test]
async fn tokens_that_were_used_are_not_there_for_the_next_call() {
    let desk = Desk::scripted(SOUND).await;
    let (_, key) = desk.make(json!({ "name": "few", "tokens_per_minute": 190 })).await;
    assert_eq!(desk.ask(PATHS[0], &key, &chat("openai")).await.0, StatusCode::OK);
    let (status, headers, answer) = desk.ask(PATHS[0], &key, &chat("openai")).await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS, "{answer}");
    assert!(answer.contains("190 tokens in a minute"), "{answer}");
    assert!(headers.contains_key(header::RETRY_AFTER));
}

#[tokio::test]
async fn when_every_deployment_is_left_alone_it_is_503_with_reasons() {
    let busy = "[[rule]]\nname = 'r'\nfault = { kind = 'status', status = 429, retry_after_seconds = 90 }\n";
    let desk = Desk::scripted(busy).await;
    let (status, headers, answer) = desk.ask(PATHS[0], &desk.key, &chat("openai")).await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS, "the provider is asked once: {answer}");
    assert_eq!(headers[header::RETRY_AFTER], "90");
    for path in PATHS {
        let (status, headers, answer) = desk.ask(path, &desk.key, &chat("openai")).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{answer}");
        assert!(answer.contains("cooling down"), "{answer}");
        assert!(headers.contains_key(header::RETRY_AFTER));
    }
}
