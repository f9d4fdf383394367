//! The gateway as its clients see it: both formats, errors, and what is recorded; keys, limits and streams by themselves.

mod keys;
mod limits;
mod streams;
mod tokens;

pub(crate) use streams::{unending, until};
pub(crate) use tokens::held;

use crate::support::TestApp;
use axum::{
    Json, Router,
    body::Body,
    http::{HeaderMap, Method, Request, StatusCode, header},
    routing::post,
};
use serde_json::{Value, json};
use std::net::SocketAddr;
use syndarix_llm::{Deployment, EndpointAccess, ModelGroup, ModelGroups, ProviderKind, Rates, scripted};
use tokio::{net::TcpListener, task::JoinSet};
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
        prices: Some(Rates { input: 1, output: 5, ..Rates::default() }),
        context_window: 100_000,
        max_output: 4_000,
        accepts_temperature: true,
        endpoint_access: EndpointAccess::PrivateNetwork,
        ..Deployment::new(name, provider, format!("http://{address}/v1").parse().unwrap())
    }
}

/// One that no small budget pays for.
pub(crate) fn dear(name: &str, address: SocketAddr) -> Deployment {
    let rates = Rates { input: 1_000_000_000, output: 1_000_000_000, ..Rates::FREE };
    Deployment { prices: Some(rates), ..deployment(name, ProviderKind::OpenAi, address) }
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

    /// The project's hard limit, from now on.
    pub(crate) async fn limit(&self, micro_usd: i64) {
        let path = format!("/api/v1/projects/{}/budget", self.project);
        let body = json!({ "hard_limit_micro_usd": micro_usd });
        let (status, answer) = self.app.send(Method::PUT, &path, Some(&self.token), Some(body)).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
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
