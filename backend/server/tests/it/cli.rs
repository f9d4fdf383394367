//! The command line, as an operator uses it: the real binary, its output, its exit codes.

use crate::support;
use serde_json::Value;
use sqlx::{Connection, PgConnection};
use std::{
    io::{BufRead, BufReader},
    os::unix::fs::PermissionsExt,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};
use tempfile::TempDir;
use url::Url;
use uuid::Uuid;

/// A database and a data directory of its own.
struct Place {
    dir: TempDir,
    database: String,
}

impl Place {
    async fn new() -> Self {
        let database = format!("syndarix_cli_{}", Uuid::now_v7().simple());
        support::admin(format!("create database {database}")).await;
        Self { dir: tempfile::tempdir().unwrap(), database }
    }

    fn url(&self) -> Url {
        let mut url = support::server_url();
        url.set_path(&self.database);
        url
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = syndarix();
        command.arg("--data-dir").arg(self.dir.path()).args(arguments);
        command.env("DATABASE_URL", self.url().as_str()).stdin(Stdio::null()).output().unwrap()
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let done = self.run(&[arguments, &["--json"]].concat());
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        serde_json::from_slice(&done.stdout).unwrap()
    }

    async fn end(self) {
        support::admin(format!("drop database {} with (force)", self.database)).await;
    }
}

/// The binary, without the surroundings of whoever runs the tests.
fn syndarix() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_syndarix"));
    for variable in
        ["DATABASE_URL", "REDIS_URL", "SYNDARIX_MODEL_BASE_URL", "OPENAI_API_KEY", "ANTHROPIC_API_KEY"]
    {
        command.env_remove(variable);
    }
    command
}

fn refused(done: &Output) -> String {
    assert_eq!(done.status.code(), Some(1), "{}", String::from_utf8_lossy(&done.stdout));
    let said = String::from_utf8(done.stderr.clone()).unwrap();
    assert_eq!(said.lines().count(), 1, "one line: {said}");
    said
}

#[tokio::test]
async fn an_operator_makes_people_projects_and_stories() {
    let place = Place::new().await;
    let said = refused(&place.run(&["project", "list"]));
    assert!(said.contains("syndarix user create"), "{said}");
    let user = place.json(&["user", "create", "ada@example.org", "--name", "Ada", "--generate-password"]);
    assert!(user["password"].as_str().unwrap().len() >= 12);
    assert_eq!(place.json(&["user", "list"])["items"][0]["email"], "ada@example.org");
    place.json(&["project", "create", "shop"]);
    let story = place.json(&["story", "create", "--project", "shop", "Sell apples", "--points", "3"]);
    assert_eq!((story["number"].as_i64(), story["started"].as_bool()), (Some(1), Some(false)));
    assert_eq!(place.json(&["story", "start", "--project", "shop", "1"])["started"], true);
    assert_eq!(place.json(&["story", "list", "--project", "shop"])["items"][0]["title"], "Sell apples");
    let jobs = place.json(&["job", "list"]);
    let kinds: Vec<&str> =
        jobs["items"].as_array().unwrap().iter().filter_map(|job| job["kind"].as_str()).collect();
    assert!(kinds.contains(&"stage.work"), "the next `serve` begins: {kinds:?}");
    assert_eq!(place.json(&["rebuild"])["different"], serde_json::json!([]));
    place.end().await;
}

#[tokio::test]
async fn what_cannot_be_done_is_one_line_that_says_what_to_do() {
    let place = Place::new().await;
    place.json(&["user", "create", "ada@example.org", "--name", "Ada", "--generate-password"]);
    for (arguments, sentence) in [
        (&["project", "show", "nothing"][..], "syndarix project list"),
        (&["job", "redrive", "7"], "syndarix job dead"),
        (&["story", "list", "--project", "x", "--as", "eve@example.org"], "syndarix user list"),
        (&["user", "create", "ada@example.org", "--name", "Ada", "--generate-password"], "exists"),
        (&["demo", "--yes", "--repo", ".", "--story", "x"], "ANTHROPIC_API_KEY"),
        (&["demo", "--yes", "--scenario", "/nonexistent.toml"], "/nonexistent.toml"),
    ] {
        let said = refused(&place.run(arguments));
        assert!(said.contains(sentence), "{arguments:?}: {said}");
    }
    assert_eq!(place.run(&["story", "show"]).status.code(), Some(2), "not understood");
    place.end().await;
}

