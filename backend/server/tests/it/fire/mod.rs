//! The path under fire: whatever goes wrong on the way of a story, it goes on, waits with a reason, or says what a
//! human must do. The whole process, real git, real tools; only the model's words come from small scripts.

mod budget;
mod conflicts;
mod histories;
mod journal;
mod leave;
mod left_behind;
mod limits;
mod providers;
mod restarts;
mod stops;
mod unready;

use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use std::{future::Future, path::Path, process::Command, time::Duration};
use syndarix::{
    config::{Config, Flags, process_env},
    demo::{self, ScriptedModel, client::Client},
    lifecycle::{self, Options, Running, scripted_groups},
};
use syndarix_llm::{ModelGroups, scripted::Script};
use tempfile::TempDir;
use url::Url;
use uuid::Uuid;

/// The longest that a test waits for anything, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);

/// What rules can say about the story at hand.
const HEAD: &str = r#"
name = "fire"

[capture]
number = 'Story (\d+): '
title = 'Story \d+: (.*)'
branch = '(?:Use the branch|use the new branch) `([^`]+)`'
feedback = '(?s)Feedback of round \d+, from [^\n]*:\n(.*?)\s*(?:\nThe earlier branch is merged|\z)'
"#;
/// An agent of every stage that does its work without trouble. Rules of a test come before these.
const GOOD_AGENTS: &str = include_str!("good_agents.toml");

/// A process of its own with one project of one person.
pub(crate) struct World {
    running: Option<Running>,
    pub(crate) client: Client,
    pub(crate) project: Uuid,
    database: String,
    groups: ModelGroups,
    models: Vec<ScriptedModel>,
    dir: TempDir,
}

/// How a project begins.
pub(crate) struct Setting {
    pub(crate) rules: &'static str,
    pub(crate) test_command: &'static str,
    pub(crate) autonomy: &'static str,
}

impl Default for Setting {
    fn default() -> Self {
        Self { rules: "", test_command: "true", autonomy: "autonomous" }
    }
}

fn server() -> Url {
    let url = process_env("TEST_DATABASE_URL").or_else(|| process_env("DATABASE_URL"));
    url.expect("these tests need PostgreSQL: run them with `make test`").parse().unwrap()
}

async fn admin(sql: String) {
    let mut admin = PgConnection::connect(server().as_str()).await.unwrap();
    admin.execute(AssertSqlSafe(sql)).await.unwrap();
}

pub(crate) fn config(dir: &Path, database: &str) -> Config {
    let mut url = server();
    url.set_path(database);
    let flags = Flags { data_dir: Some(dir.into()), listen: Some(([127, 0, 0, 1], 0).into()), file: None };
    let mut config = Config::load(&flags, |_| None).unwrap();
    config.database_url = Some(url.into());
    config.minimum_isolation = "none".into();
    config.max_connections = 12;
    config.agent_concurrency = 8;
    config
}

/// An endpoint that plays these rules, and then the good agents'.
pub(crate) async fn model(rules: &str) -> ScriptedModel {
    let script = Script::from_toml(&format!("{HEAD}\n{rules}\n{GOOD_AGENTS}")).unwrap();
    demo::serve_model(script).await.unwrap()
}

impl World {
    pub(crate) async fn start(setting: Setting) -> Self {
        let model = model(setting.rules).await;
        let groups = scripted_groups(&model.base_url).unwrap();
        Self::with_models(setting, groups, vec![model]).await
    }

    pub(crate) async fn with_models(
        setting: Setting,
        groups: ModelGroups,
        models: Vec<ScriptedModel>,
    ) -> Self {
        let database = format!("syndarix_fire_{}", Uuid::now_v7().simple());
        admin(format!("create database {database}")).await;
        let dir = tempfile::tempdir().unwrap();
        let running = run(dir.path(), &database, &groups).await;
        let mut client = Client::new(running.address()).unwrap();
        client.sign_in(LOGIN, "Fire").await.unwrap();
        let me = client.get("/me").await.unwrap();
        let body = json!({
            "organisation_id": me["organisations"][0]["id"], "name": "Fire", "autonomy": setting.autonomy,
            "test_command": setting.test_command, "repository": { "source": "empty" },
        });
        let project = client.post("/projects", &body).await.unwrap();
        let project = project["id"].as_str().unwrap().parse().unwrap();
        let world = Self { running: Some(running), client, project, database, groups, models, dir };
        world.ask_about_merges_only().await;
        until("the repository is there", async || {
            let view = world.client.get(&format!("/projects/{project}")).await.unwrap();
            (view["repository"]["state"] == "ready").then_some(())
        })
        .await;
        world
    }

