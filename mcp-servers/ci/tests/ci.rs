//! The server over real HTTP, with real commands and a small backend.
#![expect(clippy::unwrap_used, reason = "tests fail loudly")]

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::{Json, Router, extract::State, http::HeaderMap, routing::get};
use serde_json::{Value, json};
use syndarix_mcp_ci::{
    Ci, CiConfig,
    sandbox::{Level, SandboxConfig, Toolchains},
    server,
};
use syndarix_mcp_kit::testing::{Bench, Client, Started, tool_list_within_budget};

type Backend = Arc<Mutex<(Option<String>, Vec<String>)>>;

async fn project(State(backend): State<Backend>, headers: HeaderMap) -> Json<Value> {
    let mut backend = backend.lock().unwrap();
    backend.1.push(headers["authorization"].to_str().unwrap().to_owned());
    Json(json!({ "id": "x", "name": "p", "test_command": backend.0 }))
}

struct World {
    bench: Bench,
    backend: Backend,
    _backend_server: Started,
    running: Started,
}

impl World {
    async fn new(test_command: Option<&str>, config: CiConfig) -> Self {
        let mut bench = Bench::new();
        // Commands run as a user of their own when this is root, who must be able to pass.
        fs::set_permissions(bench.workspaces(), fs::Permissions::from_mode(0o711)).unwrap();
        let backend: Backend = Arc::new(Mutex::new((test_command.map(str::to_owned), Vec::new())));
        let path = format!("/api/v1/projects/{}", bench.project);
        let routes = Router::new().route(&path, get(project)).with_state(Arc::clone(&backend));
        let backend_server = Started::new("backend", routes).await;
        bench.backend_url = Some(backend_server.base.parse().unwrap());
        let ci = tokio::task::spawn_blocking(|| Ci::probe(config)).await.unwrap();
        let running = bench.start(server(ci)).await;
        Self { bench, backend, _backend_server: backend_server, running }
    }

    async fn client(&self) -> Client {
        self.bench.client(&self.running, &["cicd:write"]).await
    }
}

fn config() -> CiConfig {
    CiConfig {
        sandbox: SandboxConfig { toolchains: Toolchains::of_this_process(), ..SandboxConfig::default() },
        ..CiConfig::default()
    }
}

const PYTHON_TEST: &str = "import unittest
class T(unittest.TestCase):
    def test_sum(self): self.assertEqual(1 + 1, EXPECTED)
";

#[tokio::test]
async fn the_projects_own_tests_pass_or_fail_with_their_output_and_isolation() {
    let world = World::new(Some("python3 -m unittest"), config()).await;
    let client = world.client().await;
    let file = world.bench.worktree().join("test_sum.py");
    fs::write(&file, PYTHON_TEST.replace("EXPECTED", "2")).unwrap();
    let passed = client.ok("run_tests", json!({})).await;
    assert_eq!((&passed["passed"], &passed["exit_code"]), (&json!(true), &json!(0)), "{passed}");
    assert_eq!(passed["command"], "python3 -m unittest");
    assert!(passed["output"].as_str().unwrap().contains("Ran 1 test"), "{passed}");
    let level: Level = passed["isolation"]["level"].as_str().unwrap().parse().unwrap();
    assert!(level >= Level::Landlock && !passed["isolation"]["detail"].as_str().unwrap().is_empty());
    fs::write(&file, PYTHON_TEST.replace("EXPECTED", "3")).unwrap();
    let failed = client.ok("run_tests", json!({})).await;
    assert_eq!((&failed["passed"], &failed["timed_out"]), (&json!(false), &json!(false)));
    assert!(failed["output"].as_str().unwrap().contains("AssertionError: 2 != 3"), "{failed}");
    let tokens = world.backend.lock().unwrap().1.clone();
    assert!(tokens.len() == 2 && tokens.iter().all(|token| token.starts_with("Bearer ")));
}

