//! The server over real HTTP, before a small knowledge base that behaves like the backend's.
#![expect(clippy::unwrap_used, reason = "tests fail loudly")]

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex},
};

use axum::{
    Json, Router,
    extract::{Path, Query, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{delete, get, post},
};
use serde_json::{Value, json};
use syndarix_mcp_kit::testing::{Bench, Client, Started, tool_list_within_budget};
use syndarix_mcp_knowledge::server;

#[derive(Default)]
struct Store {
    documents: BTreeMap<String, String>,
    queries: Vec<HashMap<String, String>>,
}

type Shared = Arc<Mutex<Store>>;

async fn search(State(store): State<Shared>, Query(query): Query<HashMap<String, String>>) -> Json<Value> {
    let mut store = store.lock().unwrap();
    let hit = |(path, text): (&String, &String)| {
        json!({
            "path": path, "start_line": 1, "end_line": 2, "kind": "doc", "breadcrumb": format!("{path} > Top"),
            "snippet": text, "score": 0.5, "vector_score": 0.1,
        })
    };
    let found =
        store.documents.iter().filter(|(_, text)| text.contains(&query["q"])).map(hit).collect::<Vec<_>>();
    store.queries.push(query);
    Json(json!({ "items": found }))
}

async fn sources(State(store): State<Shared>, Query(query): Query<HashMap<String, String>>) -> Json<Value> {
    let mut store = store.lock().unwrap();
    let wanted = |path: &&String| query.get("path").is_none_or(|wanted| wanted == *path);
    let source =
        |path: &String| json!({ "path": path, "chunks": 1, "status": "ready", "indexed_commit": null });
    let items: Vec<Value> = store.documents.keys().filter(wanted).map(source).collect();
    store.queries.push(query);
    Json(json!({ "items": items, "next_cursor": "more" }))
}

async fn put(State(store): State<Shared>, Json(body): Json<Value>) -> (StatusCode, Json<Value>) {
    let text = |name: &str| body[name].as_str().unwrap().to_owned();
    store.lock().unwrap().documents.insert(text("path"), text("content"));
    (StatusCode::CREATED, Json(json!({ "path": text("path"), "chunks": 0, "status": "queued" })))
}

async fn remove(State(store): State<Shared>, Path(path): Path<String>) -> Response {
    match store.lock().unwrap().documents.remove(&path) {
        Some(_) => StatusCode::NO_CONTENT.into_response(),
        None => {
            (StatusCode::NOT_FOUND, Json(json!({ "detail": "There is no such document." }))).into_response()
        }
    }
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
        let base = format!("/api/v1/projects/{}/knowledge", bench.project);
        let routes = Router::new()
            .route(&format!("{base}/search"), get(search))
            .route(&format!("{base}/sources"), get(sources))
            .route(&format!("{base}/documents"), post(put))
            .route(&format!("{base}/documents/{{path}}"), delete(remove))
            .with_state(Arc::clone(&store));
        let backend = Started::new("backend", routes).await;
        bench.backend_url = Some(backend.base.parse().unwrap());
        let running = bench.start(server()).await;
        Self { store, bench, running, _backend: backend }
    }

    async fn client(&self) -> Client {
        self.bench.client(&self.running, &["knowledge-base:write"]).await
    }
}

#[tokio::test]
async fn a_document_is_added_found_replaced_and_deleted() {
    let world = World::new().await;
    let client = world.client().await;
    let document = json!({ "path": "notes/./why & how?.md", "content": "We chose Rust." });
    let stored = client.ok("ingest_content", document).await;
    assert_eq!(stored, json!({ "path": "notes/why & how?.md", "status": "queued" }));
    let found = client.ok("search_knowledge", json!({ "query": "Rust", "kind": "doc" })).await;
    assert_eq!(found["results"].as_array().unwrap().len(), 1);
    assert_eq!(found["results"][0]["breadcrumb"], "notes/why & how?.md > Top");
    let update = json!({ "path": "notes/why & how?.md", "content": "We chose Go." });
    client.ok("update_content", update).await;
    assert_eq!(client.ok("search_knowledge", json!({ "query": "Rust" })).await["results"], json!([]));
    let deleted = client.ok("delete_content", json!({ "path": "notes/why & how?.md" })).await;
    assert_eq!(deleted["deleted"], true);
    assert!(world.store.lock().unwrap().documents.is_empty());
    let sentence = client.fails("delete_content", json!({ "path": "notes/why & how?.md" })).await;
    assert!(sentence.contains("no such document"), "{sentence}");
}

