//! The program itself: its flags, its start, its end.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Command, Stdio};

use syndarix_mcp_kit::testing::Bench;

#[test]
fn the_program_serves_until_it_is_told_to_stop() {
    let bench = Bench::new();
    let dir = tempfile::tempdir().unwrap();
    let key = dir.path().join("key.pem");
    std::fs::write(&key, bench.signer.public_pem().unwrap()).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_syndarix-mcp-git"))
        .args(["--listen", "127.0.0.1:0", "--public-key-file"])
        .arg(&key)
        .arg("--workspaces")
        .arg(bench.workspaces())
        .arg("--repositories")
        .arg(dir.path())
        .arg("--git-home")
        .arg(dir.path().join("home"))
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Kept open to the end: the program may write while it stops.
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let started = log.by_ref().lines().map_while(Result::ok).find(|line| line.contains("serving"));
    assert!(started.is_some(), "it ended with {:?}", child.try_wait());
    assert!(dir.path().join("home/gitconfig").exists());
    let stopped = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert!(stopped.success() && child.wait().unwrap().success());
}

#[test]
fn a_missing_flag_is_named() {
    let output = Command::new(env!("CARGO_BIN_EXE_syndarix-mcp-git")).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("--repositories"), "{said}");
}
