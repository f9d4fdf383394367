//! Tokens of a minute: what calls may use is set aside before they are asked, and what they did not use is given back.

use super::{Desk, PATHS, SOUND, chat, json_of, unending, until};
use axum::{
    Json, Router,
    body::Body,
    http::{HeaderMap, Method, Request, StatusCode, header},
    routing::post,
};
use futures::future::join;
use serde_json::{Value, json};
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};
use tokio::sync::Semaphore;
use tower::ServiceExt;

/// What a call of `chat("openai")` may use: 90 tokens of its answer, and as many of its prompt as its JSON has bytes, and a few.
/// What it uses is 90 in all.
const ONE: u32 = 180;

/// A provider of OpenAI's format that answers once it may, and how many it was asked.
pub(crate) fn held() -> (Router, Arc<Semaphore>, Arc<AtomicUsize>) {
    let (may_answer, asked) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicUsize::new(0)));
    let (gate, counted) = (Arc::clone(&may_answer), Arc::clone(&asked));
    let handler = move || {
        let gate = Arc::clone(&gate);
        counted.fetch_add(1, Ordering::SeqCst);
        async move {
            gate.acquire().await.unwrap().forget();
            Json(json!({"id": "c", "object": "chat.completion", "model": "m",
                "choices": [{"index": 0, "message": {"role": "assistant", "content": "one"}, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 70, "completion_tokens": 20, "total_tokens": 90}}))
        }
    };
    (Router::new().route("/v1/chat/completions", post(handler)), may_answer, asked)
}

async fn limited(desk: &Desk, tokens: u32) -> String {
    desk.make(json!({ "name": "few", "tokens_per_minute": tokens })).await.1
}