#[tokio::test]
async fn what_does_not_exist_cannot_be_updated() {
    let world = World::new().await;
    let client = world.client().await;
    let sentence = client.fails("update_content", json!({ "path": "a.md", "content": "x" })).await;
    assert!(sentence.contains("ingest_content"), "{sentence}");
    assert!(world.store.lock().unwrap().documents.is_empty());
}

#[tokio::test]
async fn results_are_bounded_and_limits_are_passed_on() {
    let world = World::new().await;
    let client = world.client().await;
    let content = format!("needle {}", "é".repeat(50_000));
    client.ok("ingest_content", json!({ "path": "long.md", "content": content })).await;
    let found =
        client.ok("search_knowledge", json!({ "query": "needle", "limit": 500, "kind": "code" })).await;
    let hit = &found["results"][0];
    assert!(hit["snippet"].as_str().unwrap().len() <= 1_500 && hit["truncated"] == true);
    assert!(hit.get("vector_score").is_none());
    client.ok("search_knowledge", json!({ "query": "needle" })).await;
    let sources = client.ok("list_sources", json!({ "cursor": "c" })).await;
    assert_eq!(
        (&sources["sources"][0]["path"], &sources["next_cursor"]),
        (&json!("long.md"), &json!("more"))
    );
    let queries = world.store.lock().unwrap().queries.clone();
    assert_eq!((queries[0]["limit"].as_str(), queries[0]["kind"].as_str()), ("30", "code"));
    assert!(queries[1]["limit"] == "8" && !queries[1].contains_key("kind"));
    assert_eq!((queries[2]["limit"].as_str(), queries[2]["cursor"].as_str()), ("100", "c"));
}

#[tokio::test]
async fn mistakes_come_back_as_sentences_and_paths_stay_names() {
    let world = World::new().await;
    let client = world.client().await;
    let document = |path: &str, content: &str| json!({ "path": path, "content": content });
    for (tool, arguments, expected) in [
        ("search_knowledge", json!({ "query": " " }), "characters to look for"),
        ("search_knowledge", json!({ "query": "x", "kind": "image" }), "`code`"),
        ("ingest_content", document("../a.md", "x"), "`..`"),
        ("ingest_content", document("/etc/passwd", "x"), "absolute"),
        ("ingest_content", document(".git/config", "x"), "`.git`"),
        ("ingest_content", document(".", "x"), "plain name"),
        ("ingest_content", document("a\nb", "x"), "plain name"),
        ("ingest_content", document(&"a".repeat(600), "x"), "512"),
        ("ingest_content", document("a.md", " \n"), "empty"),
        ("ingest_content", document("a.md", &"x".repeat(1_100_000)), "divide"),
        ("delete_content", json!({ "path": "../../issues/1" }), "`..`"),
    ] {
        let sentence = client.fails(tool, arguments).await;
        assert!(sentence.contains(expected), "{tool}: {sentence}");
    }
    assert!(world.store.lock().unwrap().documents.is_empty());
}

#[tokio::test]
async fn a_reader_cannot_write_and_the_list_is_small() {
    let world = World::new().await;
    let reader = world.bench.client(&world.running, &["knowledge-base:read"]).await;
    let names: Vec<String> = reader.tools().await.into_iter().map(|tool| tool.name.into_owned()).collect();
    assert_eq!(names, ["list_sources", "search_knowledge"]);
    tool_list_within_budget(&server());
}
