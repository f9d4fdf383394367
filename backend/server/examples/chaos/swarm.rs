//! Two processes on one database: many agents and stories at once, first undisturbed, then with one of the two killed.
//!
//! What must hold is the same as after every round: nothing lost, nothing done twice; and with the kill no story may
//! stand still for longer than a lease and what a busy machine adds to it. The kill must hit running jobs, else another
//! process is killed.

use crate::{
    Failure,
    client::{Api, Story},
    figures::Figures,
    invariants::{self, Scene},
    process::{free_port, groups, log, wait_ready},
    say,
};
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use syndarix_postgres::EmbeddedOptions;

/// How many there are of what; all but the projects are of one project.
#[derive(Clone, Copy)]
pub(crate) struct Crowd {
    pub(crate) projects: usize,
    pub(crate) stories: usize,
    pub(crate) agents: usize,
    /// Agents that it may have at the most.
    pub(crate) limit: usize,
}

impl Crowd {
    pub(crate) fn all_stories(self) -> usize {
        self.projects * self.stories
    }
}

const CROWD: Crowd = Crowd { projects: 5, stories: 10, agents: 40, limit: 40 };
/// A job's lease: how long a story may stand still because its process died.
const LEASE: Duration = Duration::from_secs(13);
/// What a busy machine may add to it: starting the job again, and its step.
const MARGIN: Duration = Duration::from_secs(15);
/// Kills until one hits a process with jobs in hand.
const KILLS: u32 = 5;
/// How long a process may have no connection for somebody who asks.
const PATIENCE: Duration = Duration::from_secs(60);
/// All stories are done within this, on a busy machine.
const LIMIT: Duration = Duration::from_secs(3_600);
/// Nothing may stand still for so long; how long all of it takes is the machine's affair.
const STANDSTILL: Duration = Duration::from_secs(120);
/// How often it is said how far they are.
const TOLD_EVERY: Duration = Duration::from_secs(60);
/// What the agents say.
pub(crate) const RULES: &str = include_str!("../../tests/it/fire/good_agents.toml");
pub(crate) const HEAD: &str = include_str!("../capture.toml");

/// Processes that end with this value.
pub(crate) struct Processes(Vec<Child>);

impl Processes {
    /// SIGKILL; gives the name under which the process worked.
    fn kill(&mut self, index: usize) -> Result<String, Failure> {
        let mut child = self.0.remove(index);
        let killed = child.kill();
        child.wait()?;
        killed?;
        Ok(format!("syndarix-{}", child.id()))
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Starts the processes of one wave.
pub(crate) struct Launcher<'a> {
    pub(crate) binary: &'a Path,
    pub(crate) dir: &'a Path,
    pub(crate) database: &'a str,
    pub(crate) models: PathBuf,
    /// Runs that a process works on at once, if not as many as by itself.
    pub(crate) places: Option<u16>,
}

impl Launcher<'_> {
    fn spawn(&self, arguments: &[&str], name: &str) -> Result<Child, Failure> {
        Ok(Command::new(self.binary)
            .args(arguments)
            .arg("--data-dir")
            .arg(self.dir)
            .env("DATABASE_URL", self.database)
            .env("SYNDARIX_MODELS", &self.models)
            .env("SYNDARIX_LOG", "warn")
            .envs(self.places.map(|places| ("SYNDARIX_AGENT_CONCURRENCY", places.to_string())))
            .stdin(Stdio::null())
            .stdout(log(self.dir, name)?)
            .stderr(log(self.dir, name)?)
            .spawn()?)
    }

    /// One of the two that share the work, and its address.
    fn serve(&self) -> Result<(Child, String), Failure> {
        let listen = format!("127.0.0.1:{}", free_port()?);
        let child = self.spawn(&["serve", "--listen", &listen], "serve.log")?;
        Ok((child, format!("http://{listen}")))
    }
}

/// One of the projects, and what is to be done in it.
pub(crate) struct Project {
    pub(crate) api: Api,
    pub(crate) stories: Vec<Story>,
}

/// Plays both waves, and writes what came of them.
pub(crate) async fn run(binary: &Path, data_dir: &Path, out: &Path) -> Result<(), Failure> {
    let options =
        EmbeddedOptions::platform_default(syndarix::config::process_env).in_dir(data_dir.join("postgres"));
    let database = syndarix_postgres::start(options).await?;
    let mut figures = Figures::create(out)?;
    for (name, kill) in [("both live", false), ("one is killed", true)] {
        let url = fresh(database.url(), name).await?;
        let dir = data_dir.join(name.replace(' ', "-"));
        std::fs::create_dir_all(&dir)?;
        let models = dir.join("models.toml");
        let launcher = Launcher { binary, dir: &dir, database: &url, models, places: None };
        wave(&launcher, (name, kill), &mut figures).await.map_err(|failure| {
            let log = std::fs::read_to_string(dir.join("serve.log")).unwrap_or_default();
            let tail: Vec<&str> = log.lines().rev().take(20).collect();
            format!("{name}: {failure}\n{}", tail.into_iter().rev().collect::<Vec<_>>().join("\n"))
        })?;
    }
    figures.finish()?;
    database.stop().await?;
    say("swarm: 2 passed, 0 failed")
}

