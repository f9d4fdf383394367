//! The gateway as its clients see it: keys, both formats, errors, limits, and what is recorded.

use crate::support::TestApp;
use axum::{
    Json, Router,
    body::Body,
    http::{HeaderMap, Method, Request, StatusCode, header},
    routing::post,
};
use futures::future::join_all;
use serde_json::{Value, json};
use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};
use syndarix::http;
use syndarix_llm::{Deployment, EndpointAccess, ModelGroup, ModelGroups, ProviderKind, Rates, scripted};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tower::ServiceExt;
use uuid::Uuid;

pub(crate) const SOUND: &str = "[[rule]]\nname = 'r'\nanswer.text = 'one two three four five six seven eight nine ten'\n\
                     answer.usage = { input = 70, output = 20 }\n";

/// An application in front of a scripted provider, and a key of a project.
pub(crate) struct Desk {
    pub(crate) app: TestApp,
    pub(crate) token: String,
    pub(crate) project: String,
    pub(crate) key: String,
    _provider: JoinSet<()>,
}

pub(crate) fn deployment(name: &str, provider: ProviderKind, address: SocketAddr) -> Deployment {
    Deployment {
        model: format!("model-of-{name}"),
        prices: Some(Rates { input: 1, output: 5, cache_read: 0, cache_write: 0 }),
        context_window: 100_000,
        max_output: 4_000,
        accepts_temperature: true,
        endpoint_access: EndpointAccess::PrivateNetwork,
        ..Deployment::new(name, provider, format!("http://{address}/v1").parse().unwrap())
    }
}

pub(crate) async fn serve(router: Router) -> (SocketAddr, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut task = JoinSet::new();
    task.spawn(async move { axum::serve(listener, router).await.unwrap() });
    (address, task)
}

impl Desk {
    pub(crate) async fn scripted(script: &str) -> Self {
        Self::over(scripted::router(scripted::Script::from_toml(script).unwrap())).await
    }

    pub(crate) async fn over(provider: Router) -> Self {
        let (address, task) = serve(provider).await;
        let chain = |name: &str, kind| {
            ModelGroup::new(format!("group-{name}"), vec![deployment(name, kind, address)])
        };
        let groups = vec![chain("openai", ProviderKind::OpenAi), chain("anthropic", ProviderKind::Anthropic)];
        Self { _provider: task, ..Self::with(groups).await }
    }

    /// Over providers that somebody else keeps running.
    pub(crate) async fn with(groups: Vec<ModelGroup>) -> Self {
        let app = TestApp::with_models(ModelGroups::new(groups).unwrap()).await;
        let token = app.user("maria").await;
        let project = app.project(&token).await;
        let mut desk = Self { app, token, project, key: String::new(), _provider: JoinSet::new() };
        desk.key = desk.make(json!({ "name": "test" })).await.1;
        desk
    }

    fn path(&self, below: &str) -> String {
        format!("/api/v1/projects/{}/gateway-keys{below}", self.project)
    }

    /// Makes a key; its id and itself.
    pub(crate) async fn make(&self, settings: Value) -> (String, String) {
        let (status, made) = self.app.post(&self.path(""), &self.token, settings).await;
        assert_eq!(status, StatusCode::CREATED, "{made}");
        (made["key"]["id"].as_str().unwrap().into(), made["secret"].as_str().unwrap().into())
    }

    pub(crate) async fn ask(&self, path: &str, key: &str, body: &Value) -> (StatusCode, HeaderMap, String) {
        let request = Request::post(path)
            .header(header::AUTHORIZATION, format!("Bearer {key}"))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(body.to_string()));
        self.send(request.unwrap()).await
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> (StatusCode, HeaderMap, String) {
        let response = self.app.router.clone().oneshot(request).await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let bytes = axum::body::to_bytes(response.into_body(), 1 << 24).await.unwrap();
        (status, headers, String::from_utf8(bytes.to_vec()).unwrap())
    }

    /// What is recorded of the gateway's calls: key, state, tokens in and out, whether they are estimated.
    pub(crate) async fn usage(&self) -> Vec<(Option<Uuid>, String, i64, i64, bool)> {
        sqlx::query_as(
            "select key_id, state, tokens_in, tokens_out, estimated from usage where project_id = $1 order by at, id",
        )
        .bind(self.project.parse::<Uuid>().unwrap())
        .fetch_all(self.app.app.pool())
        .await
        .unwrap()
    }
}

