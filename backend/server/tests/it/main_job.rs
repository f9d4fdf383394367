//! The main job, end to end: the whole process, real git, real tools, real tests, real HTTP; only the model's words
//! come from a scenario.

use crate::support;
use serde_json::{Value, json};
use std::{path::Path, process::Command, time::Duration};
use syndarix::{
    config::{Config, Flags, process_env},
    demo::{self, Answers, Follow, Project, ScriptedModel, client::Client},
    lifecycle::{self, Options, Running, scripted_groups},
};
use tempfile::TempDir;
use uuid::Uuid;

/// The whole way of a story takes some seconds on an idle machine.
const STORY_LIMIT: Duration = Duration::from_secs(240);
/// Steps between two decisions of a human.
const DECISION_LIMIT: Duration = Duration::from_secs(120);

/// A whole process of its own, with the demonstration in it.
struct Demo {
    running: Running,
    client: Client,
    project: Project,
    database: String,
    _model: ScriptedModel,
    _dir: TempDir,
}

fn config(dir: &Path, database: &str) -> Config {
    let mut url = support::server_url();
    url.set_path(database);
    let flags = Flags { data_dir: Some(dir.into()), listen: Some(([127, 0, 0, 1], 0).into()), file: None };
    let mut config = Config::load(&flags, |_| None).unwrap();
    config.database_url = Some(url.into());
    // What the machine can do is not what is tested here.
    config.minimum_isolation = "none".into();
    config.import_from = demo::places(&config, None);
    config.max_connections = 12;
    config.agent_concurrency = 8;
    config
}

impl Demo {
    async fn start() -> Self {
        if process_env("SYNDARIX_LOG").is_some() {
            syndarix::telemetry::init("pretty", &process_env("SYNDARIX_LOG").unwrap()).unwrap();
        }
        let database = format!("syndarix_main_job_{}", Uuid::now_v7().simple());
        support::admin(format!("create database {database}")).await;
        let dir = tempfile::tempdir().unwrap();
        let model = demo::serve_model(demo::scenario(None).unwrap()).await.unwrap();
        let options =
            Options { models: Some(scripted_groups(&model.base_url).unwrap()), ..Options::default() };
        let running = lifecycle::start(config(dir.path(), &database), options).await.unwrap();
        let mut client = Client::new(running.address()).unwrap();
        client.sign_in(("demo@syndarix.local", "Demo", "a password for a test"), "Demo").await.unwrap();
        let project = demo::project(running.app(), &client, None, &mut |_| ()).await.unwrap();
        Self { running, client, project, database, _model: model, _dir: dir }
    }

    /// Starts the next story; gives its id.
    async fn next_story(&self) -> Uuid {
        let story = demo::story(&self.client, self.project.id, None, &mut |_| ()).await.unwrap();
        story["id"].as_str().unwrap().parse().unwrap()
    }

    /// Follows the story to its end; gives the merge commit.
    async fn finish(&self, story: Uuid) -> String {
        let follow = Follow {
            client: &self.client,
            project: self.project.id,
            story,
            answers: Answers::Yes,
            url: String::new(),
            patience: None,
        };
        let mut told = Vec::new();
        let end = follow.to_the_end(self.running.app(), |line| told.push(line));
        let ended = tokio::time::timeout(STORY_LIMIT, end).await;
        assert!(matches!(ended, Ok(Ok(_))), "the story did not end well: {ended:?}\n{}", told.join("\n"));
        ended.unwrap().unwrap()
    }