/// A database of its own.
pub(crate) async fn fresh(server: &str, name: &str) -> Result<String, Failure> {
    let database = format!("swarm_{}", name.replace([' ', '-'], "_"));
    let mut admin = PgConnection::connect(server).await?;
    sqlx::query(sqlx::AssertSqlSafe(format!("create database {database}"))).execute(&mut admin).await?;
    let mut url = url::Url::parse(server)?;
    url.set_path(&database);
    Ok(url.into())
}

async fn wave(
    launcher: &Launcher<'_>,
    (name, kill): (&str, bool),
    figures: &mut Figures,
) -> Result<(), Failure> {
    let (mut processes, address) = start(launcher).await?;
    let api = Api::register(&address).await?;
    let projects = populate(&api, CROWD).await?;
    let mut conn = PgConnection::connect(launcher.database).await?;
    let agents: i64 = sqlx::query_scalar("select count(*) from agent").fetch_one(&mut conn).await?;
    let started = Instant::now();
    start_all(&projects).await?;
    let mut killed = None;
    if kill {
        reach(&mut conn, CROWD.all_stories() / 4, started).await?;
        killed = Some(kill_at_work(&mut conn, launcher, &mut processes).await?);
    }
    reach(&mut conn, CROWD.all_stories(), started).await?;
    let wall = started.elapsed().as_secs_f64();
    check(&mut conn, launcher.binary, launcher.dir, launcher.database, &projects).await?;
    let (longest, median) = stalls(&mut conn, killed.map_or(0.0, |killed| killed.moment)).await?;
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let rate = CROWD.all_stories() as f64 / wall;
    let settings = json!({
        "projects": CROWD.projects, "stories": CROWD.all_stories(), "agents": agents, "processes": 2,
    });
    let taken_over = killed.map(|killed| ("taken over", killed.taken_over, "s"));
    let all = [
        ("stories", rate, "per second"),
        ("longest standstill", longest, "s"),
        ("median of the longest standstills", median, "s"),
    ];
    for (what, value, unit) in all.into_iter().chain(taken_over) {
        figures.add(&format!("swarm, {name}, {what}"), (value, unit), None, &settings)?;
    }
    if kill && longest > (LEASE + MARGIN).as_secs_f64() {
        return Err(format!("a story stood still for {longest:.1} s, with a lease of {LEASE:?}").into());
    }
    let (stories, projects) = (CROWD.all_stories(), CROWD.projects);
    say(&format!(
        "{stories} stories of {projects} projects with {agents} agents done in {wall:.1} s ({rate:.2} stories/s); \
         with an agent at work a story stood still for {longest:.1} s at most (the median of the longest is {median:.1} s); all invariants hold"
    ))
}

/// The model, and two processes that share database, repositories and worktrees; the address of the one that lives.
pub(crate) async fn start(launcher: &Launcher<'_>) -> Result<(Processes, String), Failure> {
    let scenario = launcher.dir.join("scenario.toml");
    std::fs::write(&scenario, format!("{HEAD}\n{RULES}"))?;
    let model = format!("127.0.0.1:{}", free_port()?);
    std::fs::write(&launcher.models, groups(&model))?;
    let path = scenario.to_string_lossy();
    let arguments = ["scripted-model", "--listen", &model, "--scenario", &path];
    let mut processes = Processes(vec![launcher.spawn(&arguments, "model.log")?]);
    let mut addresses = Vec::new();
    for _ in 0..2 {
        let (child, address) = launcher.serve()?;
        processes.0.push(child);
        addresses.push(address);
    }
    for address in &addresses {
        wait_ready(address).await?;
    }
    Ok((processes, addresses.remove(1)))
}

/// A kill that hit jobs in hand.
#[derive(Clone, Copy)]
struct Kill {
    /// When, in seconds since 1970 by the database's clock.
    moment: f64,
    /// How long it was until all of them were taken over, in seconds.
    taken_over: f64,
}

