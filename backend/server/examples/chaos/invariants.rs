//! What must be true after every round, read from the tables, the repository and the command line.

use crate::{
    Failure,
    client::Story,
    process::Accounts,
    rules::{self, ALWAYS, Rule, SETTLED},
};
use sqlx::{Connection, PgConnection};
use std::{
    collections::BTreeMap,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// Clean-up jobs, sealing and late timers may still be under way for this long after a story is done.
const SETTLE: Duration = Duration::from_secs(20);

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
        "select count(*) from test_run t join pull_request p on p.state ->> 'story' = t.story_id::text
          where t.story_id = $1::uuid and t.passed and t.commit_id = p.state -> 'phase' ->> 'commit'",
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
    /// What `rebuild` says.
    pub(crate) fn rebuild(&self, how: &[&str]) -> Result<serde_json::Value, Failure> {
        let told = self.cli(&[&["rebuild", "--json"], how].concat())?;
        Ok(serde_json::from_str(&told)?)
    }

    /// Runs the command line beside the running server.
    pub(crate) fn cli(&self, arguments: &[&str]) -> Result<String, Failure> {
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

/// Checks everything, every story that there ever was included; the failure names what does not hold.
pub(crate) async fn check(
    scene: &Scene<'_>,
    stories: &[Story],
    accounts: &mut Accounts,
) -> Result<(), Failure> {
    let mut conn = PgConnection::connect(&scene.database).await?;
    settled(&mut conn).await?;
    of_stories(&mut conn, scene, stories, true).await?;
    let asked = accounts.of_the_endpoint().await?;
    every_request_is_paid_for(&mut conn, asked, accounts).await?;
    conn.close().await?;
    as_a_whole(scene)
}

/// What concerns each story by itself.
pub(crate) async fn of_stories(
    conn: &mut PgConnection,
    scene: &Scene<'_>,
    stories: &[Story],
    asked: bool,
) -> Result<(), Failure> {
    for story in stories {
        for (what, sql) in ONE.iter().filter(|(what, _)| asked || !what.starts_with("approval")) {
            let count: i64 =
                sqlx::query_scalar(sqlx::AssertSqlSafe(*sql)).bind(&story.id).fetch_one(&mut *conn).await?;
            if count != 1 {
                return Err(format!("story {} has {count} times: {what}", story.number).into());
            }
        }
    }
    let repository = Repository::read(scene)?;
    stories.iter().try_for_each(|story| repository.holds_once(story))
}

/// Since the last look the endpoint got as many requests as usage rows were made, less those rows whose process died
/// before it asked: nobody can know of them, so they are told apart by their state.
async fn every_request_is_paid_for(
    conn: &mut PgConnection,
    asked: u64,
    accounts: &mut Accounts,
) -> Result<(), Failure> {
    let (rows, answered): (i64, i64) =
        sqlx::query_as("select count(*), count(*) filter (where state = 'settled') from usage")
            .fetch_one(conn)
            .await?;
    let now = (asked, u64::try_from(rows)?, u64::try_from(answered)?);
    let before = std::mem::replace(&mut accounts.seen, now);
    let (asked, rows, answered) = (now.0 - before.0, now.1 - before.1, now.2 - before.2);
    if answered <= asked && asked <= rows {
        return Ok(());
    }
    Err(format!("the model got {asked} requests for {rows} usage rows, {answered} of them answered").into())
}

/// What the command line says of everything.
pub(crate) fn as_a_whole(scene: &Scene<'_>) -> Result<(), Failure> {
    let rebuilt = scene.rebuild(&[])?;
    if rebuilt["different"].as_array().is_none_or(|different| !different.is_empty()) {
        return Err(format!("events do not replay to the state rows: {rebuilt}").into());
    }
    scene.cli(&["audit", "verify"])?;
    Ok(())
}

pub(crate) async fn settled(conn: &mut PgConnection) -> Result<(), Failure> {
    settled_by(conn, &[SETTLED, ALWAYS]).await
}

/// Waits until none of these rules is broken any more.
pub(crate) async fn settled_by(conn: &mut PgConnection, rules: &[&[Rule]]) -> Result<(), Failure> {
    let deadline = Instant::now() + SETTLE;
    loop {
        let wrong = rules::broken(conn, rules).await?;
        if wrong.is_empty() {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(wrong.join(", ").into());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// What the repository holds of all stories, read once.
struct Repository {
    merges: BTreeMap<String, usize>,
    branches: Vec<String>,
}

impl Repository {
    fn read(scene: &Scene<'_>) -> Result<Self, Failure> {
        let bare = scene.data_dir.join("repositories").join(format!("{}.git", scene.project));
        let stories = git(&bare, &["log", "main", "--merges", "--format=%(trailers:key=Story,valueonly)"])?;
        let branches = git(&bare, &["for-each-ref", "--format=%(refname)", "refs/heads/syndarix/"])?;
        let steps = git(&bare, &["log", "--branches", "--format=%(trailers:key=Syndarix-Step,valueonly)"])?;
        let twice: usize = counted(&steps).values().map(|times| times - 1).sum();
        if twice > 0 {
            return Err(format!("{twice} commits were made twice for one step").into());
        }
        Ok(Self { merges: counted(&stories), branches: branches.lines().map(str::to_owned).collect() })
    }

    /// One branch, one merge commit with the story's trailer.
    fn holds_once(&self, story: &Story) -> Result<(), Failure> {
        let merges = self.merges.get(&story.id).copied().unwrap_or(0);
        if merges != 1 {
            return Err(format!("main holds {merges} merge commits of story {}", story.number).into());
        }
        let prefix = format!("refs/heads/syndarix/story-{}-", story.number);
        let branches: Vec<&String> =
            self.branches.iter().filter(|branch| branch.starts_with(&prefix)).collect();
        if branches.len() != 1 {
            return Err(format!("story {} has these branches: {branches:?}", story.number).into());
        }
        Ok(())
    }
}

/// How often each line is there; empty ones do not count.
fn counted(lines: &str) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
        *counts.entry(line.to_owned()).or_default() += 1;
    }
    counts
}

fn git(bare: &std::path::Path, arguments: &[&str]) -> Result<String, Failure> {
    let output =
        Command::new("git").args(["-c", "safe.directory=*", "-C"]).arg(bare).args(arguments).output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