#[tokio::test]
async fn without_a_test_command_the_answer_says_where_to_set_it() {
    let world = World::new(Some("  "), config()).await;
    let client = world.client().await;
    for command in [Some("  ".to_owned()), None] {
        world.backend.lock().unwrap().0 = command;
        let sentence = client.fails("run_tests", json!({})).await;
        assert!(sentence.contains("project's settings") && sentence.contains("Test command"), "{sentence}");
    }
}

#[tokio::test]
async fn the_model_cannot_choose_what_is_run_as_tests() {
    let world = World::new(Some("true"), config()).await;
    let client = world.client().await;
    let sentence = client.fails("run_tests", json!({ "command": "touch owned" })).await;
    assert!(sentence.contains("no argument `command`"), "{sentence}");
}

#[tokio::test]
async fn tests_out_of_time_are_reported_as_such() {
    let config = CiConfig { timeout: Duration::from_secs(1), ..config() };
    let world = World::new(Some("echo begun; sleep 30"), config).await;
    let started = Instant::now();
    let run = world.client().await.ok("run_tests", json!({})).await;
    assert_eq!((&run["passed"], &run["timed_out"]), (&json!(false), &json!(true)));
    assert_eq!(run["output"], "begun\n");
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn below_the_minimum_isolation_nothing_runs() {
    let mut config = config();
    config.sandbox.strongest = Level::None;
    let world = World::new(Some("touch ran"), config).await;
    let sentence = world.client().await.fails("run_tests", json!({})).await;
    assert!(sentence.contains("`landlock`") && sentence.contains("minimum_isolation"), "{sentence}");
    assert!(!world.bench.worktree().join("ran").exists());
}

#[tokio::test]
async fn only_allowed_programs_run_and_no_shell_reads_their_arguments() {
    let config = CiConfig { commands: vec!["echo".to_owned(), "sleep".to_owned()], ..config() };
    let world = World::new(None, config).await;
    let client = world.client().await;
    let run = client
        .ok("run_command", json!({ "program": "echo", "args": ["$(id)", "; touch x", "--help x"] }))
        .await;
    assert_eq!(run["output"], "$(id) ; touch x --help x\n");
    for program in ["sh", "/bin/echo", "../echo", "echo x", ""] {
        let sentence = client.fails("run_command", json!({ "program": program })).await;
        assert!(sentence.contains("echo, sleep"), "{sentence}");
    }
    let slow = json!({ "program": "sleep", "args": ["30"], "timeout_seconds": 1 });
    assert_eq!(client.ok("run_command", slow).await["timed_out"], true);
    let sentence = client.fails("run_command", json!({ "program": "echo", "args": ["a\0b"] })).await;
    assert!(sentence.contains("NUL"), "{sentence}");
}

#[tokio::test]
async fn when_the_caller_goes_the_command_goes() {
    let world = World::new(Some("while :; do date +%s%N >> beat; sleep 0.05; done"), config()).await;
    let client = world.client().await;
    let beat = world.bench.worktree().join("beat");
    tokio::select! {
        _ = client.call("run_tests", json!({})) => panic!("it ended by itself"),
        () = async { while !beat.exists() { tokio::time::sleep(Duration::from_millis(20)).await } } => {}
    }
    drop(client);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let size = fs::metadata(&beat).unwrap().len();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(fs::metadata(&beat).unwrap().len(), size, "the command is still running");
}

#[tokio::test]
async fn a_reader_sees_no_tool_and_the_list_is_small() {
    let world = World::new(None, config()).await;
    let reader = world.bench.client(&world.running, &["cicd:read"]).await;
    assert!(reader.tools().await.is_empty());
    let ci = tokio::task::spawn_blocking(|| Ci::probe(config())).await.unwrap();
    let list = tool_list_within_budget(&server(ci));
    assert!(list.contains("run_tests") && list.contains("run_command"));
}
