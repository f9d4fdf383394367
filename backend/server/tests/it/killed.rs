//! A process that is killed after a tool took effect and before that was recorded: what each class of tools does about
//! it. The real binary, SIGKILL, real git, real tools; effects are counted from outside.

use crate::{fire, support};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, PgPool};
use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};
use syndarix::{
    demo::{ScriptedModel, client::Client},
    lifecycle::STOP_LIMIT,
};
use tempfile::TempDir;
use url::Url;
use uuid::Uuid;

/// The lock that holds a record back.
const HELD: i64 = 4_711;
pub(crate) const LOGIN: (&str, &str, &str) = ("ann@example.org", "Ann", "a password for a test");
/// What processes say, in their data directory.
const LOG: &str = "serve.log";

/// While the lock is held, the end of a tool's step stays unrecorded, however long ago the tool took effect.
const HOLD_BACK: &str = "
create function hold_back() returns trigger language plpgsql as $$
begin
    perform pg_advisory_xact_lock(4711);
    return new;
end $$;
create table held_tool (name text primary key);
create function is_held(tool text) returns boolean language sql as 'select exists (select from held_tool where name = tool)';
create trigger hold_back before update on step for each row
    when (old.kind = 'tool' and old.status = 'started' and new.status <> 'started' and is_held(new.name))
    execute function hold_back();
create trigger hold_back before insert on issue for each row
    when (is_held('before create_issue')) execute function hold_back();
create trigger hold_back before insert on pull_request for each row
    when (is_held('before create_pull_request')) execute function hold_back();";

/// A binary that serves one project, and can be killed.
pub(crate) struct Killable {
    serve: Child,
    client: Client,
    project: Uuid,
    pool: PgPool,
    holder: PgConnection,
    server: Url,
    database: String,
    dir: TempDir,
    _model: ScriptedModel,
}

impl Killable {
    pub(crate) async fn start(rules: &str) -> Self {
        Self::start_on(&support::server_url(), rules).await
    }

