//! The kit over real HTTP: who may come in, what a call may say, what comes back.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail loudly")]

use std::{fmt::Write as _, time::Duration};

use rmcp::service::ServiceError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use syndarix_mcp_kit::{
    BackendClient, Options, ProjectCtx, SCOPE_REFUSED, ToolFailure, ToolServer, ToolSpec,
    testing::{Bench, Era, Started},
};
use uuid::Uuid;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Text {
    text: String,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Nothing {}

#[derive(Serialize)]
struct Who {
    project: Uuid,
    agent: Uuid,
    run: Uuid,
    step: Option<String>,
    text: String,
}

async fn echo((): (), ctx: ProjectCtx, args: Text) -> Result<Who, ToolFailure> {
    tokio::time::sleep(Duration::from_millis(2)).await;
    let step = ctx.step_key().map(str::to_owned);
    Ok(Who { project: ctx.project(), agent: ctx.agent(), run: ctx.run(), step, text: args.text })
}

async fn fail((): (), _: ProjectCtx, args: Text) -> Result<Value, ToolFailure> {
    match args.text.as_str() {
        "panic" => panic!("asked for"),
        "internal" => Err(ToolFailure::internal(&"disk /dev/sda1 is on fire")),
        text => Err(ToolFailure::conflict(text).with_details(json!({ "now": 7 }))),
    }
}

async fn sleep((): (), _: ProjectCtx, _: Nothing) -> Result<Value, ToolFailure> {
    tokio::time::sleep(Duration::from_secs(60)).await;
    Ok(json!({}))
}

async fn big((): (), _: ProjectCtx, _: Nothing) -> Result<Value, ToolFailure> {
    Ok(json!({ "kind": "log", "text": "é".repeat(100_000) }))
}

async fn backend((): (), ctx: ProjectCtx, args: Text) -> Result<Value, ToolFailure> {
    let client: BackendClient = ctx.backend()?;
    client.post(&["api", "things", &args.text], &json!({ "a": 1 })).await
}

fn server() -> ToolServer<()> {
    ToolServer::new("example", "For tests.", ())
        .tool(ToolSpec::read("echo", "Says it back."), echo)
        .tool(ToolSpec::write("fail", "Fails.").destructive(), fail)
        .tool(ToolSpec::read("sleep", "Sleeps.").timeout(Duration::from_millis(80)), sleep)
        .tool(ToolSpec::read("big", "Says too much.").max_result_bytes(4096), big)
        .tool(ToolSpec::write("backend", "Asks the backend.").open_world(), backend)
}

fn refusal(fault: ServiceError) -> String {
    match fault {
        ServiceError::McpError(error) if error.code == SCOPE_REFUSED => error.message.into_owned(),
        other => panic!("not a refusal: {other:?}"),
    }
}

async fn post(
    running: &Started,
    token: Option<&str>,
    headers: &[(&str, &str)],
    body: String,
) -> (u16, String, String) {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut request = client.post(&running.url).body(body);
    request = request.header("content-type", "application/json");
    request = request.header("accept", "application/json, text/event-stream");
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = request.send().await.unwrap();
    let challenge = answer.headers().get("www-authenticate").map_or("", |v| v.to_str().unwrap()).to_owned();
    (answer.status().as_u16(), challenge, answer.text().await.unwrap())
}

fn legacy_call(tool: &str, arguments: &Value) -> String {
    json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": tool, "arguments": arguments } })
        .to_string()
}

#[tokio::test]
async fn a_call_answers_with_the_callers_own_identity_in_both_eras() {
    let bench = Bench::new();
    let running = bench.start(server()).await;
    for era in [Era::Modern, Era::Legacy] {
        let token = bench.token("example", &["example:read"]);
        let client = bench.client_with(&running, &token, era).await.unwrap();
        let answer = client.try_call("echo", json!({ "text": "hi" }), Some("step-1")).await.unwrap();
        let who = answer.value;
        assert_eq!(who["text"], "hi");
        assert_eq!(who["step"], "step-1");
        assert_eq!(who["project"], json!(bench.project));
        assert_eq!(who["agent"], json!(bench.agent));
        assert_eq!(who["run"], json!(bench.run));
        assert!(answer.text.contains("\"hi\""), "the text is a copy of the structure");
    }
}

#[tokio::test]
async fn a_missing_capability_hides_the_tool_and_refuses_the_call() {
    let bench = Bench::new();
    let running = bench.start(server()).await;
    let client = bench.client(&running, &["example:read", "other:write"]).await;
    let names: Vec<String> = client.tools().await.into_iter().map(|t| t.name.into_owned()).collect();
    assert_eq!(names, ["big", "echo", "sleep"]);
    // Written by hand, since the client does not call what it has not been shown.
    let arguments = json!({ "project_id": bench.project, "agent_id": bench.agent, "text": "x" });
    let token = bench.token("example", &["example:read"]);
    let (status, _, body) = post(&running, Some(&token), &[], legacy_call("fail", &arguments)).await;
    assert_eq!(status, 200);
    assert!(body.contains("insufficient_scope") && body.contains("-32090"), "{body}");
    let writer = bench.client(&running, &["example:write"]).await;
    assert_eq!(writer.tools().await.len(), 5, "write includes read");
    let nobody = bench.client(&running, &[]).await;
    assert!(nobody.tools().await.is_empty());
}

#[tokio::test]
async fn another_projects_id_is_refused_and_a_missing_one_is_explained() {
    let bench = Bench::new();
    let running = bench.start(server()).await;
    let client = bench.client(&running, &["example:write"]).await;
    let other = Uuid::from_u128(0xBAD);
    for name in ["project_id", "agent_id"] {
        let fault = client.try_call("echo", json!({ "text": "x", name: other }), None).await.unwrap_err();
        assert!(refusal(fault).contains(name));
        let sentence = client.fails("echo", json!({ "text": "x", name: "mine" })).await;
        assert!(sentence.contains(name), "{sentence}");
    }
}

#[tokio::test]
async fn a_wrong_argument_is_a_sentence_for_the_model() {
    let bench = Bench::new();
    let running = bench.start(server()).await;
    let client = bench.client(&running, &["example:write"]).await;
    let unknown = client.fails("echo", json!({ "text": "x", "colour": "red" })).await;
    assert!(unknown.contains("`colour`") && unknown.contains("text"), "{unknown}");
    let missing = client.fails("echo", json!({})).await;
    assert!(missing.contains("`text`"), "{missing}");
    let wrong = client.fails("echo", json!({ "text": 7 })).await;
    assert!(wrong.contains("string"), "{wrong}");
}

#[tokio::test]
async fn a_bad_token_is_a_challenge() {
    let bench = Bench::new();
    let running = bench.start(server()).await;
    let good = bench.claims("example", &["example:read"]);
    let mut expired = good.clone();
    (expired.iat, expired.exp) = (good.iat - 400, good.iat - 100);
    let mut eternal = good.clone();
    eternal.exp = good.iat + 86_400;
    let mut postdated = good.clone();
    (postdated.iat, postdated.exp) = (good.iat + 86_400, good.iat + 86_700);
    let mut foreign = good.clone();
    foreign.iss = "somebody".to_owned();
    let stranger = syndarix_mcp_kit::TokenSigner::from_seed([8; 32]).unwrap();
    let none = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.e30.".to_owned();
    let cases = [
        ("expired", bench.signer.sign(&expired).unwrap()),
        ("too long", bench.signer.sign(&eternal).unwrap()),
        ("too long", bench.signer.sign(&postdated).unwrap()),
        ("valid service token", bench.signer.sign(&foreign).unwrap()),
        ("another service", bench.token("git", &["example:read"])),
        ("valid service token", stranger.sign(&good).unwrap()),
        ("valid service token", none),
        ("valid service token", "x".repeat(20_000)),
    ];
    for (why, token) in &cases {
        let (status, challenge, _) = post(&running, Some(token), &[], "{}".to_owned()).await;
        assert_eq!(status, 401, "{why}");
        assert!(
            challenge.contains("error=\"invalid_token\"") && challenge.contains(why),
            "{why}: {challenge}"
        );
    }
    let (status, challenge, _) = post(&running, None, &[], "{}".to_owned()).await;
    assert_eq!((status, challenge.as_str()), (401, "Bearer realm=\"syndarix\""));
}

#[tokio::test]
async fn a_foreign_origin_or_host_is_forbidden() {
    let bench = Bench::new();
    let running = bench.start(server()).await;
    let token = bench.token("example", &["example:read"]);
    let arguments = json!({ "project_id": bench.project, "agent_id": bench.agent, "text": "x" });
    let call = || legacy_call("echo", &arguments);
    let allowed = [("origin", "http://localhost:5173")];
    assert_eq!(post(&running, Some(&token), &allowed, call()).await.0, 200);
    for header in [("origin", "http://evil.example"), ("origin", "null"), ("host", "evil.example")] {
        assert_eq!(post(&running, Some(&token), &[header], call()).await.0, 403, "{header:?}");
    }
}

#[tokio::test]
async fn a_header_that_contradicts_the_arguments_is_refused() {
    let bench = Bench::new();
    let running = bench.start(server()).await;
    let token = bench.token("example", &["example:read"]);
    let arguments = json!({ "project_id": bench.project, "agent_id": bench.agent, "text": "x" });
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": { "name": "t", "version": "1" }
    });
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": { "name": "echo", "arguments": arguments, "_meta": meta } });
    let (project, agent) = (bench.project.to_string(), bench.agent.to_string());
    let headers = |project: &'static str| {
        [
            ("mcp-protocol-version", "2026-07-28"),
            ("mcp-method", "tools/call"),
            ("mcp-name", "echo"),
            ("mcp-param-project-id", project),
        ]
    };
    let project: &'static str = project.leak();
    let agent = ("mcp-param-agent-id", agent.as_str());
    let mut right = headers(project).to_vec();
    right.push(agent);
    let (status, _, text) = post(&running, Some(&token), &right, body.to_string()).await;
    assert_eq!(status, 200, "{text}");
    let mut wrong = headers("00000000-0000-0000-0000-000000000bad").to_vec();
    wrong.push(agent);
    let (status, _, text) = post(&running, Some(&token), &wrong, body.to_string()).await;
    assert_eq!(status, 400);
    assert!(text.contains("-32020"), "{text}");
}