pub(crate) fn chat(model: &str) -> Value {
    json!({"model": model, "max_tokens": 90, "messages": [{"role": "user", "content": "go"}]})
}

fn json_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

const PATHS: [&str; 2] = ["/v1/chat/completions", "/v1/messages"];
const MODELS: [&str; 4] = ["group-openai", "group-anthropic", "openai", "anthropic"];

#[tokio::test]
async fn both_formats_are_answered_by_both_providers_and_recorded_with_project_and_key() {
    let desk = Desk::scripted(SOUND).await;
    let mut asked = 0;
    for path in PATHS {
        for model in MODELS {
            let (status, headers, body) = desk.ask(path, &desk.key, &chat(model)).await;
            assert_eq!(status, StatusCode::OK, "{body}");
            let body = json_of(&body);
            let text = [body.pointer("/choices/0/message/content"), body.pointer("/content/0/text")];
            let text = text.into_iter().flatten().next().unwrap();
            assert_eq!(text, "one two three four five six seven eight nine ten", "{path} {model}");
            let usage = &body["usage"];
            let said = [&usage["prompt_tokens"], &usage["input_tokens"]];
            assert!(said.into_iter().any(|tokens| *tokens == 70), "{path} {model}: {usage}");
            assert_eq!(headers["x-syndarix-deployment"], model.trim_start_matches("group-"));
            assert_eq!(headers["x-syndarix-simulated"], "true");

            let mut streamed = chat(model);
            streamed["stream"] = json!(true);
            let (status, headers, body) = desk.ask(path, &desk.key, &streamed).await;
            assert_eq!(
                (status, &headers[header::CONTENT_TYPE]),
                (StatusCode::OK, &"text/event-stream; charset=utf-8".parse().unwrap())
            );
            let end = if path.ends_with("messages") { "message_stop\"}\n\n" } else { "data: [DONE]\n\n" };
            assert!(body.ends_with(end), "{path} {model}: {body}");
            assert!(body.contains("ten"), "{body}");
            asked += 2;
        }
    }
    let rows = desk.usage().await;
    assert_eq!(rows.len(), asked);
    assert!(
        rows.iter().all(|row| row.0.is_some() && row.1 == "settled" && row.2 == 70 && row.3 == 20),
        "{rows:?}"
    );
}

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
async fn refusals_have_the_status_and_the_words_of_the_callers_format() {
    let desk = Desk::scripted(SOUND).await;
    let (_, narrow) = desk.make(json!({ "name": "narrow", "models": ["group-openai"] })).await;
    let wrong = "sk-sdx-wrong".to_owned();
    let malformed = json!({"model": "anthropic"});
    let cases = [
        (&wrong, chat("openai"), 401, "invalid_api_key", "authentication_error"),
        (&desk.key, chat("nobody"), 404, "model_not_found", "not_found_error"),
        (&narrow, chat("anthropic"), 403, "model_not_allowed", "permission_error"),
        (&desk.key, json!({"messages": []}), 400, "invalid_request", "invalid_request_error"),
        (&desk.key, malformed, 400, "invalid_request", "invalid_request_error"),
    ];
    for (key, body, expected, code, kind) in cases {
        let (status, headers, answer) = desk.ask(PATHS[0], key, &body).await;
        assert_eq!(status, expected, "{answer}");
        assert_eq!(headers[header::CONTENT_TYPE], "application/json");
        assert!(headers.contains_key("x-request-id"));
        assert_eq!(json_of(&answer)["error"]["code"], code, "{answer}");
        let (status, headers, answer) = desk.ask(PATHS[1], key, &body).await;
        assert_eq!(status, expected, "{answer}");
        assert_eq!(headers["request-id"], headers["x-request-id"]);
        let answer = json_of(&answer);
        assert_eq!((&answer["type"], &answer["error"]["type"]), (&json!("error"), &json!(kind)), "{answer}");
    }
    assert_eq!(desk.ask(PATHS[0], &narrow, &chat("group-openai")).await.0, StatusCode::OK);
}

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
async fn what_a_translation_leaves_out_is_named_or_refused_as_the_caller_wants() {
    let desk = Desk::scripted(SOUND).await;
    let ask = async |model: &str, strict: bool| {
        let mut body = chat(model);
        body["seed"] = json!(7);
        let request = Request::post(PATHS[0])
            .header(header::AUTHORIZATION, format!("Bearer {}", desk.key))
            .header(header::CONTENT_TYPE, "application/json")
            .header("x-syndarix-strict", strict.to_string())
            .body(Body::from(body.to_string()));
        desk.send(request.unwrap()).await
    };

    let (status, headers, answer) = ask("anthropic", false).await;
    assert_eq!(
        (status, headers["x-syndarix-dropped"].to_str().unwrap()),
        (StatusCode::OK, "seed"),
        "{answer}"
    );
    let (status, _, answer) = ask("anthropic", true).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{answer}");
    assert!(
        json_of(&answer)["error"]["message"].as_str().unwrap().contains("cannot be told seed"),
        "{answer}"
    );
    for strict in [false, true] {
        let (status, headers, answer) = ask("openai", strict).await;
        assert_eq!((status, headers.get("x-syndarix-dropped")), (StatusCode::OK, None), "{answer}");
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
async fn tokens_are_counted_when_they_are_known() {
    let desk = Desk::scripted(SOUND).await;
    let (_, key) = desk.make(json!({ "name": "few", "tokens_per_minute": 80 })).await;
    assert_eq!(desk.ask(PATHS[0], &key, &chat("openai")).await.0, StatusCode::OK);
    let started = Instant::now();
    loop {
        let (status, _, answer) = desk.ask(PATHS[0], &key, &chat("openai")).await;
        if status == StatusCode::TOO_MANY_REQUESTS {
            assert!(answer.contains("80 tokens in a minute"), "{answer}");
            break;
        }
        assert!(started.elapsed() < Duration::from_secs(10));
    }
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

#[tokio::test]
async fn embeddings_are_passed_through_and_paid_for() {
    let provider = Router::new().route(
        "/v1/embeddings",
        post(|Json(body): Json<Value>| async move {
            assert_eq!((&body["model"], &body["dimensions"]), (&json!("model-of-openai"), &json!(3)));
            Json(json!({"object": "list", "model": "e", "data": [{"index": 0, "object": "embedding",
                "embedding": "AACAPwAAAEAAAEBA"}], "usage": {"prompt_tokens": 9, "total_tokens": 9}}))
        }),
    );
    let desk = Desk::over(provider).await;
    let body = json!({"model": "openai", "input": ["a"], "dimensions": 3, "encoding_format": "base64"});
    let (status, _, answer) = desk.ask("/v1/embeddings", &desk.key, &body).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!(json_of(&answer)["data"][0]["embedding"], "AACAPwAAAEAAAEBA");
    let rows = desk.usage().await;
    assert_eq!((rows.len(), rows[0].2, rows[0].3, rows[0].4), (1, 9, 0, false));
    let body = json!({"model": "anthropic", "input": "a"});
    let (status, _, answer) = desk.ask("/v1/embeddings", &desk.key, &body).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{answer}");
}

#[tokio::test]
async fn a_prompt_is_counted_without_asking_a_model() {
    let desk = Desk::scripted(SOUND).await;
    let body = json!({"model": "anthropic", "messages": [{"role": "user", "content": "How long is this?"}]});
    let (status, headers, answer) = desk.ask("/v1/messages/count_tokens", &desk.key, &body).await;
    assert_eq!(
        (status, &headers["x-syndarix-estimated"]),
        (StatusCode::OK, &"true".parse().unwrap()),
        "{answer}"
    );
    assert!(json_of(&answer)["input_tokens"].as_u64().unwrap() > 4);
    assert!(desk.usage().await.is_empty());
}

#[tokio::test]
async fn a_silent_stream_is_kept_alive_and_then_answered() {
    let script = format!("{SOUND}fault = {{ kind = 'slow_stream', chunk_ms = 250 }}\n");
    let provider = scripted::router(scripted::Script::from_toml(&script).unwrap());
    let (address, _task) = serve(provider).await;
    let groups = vec![ModelGroup::new("g", vec![deployment("d", ProviderKind::OpenAi, address)])];
    let app = TestApp::with_models_and(ModelGroups::new(groups).unwrap(), |config| {
        config.keep_alive = Duration::from_millis(60);
    })
    .await;
    let token = app.user("maria").await;
    let project = app.project(&token).await;
    let mut desk = Desk { app, token, project, key: String::new(), _provider: JoinSet::new() };
    desk.key = desk.make(json!({ "name": "test" })).await.1;
    for path in PATHS {
        let mut body = chat("g");
        body["stream"] = json!(true);
        let (status, _, answer) = desk.ask(path, &desk.key, &body).await;
        assert_eq!(status, StatusCode::OK);
        assert!(answer.starts_with(": keep-alive\n\n"), "{answer}");
        assert!(answer.contains("[DONE]") || answer.contains("message_stop"), "{answer}");
    }
}

#[tokio::test]
async fn a_client_that_leaves_is_recorded_whether_it_streamed_or_not() {
    let script = format!("{SOUND}fault = {{ kind = 'slow_stream', chunk_ms = 200 }}\n");
    let desk = Desk::scripted(&script).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = desk.app.router.clone().into_make_service_with_connect_info::<http::Peer>();
    let mut server = JoinSet::new();
    server.spawn(async move { axum::serve(http::Sockets(listener), service).await.unwrap() });
    for (streamed, rows) in [(true, 1), (false, 2)] {
        let mut body = chat("anthropic");
        body["stream"] = json!(streamed);
        let body = body.to_string();
        let mut socket = TcpStream::connect(address).await.unwrap();
        let request = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nx-api-key: {}\r\ncontent-length: {}\r\n\r\n{body}",
            desk.key,
            body.len()
        );
        socket.write_all(request.as_bytes()).await.unwrap();
        if streamed {
            let mut seen = String::new();
            while !seen.contains("one") {
                let mut buffer = [0; 4_096];
                let read = socket.read(&mut buffer).await.unwrap();
                seen.push_str(&String::from_utf8_lossy(&buffer[..read]));
            }
        } else {
            let started = Instant::now();
            while desk.usage().await.len() < rows {
                assert!(started.elapsed() < Duration::from_secs(10));
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        drop(socket);
        let started = Instant::now();
        loop {
            let usage = desk.usage().await;
            if usage.len() == rows && usage[rows - 1].1 != "reserved" {
                let (key, state, tokens_in, _, estimated) = &usage[rows - 1];
                assert!(key.is_some() && *estimated && *tokens_in > 0, "{usage:?}");
                assert_eq!(state, "failed");
                break;
            }
            assert!(started.elapsed() < Duration::from_secs(10), "{usage:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        // The whole answer would take seconds: it was not waited for.
        assert!(started.elapsed() < Duration::from_millis(900), "{:?}", started.elapsed());
    }
}

#[tokio::test]
async fn a_response_is_answered_by_both_providers_whole_and_as_typed_events() {
    let desk = Desk::scripted(SOUND).await;
    for model in MODELS {
        let mut body = json!({"model": model, "input": "go", "max_output_tokens": 90});
        let (status, _, answer) = desk.ask("/v1/responses", &desk.key, &body).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        let whole = json_of(&answer);
        assert_eq!(
            whole["output"][0]["content"][0]["text"],
            "one two three four five six seven eight nine ten"
        );
        assert_eq!((&whole["status"], &whole["usage"]["input_tokens"]), (&json!("completed"), &json!(70)));

        body["stream"] = json!(true);
        let (status, _, answer) = desk.ask("/v1/responses", &desk.key, &body).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        assert!(answer.starts_with("event: response.created\n"), "{answer}");
        let last = answer.trim_end().rsplit("data: ").next().unwrap();
        assert_eq!(json_of(last)["response"]["output"][0]["content"], whole["output"][0]["content"]);
    }
    assert_eq!(desk.usage().await.len(), 2 * MODELS.len());
}

#[tokio::test]
async fn what_a_response_would_need_a_memory_for_is_refused_by_its_name() {
    let desk = Desk::scripted(SOUND).await;
    for (field, value) in [
        ("previous_response_id", json!("resp_1")),
        ("background", json!(true)),
        ("conversation", json!("conv_1")),
        ("tools", json!([{"type": "web_search"}])),
    ] {
        let mut body = json!({"model": "openai", "input": "go"});
        body[field] = value;
        let (status, _, answer) = desk.ask("/v1/responses", &desk.key, &body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{answer}");
        let error = &json_of(&answer)["error"];
        assert_eq!(error["type"], "invalid_request_error");
        let word = if field == "tools" { "web_search" } else { field };
        assert!(error["message"].as_str().unwrap().contains(word), "{answer}");
    }
    let request = Request::get("/v1/responses/resp_1").header("x-api-key", &desk.key).body(Body::empty());
    let (status, _, answer) = desk.send(request.unwrap()).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert_eq!(json_of(&answer)["error"]["code"], "response_not_found");
    assert!(desk.usage().await.is_empty());
}