    /// The same, with its database on this server.
    pub(crate) async fn start_on(server: &Url, rules: &str) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let model = fire::model(rules).await;
        let database = format!("syndarix_killed_{}", Uuid::now_v7().simple());
        admin(server, format!("create database {database}")).await;
        let dir = tempfile::tempdir().unwrap();
        let groups = ["high-reasoning", "fast-response", "cost-optimized", "code"].map(|name| {
            format!(
                "[[group]]\nname = \"{name}\"\n[[group.chain]]\nname = \"scripted\"\nprovider = \"scripted\"\n\
                 base_url = \"{}\"\nmodel = \"m\"\ncontext_window = 200000\nmax_output = 8192\n\
                 endpoint_access = \"private_network\"\n",
                model.base_url
            )
        });
        fs::write(dir.path().join("models.toml"), groups.concat()).unwrap();
        let server = server.clone();
        let mut url = server.clone();
        url.set_path(&database);
        let (serve, client) = serve(&dir, url.as_str()).await;
        let pool = PgPool::connect(url.as_str()).await.unwrap();
        let mut holder = PgConnection::connect(url.as_str()).await.unwrap();
        sqlx::raw_sql(HOLD_BACK).execute(&mut holder).await.unwrap();
        // Whoever works may use every tool there is.
        let all = "update agent_type_version set definition = jsonb_set(definition, '{capabilities}',
            '[\"filesystem:write\", \"git:write\", \"cicd:write\", \"issues:write\", \"knowledge-base:write\"]')";
        sqlx::raw_sql(all).execute(&mut holder).await.unwrap();
        let me = client.get("/me").await.unwrap();
        let body = json!({
            "organisation_id": me["organisations"][0]["id"], "name": "Killed", "autonomy": "autonomous",
            "test_command": "true", "repository": { "source": "empty" },
        });
        let project = client.post("/projects", &body).await.unwrap();
        let project: Uuid = project["id"].as_str().unwrap().parse().unwrap();
        let killable = Self { serve, client, project, pool, holder, server, database, dir, _model: model };
        killable.act_alone().await;
        killable
    }

    async fn act_alone(&self) {
        let mut policy = self.client.get(&self.path("/policy")).await.unwrap();
        for row in policy["rows"].as_array_mut().unwrap() {
            if row["action"] == "story_requirements" || row["action"] == "architecture_decision" {
                row["autonomous"] = json!("auto");
            }
        }
        self.client.put(&self.path("/policy"), &policy).await.unwrap();
        fire::until("the repository is there", async || {
            let view = self.client.get(&self.path("")).await.unwrap();
            (view["repository"]["state"] == "ready").then_some(())
        })
        .await;
    }

    fn path(&self, rest: &str) -> String {
        format!("/projects/{}{rest}", self.project)
    }

    pub(crate) async fn test_command(&self, command: &str) {
        self.client.patch(&self.path(""), &json!({ "test_command": command })).await.unwrap();
    }

    pub(crate) async fn story(&self, title: &str) -> Uuid {
        let body = json!({ "title": title, "description": "As somebody I want it." });
        let story = self.client.post(&self.path("/stories"), &body).await.unwrap();
        let id: Uuid = story["id"].as_str().unwrap().parse().unwrap();
        self.client.post(&self.path(&format!("/stories/{id}/start")), &json!({})).await.unwrap();
        id
    }

    async fn hold(&mut self, tool: &str) {
        sqlx::query("select pg_advisory_lock($1)").bind(HELD).execute(&mut self.holder).await.unwrap();
        let sql = "insert into held_tool values ($1)";
        sqlx::query(sql).bind(tool).execute(&mut self.holder).await.unwrap();
    }

    async fn kill_at(&mut self, tool: &str) {
        self.kill_at_and_hold(tool, None).await;
    }

    /// Kills the process while it records what the held tool did, and starts another on the same data.
    async fn kill_at_and_hold(&mut self, tool: &str, next: Option<&&str>) {
        let waiting = "select count(*) from pg_locks where locktype = 'advisory' and not granted
            and database = (select oid from pg_database where datname = current_database())";
        fire::until(&format!("{tool} took effect"), async || (self.count(waiting).await > 0).then_some(()))
            .await;
        self.serve.kill().unwrap();
        self.serve.wait().unwrap();
        // What the killed process sent is not carried out after its end either.
        let end = "select pg_terminate_backend(pid) from pg_stat_activity
            where datname = current_database() and application_name in ('syndarix', 'syndarix groups')";
        sqlx::raw_sql(end).execute(&self.pool).await.unwrap();
        sqlx::raw_sql("truncate held_tool").execute(&mut self.holder).await.unwrap();
        sqlx::query("select pg_advisory_unlock($1)").bind(HELD).execute(&mut self.holder).await.unwrap();
        if let Some(next) = next {
            self.hold(next).await;
        }
        let begun = "select count(*) from step where kind = 'tool' and status = 'started'";
        assert_eq!(self.count(begun).await, 1, "{tool} is begun, and its end is not recorded");
        self.serve_again().await;
    }

    /// Starts another process on the same data.
    pub(crate) async fn serve_again(&mut self) {
        let mut url = self.server.clone();
        url.set_path(&self.database);
        (self.serve, self.client) = serve(&self.dir, url.as_str()).await;
    }

    pub(crate) async fn stop(&mut self) -> Option<ExitStatus> {
        stop(&mut self.serve).await
    }

    /// The last lines that processes said.
    pub(crate) fn last_words(&self) -> String {
        let said = fs::read_to_string(self.dir.path().join(LOG)).unwrap();
        let lines: Vec<&str> = said.lines().collect();
        lines[lines.len().saturating_sub(5)..].join("\n")
    }

    /// Whether a run has this file in its worktree.
    pub(crate) fn worktrees_have(&self, file: &str) -> bool {
        let worktrees = self.dir.path().join(format!("workspaces/{}", self.project));
        fs::read_dir(worktrees).into_iter().flatten().flatten().any(|run| run.path().join(file).exists())
    }

    async fn count(&self, sql: &str) -> i64 {
        sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_one(&self.pool).await.unwrap()
    }

    /// Attempt, status and what was done about the interruption, of the only step of this tool.
    pub(crate) async fn step(&self, tool: &str) -> (i32, String, Option<String>) {
        let sql = "select attempt, status, resolution from step where name = $1";
        let mut steps = sqlx::query_as(sql).bind(tool).fetch_all(&self.pool).await.unwrap();
        assert_eq!(steps.len(), 1, "one step for one call of {tool}");
        steps.remove(0)
    }

    async fn view(&self, story: Uuid) -> Value {
        self.client.get(&self.path(&format!("/stories/{story}"))).await.unwrap()
    }

    pub(crate) async fn done(&self, story: Uuid) {
        fire::until("the story is done", async || {
            let view = self.view(story).await;
            assert!(view["phase"] != "blocked" && view["approval_id"].is_null(), "{view:#}");
            (view["phase"] == "done").then_some(())
        })
        .await;
    }

    async fn asked(&self, story: Uuid) -> Value {
        let id = fire::until("a person is asked", async || {
            self.view(story).await["approval_id"].as_str().map(str::to_owned)
        })
        .await;
        self.client.get(&self.path(&format!("/approvals/{id}"))).await.unwrap()
    }

    async fn answer(&self, asked: &Value, outcome: &str, note: &str) {
        let path = self.path(&format!("/approvals/{}/decision", asked["id"].as_str().unwrap()));
        let decision = json!({ "outcome": outcome, "note": note, "digest": asked["digest"] });
        self.client.post(&path, &decision).await.unwrap();
    }

    fn git(&self, arguments: &[&str]) -> String {
        let bare = self.dir.path().join(format!("repositories/{}.git", self.project));
        let done = Command::new("git").arg("-C").arg(bare).args(arguments).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap()
    }

    pub(crate) async fn end(mut self) {
        self.serve.kill().unwrap();
        self.serve.wait().unwrap();
        self.pool.close().await;
        self.holder.close().await.unwrap();
        admin(&self.server, format!("drop database {} with (force)", self.database)).await;
    }
}

