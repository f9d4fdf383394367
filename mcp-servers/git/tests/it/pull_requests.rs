//! Pull requests against a stand-in for the backend that records what it was asked.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, Uri};
use serde_json::{Value, json};
use syndarix_mcp_kit::testing::Started;

use crate::fixture::{BRANCH, Fixture};

#[derive(Debug, Clone)]
struct Asked {
    what: String,
    key: Option<String>,
    authorized: bool,
    body: Value,
}

type Log = Arc<Mutex<Vec<Asked>>>;

async fn record(State(log): State<Log>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> String {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    log.lock().unwrap().push(Asked {
        what: format!("{method} {uri}"),
        key: text("idempotency-key"),
        authorized: text("authorization").is_some_and(|value| value.starts_with("Bearer ")),
        body: serde_json::from_slice(&body).unwrap_or(Value::Null),
    });
    json!({ "id": "pr-1" }).to_string()
}

async fn with_backend() -> (Fixture, Log, Started) {
    let log = Log::default();
    let backend = Started::new("backend", Router::new().fallback(record).with_state(Arc::clone(&log))).await;
    (Fixture::with_backend(Some(backend.base.clone())).await, log, backend)
}

#[tokio::test]
async fn a_pull_request_of_the_current_branch_is_asked_for_with_the_steps_key() {
    let (f, log, _backend) = with_backend().await;
    let arguments = json!({ "title": "Add x", "body": "Because.", "story_id": "s-1" });
    let said = f.fails("create_pull_request", arguments.clone()).await;
    assert!(said.contains("no commits beyond main"), "{said}");
    f.write("x", "1\n");
    f.commit("Add x").await;
    f.write("left", "2\n");
    let made = f.step("step-7", "create_pull_request", arguments).await;
    assert_eq!(made.value, json!({ "pull_request": { "id": "pr-1" }, "uncommitted_files": 1 }));
    let asked = log.lock().unwrap().clone();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].what, format!("POST /api/v1/projects/{}/pull-requests", f.bench.project));
    assert!(asked[0].key.as_ref().unwrap().starts_with("step-7") && asked[0].authorized);
    let body = json!({ "story_id": "s-1", "title": "Add x", "body": "Because.", "head_branch": BRANCH });
    assert_eq!(asked[0].body, body);
}

#[tokio::test]
async fn pull_requests_are_listed_read_and_commented_on() {
    let (f, log, _backend) = with_backend().await;
    f.ok("list_pull_requests", json!({ "state": "approved" })).await;
    f.ok("get_pull_request", json!({ "id": "../x" })).await;
    f.step("s", "comment_on_pull_request", json!({ "id": "pr-1", "body": "Good." })).await;
    let asked: Vec<String> = log.lock().unwrap().iter().map(|asked| asked.what.clone()).collect();
    let root = format!("/api/v1/projects/{}/pull-requests", f.bench.project);
    let expected = [
        format!("GET {root}?state=approved"),
        format!("GET {root}/..%2Fx"),
        format!("POST {root}/pr-1/comments"),
    ];
    assert_eq!(asked, expected);
    let said = f.fails("comment_on_pull_request", json!({ "id": "pr-1", "body": " " })).await;
    assert!(said.contains("empty"), "{said}");
    let said = f.fails("comment_on_pull_request", json!({ "id": "p", "body": "x".repeat(20_001) })).await;
    assert!(said.contains("20000"), "{said}");
}

#[tokio::test]
async fn without_a_backend_the_tool_says_so() {
    let f = Fixture::new().await;
    let said = f.fails("list_pull_requests", json!({})).await;
    assert!(said.contains("not connected"), "{said}");
}
