//! What a server logs. A binary of its own: which log lines are on is a matter of the whole process,
//! and tests that run beside this one would decide it, too.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail loudly")]

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use syndarix_mcp_kit::{
    ProjectCtx, ToolFailure, ToolServer, ToolSpec,
    testing::{Bench, Era},
};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Text {
    text: String,
}

async fn echo((): (), _: ProjectCtx, args: Text) -> Result<Value, ToolFailure> {
    Ok(json!({ "text": args.text }))
}

async fn fail((): (), _: ProjectCtx, args: Text) -> Result<Value, ToolFailure> {
    Err(ToolFailure::conflict(args.text))
}

fn server() -> ToolServer<()> {
    ToolServer::new("example", "For tests.", ())
        .tool(ToolSpec::read("echo", "Says it back."), echo)
        .tool(ToolSpec::write("fail", "Fails."), fail)
}

#[derive(Clone, Default)]
struct Log(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn the_log_tells_the_shape_of_a_call_and_never_a_value_or_a_token() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::DEBUG)
        .with_writer(move || writer.clone())
        .with_ansi(false)
        .finish();
    // The test's runtime has one thread, so the server's tasks log here, too.
    let _guard = tracing::subscriber::set_default(subscriber);
    let bench = Bench::new();
    let running = bench.start(server()).await;
    let token = bench.token("example", &["example:write"]);
    let client = bench.client_with(&running, &token, Era::Legacy).await.unwrap();
    client.ok("echo", json!({ "text": "hunter2" })).await;
    client.fails("fail", json!({ "text": "hunter3" })).await;
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let lines: Vec<&str> = text.lines().filter(|line| line.contains("syndarix::tool_call")).collect();
    assert_eq!(lines.len(), 2, "one line for each call");
    assert!(lines[0].contains("text:str(7)") && lines[0].contains("outcome=\"ok\""), "{}", lines[0]);
    assert!(lines[1].contains("outcome=\"conflict\"") && lines[1].contains(&bench.project.to_string()));
    let own: String = text.lines().filter(|line| line.contains("syndarix")).collect();
    assert!(!own.contains("hunter"), "a value was logged");
    let signature = token.rsplit('.').next().unwrap();
    let server_side: String = text.lines().filter(|line| !line.contains("rmcp::transport::worker")).collect();
    assert!(!server_side.contains(signature), "a token was logged");
}
