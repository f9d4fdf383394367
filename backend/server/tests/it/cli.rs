//! The command line, as an operator uses it: the real binary, its output, its exit codes.

use crate::support;
use serde_json::Value;
use sqlx::{Connection, PgConnection};
use std::{
    io::{BufRead, BufReader, Write},
    os::unix::fs::PermissionsExt,
    process::{Child, ChildStdin, Command, Output, Stdio},
    time::{Duration, Instant},
};
use tempfile::TempDir;
use url::Url;
use uuid::Uuid;

/// A database and a data directory of its own.
pub(crate) struct Place {
    pub(crate) dir: TempDir,
    database: String,
}

impl Place {
    pub(crate) async fn new() -> Self {
        let database = format!("syndarix_cli_{}", Uuid::now_v7().simple());
        support::admin(format!("create database {database}")).await;
        Self { dir: tempfile::tempdir().unwrap(), database }
    }

    fn url(&self) -> Url {
        let mut url = support::server_url();
        url.set_path(&self.database);
        url
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        let mut command = syndarix();
        command.arg("--data-dir").arg(self.dir.path()).args(arguments);
        command.env("DATABASE_URL", self.url().as_str()).stdin(Stdio::null()).output().unwrap()
    }

    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let done = self.run(&[arguments, &["--json"]].concat());
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        serde_json::from_slice(&done.stdout).unwrap()
    }

    pub(crate) async fn pool(&self) -> sqlx::PgPool {
        sqlx::PgPool::connect(self.url().as_str()).await.unwrap()
    }

    /// Runs `serve` until everything is sealed.
    fn serve_and_seal(&self) {
        let mut serve = syndarix();
        serve.arg("--data-dir").arg(self.dir.path()).args(["serve", "--listen", "127.0.0.1:0"]);
        let serve =
            serve.env("DATABASE_URL", self.url().as_str()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut serve = serve.spawn().unwrap();
        let mut first = String::new();
        BufReader::new(serve.stdout.as_mut().unwrap()).read_line(&mut first).unwrap();
        let started = Instant::now();
        loop {
            let done = self.run(&["audit", "verify", "--json"]);
            let report: Value = serde_json::from_slice(&done.stdout).unwrap_or_default();
            let chains = report["chains"].as_array().cloned().unwrap_or_default();
            if !chains.is_empty() && chains.iter().all(|chain| chain["unsealed"] == 0) {
                break;
            }
            assert!(started.elapsed() < Duration::from_secs(60), "{report}");
            std::thread::sleep(Duration::from_millis(100));
        }
        terminate(&mut serve);
    }

    pub(crate) async fn end(self) {
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

fn terminate(serve: &mut Child) {
    let told = Command::new("kill").args(["-TERM", &serve.id().to_string()]).status().unwrap();
    assert!(told.success() && serve.wait().unwrap().success());
}

pub(crate) fn refused(done: &Output) -> String {
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
    let story = story["id"].as_str().unwrap();
    let history = place.json(&["jobs", "history", story]);
    assert_eq!(history["items"][1]["type"], "story.started");
    let then = place.json(&["jobs", "history", story, "--at", "1"]);
    assert_eq!((then["version"].as_i64(), then["state"]["title"].as_str()), (Some(1), Some("Sell apples")));
    assert!(refused(&place.run(&["jobs", "history", story, "--at", "9"])).contains("no version 9"));
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
    terminate(&mut serve);
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

#[tokio::test]
async fn one_changed_byte_of_one_audit_row_is_found_and_its_position_named() {
    let place = Place::new().await;
    place.json(&["user", "create", "ada@example.org", "--name", "Ada", "--generate-password"]);
    let project = place.json(&["project", "create", "shop"]);
    place.json(&["story", "create", "--project", "shop", "Sell apples"]);
    place.serve_and_seal();
    let export = place.dir.path().join("audit.jsonl");
    assert!(place.run(&["audit", "export", "--output", export.to_str().unwrap()]).status.success());
    assert!(place.run(&["audit", "verify", "--file", export.to_str().unwrap()]).status.success());
    assert!(place.run(&["audit", "verify"]).status.success());
    assert!(place.run(&["audit", "verify", "--chain", "shop"]).status.success());
    let pool = place.pool().await;

    let chain = project["id"].as_str().unwrap();
    let seq: i64 = 2;
    let position: i64 = sqlx::query_scalar(
        "select position - event_seq + $2 from audit_block where chain = $1::uuid and event_seq >= $2
          order by event_seq limit 1",
    )
    .bind(chain)
    .bind(seq)
    .fetch_one(&pool)
    .await
    .unwrap();
    let tamper = format!(
        "begin; set local session_replication_role = replica;
         update event set data = (data::text || ' ')::json where project_id = '{chain}' and seq = {seq};
         commit"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(tamper)).execute(&pool).await.unwrap();

    let done = place.run(&["audit", "verify"]);
    let said = String::from_utf8(done.stdout).unwrap();
    assert_eq!(done.status.code(), Some(1), "{said}");
    let line = said.lines().find(|line| line.contains(chain)).unwrap();
    assert!(line.contains(&format!("BROKEN at position {position}")), "{line}");
    assert!(
        place.run(&["audit", "verify", "--file", export.to_str().unwrap()]).status.success(),
        "the copy is whole"
    );
    pool.close().await;
    place.end().await;
}

#[tokio::test]
async fn a_check_of_nothing_or_of_half_a_file_proves_nothing() {
    let place = Place::new().await;
    assert!(place.run(&["migrate"]).status.success());
    assert_eq!(place.run(&["audit", "verify"]).status.code(), Some(1), "no chain at all");
    place.json(&["user", "create", "ada@example.org", "--name", "Ada", "--generate-password"]);
    place.serve_and_seal();
    let unknown = "01935f4e-0000-7000-8000-000000000001";
    assert_eq!(place.run(&["audit", "verify", "--chain", unknown]).status.code(), Some(1));
    let export = place.run(&["audit", "export"]).stdout;
    let file = place.dir.path().join("half.jsonl");
    for (text, whole) in [(&export[..], true), (&export[..export.len() / 2], false), (&[][..], false)] {
        std::fs::write(&file, text).unwrap();
        let done = place.run(&["audit", "verify", "--file", file.to_str().unwrap()]);
        assert_eq!(done.status.success(), whole, "{}", String::from_utf8_lossy(&done.stderr));
    }
    place.end().await;
}

#[tokio::test]
async fn only_migrate_makes_a_schema_and_a_check_says_that_it_lacks() {
    let place = Place::new().await;
    for command in [&["rebuild"][..], &["audit", "verify"], &["audit", "export"]] {
        let said = refused(&place.run(command));
        assert!(said.contains("syndarix migrate"), "{command:?}: {said}");
    }
    let findings = |report: &Value, check: &str| {
        let items = report["items"].as_array().unwrap().clone();
        items.into_iter().find(|one| one["check"] == check).unwrap()
    };
    let before = place.json(&["doctor"]);
    let database = findings(&before, "database");
    assert_eq!(database["verdict"], "warning", "{database}");
    assert!(database["detail"].as_str().unwrap().contains("migrations"), "{database}");
    assert_eq!(findings(&before, "data")["verdict"], "ok");

    assert!(place.run(&["migrate"]).status.success());

    assert_eq!(findings(&place.json(&["doctor"]), "database")["verdict"], "ok");
    let nothing = place.run(&["master-key", "rotate"]);
    assert!(String::from_utf8_lossy(&nothing.stdout).contains("nothing is encrypted yet"), "{nothing:?}");
    assert_eq!(place.json(&["rebuild"])["events"], 0);
    let mut doctor = syndarix();
    doctor
        .arg("--data-dir")
        .arg(place.dir.path())
        .args(["doctor", "--json"])
        .env("REDIS_URL", "redis://127.0.0.1:1/");
    let done = doctor.env("DATABASE_URL", place.url().as_str()).output().unwrap();
    let report: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!((done.status.code(), findings(&report, "redis")["verdict"].as_str()), (Some(1), Some("bad")));
    place.end().await;
}

#[tokio::test]
async fn an_operator_answers_questions_and_manages_agents() {
    let place = Place::new().await;
    place.json(&["user", "create", "ada@example.org", "--name", "Ada", "--generate-password"]);
    place.json(&["project", "create", "shop", "--autonomy", "full_control"]);
    place.serve_and_seal();
    let said = refused(&place.run(&["agent", "spawn", "--project", "shop", "nobody"]));
    assert!(said.contains("the types are: "), "{said}");
    refused(&place.run(&["agent", "spawn", "--project", "shop", "Architect", "--name", "Grace"]));
    let waiting = place.json(&["approval", "list"]);
    let id = waiting["items"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(place.json(&["approval", "show", &id])["id"], *id);
    let arguments = place.dir.path().join("arguments.json");
    std::fs::write(&arguments, "not json").unwrap();
    let file = arguments.to_str().unwrap();
    let said = refused(&place.run(&["approval", "decide", &id, "approve", "--arguments", file]));
    assert!(said.contains("arguments.json"), "{said}");
    let said = refused(&place.run(&["approval", "decide", &id, "reject", "--arguments", file]));
    assert!(said.contains("approve"), "{said}");
    assert_eq!(place.json(&["approval", "decide", &id, "approve"])["state"], "approved");
    refused(&place.run(&["approval", "decide", &id, "reject"]));

    let agents = place.json(&["agent", "list", "--project", "shop"]);
    let grace = agents["items"].as_array().unwrap().iter().find(|agent| agent["name"] == "Grace");
    let grace = grace.unwrap()["id"].as_str().unwrap();
    for (verb, named, status) in
        [("pause", "Grace", "paused"), ("resume", grace, "idle"), ("terminate", "Grace", "terminated")]
    {
        assert_eq!(place.json(&["agent", verb, "--project", "shop", named])["status"], status);
    }
    let said = refused(&place.run(&["agent", "pause", "--project", "shop", "Gracie"]));
    assert!(said.contains("there is no agent `Gracie`; see `syndarix agent list`"), "{said}");
    place.end().await;
}

#[tokio::test]
async fn an_operator_settles_dead_letters_and_it_is_on_record() {
    let place = Place::new().await;
    assert!(place.run(&["migrate"]).status.success());
    let pool = place.pool().await;
    let dead = "insert into job_dead (id, queue, kind, payload, priority, max_attempts, attempt, rescues, fence, reason, errors, created_at)
                values (8, 'git', 'test.work', '{}', 2, 3, 3, 0, 1, 'broken', '[]', now()),
                       (9, 'git', 'test.work', '{}', 2, 3, 3, 0, 1, 'broken', '[]', now())";
    sqlx::raw_sql(dead).execute(&pool).await.unwrap();

    let said = refused(&place.run(&["job", "purge", "9", "--reason", " "]));
    assert!(said.contains("say why"), "{said}");
    assert_eq!(place.json(&["job", "redrive", "8", "--reason", "mended"])["outcome"], "redriven");
    assert_eq!(place.json(&["job", "purge", "9", "--reason", "nobody needs it"])["outcome"], "purged");

    assert_eq!(place.json(&["job", "dead"])["items"], serde_json::json!([]));
    let more = "insert into job_dead (id, queue, kind, payload, priority, max_attempts, attempt, rescues, fence, reason, errors, created_at)
                select id, 'git', 'test.work', '{}', 2, 3, 3, 0, 1, 'broken', '[]', now() from generate_series(18, 19) id";
    sqlx::raw_sql(more).execute(&pool).await.unwrap();
    assert_eq!(place.json(&["jobs", "redrive", "--all", "--kind", "other"])["items"], serde_json::json!([]));
    let queues = place.json(&["jobs", "queues"]);
    let git = queues["items"].as_array().unwrap().iter().find(|queue| queue["queue"] == "git").unwrap();
    assert_eq!(
        (git["dead"].as_i64(), git["depth"].as_i64(), git["workers"].as_i64()),
        (Some(2), Some(1), Some(0))
    );
    let said = place.run(&["jobs", "queues"]);
    assert!(String::from_utf8_lossy(&said.stderr).contains("no worker is polling: git"), "{said:?}");
    assert_eq!(place.json(&["jobs", "workers"])["items"], serde_json::json!([]));
    assert_eq!(place.json(&["jobs", "running"])["items"], serde_json::json!([]));
    let purged = place.json(&["jobs", "purge", "--all", "--queue", "git", "--reason", "an old test"]);
    assert_eq!(purged["items"].as_array().unwrap().len(), 2);
    let recorded: Vec<String> =
        sqlx::query_scalar("select type from audit_entry order by ordinal").fetch_all(&pool).await.unwrap();
    assert_eq!(recorded, ["job.redriven", "job.purged", "job.purged", "job.purged"]);
    pool.close().await;
    place.end().await;
}

#[tokio::test]
async fn an_operator_helps_people_who_lost_their_password_or_their_phone() {
    let place = Place::new().await;
    let first = place.json(&["user", "create", "ada@example.org", "--name", "Ada", "--generate-password"]);
    let second = place.json(&["user", "set-password", "ada@example.org", "--generate-password"]);
    assert_ne!(first["password"], second["password"]);
    place.json(&["user", "sign-out", "ada@example.org"]);
    let said = refused(&place.run(&["user", "sign-out", "eve@example.org"]));
    assert!(said.contains("syndarix user list"), "{said}");
    let pool = place.pool().await;
    let epoch: i32 = sqlx::query_scalar("select token_epoch from app_user").fetch_one(&pool).await.unwrap();
    assert_eq!(epoch, 2);
    pool.close().await;
    place.end().await;
}

#[tokio::test]
async fn names_and_numbers_are_found_wherever_in_the_list_and_never_guessed() {
    let place = Place::new().await;
    place.json(&["user", "create", "ada@example.org", "--name", "Ada", "--generate-password"]);
    let first = place.json(&["project", "create", "first"]);
    place.json(&["story", "create", "--project", "first", "Sell apples"]);
    let pool = place.pool().await;
    let more = "insert into project (id, organisation_id, name, autonomy, policy, repository_state, repository_source, created_at)
                select gen_random_uuid(), organisation_id, 'copy ' || n, autonomy, policy, repository_state, repository_source,
                       created_at + n * interval '1 second' from project, generate_series(1, 210) n";
    sqlx::raw_sql(more).execute(&pool).await.unwrap();
    assert_eq!(place.json(&["project", "show", "first"])["id"], first["id"]);
    assert_eq!(place.json(&["story", "show", "--project", "first", "1"])["title"], "Sell apples");
    let redriven = place.json(&["job", "redrive", "--all", "--project", "first"]);
    assert_eq!(redriven["items"], serde_json::json!([]));
    for command in [
        &["job", "redrive", "--all", "--project", "nowhere"][..],
        &["audit", "verify", "--chain", "nowhere"],
        &["audit", "export", "--chain", "nowhere"],
    ] {
        let said = refused(&place.run(command));
        assert!(said.contains("there is no project `nowhere`; see `syndarix project list`"), "{said}");
    }
    let said = refused(&place.run(&["story", "create", "Sell", "--project", "first", "--sprint", "none"]));
    assert!(said.contains("there is no sprint `none`"), "{said}");
    let found = "with o as (insert into organisation values (gen_random_uuid(), 'Acme', now()) returning id)
                 insert into membership select o.id, u.id, 'owner', now() from o, app_user u";
    sqlx::raw_sql(found).execute(&pool).await.unwrap();

    let said = refused(&place.run(&["project", "create", "second"]));

    assert!(said.contains("--organisation") && said.contains("Acme"), "{said}");
    place.json(&["project", "create", "second", "--organisation", "Acme"]);
    pool.close().await;
    place.end().await;
}

#[tokio::test]
async fn a_key_is_found_by_its_name_as_long_as_one_has_it_and_is_good() {
    let place = Place::new().await;
    place.json(&["user", "create", "ada@example.org", "--name", "Ada", "--generate-password"]);
    place.json(&["project", "create", "shop"]);
    let key = |verb: &str, named: &str| place.run(&["key", verb, named, "--project", "shop", "--json"]);
    let id_of = |done: Output| {
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        serde_json::from_slice::<Value>(&done.stdout).unwrap()["key"]["id"].as_str().unwrap().to_owned()
    };
    let first = id_of(key("create", "nightly"));
    assert_eq!(id_of(key("rotate", "nightly")), first);
    let second = id_of(key("create", "nightly"));

    let said = refused(&key("revoke", "nightly"));

    assert!(said.contains("several keys are called `nightly`: use an id"), "{said}");
    assert!(key("revoke", &second).status.success());
    assert_eq!(id_of(key("rotate", "nightly")), first, "what is revoked has the name no more");
    let said = refused(&key("revoke", "weekly"));
    assert!(said.contains("there is no key `weekly`; see `syndarix key list`"), "{said}");
    place.end().await;
}

#[tokio::test]
async fn a_command_keeps_the_database_that_it_started_for_another_that_uses_it() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
    // Each of them has the database open when it asks for the password.
    let asking = |email: &str| {
        let mut command = syndarix();
        command.arg("--data-dir").arg(dir.path()).args(["user", "create", email, "--name", "X"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (mut asked, mut stderr) = (String::new(), BufReader::new(child.stderr.take().unwrap()));
        stderr.read_line(&mut asked).unwrap();
        assert_eq!(asked, "password:\n");
        child
    };
    let answer = |stdin: Option<ChildStdin>| stdin.unwrap().write_all(b"correct horse battery\n").unwrap();
    let mut first = asking("first@example.org");
    let mut second = asking("second@example.org");

    answer(first.stdin.take());
    let mut made = String::new();
    BufReader::new(first.stdout.take().unwrap()).read_line(&mut made).unwrap();
    assert!(made.contains("first@example.org"), "{made}");
    // It would stop the server at once: looked at for a second.
    let looked = Instant::now();
    while looked.elapsed() < Duration::from_secs(1) {
        assert!(dir.path().join("database-url").exists());
        std::thread::yield_now();
    }
    answer(second.stdin.take());

    assert!(second.wait().unwrap().success() && first.wait().unwrap().success());
    assert!(!dir.path().join("database-url").exists(), "the last one out stopped it");
}
