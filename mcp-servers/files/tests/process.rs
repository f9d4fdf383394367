//! The server as a process: it starts from flags, serves, and stops when told.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail loudly")]

use std::{
    io::Read,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::json;
use syndarix_mcp_kit::testing::Bench;

struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_syndarix-mcp-files"));
    command.stderr(Stdio::piped()).stdout(Stdio::piped());
    command
}

#[tokio::test]
async fn a_process_serves_from_its_flags_and_ends_well_on_sigterm() {
    let bench = Bench::new();
    std::fs::write(bench.worktree().join("a"), "hello").unwrap();
    let key = bench.workspaces().join("public.pem");
    std::fs::write(&key, bench.signer.public_pem().unwrap()).unwrap();
    let port = free_port();
    let child = command()
        .args(["--listen", &format!("127.0.0.1:{port}"), "--public-key-file"])
        .arg(&key)
        .arg("--workspaces")
        .arg(bench.workspaces())
        .spawn()
        .unwrap();
    let mut process = Process(child);
    let end = Instant::now() + Duration::from_secs(20);
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < end, "it does not listen");
        std::thread::sleep(Duration::from_millis(20));
    }
    let token = bench.token("filesystem", &["filesystem:read"]);
    let url = format!("http://127.0.0.1:{port}/mcp/filesystem");
    let client = bench.client_at(&url, &token).await.unwrap();
    assert_eq!(client.ok("read_file", json!({ "path": "a" })).await["text"], "hello");
    assert!(Command::new("kill").arg(process.0.id().to_string()).status().unwrap().success());
    let status = tokio::task::spawn_blocking(move || process.0.wait().unwrap()).await.unwrap();
    assert!(status.success(), "{status}");
}

#[test]
fn a_process_without_a_key_says_why_it_cannot_serve() {
    let mut child = command().args(["--public-key-file", "/nonexistent.pem"]).spawn().unwrap();
    assert!(!child.wait().unwrap().success());
    let mut log = String::new();
    child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    assert!(log.contains("cannot read the public key"), "{log}");
}