#[tokio::test]
async fn an_oversized_body_is_refused_and_a_slow_one_is_given_up() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let bench = Bench::new();
    let options =
        Options { max_body_bytes: 10_000, body_timeout: Duration::from_millis(100), ..Options::default() };
    let running = Started::new("example", server().mount(&bench.host_with(options))).await;
    let token = bench.token("example", &["example:read"]);
    assert_eq!(post(&running, Some(&token), &[], " ".repeat(10_001)).await.0, 413);
    let mut stream =
        tokio::net::TcpStream::connect(running.base.trim_start_matches("http://")).await.unwrap();
    let head = format!(
        "POST /mcp/example HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\ncontent-length: 99\r\n\r\n{{"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 408");
}

#[tokio::test]
async fn a_failure_tells_the_model_what_to_do_and_no_more() {
    let bench = Bench::new();
    let running = bench.start(server()).await;
    let client = bench.client(&running, &["example:write"]).await;
    let conflict = client.call("fail", json!({ "text": "Read it again." })).await;
    assert_eq!(conflict.text, "Read it again.");
    assert_eq!(
        conflict.value,
        json!({ "error": "conflict", "message": "Read it again.", "details": { "now": 7 } })
    );
    let internal = client.fails("fail", json!({ "text": "internal" })).await;
    assert!(!internal.contains("sda1"), "{internal}");
    let panicked = client.fails("fail", json!({ "text": "panic" })).await;
    assert_eq!(panicked, internal);
    client.ok("echo", json!({ "text": "still alive" })).await;
}