    /// The question that the story waits with.
    async fn question(&self, story: Uuid) -> Value {
        let path = format!("/projects/{}/stories/{story}", self.project.id);
        let asked = async {
            loop {
                let view = self.client.get(&path).await.unwrap();
                assert_ne!(view["phase"], "blocked", "{view:#}");
                if let Some(approval) = view["approval_id"].as_str() {
                    let path = format!("/projects/{}/approvals/{approval}", self.project.id);
                    return self.client.get(&path).await.unwrap();
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::time::timeout(DECISION_LIMIT, asked).await.expect("nobody is asked anything")
    }

    async fn decide(&self, question: &Value, mut decision: Value) {
        decision["digest"] = question["digest"].clone();
        let id = question["id"].as_str().unwrap();
        let path = format!("/projects/{}/approvals/{id}/decision", self.project.id);
        self.client.post(&path, &decision).await.unwrap();
    }

    async fn count(&self, sql: &'static str, story: Uuid) -> i64 {
        sqlx::query_scalar(sql).bind(story).fetch_one(self.running.app().pool()).await.unwrap()
    }

    fn git(&self, arguments: &[&str]) -> String {
        let done =
            Command::new("git").arg("-C").arg(&self.project.repository).args(arguments).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap()
    }

    /// What must hold for every story that is done, whatever happened on the way.
    async fn check(&self, story: Uuid, commit: &str) {
        let body = self.git(&["log", "-1", "--format=%B%n%P", commit]);
        assert!(body.contains(&format!("Story: {story}")), "{body}");
        let parents = self.git(&["log", "-1", "--format=%P", commit]);
        assert_eq!(parents.split_whitespace().count(), 2, "a merge has two parents");
        let merges = self.git(&["log", "main", "--merges", &format!("--grep=Story: {story}"), "--format=%H"]);
        assert_eq!(merges.lines().collect::<Vec<_>>(), [commit], "one merge for each story");
        let of_story = "select count(*) from pull_request where (state ->> 'story')::uuid = $1";
        assert_eq!(self.count(of_story, story).await, 1, "one pull request for each story");
        let tests = "select count(*) from test_run where story_id = $1 and passed and commit_id <> ''";
        assert_eq!(self.count(tests, story).await, 1, "the merge was tested once");
        let unfinished = "select count(*) from step s join run r on r.id = s.run_id
             where r.story_id = $1 and s.status = 'started'";
        assert_eq!(self.count(unfinished, story).await, 0, "every step has its end");
        let open = "select count(*) from usage where story_id = $1 and state = 'reserved'";
        assert_eq!(self.count(open, story).await, 0, "every reservation is settled");
        let rebuilt = self.running.app().store.rebuild(false).await.unwrap();
        assert_eq!(rebuilt.different, Vec::<String>::new(), "events replay to the state rows");
    }

    async fn end(self) {
        self.running.stop().await;
        support::admin(format!("drop database {} with (force)", self.database)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_start_keeps_the_policy_that_somebody_set_and_refills_a_budget_that_is_used_up() {
    let demo = Demo::start().await;
    let path = |rest: &str| format!("/projects/{}/{rest}", demo.project.id);
    let mut policy = demo.client.get(&path("policy")).await.unwrap();
    for row in policy["rows"].as_array_mut().unwrap() {
        row["milestone"] = row["full_control"].clone();
    }
    let policy = demo.client.put(&path("policy"), &policy).await.unwrap();
    sqlx::query("update budget_window set simulated_micro_usd = 9900000")
        .execute(demo.running.app().pool())
        .await
        .unwrap();
    let mut told = Vec::new();
    demo::project(demo.running.app(), &demo.client, None, &mut |line| told.push(line)).await.unwrap();
    assert_eq!(demo.client.get(&path("policy")).await.unwrap()["rows"], policy["rows"]);
    let budget = demo.client.get(&path("budget")).await.unwrap();
    assert_eq!(budget["hard_limit_micro_usd"], 19_900_000);
    assert!(told.iter().any(|line| line.contains("raised its budget to $19.90")), "{told:?}");
    demo.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_story_becomes_a_merged_and_tested_pull_request() {
    let demo = Demo::start().await;
    let story = demo.next_story().await;
    let commit = demo.finish(story).await;
    demo.check(story, &commit).await;
    let approvals = "select count(*) from approval where state -> 'request' ->> 'story' = $1::text";
    assert_eq!(demo.count(approvals, story).await, 1, "the merge was the only question");
    let busy = "select count(*) from usage where story_id = $1 and state = 'failed'";
    assert_eq!(demo.count(busy, story).await, 1, "the provider was busy once, and that is on record");
    let real =
        "select coalesce(sum(cost_micro_usd), 0)::bigint from usage where story_id = $1 and not simulated";
    assert_eq!(demo.count(real, story).await, 0, "nothing of it was a real model");
    let told = "select count(*) from run_brief b join run r on r.id = b.run_id
         where r.story_id = $1 and r.state ->> 'stage' = 'implementation'
           and b.task like '%Message from Bela:%'";
    assert_eq!(demo.count(told, story).await, 1, "the engineer was told what the architect wrote");
    let waiting = "select count(*) from message where conversation_id = $1 and delivered_at is null";
    assert_eq!(demo.count(waiting, story).await, 0, "every message reached somebody");
    demo.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_human_wants_changed_reaches_the_engineers_next_run() {
    let demo = Demo::start().await;
    let story = demo.next_story().await;
    let question = demo.question(story).await;
    let wish = "Please say in the documents what counts as a word.";
    demo.decide(
        &question,
        json!({ "outcome": "changes_requested", "note": wish,
                "comments": [{ "path": "textstats/words.py", "line": 26, "side": "new", "body": "Name the unit here." }] }),
    )
    .await;
    let commit = demo.finish(story).await;
    demo.check(story, &commit).await;
    let documents = demo.git(&["show", &format!("{commit}:docs/story-1.md")]);
    assert!(documents.contains(wish) && documents.contains("Name the unit here."), "{documents}");
    let decided = "select count(*) from approval where state -> 'request' ->> 'story' = $1::text
         and phase in ('approved', 'changes_requested')";
    assert_eq!(demo.count(decided, story).await, 2, "one question for each head commit");
    let runs = "select count(*) from run where story_id = $1 and state ->> 'stage' = 'implementation'";
    assert_eq!(demo.count(runs, story).await, 2, "the engineer went round once more");
    demo.end().await;
}