fn number(headers: &HeaderMap, name: &str) -> u64 {
    headers[name].to_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn no_number_of_calls_at_once_passes_the_tokens_of_a_minute() {
    let (provider, may_answer, asked) = held();
    let desk = Desk::over(provider).await;
    let key = limited(&desk, 2 * ONE + 40).await;
    let body = chat("openai");
    let ask = |path| desk.ask(path, &key, &body);
    let meanwhile = async {
        until("two are at the provider", async || asked.load(Ordering::SeqCst) == 2).await;
        let refused = [ask(PATHS[0]).await, ask(PATHS[1]).await];
        may_answer.add_permits(3);
        refused
    };

    let ((one, other), [openai, anthropic]) = join(join(ask(PATHS[0]), ask(PATHS[0])), meanwhile).await;

    assert_eq!((one.0, other.0), (StatusCode::OK, StatusCode::OK), "{} {}", one.2, other.2);
    for (status, headers, answer) in [&openai, &anthropic] {
        assert_eq!(*status, StatusCode::TOO_MANY_REQUESTS, "{answer}");
        assert!((1..=60).contains(&number(headers, header::RETRY_AFTER.as_str())));
        assert!(answer.contains("400 tokens in a minute, and fewer than the 180 that this call"), "{answer}");
    }
    assert_eq!(json_of(&openai.2)["error"]["code"], "rate_limit_exceeded");
    assert_eq!(json_of(&anthropic.2)["error"]["type"], "rate_limit_error");
    assert_eq!(openai.1["x-ratelimit-limit-tokens"], "400");
    assert!(number(&openai.1, "x-ratelimit-remaining-tokens") < u64::from(ONE));
    assert!(number(&anthropic.1, "anthropic-ratelimit-tokens-remaining") < u64::from(ONE));
    assert_eq!(asked.load(Ordering::SeqCst), 2, "who was refused asked nobody");
    assert_eq!(ask(PATHS[0]).await.0, StatusCode::OK, "what the two did not use is back");
}

#[tokio::test]
async fn one_call_after_the_other_is_counted_by_what_it_used() {
    let desk = Desk::scripted(SOUND).await;
    // After three calls, what is left is what a fourth may use: by what they might have used, there were two.
    let key = limited(&desk, 3 * 90 + ONE).await;
    for n in 0..4 {
        let (status, _, answer) = desk.ask(PATHS[0], &key, &chat("openai")).await;
        assert_eq!(status, StatusCode::OK, "{n}: {answer}");
    }
}

#[tokio::test]
async fn who_names_no_limit_need_not_wait_until_nothing_of_the_minute_is_used() {
    let desk = Desk::scripted(SOUND).await;
    // The model's own limit is more than any minute has.
    let key = limited(&desk, 2_000).await;
    let mut open = chat("openai");
    open.as_object_mut().unwrap().remove("max_tokens");
    for n in 0..3 {
        let (status, _, answer) = desk.ask(PATHS[0], &key, &open).await;
        assert_eq!(status, StatusCode::OK, "{n}: {answer}");
    }
}

#[tokio::test]
async fn a_call_that_no_minute_has_room_for_is_told_so_and_not_to_come_back() {
    let desk = Desk::scripted(SOUND).await;
    let key = limited(&desk, 100).await;
    for path in PATHS {
        let (status, headers, answer) = desk.ask(path, &key, &chat("openai")).await;
        assert_eq!(status, StatusCode::TOO_MANY_REQUESTS, "{answer}");
        assert!(
            answer.contains("can never be let through") && answer.contains("take 100 tokens"),
            "{answer}"
        );
        assert_eq!(headers["x-should-retry"], "false");
        assert!(!headers.contains_key(header::RETRY_AFTER), "{headers:?}");
    }
    let (_, headers, answer) = desk.ask(PATHS[0], &key, &chat("openai")).await;
    assert_eq!(json_of(&answer)["error"]["code"], "larger_than_limit");
    assert_eq!(headers["x-ratelimit-remaining-tokens"], "100", "nothing is taken for it");
    assert!(desk.usage().await.is_empty());
    let mut shorter = chat("openai");
    shorter["max_tokens"] = json!(5);
    assert_eq!(desk.ask(PATHS[0], &key, &shorter).await.0, StatusCode::OK);
}

#[tokio::test]
async fn a_long_prompt_that_fits_by_its_estimate_is_not_told_that_it_never_does() {
    let desk = Desk::scripted(SOUND).await;
    let key = limited(&desk, 2_500).await;
    let mut long = chat("openai");
    long["messages"][0]["content"] = json!("word ".repeat(600));
    let (status, _, answer) = desk.ask(PATHS[0], &key, &long).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
}

#[tokio::test]
async fn tokens_of_a_call_that_used_none_are_given_back() {
    let refusing = "[[rule]]\nname = 'r'\nfault = { kind = 'status', status = 400 }\n";
    let desk = Desk::scripted(refusing).await;
    let key = limited(&desk, ONE + 10).await;
    for _ in 0..3 {
        let (status, _, answer) = desk.ask(PATHS[0], &key, &chat("openai")).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{answer}");
    }

    // No attempt was made at all: there was no money for one.
    let desk = Desk::scripted(SOUND).await;
    let key = limited(&desk, ONE + 10).await;
    let budget = async |limit: Value| {
        let path = format!("/api/v1/projects/{}/budget", desk.project);
        let body = json!({ "hard_limit_micro_usd": limit });
        desk.app.send(Method::PUT, &path, Some(&desk.token), Some(body)).await
    };
    budget(json!(0)).await;
    for _ in 0..2 {
        let (status, _, answer) = desk.ask(PATHS[0], &key, &chat("openai")).await;
        assert_eq!(status, StatusCode::PAYMENT_REQUIRED, "{answer}");
    }
    budget(json!(1_000_000)).await;
    let (status, _, answer) = desk.ask(PATHS[0], &key, &chat("openai")).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
}

#[tokio::test]
async fn what_a_client_that_left_did_not_use_is_given_back() {
    let (provider, under_way) = unending();
    let desk = Desk::over(provider).await;
    let mut body = chat("anthropic");
    body["stream"] = json!(true);
    let key = limited(&desk, 210).await;
    let ask = async || {
        let request = Request::post(PATHS[0]).header("x-api-key", &key).body(Body::from(body.to_string()));
        desk.app.router.clone().oneshot(request.unwrap()).await.unwrap()
    };
    let first = ask().await;
    assert_eq!(first.status(), StatusCode::OK);
    assert_eq!(ask().await.status(), StatusCode::TOO_MANY_REQUESTS, "all of it is set aside");

    drop(first);

    // Nearly a minute would pass until it had filled up by itself.
    until("another has room", async || ask().await.status() == StatusCode::OK).await;
    until("all are stopped", async || under_way.load(Ordering::SeqCst) == 0).await;
    let is_ended = async || desk.usage().await.iter().all(|row| row.1 != "reserved");
    until("all are recorded", is_ended).await;
}
