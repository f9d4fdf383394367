//! The manager against real servers over real HTTP.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail loudly")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use syndarix_mcp::{CallError, Limits, Manager, ServerEndpoint, ToolCall, ToolOutcome};
use syndarix_mcp_kit::{
    ProjectCtx, ToolFailure, ToolServer, ToolSpec,
    testing::{Bench, Started},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Nothing {}

#[derive(Debug, Default)]
struct Seen {
    now: AtomicUsize,
    most: AtomicUsize,
    cancelled: AtomicUsize,
    calls: AtomicUsize,
}

async fn whoami(seen: Arc<Seen>, ctx: ProjectCtx, _: Nothing) -> Result<Value, ToolFailure> {
    seen.calls.fetch_add(1, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(3)).await;
    Ok(json!({ "project": ctx.project(), "agent": ctx.agent(), "step": ctx.step_key() }))
}

/// Works for ten seconds, and notices when it is to stop.
async fn slow(seen: Arc<Seen>, ctx: ProjectCtx, _: Nothing) -> Result<Value, ToolFailure> {
    struct Leaving(Arc<Seen>);
    impl Drop for Leaving {
        fn drop(&mut self) {
            self.0.now.fetch_sub(1, Ordering::SeqCst);
        }
    }
    let now = seen.now.fetch_add(1, Ordering::SeqCst) + 1;
    seen.most.fetch_max(now, Ordering::SeqCst);
    let _leaving = Leaving(Arc::clone(&seen));
    ctx.blocking(move |ctx| {
        for _ in 0..500 {
            std::thread::sleep(Duration::from_millis(20));
            if ctx.check_cancelled().is_err() {
                seen.cancelled.fetch_add(1, Ordering::SeqCst);
                return Err(ToolFailure::conflict("stopped"));
            }
        }
        Ok(json!({}))
    })
    .await
}

async fn brief(seen: Arc<Seen>, _: ProjectCtx, _: Nothing) -> Result<Value, ToolFailure> {
    let now = seen.now.fetch_add(1, Ordering::SeqCst) + 1;
    seen.most.fetch_max(now, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(40)).await;
    seen.now.fetch_sub(1, Ordering::SeqCst);
    Ok(json!({}))
}

async fn progress(_: Arc<Seen>, ctx: ProjectCtx, _: Nothing) -> Result<Value, ToolFailure> {
    for step in 0..3_u32 {
        ctx.progress(f64::from(step), Some(3.0), "working").await;
    }
    Err(ToolFailure::conflict("Not now; ask again."))
}

fn server(seen: &Arc<Seen>) -> ToolServer<Arc<Seen>> {
    ToolServer::new("example", "For tests.", Arc::clone(seen))
        .tool(ToolSpec::read("whoami", "Says who calls."), whoami)
        .tool(ToolSpec::read("slow", "Takes long."), slow)
        .tool(ToolSpec::read("brief", "Takes a moment."), brief)
        .tool(ToolSpec::write("progress", "Reports, then says no."), progress)
}

struct World {
    bench: Bench,
    seen: Arc<Seen>,
    running: Started,
    manager: Manager,
}

async fn world_with(limits: Limits) -> World {
    let (bench, seen) = (Bench::new(), Arc::new(Seen::default()));
    let running = bench.start(server(&seen)).await;
    let endpoint = ServerEndpoint::own("example", running.url.parse().unwrap());
    let manager = Manager::new(vec![endpoint], limits).unwrap();
    World { bench, seen, running, manager }
}

async fn world() -> World {
    world_with(Limits::default()).await
}

impl World {
    fn arguments(&self) -> Map<String, Value> {
        let scope = json!({ "project_id": self.bench.project, "agent_id": self.bench.agent });
        scope.as_object().unwrap().clone()
    }

    fn token(&self, caps: &[&str]) -> String {
        self.bench.token("example", caps)
    }

    async fn call(&self, tool: &str) -> Result<ToolOutcome, CallError> {
        let call = ToolCall::new("example", tool, self.arguments());
        self.manager.call(call, &self.token(&["example:write"]), &CancellationToken::new()).await
    }
}

async fn within(limit: Duration, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + limit;
    while !done() {
        assert!(Instant::now() < end, "it did not happen in time");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn fifty_identities_over_one_shared_client_never_cross() {
    let world = world().await;
    let calls = (0..50_u128).flat_map(|n| (0..4).map(move |turn| (n, turn))).map(|(n, turn)| {
        let world = &world;
        async move {
            let mut claims = world.bench.claims("example", &["example:read"]);
            (claims.project, claims.sub) = (Uuid::from_u128(1000 + n), Uuid::from_u128(2000 + n));
            let token = world.bench.signer.sign(&claims).unwrap();
            let arguments = json!({ "project_id": claims.project, "agent_id": claims.sub });
            let mut call = ToolCall::new("example", "whoami", arguments.as_object().unwrap().clone());
            call.meta.insert("syndarix/step".to_owned(), json!(format!("step-{n}-{turn}")));
            let who = world.manager.call(call, &token, &CancellationToken::new()).await.unwrap();
            let who = who.structured.unwrap();
            assert_eq!(who["project"], json!(claims.project));
            assert_eq!(who["agent"], json!(claims.sub));
            assert_eq!(who["step"], format!("step-{n}-{turn}"));
        }
    });
    futures::future::join_all(calls).await;
    assert_eq!(world.seen.calls.load(Ordering::SeqCst), 200, "each call was made once");
}

#[tokio::test]
async fn a_tool_list_is_never_another_tokens() {
    let world = world().await;
    for _ in 0..3 {
        let reader = world.manager.list_tools("example", &world.token(&["example:read"])).await.unwrap();
        assert_eq!(reader.len(), 3);
        let writer = world.manager.list_tools("example", &world.token(&["example:write"])).await.unwrap();
        assert_eq!(writer.len(), 4);
        let nobody = world.manager.list_tools("example", &world.token(&[])).await.unwrap();
        assert!(nobody.is_empty());
        // The shared client has just seen an empty list; a call must not depend on it.
        assert!(!world.call("whoami").await.unwrap().is_error);
    }
}

#[tokio::test]
async fn a_refused_token_leaves_the_shared_client_usable() {
    let world = world().await;
    world.call("whoami").await.unwrap();
    let call = || ToolCall::new("example", "whoami", world.arguments());
    let mut expired = world.bench.claims("example", &["example:read"]);
    (expired.iat, expired.exp) = (expired.iat - 500, expired.iat - 200);
    let tokens = [
        ("another service", world.bench.token("git", &["example:read"])),
        ("expired", world.bench.signer.sign(&expired).unwrap()),
        ("not a valid", "x.y.z".to_owned()),
    ];
    for (why, token) in tokens {
        let fault = world.manager.call(call(), &token, &CancellationToken::new()).await.unwrap_err();
        let CallError::Refused(reason) = &fault else { panic!("{why}: {fault:?}") };
        assert!(reason.contains(why), "{why}: {reason}");
        world.call("whoami").await.unwrap();
    }
}

#[tokio::test]
async fn a_bad_token_at_the_handshake_is_a_refusal_and_no_lasting_one() {
    let world = world().await;
    let call = ToolCall::new("example", "whoami", world.arguments());
    let fault = world.manager.call(call, "x.y.z", &CancellationToken::new()).await.unwrap_err();
    assert!(matches!(fault, CallError::Refused(_)), "{fault:?}");
    world.call("whoami").await.unwrap();
}

#[tokio::test]
async fn what_the_token_does_not_allow_is_refused() {
    let world = world().await;
    let cancel = CancellationToken::new();
    let reader = world.token(&["example:read"]);
    let call = ToolCall::new("example", "progress", world.arguments());
    let fault = world.manager.call(call, &reader, &cancel).await.unwrap_err();
    assert!(matches!(&fault, CallError::Refused(why) if why.contains("insufficient_scope")), "{fault:?}");
    let mut arguments = world.arguments();
    arguments.insert("project_id".to_owned(), json!(Uuid::from_u128(0xBAD)));
    let call = ToolCall::new("example", "whoami", arguments);
    let fault = world.manager.call(call, &reader, &cancel).await.unwrap_err();
    assert!(matches!(&fault, CallError::Refused(why) if why.contains("project_id")), "{fault:?}");
    let call = ToolCall::new("example", "no_such", world.arguments());
    let fault = world.manager.call(call, &reader, &cancel).await.unwrap_err();
    assert!(matches!(fault, CallError::Protocol(_)), "{fault:?}");
    let call = ToolCall::new("nowhere", "whoami", world.arguments());
    let fault = world.manager.call(call, &reader, &cancel).await.unwrap_err();
    assert_eq!(fault, CallError::UnknownServer("nowhere".to_owned()));
}

#[tokio::test]
async fn a_tool_that_says_no_is_an_answer_also_after_progress() {
    let world = world().await;
    let outcome = world.call("progress").await.unwrap();
    assert!(outcome.is_error);
    assert_eq!(outcome.text, "Not now; ask again.");
    assert_eq!(outcome.structured.unwrap()["error"], "conflict");
}

#[tokio::test]
async fn a_call_over_its_time_is_given_up_and_the_server_stops_working() {
    let world = world().await;
    let mut call = ToolCall::new("example", "slow", world.arguments());
    call.timeout = Some(Duration::from_millis(200));
    let started = Instant::now();
    let token = world.token(&["example:read"]);
    let fault = world.manager.call(call, &token, &CancellationToken::new()).await.unwrap_err();
    assert_eq!(fault, CallError::Timeout(Duration::from_millis(200)));
    assert!(started.elapsed() < Duration::from_secs(2));
    within(Duration::from_secs(3), || world.seen.cancelled.load(Ordering::SeqCst) == 1).await;
    world.call("whoami").await.unwrap();
}

#[tokio::test]
async fn cancelling_or_dropping_a_call_stops_the_server() {
    let world = world().await;
    let token = world.token(&["example:read"]);
    let call = || ToolCall::new("example", "slow", world.arguments());
    let started = |count: usize| world.seen.now.load(Ordering::SeqCst) == count;
    let cancel = CancellationToken::new();
    let (fault, ()) = tokio::join!(world.manager.call(call(), &token, &cancel), async {
        within(Duration::from_secs(3), || started(1)).await;
        cancel.cancel();
    });
    assert_eq!(fault.unwrap_err(), CallError::Cancelled);
    within(Duration::from_secs(3), || world.seen.cancelled.load(Ordering::SeqCst) == 1).await;
    let never = CancellationToken::new();
    tokio::select! {
        answer = world.manager.call(call(), &token, &never) => panic!("{answer:?}"),
        () = within(Duration::from_secs(3), || started(1)) => {}
    }
    within(Duration::from_secs(3), || world.seen.cancelled.load(Ordering::SeqCst) == 2).await;
    world.call("whoami").await.unwrap();
}

#[tokio::test]
async fn a_server_that_was_restarted_is_found_again() {
    let World { bench, seen, running, manager } = world().await;
    let token = bench.token("example", &["example:read"]);
    let arguments = json!({ "project_id": bench.project, "agent_id": bench.agent });
    let call = || ToolCall::new("example", "whoami", arguments.as_object().unwrap().clone());
    let cancel = CancellationToken::new();
    manager.call(call(), &token, &cancel).await.unwrap();
    let address = running.base.trim_start_matches("http://").to_owned();
    running.stop().await;
    let fault = manager.call(call(), &token, &cancel).await.unwrap_err();
    assert!(matches!(fault, CallError::Unreachable { .. }) && fault.is_transient(), "{fault:?}");
    assert!(!manager.health().await[0].healthy);
    let _again = Started::on("example", server(&seen).mount(&bench.host()), &address).await;
    manager.call(call(), &token, &cancel).await.unwrap();
    assert!(manager.health().await[0].healthy);
}

#[tokio::test]
async fn a_server_is_asked_no_more_than_it_may_be() {
    let limits = Limits { max_concurrent: 2, ..Limits::default() };
    let world = world_with(limits).await;
    futures::future::join_all((0..8).map(|_| async { world.call("brief").await.unwrap() })).await;
    assert_eq!(world.seen.most.load(Ordering::SeqCst), 2);
    // Waiting for a turn counts: a call does not outlive its limit in the queue.
    let busy = futures::future::join_all((0..2).map(|_| world.call("slow")));
    let waiting = async {
        within(Duration::from_secs(3), || world.seen.now.load(Ordering::SeqCst) == 2).await;
        let mut call = ToolCall::new("example", "whoami", world.arguments());
        call.timeout = Some(Duration::from_millis(100));
        let fault =
            world.manager.call(call, &world.token(&["example:read"]), &CancellationToken::new()).await;
        assert!(matches!(fault, Err(CallError::Timeout(_))), "{fault:?}");
    };
    tokio::select! {
        _ = busy => panic!("the slow calls ended first"),
        () = waiting => {}
    }
}

#[tokio::test]
async fn closing_ends_what_is_under_way() {
    let world = world().await;
    let (answer, ()) = tokio::join!(world.call("slow"), async {
        within(Duration::from_secs(3), || world.seen.now.load(Ordering::SeqCst) == 1).await;
        world.manager.close().await;
    });
    assert_eq!(answer.unwrap_err(), CallError::Cancelled);
    assert_eq!(world.call("whoami").await.unwrap_err(), CallError::Cancelled);
    within(Duration::from_secs(3), || world.seen.cancelled.load(Ordering::SeqCst) == 1).await;
}

fn endless() -> axum::response::Response {
    let chunks = futures::stream::repeat_with(|| Ok::<_, std::io::Error>(vec![b' '; 1 << 16]));
    let body = axum::body::Body::from_stream(chunks);
    axum::response::Response::builder().header("content-type", "application/json").body(body).unwrap()
}

#[tokio::test]
async fn a_server_of_the_older_era_is_spoken_to_in_its_own_way() {
    use axum::{Json, Router, http::StatusCode, response::IntoResponse, routing::post};
    let legacy = async |Json(message): Json<Value>| {
        let result = match message["method"].as_str().unwrap() {
            "initialize" => json!({ "protocolVersion": "2025-11-25", "capabilities": { "tools": {} },
                "serverInfo": { "name": "old", "version": "1" } }),
            "notifications/initialized" => return StatusCode::ACCEPTED.into_response(),
            "tools/list" => json!({ "tools": [{ "name": "old_tool", "inputSchema": { "type": "object" } }] }),
            "tools/call" => {
                json!({ "content": [{ "type": "text", "text": "one" }, { "type": "text", "text": "two" }] })
            }
            _ => return (StatusCode::BAD_REQUEST, "what?").into_response(),
        };
        Json(json!({ "jsonrpc": "2.0", "id": message["id"], "result": result })).into_response()
    };
    let running = Started::new("old", Router::new().route("/mcp/old", post(legacy))).await;
    let endpoint = ServerEndpoint::outside("old", running.url.parse().unwrap());
    let manager = Manager::new(vec![endpoint], Limits::default()).unwrap();
    let tools = manager.list_tools("old", "t").await.unwrap();
    assert_eq!((tools[0].name.as_str(), tools[0].destructive), ("old_tool", true));
    let call = ToolCall::new("old", "old_tool", Map::new());
    let outcome = manager.call(call, "t", &CancellationToken::new()).await.unwrap();
    assert_eq!((outcome.text.as_str(), outcome.structured), ("one\ntwo", None));
}

#[tokio::test]
async fn what_is_no_mcp_server_is_told_apart() {
    use axum::{Router, http::StatusCode, routing::post};
    let router = Router::new()
        .route("/html", post(|| async { ([("content-type", "text/html")], "<p>hello</p>") }))
        .route("/broken", post(|| async { StatusCode::INTERNAL_SERVER_ERROR }))
        .route("/endless", post(|| async { endless() }))
        .route("/stream", post(|| async { ([("content-type", "text/event-stream")], endless().into_body()) }))
        .route("/silent", post(|| async { tokio::time::sleep(Duration::from_secs(60)).await }));
    let running = Started::new("other", router).await;
    let url = |path: &str| format!("{}/{path}", running.base).parse().unwrap();
    let mut servers: Vec<ServerEndpoint> = ["html", "broken", "silent", "endless", "stream"]
        .iter()
        .map(|name| ServerEndpoint::outside(*name, url(name)))
        .collect();
    servers.push(ServerEndpoint::outside("nobody", "http://127.0.0.1:1/mcp".parse().unwrap()));
    let limits = Limits { connect_timeout: Duration::from_millis(300), ..Limits::default() };
    let manager = Manager::new(servers, limits).unwrap();
    let fault = async |name: &str| manager.list_tools(name, "t").await.unwrap_err();
    let html = fault("html").await;
    assert!(matches!(html, CallError::Protocol(_)), "{html:?}");
    let endless = fault("endless").await;
    assert!(matches!(&endless, CallError::Protocol(why) if why.contains("longer than")), "{endless:?}");
    let stream = fault("stream").await;
    assert!(matches!(stream, CallError::Unreachable { .. } | CallError::Protocol(_)), "{stream:?}");
    let broken = fault("broken").await;
    assert!(matches!(broken, CallError::Unreachable { sent: true, .. }), "{broken:?}");
    let silent = fault("silent").await;
    assert!(matches!(silent, CallError::Unreachable { .. }), "{silent:?}");
    let nobody = fault("nobody").await;
    assert!(matches!(nobody, CallError::Unreachable { sent: false, .. }), "{nobody:?}");
    let (catalogue, failures) = manager.catalogue(&[("html", "t"), ("nobody", "t")]).await;
    assert_eq!((catalogue.iter().count(), failures.len()), (0, 2));
}

#[tokio::test]
async fn a_catalogue_over_two_servers_routes_to_the_right_one() {
    let (bench, seen) = (Bench::new(), Arc::new(Seen::default()));
    std::fs::write(bench.worktree().join("a.txt"), "hello\n").unwrap();
    let host = bench.host();
    let router = server(&seen).mount(&host).merge(syndarix_mcp_files::server().mount(&host));
    let running = Started::new("example", router).await;
    let url = |name: &str| format!("{}/mcp/{name}", running.base).parse().unwrap();
    let servers = ["example", "filesystem"].map(|name| ServerEndpoint::own(name, url(name)));
    let manager = Manager::new(servers.to_vec(), Limits::default()).unwrap();
    let example = bench.token("example", &["example:read"]);
    let files = bench.token("filesystem", &["filesystem:read"]);
    let (catalogue, failures) = manager.catalogue(&[("example", &example), ("filesystem", &files)]).await;
    assert!(failures.is_empty(), "{failures:?}");
    assert_eq!(catalogue.iter().count(), 3 + 5);
    let tool = catalogue.route("read_file").unwrap();
    assert!(tool.read_only && tool.server == "filesystem");
    let arguments = json!({ "project_id": bench.project, "agent_id": bench.agent, "path": "a.txt" });
    let call = ToolCall::new(&tool.server, &tool.name, arguments.as_object().unwrap().clone());
    let outcome = manager.call(call, &files, &CancellationToken::new()).await.unwrap();
    assert_eq!(outcome.structured.unwrap()["text"], "hello\n");
    assert!(manager.health().await.iter().all(|health| health.healthy));
}
