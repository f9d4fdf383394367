//! The server over real HTTP, before a small tracker that behaves like the backend's.
#![expect(clippy::unwrap_used, reason = "tests fail loudly")]

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use axum::{
    Json, Router,
    extract::{Path, Query, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::{Value, json};
use syndarix_mcp_issues::server;
use syndarix_mcp_kit::testing::{Bench, Client, Started, tool_list_within_budget};

#[derive(Default)]
struct Store {
    issues: Vec<Value>,
    comments: HashMap<usize, Vec<Value>>,
    answers: HashMap<String, Value>,
    queries: Vec<HashMap<String, String>>,
}

type Shared = Arc<Mutex<Store>>;

/// Answers a key that has been seen as it was answered then.
fn once(store: &mut Store, headers: &HeaderMap, make: impl FnOnce(&mut Store) -> Value) -> Json<Value> {
    let key = headers.get("idempotency-key").map(|key| key.to_str().unwrap().to_owned());
    if let Some(answer) = key.as_ref().and_then(|key| store.answers.get(key)) {
        return Json(answer.clone());
    }
    let answer = make(store);
    if let Some(key) = key {
        store.answers.insert(key, answer.clone());
    }
    Json(answer)
}

fn missing() -> Response {
    let problem = json!({ "title": "Not found", "code": "not_found", "detail": "There is no such issue." });
    (StatusCode::NOT_FOUND, Json(problem)).into_response()
}

async fn list(State(store): State<Shared>, Query(query): Query<HashMap<String, String>>) -> Json<Value> {
    let mut store = store.lock().unwrap();
    let wanted = |issue: &&Value| {
        let state = query["state"] == "all" || issue["state"] == *query["state"];
        let word = query.get("q").is_none_or(|q| issue["title"].as_str().unwrap().contains(q.as_str()));
        let label =
            query.get("label").is_none_or(|l| issue["labels"].as_array().unwrap().contains(&json!(l)));
        state && word && label
    };
    let limit: usize = query["limit"].parse().unwrap();
    let items: Vec<Value> = store.issues.iter().filter(wanted).take(limit).cloned().collect();
    let more = (items.len() == limit).then_some("next");
    store.queries.push(query);
    Json(json!({ "items": items, "next_cursor": more }))
}

async fn create(State(store): State<Shared>, headers: HeaderMap, Json(body): Json<Value>) -> Json<Value> {
    once(&mut store.lock().unwrap(), &headers, |store| {
        let issue = json!({
            "id": "0190", "number": store.issues.len() + 1, "title": body["title"], "body": body["body"],
            "state": "open", "labels": body["labels"], "assignee": null,
            "author": { "type": "agent", "id": "b", "name": "Ada" }, "updated_at": "2026-11-20T00:00:00Z",
        });
        store.issues.push(issue.clone());
        issue
    })
}

async fn read(State(store): State<Shared>, Path(number): Path<usize>) -> Response {
    let store = store.lock().unwrap();
    number
        .checked_sub(1)
        .and_then(|at| store.issues.get(at))
        .map_or_else(missing, |i| Json(i.clone()).into_response())
}

async fn change(State(store): State<Shared>, Path(number): Path<usize>, Json(body): Json<Value>) -> Response {
    let mut store = store.lock().unwrap();
    let Some(issue) = number.checked_sub(1).and_then(|at| store.issues.get_mut(at)) else { return missing() };
    for (name, value) in body.as_object().unwrap() {
        issue[name] = value.clone();
    }
    Json(issue.clone()).into_response()
}

async fn comments(State(store): State<Shared>, Path(number): Path<usize>) -> Json<Value> {
    let store = store.lock().unwrap();
    Json(json!({ "items": store.comments.get(&number).cloned().unwrap_or_default(), "next_cursor": null }))
}

async fn comment(
    State(store): State<Shared>,
    Path(number): Path<usize>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Json<Value> {
    once(&mut store.lock().unwrap(), &headers, |store| {
        let comment =
            json!({ "author": { "name": "Ada" }, "body": body["body"], "at": "2026-11-20T00:00:00Z" });
        store.comments.entry(number).or_default().push(comment.clone());
        comment
    })
}

struct World {
    store: Shared,
    bench: Bench,
    running: Started,
    _backend: Started,
}

impl World {
    async fn new() -> Self {
        let mut bench = Bench::new();
        let store = Shared::default();
        let base = format!("/api/v1/projects/{}/issues", bench.project);
        let routes = Router::new()
            .route(&base, get(list).post(create))
            .route(&format!("{base}/{{number}}"), get(read).patch(change))
            .route(&format!("{base}/{{number}}/comments"), get(comments).post(comment))
            .with_state(Arc::clone(&store));
        let backend = Started::new("backend", routes).await;
        bench.backend_url = Some(backend.base.parse().unwrap());
        let running = bench.start(server()).await;
        Self { store, bench, running, _backend: backend }
    }

    async fn client(&self) -> Client {
        self.bench.client(&self.running, &["issues:write"]).await
    }
}

#[tokio::test]
async fn an_issue_is_created_read_changed_commented_and_closed() {
    let world = World::new().await;
    let client = world.client().await;
    let made =
        client.ok("create_issue", json!({ "title": "Crash", "body": "It does.", "labels": ["bug"] })).await;
    assert_eq!(
        made,
        json!({ "number": 1, "title": "Crash", "state": "open", "labels": ["bug"], "updated_at": "2026-11-20T00:00:00Z" })
    );
    client.ok("comment_issue", json!({ "number": 1, "body": "I look at it." })).await;
    let changed =
        client.ok("update_issue", json!({ "number": 1, "assignee": "Ada", "title": "Crash at start" })).await;
    assert_eq!((&changed["assignee"], &changed["title"]), (&json!("Ada"), &json!("Crash at start")));
    let read = client.ok("get_issue", json!({ "number": 1 })).await;
    assert_eq!((&read["body"], &read["author"]), (&json!("It does."), &json!("Ada")));
    assert_eq!(read["comments"][0]["body"], "I look at it.");
    let closed = client.ok("update_issue", json!({ "number": 1, "state": "closed", "assignee": "" })).await;
    assert_eq!((&closed["state"], closed.get("assignee")), (&json!("closed"), None));
    assert_eq!(client.ok("list_issues", json!({})).await["issues"], json!([]));
    assert_eq!(client.ok("list_issues", json!({ "state": "closed" })).await["issues"][0]["number"], 1);
}

#[tokio::test]
async fn a_repeated_step_writes_once() {
    let world = World::new().await;
    let client = world.client().await;
    for (step, expected) in [("step-1", 1), ("step-1", 1), ("step-2", 2)] {
        let made = client.try_call("create_issue", json!({ "title": "A" }), Some(step)).await.unwrap();
        assert_eq!(made.value["number"], expected);
    }
    for _ in 0..2 {
        client.try_call("comment_issue", json!({ "number": 1, "body": "b" }), Some("step-3")).await.unwrap();
    }
    assert_eq!(world.store.lock().unwrap().comments[&1].len(), 1);
}

#[tokio::test]
async fn lists_are_slim_and_go_on_and_searches_look_at_every_state() {
    let world = World::new().await;
    let client = world.client().await;
    for n in 0..3 {
        let issue =
            json!({ "title": format!("Issue {n}"), "body": "x".repeat(10_000), "labels": ["a b&c=d"] });
        client.ok("create_issue", issue).await;
    }
    client.ok("update_issue", json!({ "number": 2, "state": "closed" })).await;
    let page = client.ok("list_issues", json!({ "limit": 2, "label": "a b&c=d" })).await;
    assert_eq!((page["issues"].as_array().unwrap().len(), &page["next_cursor"]), (2, &json!("next")));
    assert!(page.to_string().len() < 500, "{page}");
    client.ok("list_issues", json!({ "cursor": "next" })).await;
    let found = client.ok("search_issues", json!({ "query": "Issue 1", "limit": 1000 })).await;
    assert_eq!(found["issues"][0]["number"], 2);
    let queries = world.store.lock().unwrap().queries.clone();
    assert_eq!((queries[1]["cursor"].as_str(), queries[2]["limit"].as_str()), ("next", "100"));
}

#[tokio::test]
async fn long_discussions_are_cut_to_their_end_and_hidden_characters_are_gone() {
    let world = World::new().await;
    let client = world.client().await;
    client.ok("create_issue", json!({ "title": "T\u{202e}x", "body": "é".repeat(20_000) })).await;
    let comment = |n: usize| json!({ "author": "u", "body": format!("{n}\u{200b}") });
    world.store.lock().unwrap().comments.insert(1, (0..50).map(comment).collect());
    let read = client.ok("get_issue", json!({ "number": 1 })).await;
    let shown = read["comments"].as_array().unwrap();
    assert_eq!((shown.len(), &shown[19]["body"]), (20, &json!("49")));
    assert_eq!(
        (&read["more_comments"], &read["body_truncated"], &read["title"]),
        (&json!(true), &json!(true), &json!("Tx"))
    );
}

#[tokio::test]
async fn mistakes_come_back_as_sentences() {
    let world = World::new().await;
    let client = world.client().await;
    for (tool, arguments, expected) in [
        ("get_issue", json!({ "number": 9 }), "no such issue"),
        ("create_issue", json!({ "title": " " }), "one line"),
        ("create_issue", json!({ "title": "two\nlines" }), "one line"),
        ("create_issue", json!({ "title": "a", "body": "x".repeat(70_000) }), "shorten"),
        ("create_issue", json!({ "title": "a", "labels": [""] }), "labels"),
        ("update_issue", json!({ "number": 1 }), "Nothing to change"),
        ("update_issue", json!({ "number": 1, "state": "done" }), "`open`"),
        ("comment_issue", json!({ "number": 1, "body": "\n" }), "empty"),
        ("search_issues", json!({ "query": "" }), "characters to look for"),
        ("list_issues", json!({ "project": "x" }), "no argument"),
    ] {
        let sentence = client.fails(tool, arguments).await;
        assert!(sentence.contains(expected), "{tool}: {sentence}");
    }
}

#[tokio::test]
async fn every_tool_may_be_called_again_after_a_crash() {
    let world = World::new().await;
    let writer = world.bench.client(&world.running, &["issues:read", "issues:write"]).await;
    for tool in writer.tools().await {
        let hints = tool.annotations.unwrap();
        assert_eq!(hints.idempotent_hint, Some(true), "{}: its key makes a repeat safe", tool.name);
    }
}

#[tokio::test]
async fn a_reader_cannot_write_and_the_list_is_small() {
    let world = World::new().await;
    let reader = world.bench.client(&world.running, &["issues:read"]).await;
    let names: Vec<String> = reader.tools().await.into_iter().map(|tool| tool.name.into_owned()).collect();
    assert_eq!(names, ["get_issue", "list_issues", "search_issues"]);
    tool_list_within_budget(&server());
}
