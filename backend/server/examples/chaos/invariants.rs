//! What must be true after every round, read from the tables, the repository and the command line.

use crate::{Failure, client::Story};
use sqlx::{Connection, PgConnection};
use std::{
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// Clean-up jobs, sealing and late timers may still be under way for this long after a story is done.
const SETTLE: Duration = Duration::from_secs(20);

/// Questions whose answer must be 0, once everything has settled.
const NONE: &[(&str, &str)] = &[
    (
        "jobs left over",
        "select count(*) from job where kind not like 'costs.%' and kind not like '%.reconcile' and project_id is not null",
    ),
    ("dead letters", "select count(*) from job_dead"),
    ("reservations left open", "select count(*) from usage where state = 'reserved'"),
    ("money reserved", "select coalesce(sum(reserved_micro_usd), 0)::bigint from budget"),
    (
        "model steps without a usage row",
        "select count(*) from step s where s.kind = 'model' and s.status = 'done' and not exists (select from usage u where u.step_id = s.id)",
    ),
    ("steps without an end", "select count(*) from step where status = 'started'"),
    (
        "gaps in the event numbers",
        "select count(*) from (select project_id, max(seq) as head, count(*) as n from event group by 1) e where e.head <> e.n",
    ),
    (
        "events beyond the log's head",
        "select count(*) from event e join project_log l using (project_id) where e.seq > l.head",
    ),
    (
        "tool calls recorded twice",
        "select count(*) from (select run_id, call_id from step where call_id is not null group by 1, 2 having count(*) > 1) d",
    ),
    ("agents busy without a run", "select count(*) from agent where status = 'active'"),
    (
        "audit entries without a seal",
        "select count(*) from audit_entry e where not exists (select from audit_seal s where s.entry_id = e.id)",
    ),
];

/// Questions about this story whose answer must be 1.
const ONE: &[(&str, &str)] = &[
    ("pull request", "select count(*) from pull_request where state ->> 'story' = $1"),
    (
        "merged pull request",
        "select count(*) from pull_request where state ->> 'story' = $1 and phase = 'merged'",
    ),
    ("approval", "select count(*) from approval where state -> 'request' ->> 'story' = $1"),
    (
        "approval decision",
        "select count(*) from event e join approval a on a.id = e.stream_id where a.state -> 'request' ->> 'story' = $1 and e.type = 'approval.decided.v1'",
    ),
    (
        "passing test run of the merge",
        "select count(distinct story_id) from test_run where story_id = $1::uuid and passed",
    ),
];

/// Where to look.
pub(crate) struct Scene<'a> {
    pub(crate) binary: &'a Path,
    pub(crate) data_dir: &'a Path,
    pub(crate) database: String,
    /// Whether the commands must be told where the database is.
    pub(crate) named_database: bool,
    pub(crate) project: &'a str,
}

impl Scene<'_> {
    /// Runs the command line beside the running server.
    fn cli(&self, arguments: &[&str]) -> Result<String, Failure> {
        let mut command = Command::new(self.binary);
        command.args(arguments).arg("--data-dir").arg(self.data_dir).stdin(Stdio::null());
        if self.named_database {
            command.env("DATABASE_URL", &self.database);
        }
        let output = command.output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            return Ok(text);
        }
        let errors = String::from_utf8_lossy(&output.stderr);
        Err(format!("syndarix {}: {}\n{text}{errors}", arguments.join(" "), output.status).into())
    }
}

/// Checks everything; the failure names what does not hold.
pub(crate) async fn check(scene: &Scene<'_>, story: &Story) -> Result<(), Failure> {
    let mut conn = PgConnection::connect(&scene.database).await?;
    settled(&mut conn).await?;
    of_story(&mut conn, scene, story, true).await?;
    conn.close().await?;
    as_a_whole(scene)
}

/// What concerns one story.
pub(crate) async fn of_story(
    conn: &mut PgConnection,
    scene: &Scene<'_>,
    story: &Story,
    asked: bool,
) -> Result<(), Failure> {
    for (what, sql) in ONE.iter().filter(|(what, _)| asked || !what.starts_with("approval")) {
        let count: i64 =
            sqlx::query_scalar(sqlx::AssertSqlSafe(*sql)).bind(&story.id).fetch_one(&mut *conn).await?;
        if count != 1 {
            return Err(format!("story {} has {count} times: {what}", story.number).into());
        }
    }
    repository(scene, story)
}

/// What the command line says of everything.
pub(crate) fn as_a_whole(scene: &Scene<'_>) -> Result<(), Failure> {
    let rebuilt = scene.cli(&["rebuild", "--json"])?;
    let rebuilt: serde_json::Value = serde_json::from_str(&rebuilt)?;
    if rebuilt["different"].as_array().is_none_or(|different| !different.is_empty()) {
        return Err(format!("events do not replay to the state rows: {rebuilt}").into());
    }
    scene.cli(&["audit", "verify"])?;
    Ok(())
}

pub(crate) async fn settled(conn: &mut PgConnection) -> Result<(), Failure> {
    let deadline = Instant::now() + SETTLE;
    loop {
        let mut wrong = Vec::new();
        for (what, sql) in NONE {
            let count: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(*sql)).fetch_one(&mut *conn).await?;
            if count != 0 {
                wrong.push(format!("{what}: {count}"));
            }
        }
        if wrong.is_empty() {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(wrong.join(", ").into());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// One branch, one merge commit with the story's trailer, no commit made twice for one step.
fn repository(scene: &Scene<'_>, story: &Story) -> Result<(), Failure> {
    let bare = scene.data_dir.join("repositories").join(format!("{}.git", scene.project));
    let merges = git(&bare, &["log", "main", "--merges", "--format=%(trailers:key=Story,valueonly)"])?;
    let count = merges.lines().filter(|line| line.trim() == story.id).count();
    if count != 1 {
        return Err(format!("main holds {count} merge commits of story {}", story.number).into());
    }
    let pattern = format!("refs/heads/syndarix/story-{}-*", story.number);
    let branches = git(&bare, &["for-each-ref", "--format=%(refname)", &pattern])?;
    if branches.lines().count() != 1 {
        return Err(format!("story {} has these branches: {branches}", story.number).into());
    }
    let steps = git(&bare, &["log", "--branches", "--format=%(trailers:key=Syndarix-Step,valueonly)"])?;
    let mut steps: Vec<&str> = steps.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let all = steps.len();
    steps.sort_unstable();
    steps.dedup();
    if steps.len() != all {
        return Err(format!("{} commits were made twice for one step", all - steps.len()).into());
    }
    Ok(())
}

fn git(bare: &std::path::Path, arguments: &[&str]) -> Result<String, Failure> {
    let output =
        Command::new("git").args(["-c", "safe.directory=*", "-C"]).arg(bare).args(arguments).output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