async fn admin(server: &Url, sql: String) {
    let mut admin = PgConnection::connect(server.as_str()).await.unwrap();
    admin.execute(AssertSqlSafe(sql)).await.unwrap();
}

async fn serve(dir: &TempDir, url: &str) -> (Child, Client) {
    let (serve, address) = start(dir, url);
    let mut client = Client::new(address).unwrap();
    client.sign_in(LOGIN, "Killed").await.unwrap();
    (serve, client)
}

/// Starts the binary on this data, and waits until it says where it is.
pub(crate) fn start(dir: &TempDir, url: &str) -> (Child, SocketAddr) {
    start_with(dir, url, "full")
}

/// The same, with this durability of usage.
pub(crate) fn start_with(dir: &TempDir, url: &str, durability: &str) -> (Child, SocketAddr) {
    let mut serve = Command::new(env!("CARGO_BIN_EXE_syndarix"));
    for variable in ["REDIS_URL", "SYNDARIX_MODEL_BASE_URL", "OPENAI_API_KEY", "ANTHROPIC_API_KEY"] {
        serve.env_remove(variable);
    }
    serve.arg("--data-dir").arg(dir.path()).args(["serve", "--listen", "127.0.0.1:0"]);
    serve.env("DATABASE_URL", url).env("SYNDARIX_MODELS", dir.path().join("models.toml"));
    serve.env("SYNDARIX_USAGE_DURABILITY", durability);
    serve.env("SYNDARIX_MINIMUM_ISOLATION", "none").env("SYNDARIX_MAX_CONNECTIONS", "12");
    let log = File::options().create(true).append(true).open(dir.path().join(LOG)).unwrap();
    let mut serve = serve.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
    let mut first = String::new();
    BufReader::new(serve.stdout.as_mut().unwrap()).read_line(&mut first).unwrap();
    (serve, first.trim().rsplit("http://").next().unwrap().parse().unwrap())
}