#[tokio::test]
async fn a_tool_is_stopped_at_its_time_limit() {
    let bench = Bench::new();
    let running = bench.start(server()).await;
    let client = bench.client(&running, &["example:read"]).await;
    let sentence = client.fails("sleep", json!({})).await;
    assert!(sentence.contains("0.08 s"), "{sentence}");
}

#[tokio::test]
async fn a_result_over_its_budget_is_cut_and_says_so() {
    let bench = Bench::new();
    let running = bench.start(server()).await;
    let client = bench.client(&running, &["example:read"]).await;
    let answer = client.call("big", json!({})).await;
    assert!(answer.text.len() <= 4096, "{}", answer.text.len());
    assert_eq!(answer.value["truncated"], true);
    assert_eq!(answer.value["kind"], "log");
    assert!(answer.value["text"].as_str().unwrap().len() > 3000);
}

#[tokio::test]
async fn the_backend_is_called_with_the_callers_token_and_the_steps_key() {
    use axum::{Json, Router, extract::Path, http::HeaderMap, routing::post};
    async fn thing(
        Path(name): Path<String>,
        headers: HeaderMap,
        Json(body): Json<Value>,
    ) -> axum::response::Response {
        use axum::response::IntoResponse;
        let header = |n: &str| headers.get(n).map(|v| v.to_str().unwrap().to_owned());
        if name == "gone" {
            let problem = json!({ "title": "Gone", "detail": "The thing is gone.", "code": "thing.gone" });
            return (axum::http::StatusCode::NOT_FOUND, Json(problem)).into_response();
        }
        let seen = json!({ "auth": header("authorization"), "key": header("idempotency-key"), "body": body, "name": name });
        Json(seen).into_response()
    }
    let backend = Started::new("backend", Router::new().route("/api/things/{name}", post(thing))).await;
    let mut bench = Bench::new();
    bench.backend_url = Some(backend.base.parse().unwrap());
    let running = bench.start(server()).await;
    let token = bench.token("example", &["example:write"]);
    let client = bench.client_with(&running, &token, Era::Modern).await.unwrap();
    let seen = client.try_call("backend", json!({ "text": "a/b" }), Some("step-9")).await.unwrap().value;
    assert_eq!(seen["auth"], format!("Bearer {token}"));
    assert_eq!(seen["key"], "step-9/0");
    assert_eq!(seen["name"], "a/b");
    assert_eq!(client.fails("backend", json!({ "text": "gone" })).await, "The thing is gone.");
    backend.stop().await;
    assert!(client.fails("backend", json!({ "text": "x" })).await.contains("try again"));
}