    /// Requirements and designs are the agents' own business here.
    async fn ask_about_merges_only(&self) {
        let path = self.path("/policy");
        let mut policy = self.client.get(&path).await.unwrap();
        for row in policy["rows"].as_array_mut().unwrap() {
            if row["action"] == "story_requirements" || row["action"] == "architecture_decision" {
                row["milestone"] = json!("auto");
                row["autonomous"] = json!("auto");
            }
        }
        self.client.put(&path, &policy).await.unwrap();
    }

    pub(crate) fn app(&self) -> &syndarix::state::App {
        self.running.as_ref().unwrap().app()
    }

    /// Stops the process and starts another on the same data.
    pub(crate) async fn restart(&mut self) {
        self.running.take().unwrap().stop().await;
        let running = run(self.dir.path(), &self.database, &self.groups).await;
        self.client = Client::new(running.address()).unwrap();
        self.client.sign_in(LOGIN, "Fire").await.unwrap();
        self.running = Some(running);
    }

    pub(crate) fn path(&self, rest: &str) -> String {
        format!("/projects/{}{rest}", self.project)
    }

    /// Writes a story and starts it.
    pub(crate) async fn story(&self, title: &str) -> Uuid {
        let body = json!({ "title": title, "description": "As somebody I want it." });
        let story = self.client.post(&self.path("/stories"), &body).await.unwrap();
        let id: Uuid = story["id"].as_str().unwrap().parse().unwrap();
        self.client.post(&self.path(&format!("/stories/{id}/start")), &json!({})).await.unwrap();
        id
    }

    pub(crate) async fn view(&self, story: Uuid) -> Value {
        self.client.get(&self.path(&format!("/stories/{story}"))).await.unwrap()
    }

    /// Waits until the story is so; a story that ends otherwise fails the test.
    pub(crate) async fn wait_for(&self, story: Uuid, what: &str, so: impl Fn(&Value) -> bool) -> Value {
        let last = std::sync::Mutex::new(Value::Null);
        let found = look_for(async || {
            let view = self.view(story).await;
            if so(&view) {
                return Some(view);
            }
            *last.lock().unwrap() = view.clone();
            let over = ["done", "blocked", "cancelled"].iter().any(|phase| view["phase"] == *phase);
            assert!(!over, "{what}, but: {view:#}");
            None
        });
        found.await.unwrap_or_else(|| panic!("it does not happen that {what}: {:#}", last.lock().unwrap()))
    }

    pub(crate) async fn done(&self, story: Uuid) -> Value {
        let view = self.wait_for(story, "the story is done", |view| view["phase"] == "done").await;
        self.nothing_is_left(story).await;
        view
    }

    /// The state of the newest run.
    pub(crate) async fn run_of(&self, story: Uuid) -> Value {
        let runs = self.client.get(&self.path(&format!("/runs?story_id={story}"))).await.unwrap();
        runs["items"][0].clone()
    }

    pub(crate) async fn waiting_run(&self, story: Uuid, on: &str) -> Value {
        until(&format!("the run waits for {on}"), async || {
            let run = self.run_of(story).await;
            (run["waiting"]["on"] == on).then_some(run)
        })
        .await
    }

    /// Waits until the tests of the merged story run.
    pub(crate) async fn under_test(&self, story: Uuid) {
        let running = "select count(*) from step s join run r on r.id = s.run_id
             where r.story_id = $1 and s.name = 'run_tests' and s.status = 'started'";
        until("the tests run", async || (self.count(running, story).await == 1).then_some(())).await;
    }