/// SIGTERM, and how the process ended; nothing, and SIGKILL, where it did not do so within its limit.
pub(crate) async fn stop(serve: &mut Child) -> Option<ExitStatus> {
    let told = Instant::now();
    Command::new("kill").args(["-TERM", &serve.id().to_string()]).status().unwrap();
    while told.elapsed() < STOP_LIMIT {
        let ended = serve.try_wait().unwrap();
        if ended.is_some() {
            return ended;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    serve.kill().unwrap();
    serve.wait().unwrap();
    None
}

/// Said only by who did it: what follows the named tool in a stage.
fn follows(stage: &str, last: &str, tool: &str, arguments: &str) -> String {
    let when = if last.is_empty() { "turn = 0".to_owned() } else { format!("last_tool = \"{last}\"") };
    format!(
        "[[rule]]\nname = \"{tool} after {last}\"\nwhen = {{ system_contains = \"Stage: {stage}.\", {when} }}\n\
         answer.tool = [{{ name = \"{tool}\", arguments = {arguments} }}]\n"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_nothing_twice_under_one_key_is_called_again_and_takes_effect_once() {
    let rules = [
        follows("analysis", "", "create_issue", "{ title = \"Found on the way\" }"),
        follows("analysis", "create_issue", "comment_issue", "{ number = 1, body = \"Seen.\" }"),
        follows(
            "analysis",
            "comment_issue",
            "ingest_content",
            "{ path = \"notes/a.md\", content = \"A note.\" }",
        ),
    ];
    let mut killable = Killable::start(&rules.concat()).await;
    let tools = ["create_issue", "comment_issue", "ingest_content", "run_tests"];
    killable.hold(tools[0]).await;
    let story = killable.story("Repeat").await;
    for (n, tool) in tools.iter().enumerate() {
        killable.kill_at_and_hold(tool, tools.get(n + 1)).await;
    }
    killable.done(story).await;
    for tool in tools {
        assert_eq!(killable.step(tool).await, (2, "done".into(), Some("repeated".into())), "{tool}");
    }
    for effect in [
        "select count(*) from issue",
        "select count(*) from issue_comment",
        "select count(*) from event where type = 'issue.created.v1' or type = 'issue.opened.v1'",
        "select count(*) from knowledge_source where origin = 'document'",
        "select count(*) from test_run",
    ] {
        assert_eq!(killable.count(effect).await, 1, "{effect}");
    }
    killable.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_be_asked_is_asked_and_what_it_had_done_is_not_done_again() {
    let rules = [
        follows(
            "implementation",
            "write_file",
            "edit_file",
            "{ path = \"story-1.txt\", old_text = \"Trace\", new_text = \"Traced\" }",
        ),
        follows("implementation", "edit_file", "move_path", "{ from = \"story-1.txt\", to = \"moved.txt\" }"),
        follows("implementation", "move_path", "commit", "{ message = \"Move it\" }"),
    ];
    let mut killable = Killable::start(&rules.concat()).await;
    let tools = ["write_file", "edit_file", "move_path", "commit", "create_pull_request"];
    killable.hold(tools[0]).await;
    let story = killable.story("Trace").await;
    for (n, tool) in tools.iter().enumerate() {
        killable.kill_at_and_hold(tool, tools.get(n + 1)).await;
    }
    killable.done(story).await;
    for tool in tools {
        assert_eq!(killable.step(tool).await, (2, "done".into(), Some("found".into())), "{tool}");
    }
    assert_eq!(killable.git(&["show", "main:moved.txt"]), "Traced", "edited once: twice would be `Tracedd`");
    let commits = killable.git(&["log", "--format=%(trailers:key=Syndarix-Step,valueonly)", "main"]);
    assert_eq!(commits.split_whitespace().count(), 1, "{commits}");
    assert_eq!(killable.count("select count(*) from pull_request").await, 1);
    killable.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_had_not_taken_effect_when_the_process_was_killed_does_so_afterwards_and_once() {
    let rules = follows("analysis", "", "create_issue", "{ title = \"Found on the way\" }");
    let mut killable = Killable::start(&rules).await;
    killable.hold("before create_issue").await;
    let story = killable.story("Not yet").await;
    killable.kill_at_and_hold("create_issue", Some(&"before create_pull_request")).await;
    killable.kill_at("create_pull_request").await;
    killable.done(story).await;
    for (tool, resolution) in [("create_issue", "repeated"), ("create_pull_request", "not_found")] {
        assert_eq!(killable.step(tool).await, (2, "done".into(), Some(resolution.into())), "{tool}");
    }
    assert_eq!(killable.count("select count(*) from issue").await, 1);
    assert_eq!(killable.count("select count(*) from pull_request").await, 1);
    killable.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_can_tell_but_a_human_is_asked_and_is_not_done_again_without_leave() {
    let append = |sign: &str| {
        format!("{{ program = \"python3\", args = [\"-c\", \"open('count', 'a').write('{sign}')\"] }}")
    };
    let rules = [
        follows("implementation", "create_branch", "run_command", &append("a")),
        follows("implementation", "run_command", "write_file", "{ path = \"done.txt\", content = \"x\" }"),
    ];
    for (outcome, note, effects, ended) in [
        ("rejected", "The file has its letter: do not write it again.", "a", ("unknown", "declined")),
        ("approved", "", "aa", ("done", "allowed")),
    ] {
        let mut killable = Killable::start(&rules.concat()).await;
        killable.hold("run_command").await;
        let story = killable.story("Ask").await;
        killable.kill_at("run_command").await;

        let asked = killable.asked(story).await;

        assert!(asked["title"].as_str().unwrap().contains("`run_command` of cicd again?"), "{asked:#}");
        assert!(asked["summary"].as_str().unwrap().contains("the worker was lost during the call"));
        assert!(
            asked["expires_at"].is_string() && asked["policy"]["rule"].is_string(),
            "a reason and a deadline: {asked:#}"
        );
        assert_eq!(killable.step("run_command").await, (2, "unknown".into(), Some("asked".into())));
        killable.answer(&asked, outcome, note).await;
        killable.done(story).await;
        assert_eq!(killable.git(&["show", "main:count"]), effects, "after `{outcome}`");
        let (_, status, resolution) = killable.step("run_command").await;
        assert_eq!((status.as_str(), resolution.as_deref()), (ended.0, Some(ended.1)));
        let told: String =
            sqlx::query_scalar("select result ->> 'text' from step where name = 'run_command'")
                .fetch_one(&killable.pool)
                .await
                .unwrap();
        assert!(told.contains(note), "the agent is told: {told}");
        killable.end().await;
    }
}