#[tokio::test]
async fn a_write_whose_first_call_is_still_at_work_waits_for_its_answer() {
    use axum::{Json, Router, extract::State, http::HeaderMap, response::IntoResponse, routing::post};
    use std::sync::{Arc, Mutex};
    type Keys = Arc<Mutex<Vec<String>>>;
    async fn thing(State(keys): State<Keys>, headers: HeaderMap) -> axum::response::Response {
        let mut keys = keys.lock().unwrap();
        keys.push(headers["idempotency-key"].to_str().unwrap().to_owned());
        if keys.len() < 3 {
            let problem = json!({ "detail": "Still at work.", "code": "in_progress" });
            return (axum::http::StatusCode::CONFLICT, Json(problem)).into_response();
        }
        Json(json!({ "made": true })).into_response()
    }
    let keys = Keys::default();
    let router = Router::new().route("/api/things/{name}", post(thing)).with_state(Arc::clone(&keys));
    let backend = Started::new("backend", router).await;
    let mut bench = Bench::new();
    bench.backend_url = Some(backend.base.parse().unwrap());
    let running = bench.start(server()).await;
    let token = bench.token("example", &["example:write"]);
    let client = bench.client_with(&running, &token, Era::Modern).await.unwrap();

    let answer = client.try_call("backend", json!({ "text": "x" }), Some("step-9")).await.unwrap();

    assert_eq!(answer.value["made"], true);
    assert_eq!(*keys.lock().unwrap(), ["step-9/0"; 3]);
}