    /// Waits until somebody is asked about the story.
    pub(crate) async fn asked(&self, story: Uuid) -> Value {
        self.wait_for(story, "somebody is asked", |view| !view["approval_id"].is_null()).await
    }

    /// Answers the question that the story waits with.
    pub(crate) async fn answer(&self, story: Uuid, outcome: &str, note: &str) {
        let view = self.asked(story).await;
        let path = self.path(&format!("/approvals/{}", view["approval_id"].as_str().unwrap()));
        let asked = self.client.get(&path).await.unwrap();
        let decision = json!({ "outcome": outcome, "note": note, "digest": asked["digest"] });
        self.client.post(&format!("{path}/decision"), &decision).await.unwrap();
    }

    pub(crate) async fn count(&self, sql: &str, story: Uuid) -> i64 {
        let pool = self.app().pool();
        sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).bind(story).fetch_one(pool).await.unwrap()
    }

    pub(crate) async fn execute(&self, sql: &str) {
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(self.app().pool()).await.unwrap();
    }

    pub(crate) fn git(&self, arguments: &[&str]) -> String {
        let bare = self.dir.path().join(format!("repositories/{}.git", self.project));
        let done = Command::new("git").arg("-C").arg(bare).args(arguments).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap()
    }

    /// Whatever happened, nothing of it stays behind once the story is over.
    pub(crate) async fn nothing_is_left(&self, story: Uuid) {
        let left = [
            (
                "agents at work",
                "select count(*) from agent a left join run r on r.id = a.current_run_id
                 where a.status = 'active' and (r.id is null or r.story_id = $1)",
            ),
            (
                "runs that are not over",
                "select count(*) from run where story_id = $1
                 and phase not in ('succeeded', 'failed', 'stalled', 'cancelled')",
            ),
            (
                "open steps",
                "select count(*) from step s join run r on r.id = s.run_id
                 where r.story_id = $1 and s.status = 'started'",
            ),
            ("open reservations", "select count(*) from usage where story_id = $1 and state = 'reserved'"),
            (
                "open questions",
                "select count(*) from approval where state -> 'request' ->> 'story' = $1::text and phase = 'pending'",
            ),
            (
                "jobs",
                "select count(*) from job where $1 is not null and (kind like 'run.%' or kind like 'stage.%' or kind like '%.merge')",
            ),
            ("dead letters", "select count(*) from job_dead where $1 is not null"),
        ];
        for (what, sql) in left {
            // `$1` must be there for every statement.
            let sql = if sql.contains("$1") { sql.to_owned() } else { format!("{sql} and $1 is not null") };
            let sql = sql.replace("$1 is not null", "$1::uuid is not null");
            until(&format!("no {what} are left"), async || {
                (self.count(&sql, story).await == 0).then_some(())
            })
            .await;
        }
        let rebuilt = self.app().store.rebuild(false).await.unwrap();
        assert_eq!(rebuilt.different, Vec::<String>::new(), "events replay to the state rows");
    }

    pub(crate) async fn end(mut self) {
        self.running.take().unwrap().stop().await;
        self.models.clear();
        admin(format!("drop database {} with (force)", self.database)).await;
    }
}

const LOGIN: (&str, &str, &str) = ("ann@example.org", "Ann", "a password for a test");

async fn run(dir: &Path, database: &str, groups: &ModelGroups) -> Running {
    if let Some(filter) = process_env("SYNDARIX_LOG") {
        let _ = syndarix::telemetry::init("pretty", &filter);
    }
    let _ = rustls::crypto::ring::default_provider().install_default();
    let options = Options { models: Some(groups.clone()), ..Options::default() };
    lifecycle::start(config(dir, database), options).await.unwrap()
}

/// Looks again and again until there is an answer.
pub(crate) async fn until<T, F: Future<Output = Option<T>>>(what: &str, look: impl Fn() -> F) -> T {
    look_for(look).await.unwrap_or_else(|| panic!("it does not happen that {what}"))
}

async fn look_for<T, F: Future<Output = Option<T>>>(look: impl Fn() -> F) -> Option<T> {
    let found = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(POLL).await;
        }
    };
    tokio::time::timeout(PATIENCE, found).await.ok()
}