/// Kills the first of the two while it has jobs in hand; when they were done in that very moment, a new one.
async fn kill_at_work(
    conn: &mut PgConnection,
    launcher: &Launcher<'_>,
    processes: &mut Processes,
) -> Result<Kill, Failure> {
    for _ in 0..KILLS {
        let name = format!("syndarix-{}", processes.0[1].id());
        let begun = Instant::now();
        while in_hand(conn, &name).await? == 0 {
            if begun.elapsed() > LEASE {
                return Err(format!("{name} has nothing to do").into());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let now = "select extract(epoch from clock_timestamp())::float8";
        let moment: f64 = sqlx::query_scalar(now).fetch_one(&mut *conn).await?;
        let killed = Instant::now();
        let gone = processes.kill(1)?;
        let lost = taken_over(conn, &gone, killed).await?;
        if lost > 0 {
            let taken_over = killed.elapsed().as_secs_f64();
            say(&format!("killed one of two with {lost} jobs in hand: taken over after {taken_over:.1} s"))?;
            return Ok(Kill { moment, taken_over });
        }
        let (child, address) = launcher.serve()?;
        processes.0.insert(1, child);
        wait_ready(&address).await?;
    }
    Err(format!("{KILLS} kills hit nobody at work").into())
}

async fn in_hand(conn: &mut PgConnection, worker: &str) -> Result<i64, Failure> {
    let count = "select count(*) from job j join worker w on w.incarnation = j.owner where w.name = $1";
    Ok(sqlx::query_scalar(count).bind(worker).fetch_one(conn).await?)
}

/// All projects of the crowd.
pub(crate) async fn populate(api: &Api, crowd: Crowd) -> Result<Vec<Project>, Failure> {
    let mut projects = Vec::new();
    for n in 0..crowd.projects {
        projects.push(project(api, n, crowd).await?);
    }
    Ok(projects)
}

/// Story by story, so that each project's first comes before any project's second.
pub(crate) async fn start_all(projects: &[Project]) -> Result<(), Failure> {
    let most = projects.iter().map(|project| project.stories.len()).max().unwrap_or(0);
    for nth in 0..most {
        for project in projects {
            if let Some(story) = project.stories.get(nth) {
                start_patiently(&project.api, story).await?;
            }
        }
    }
    Ok(())
}

/// A process whose connections are all at work says so, and asks to be asked again: nothing was done.
async fn start_patiently(api: &Api, story: &Story) -> Result<(), Failure> {
    let begun = Instant::now();
    loop {
        match api.start_story(&story.id).await {
            Err(failure)
                if failure.to_string().contains("\"code\":\"busy\"") && begun.elapsed() < PATIENCE =>
            {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            answered => return answered,
        }
    }
}

/// A project with its agents and stories, none of them started.
async fn project(api: &Api, n: usize, crowd: Crowd) -> Result<Project, Failure> {
    let me = api.call(Method::GET, "/me", None).await?;
    let body = json!({
        "organisation_id": me["organisations"][0]["id"], "name": format!("Swarm {n}"), "autonomy": "autonomous",
        "test_command": "true", "repository": { "source": "empty" },
    });
    let made = api.call(Method::POST, "/projects", Some(body)).await?;
    let mut api = api.clone();
    made["id"].as_str().ok_or("no project")?.clone_into(&mut api.project);
    ready(&api).await?;
    api.call(Method::PATCH, &api.path(""), Some(json!({ "agent_limit": crowd.limit }))).await?;
    let mut policy = api.call(Method::GET, &api.path("/policy"), None).await?;
    for row in policy["rows"].as_array_mut().into_iter().flatten() {
        if row["action"] == "story_requirements" || row["action"] == "architecture_decision" {
            row["autonomous"] = json!("auto");
        }
    }
    api.call(Method::PUT, &api.path("/policy"), Some(policy)).await?;
    spawn_agents(&api, crowd.agents).await?;
    let mut stories = Vec::new();
    for story in 0..crowd.stories {
        stories.push(api.write_story(u32::try_from(story)?).await?);
    }
    Ok(Project { api, stories })
}

pub(crate) async fn ready(api: &Api) -> Result<(), Failure> {
    let deadline = Instant::now() + Duration::from_secs(60);
    while api.call(Method::GET, &api.path(""), None).await?["repository"]["state"] != "ready" {
        if Instant::now() > deadline {
            return Err("the repository is not made in time".into());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

/// As many of each role that a story needs.
async fn spawn_agents(api: &Api, count: usize) -> Result<(), Failure> {
    let types = api.call(Method::GET, &format!("/agent-types?project_id={}", api.project), None).await?;
    let types: Vec<&Value> = types["items"].as_array().into_iter().flatten().collect();
    let roles = ["analyst", "architect", "engineer", "reviewer", "qa"];
    for n in 0..count {
        let role = roles[n % roles.len()];
        let of_role = types.iter().find(|kind| kind["role"] == role).ok_or("a role without a type")?;
        let body = json!({ "agent_type_id": of_role["id"] });
        api.call(Method::POST, &api.path("/agents"), Some(body)).await?;
    }
    Ok(())
}

/// Waits until so many stories are done, as long as something happens; says now and then how far they are.
pub(crate) async fn reach(conn: &mut PgConnection, wanted: usize, started: Instant) -> Result<(), Failure> {
    let (mut events, mut moved, mut told) = (0, Instant::now(), Instant::now());
    loop {
        let (done, blocked, now): (i64, i64, i64) = sqlx::query_as(
            "select count(*) filter (where phase = 'done'), count(*) filter (where phase in ('blocked', 'cancelled')),
                    (select coalesce(sum(head), 0)::bigint from project_log)
               from story",
        )
        .fetch_one(&mut *conn)
        .await?;
        if blocked > 0 {
            let why: String = sqlx::query_scalar(
                "select state -> 'phase' ->> 'reason' from story where phase = 'blocked' limit 1",
            )
            .fetch_one(&mut *conn)
            .await?;
            return Err(format!("{blocked} stories are blocked, one because {why}").into());
        }
        if usize::try_from(done)? >= wanted {
            return Ok(());
        }
        if now != events {
            (events, moved) = (now, Instant::now());
        }
        if started.elapsed() > LIMIT || moved.elapsed() > STANDSTILL {
            return Err(format!(
                "only {done} of {wanted} stories are done after {:.0?}; the last event came {:.0?} ago",
                started.elapsed(),
                moved.elapsed()
            )
            .into());
        }
        if told.elapsed() > TOLD_EVERY {
            tell(conn, (done, wanted), started).await?;
            told = Instant::now();
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// How far the stories are, for whoever waits for them.
async fn tell(conn: &mut PgConnection, (done, of): (i64, usize), started: Instant) -> Result<(), Failure> {
    let runs = "select count(distinct story_id) from run where phase not in ('succeeded', 'failed', 'stalled', 'cancelled')";
    let under_way: i64 = sqlx::query_scalar(runs).fetch_one(conn).await?;
    let seconds = started.elapsed().as_secs();
    say(&format!("  {seconds:>5} s: {done} of {of} stories done, {under_way} under way"))
}

/// Waits until no job belongs to the worker that is gone; gives how many did.
async fn taken_over(conn: &mut PgConnection, gone: &str, killed: Instant) -> Result<i64, Failure> {
    let at_first = in_hand(conn, gone).await?;
    loop {
        let left = in_hand(conn, gone).await?;
        if left == 0 {
            return Ok(at_first);
        }
        if killed.elapsed() > LEASE {
            return Err(format!("{left} jobs are not taken over within the lease").into());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Every invariant, over all projects.
pub(crate) async fn check(
    conn: &mut PgConnection,
    binary: &Path,
    data_dir: &Path,
    database: &str,
    projects: &[Project],
) -> Result<(), Failure> {
    invariants::settled(conn).await?;
    for project in projects {
        let database = database.to_owned();
        let scene = Scene { binary, data_dir, database, named_database: true, project: &project.api.project };
        invariants::of_stories(conn, &scene, &project.stories, false).await?;
    }
    let project = "";
    invariants::as_a_whole(&Scene {
        binary,
        data_dir,
        database: database.to_owned(),
        named_database: true,
        project,
    })
}

/// The longest and the median of the longest time between two events of a story or its runs, in seconds, of those times
/// that ended after `since`. Waiting for a free agent is left out: ten stories of a project ask for eight engineers at once.
async fn stalls(conn: &mut PgConnection, since: f64) -> Result<(f64, f64), Failure> {
    let row = sqlx::query_as(
        "with told as (
            select coalesce(r.story_id, s.id) as story, e.at, e.type
              from event e left join run r on r.id = e.stream_id left join story s on s.id = e.stream_id
             where r.id is not null or s.id is not null and e.type <> 'story.created.v1'
         ), gaps as (
            select story, type, at, extract(epoch from at - lag(at) over (partition by story order by at))::float8 as gap from told
         ), longest as (
            select story, max(gap) as gap from gaps where type not in ('run.started.v1', 'story.run_started.v1') and extract(epoch from at) > $1 group by story
         )
         select max(gap), percentile_cont(0.5) within group (order by gap) from longest",
    )
    .bind(since)
    .fetch_one(conn)
    .await?;
    Ok(row)
}