#[tokio::test]
async fn fifty_identities_at_once_never_cross() {
    let bench = Bench::new();
    let running = bench.start(server()).await;
    let calls = (0..50_u128).map(|n| {
        let (bench, running) = (&bench, &running);
        async move {
            let mut claims = bench.claims("example", &["example:read"]);
            claims.project = Uuid::from_u128(1000 + n);
            let token = bench.signer.sign(&claims).unwrap();
            for turn in 0..4 {
                let mut text = String::new();
                write!(text, "{n}-{turn}").unwrap();
                let arguments = json!({ "project_id": claims.project, "agent_id": claims.sub, "text": text });
                let (status, _, body) =
                    post(running, Some(&token), &[], legacy_call("echo", &arguments)).await;
                assert_eq!(status, 200);
                let answer: Value = serde_json::from_str(&body).unwrap();
                let who = &answer["result"]["structuredContent"];
                assert_eq!((&who["project"], &who["text"]), (&json!(claims.project), &json!(text)));
            }
        }
    });
    futures::future::join_all(calls).await;
}

#[tokio::test]
async fn several_servers_share_a_process_and_healthz_needs_no_token() {
    let bench = Bench::new();
    let host = bench.host();
    let second =
        ToolServer::new("second", "Another.", ()).tool(ToolSpec::read("echo", "Says it back."), echo);
    let running = Started::new("example", server().mount(&host).merge(second.mount(&host))).await;
    let health = reqwest::get(format!("{}/healthz", running.base)).await.unwrap();
    assert_eq!(health.text().await.unwrap(), "ok");
    let elsewhere = reqwest::get(format!("{}/mcp/nothing", running.base)).await.unwrap();
    assert_eq!(elsewhere.status(), 404, "the gate stands before the servers only");
    let arguments = json!({ "project_id": bench.project, "agent_id": bench.agent, "text": "x" });
    let url = running.url.replace("/mcp/example", "/mcp/second");
    let second = |token: String| {
        let request = reqwest::Client::builder().build().unwrap().post(&url).bearer_auth(token);
        let request = request.header("content-type", "application/json");
        request
            .header("accept", "application/json, text/event-stream")
            .body(legacy_call("echo", &arguments))
            .send()
    };
    let wrong = second(bench.token("example", &["second:read", "example:read"])).await.unwrap();
    assert_eq!(wrong.status(), 401, "a token for one server is none for another");
    let right = second(bench.token("second", &["second:read"])).await.unwrap();
    assert_eq!(right.status(), 200);
}

async fn nap((): (), _: ProjectCtx, _: Nothing) -> Result<Value, ToolFailure> {
    tokio::time::sleep(Duration::from_millis(400)).await;
    Ok(json!({ "rested": true }))
}

fn napping() -> ToolServer<()> {
    ToolServer::new("example", "For tests.", ()).tool(ToolSpec::read("nap", "Naps."), nap)
}

fn nap_of(bench: &Bench) -> (String, String) {
    let arguments = json!({ "project_id": bench.project, "agent_id": bench.agent });
    (bench.token("example", &["example:read"]), legacy_call("nap", &arguments))
}

#[tokio::test]
async fn a_call_under_way_at_shutdown_is_answered() {
    let bench = Bench::new();
    let running = bench.start(napping()).await;
    let (token, body) = nap_of(&bench);
    let url = running.url.clone();
    let request =
        reqwest::Client::builder().no_proxy().build().unwrap().post(url).bearer_auth(token).body(body);
    let request = request.header("content-type", "application/json");
    let request = request.header("accept", "application/json, text/event-stream");
    let (answer, ()) = tokio::join!(request.send(), async {
        tokio::time::sleep(Duration::from_millis(150)).await;
        running.stop().await;
    });
    assert!(answer.unwrap().text().await.unwrap().contains("rested"));
}

#[tokio::test]
async fn more_calls_than_allowed_are_turned_away_at_once() {
    let bench = Bench::new();
    let options = Options { max_in_flight: 1, ..Options::default() };
    let running = Started::new("example", napping().mount(&bench.host_with(options))).await;
    let (token, body) = nap_of(&bench);
    let calls = (0..3).map(|_| post(&running, Some(&token), &[], body.clone()));
    let mut statuses: Vec<u16> = futures::future::join_all(calls).await.into_iter().map(|a| a.0).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 503, 503]);
}