#[tokio::test]
async fn the_api_document_and_completions_need_no_database() {
    let document = syndarix().arg("openapi").output().unwrap();
    let document: Value = serde_json::from_slice(&document.stdout).unwrap();
    assert!(document["paths"]["/api/v1/projects"]["get"].is_object());
    let script = syndarix().args(["completions", "bash"]).output().unwrap();
    assert!(String::from_utf8(script.stdout).unwrap().contains("scripted-model"));
}

#[tokio::test]
async fn serve_on_the_embedded_database_lets_commands_in_and_stops_in_time() {
    let dir = tempfile::tempdir().unwrap();
    // As root, the database runs as another user, who must be able to get to its files.
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
    let with_dir = |arguments: &[&str]| {
        let mut command = syndarix();
        command.arg("--data-dir").arg(dir.path()).args(arguments);
        command
    };
    let mut serve = with_dir(&["serve", "--listen", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut first = String::new();
    BufReader::new(serve.stdout.as_mut().unwrap()).read_line(&mut first).unwrap();
    assert!(first.starts_with("Syndarix is at http://127.0.0.1:"), "{first}");
    let list = with_dir(&["user", "list", "--json"]).output().unwrap();
    assert!(list.status.success(), "{}", String::from_utf8_lossy(&list.stderr));
    let second = with_dir(&["serve", "--listen", "127.0.0.1:0"]).output().unwrap();
    assert!(
        refused(&Output { stderr: last_line(&second.stderr), ..second.clone() }).contains("already runs")
    );
    let asked = Instant::now();
    let told = Command::new("kill").args(["-TERM", &serve.id().to_string()]).status().unwrap();
    assert!(told.success() && serve.wait().unwrap().success());
    assert!(asked.elapsed() < Duration::from_secs(30), "{:?}", asked.elapsed());
    let after = with_dir(&["user", "list", "--json"]).output().unwrap();
    assert!(after.status.success(), "a command starts the database for itself");
}

#[tokio::test]
async fn a_stop_that_is_asked_for_during_the_start_is_heard() {
    let place = Place::new().await;
    assert!(place.run(&["migrate"]).status.success());
    let mut other = PgConnection::connect(place.url().as_str()).await.unwrap();
    let mut held = other.begin().await.unwrap();
    sqlx::query("lock table _sqlx_migrations").execute(&mut *held).await.unwrap();
    let mut serve = syndarix()
        .arg("--data-dir")
        .arg(place.dir.path())
        .args(["serve", "--listen", "127.0.0.1:0"])
        .env("DATABASE_URL", place.url().as_str())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let waits = "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
    let begun = Instant::now();
    // Not within the transaction: that would see the same activity again and again.
    let mut watcher = PgConnection::connect(place.url().as_str()).await.unwrap();
    while sqlx::query_scalar::<_, i64>(waits).fetch_one(&mut watcher).await.unwrap() == 0 {
        assert!(begun.elapsed() < Duration::from_secs(30), "it does not come so far");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let told = Command::new("kill").args(["-TERM", &serve.id().to_string()]).status().unwrap();
    assert!(told.success());
    assert_eq!(serve.wait().unwrap().code(), Some(0), "in order, and not by the signal itself");
    held.rollback().await.unwrap();
    place.end().await;
}

/// What `serve` logs before it fails is not the sentence.
fn last_line(said: &[u8]) -> Vec<u8> {
    String::from_utf8_lossy(said).lines().last().unwrap_or_default().as_bytes().to_vec()
}
