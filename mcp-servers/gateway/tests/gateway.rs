//! The server over real HTTP, before a small gateway that behaves like the backend's. What the backend's own does is
//! tested where it is.
#![expect(clippy::unwrap_used, reason = "tests fail loudly")]

use std::sync::{Arc, Mutex};

use axum::{
    Json, Router,
    extract::{Query, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::{Value, json};
use std::collections::HashMap;
use syndarix_mcp_gateway::server;
use syndarix_mcp_kit::testing::{Bench, Client, Started, tool_list_within_budget};

/// What was asked, path by path, and with which token.
type Asked = Arc<Mutex<Vec<(&'static str, Value)>>>;

async fn chat(State(asked): State<Asked>, headers: HeaderMap, Json(body): Json<Value>) -> Response {
    assert!(headers["authorization"].to_str().unwrap().starts_with("Bearer "));
    asked.lock().unwrap().push(("chat", body.clone()));
    let failure = |status, message: &str| {
        (status, Json(json!({ "error": { "message": message, "type": "x", "code": "c" } }))).into_response()
    };
    match body["model"].as_str().unwrap() {
        "poor" => failure(StatusCode::PAYMENT_REQUIRED, "over the budget; raise it"),
        "down" => failure(StatusCode::SERVICE_UNAVAILABLE, "a: cooling down for 3 s"),
        _ => {
            let message = json!({ "role": "assistant", "content": "blue" });
            let usage = json!({ "prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9 });
            let answer =
                json!({ "choices": [{ "message": message, "finish_reason": "stop" }], "usage": usage });
            ([("x-syndarix-deployment", "own/llama")], Json(answer)).into_response()
        }
    }
}

async fn count(State(asked): State<Asked>, Json(body): Json<Value>) -> Json<Value> {
    asked.lock().unwrap().push(("count", body));
    Json(json!({ "input_tokens": 12 }))
}

async fn usage(State(asked): State<Asked>, Query(query): Query<HashMap<String, String>>) -> Json<Value> {
    let row = |label: &str, cost: i64| {
        json!({ "key": label, "label": label, "cost_micro_usd": cost, "simulated_micro_usd": 0, "tokens_in": 1,
            "tokens_out": 1, "calls": 1 })
    };
    asked.lock().unwrap().push(("usage", json!(query)));
    Json(json!({ "total_micro_usd": 30, "simulated_micro_usd": 0, "tokens_in": 5, "tokens_out": 6,
        "rows": [row("cheap", 10), row("dear", 20)] }))
}

fn budget(scope: &str, id: &str, hard: Option<i64>) -> Value {
    json!({ "scope": scope, "scope_id": id, "name": null, "period": "total", "hard_limit_micro_usd": hard,
        "hard_limit_tokens": null, "ends_at": null, "spent_micro_usd": 30, "reserved_micro_usd": 5,
        "simulated_micro_usd": 0, "spent_tokens": 11, "reserved_tokens": 0 })
}

struct World {
    asked: Asked,
    bench: Bench,
    running: Started,
    _backend: Started,
}

impl World {
    async fn new() -> Self {
        let mut bench = Bench::new();
        let asked = Asked::default();
        let (agent, run) = (bench.agent.to_string(), bench.run.to_string());
        let budgets = json!({ "items": [
            budget("project", "p", Some(100)), budget("agent", &agent, Some(20)), budget("agent", "another", Some(1)),
            budget("run", &run, None), budget("key", "k", Some(1)),
        ], "next_cursor": null });
        let base = format!("/api/v1/projects/{}", bench.project);
        let models = json!({ "object": "list", "data": [{ "id": "code" }, { "id": "fast" }] });
        let routes = Router::new()
            .route("/v1/chat/completions", post(chat))
            .route("/v1/messages/count_tokens", post(count))
            .route("/v1/models", get(|| async { Json(models) }))
            .route(&format!("{base}/usage"), get(usage))
            .route(&format!("{base}/budgets"), get(|| async { Json(budgets) }))
            .with_state(Arc::clone(&asked));
        let backend = Started::new("backend", routes).await;
        bench.backend_url = Some(backend.base.parse().unwrap());
        let running = bench.start(server()).await;
        Self { asked, bench, running, _backend: backend }
    }

    async fn client(&self) -> Client {
        self.bench.client(&self.running, &["llm-gateway:write"]).await
    }

    fn last(&self) -> (&'static str, Value) {
        self.asked.lock().unwrap().last().cloned().unwrap()
    }
}

fn asking(model: &str) -> Value {
    json!({ "model": model, "messages": [
        { "role": "system", "content": "One word." }, { "role": "user", "content": "Name a colour." },
    ] })
}

#[tokio::test]
async fn a_model_is_asked_and_its_answer_says_who_gave_it_and_what_it_took() {
    let world = World::new().await;
    let client = world.client().await;
    let mut arguments = asking("code");
    arguments["temperature"] = json!(0.5);
    arguments["json_schema"] = json!({ "type": "object" });
    let answer = client.ok("chat_completion", arguments).await;
    assert_eq!(
        answer,
        json!({ "text": "blue", "finish_reason": "stop", "deployment": "own/llama", "tokens_in": 7, "tokens_out": 2 })
    );
    let (_, sent) = world.last();
    assert_eq!((&sent["max_tokens"], &sent["temperature"]), (&json!(4096), &json!(0.5)));
    assert_eq!(sent["messages"][1], json!({ "role": "user", "content": "Name a colour." }));
    assert_eq!(sent["response_format"]["json_schema"]["schema"], json!({ "type": "object" }));
}

#[tokio::test]
async fn tokens_are_counted_with_the_system_prompt_in_its_place() {
    let world = World::new().await;
    let client = world.client().await;
    let counted = client.ok("count_tokens", asking("code")).await;
    assert_eq!(counted, json!({ "tokens": 12, "estimated": true }));
    let (_, sent) = world.last();
    assert_eq!(sent["system"], "One word.");
    assert_eq!(sent["messages"], json!([{ "role": "user", "content": "Name a colour." }]));
    assert_eq!(client.ok("list_models", json!({})).await, json!({ "models": ["code", "fast"] }));
}

#[tokio::test]
async fn what_is_left_is_of_the_budgets_that_count_for_this_agent_and_run() {
    let world = World::new().await;
    let client = world.client().await;
    let used = client.ok("get_usage", json!({ "group_by": "model" })).await;
    assert_eq!(used["run"]["cost_micro_usd"], 30);
    let left: Vec<_> = used["budgets"]
        .as_array()
        .unwrap()
        .iter()
        .map(|budget| (budget["scope"].as_str().unwrap(), budget["left_micro_usd"].as_i64().unwrap()))
        .collect();
    assert_eq!(left, [("project", 65), ("agent", 0)]);
    assert_eq!(used["rows"][0]["label"], "dear", "the dearest first");
    let queries: Vec<Value> = world.asked.lock().unwrap().iter().map(|(_, query)| query.clone()).collect();
    assert_eq!(queries, [json!({ "run_id": world.bench.run }), json!({ "group_by": "model" })]);
    assert!(client.ok("get_usage", json!({})).await.get("rows").is_none());
}

#[tokio::test]
async fn refusals_and_mistakes_come_back_as_sentences() {
    let world = World::new().await;
    let client = world.client().await;
    let empty = json!({ "model": "code", "messages": [{ "role": "system", "content": "x" }] });
    let many = vec![json!({ "role": "user", "content": "x" }); 201];
    let long = json!({ "role": "user", "content": "x".repeat(3_200_000) });
    for (arguments, expected) in [
        (asking("poor"), "over the budget"),
        (asking("down"), "cooling down"),
        (asking(" "), "list_models"),
        (empty, "role `user`"),
        (json!({ "model": "code", "messages": many }), "at most 200"),
        (json!({ "model": "code", "messages": [long] }), "send at most"),
        (json!({ "model": "code", "messages": [{ "role": "tool", "content": "x" }] }), "`assistant`"),
    ] {
        let sentence = client.fails("chat_completion", arguments).await;
        assert!(sentence.contains(expected), "{expected}: {sentence}");
    }
    assert_eq!(world.asked.lock().unwrap().len(), 2, "what is wrong is not sent");
}

#[tokio::test]
async fn whoever_may_only_read_spends_nothing_and_the_list_is_small() {
    let world = World::new().await;
    let reader = world.bench.client(&world.running, &["llm-gateway:read"]).await;
    let names: Vec<String> = reader.tools().await.into_iter().map(|tool| tool.name.into_owned()).collect();
    assert_eq!(names, ["count_tokens", "get_usage", "list_models"]);
    assert!(reader.try_call("chat_completion", asking("code"), None).await.is_err());
    tool_list_within_budget(&server());
}
