//! Many projects want the same places at once: does one of them wait longer than the others?
//!
//! Two processes share 50 projects with 200 agents and all their stories. How long a job waited is read from the events
//! afterwards: each step of a run is a job of its own that the step before has written, so the time from the last event of
//! a step to the first of the next is the time from ready to claimed, and to the first thing that the claimed job wrote.

use crate::{
    Failure,
    client::Api,
    figures::Figures,
    say,
    swarm::{self, Crowd, Launcher},
};
use serde_json::json;
use sqlx::{Connection, PgConnection};
use std::{path::Path, time::Instant};
use syndarix_postgres::EmbeddedOptions;

/// Each project has four agents of different roles, and hires the fifth when it comes to its first tests.
const CROWD: Crowd = Crowd { projects: 50, stories: 4, agents: 4, limit: 5 };
/// Runs that each of the two processes works on at once: fewer than there are projects, so that there is something to share
/// out, and not more than their connections to the database can serve.
const PLACES: u16 = 12;
/// The median wait of the slowest project is at most so many times that of the fastest.
const LIMIT: f64 = 3.0;

/// Plays all stories, writes what came of it, and refuses when a project waited too long beside another.
pub(crate) async fn run(binary: &Path, data_dir: &Path, out: &Path) -> Result<(), Failure> {
    let options =
        EmbeddedOptions::platform_default(syndarix::config::process_env).in_dir(data_dir.join("postgres"));
    let server = syndarix_postgres::start(options).await?;
    let (database, dir) = (swarm::fresh(server.url(), "fairness").await?, data_dir.join("fairness"));
    std::fs::create_dir_all(&dir)?;
    let launcher = Launcher {
        binary,
        dir: &dir,
        database: &database,
        models: dir.join("models.toml"),
        places: Some(PLACES),
    };
    let ratio = play(&launcher, out).await?;
    server.stop().await?;
    if ratio > LIMIT {
        return Err(format!(
            "the slowest project waits {ratio:.2} times as long as the fastest, at most {LIMIT} are fair"
        )
        .into());
    }
    say("fairness: 1 passed, 0 failed")
}

async fn play(launcher: &Launcher<'_>, out: &Path) -> Result<f64, Failure> {
    let (processes, address) = swarm::start(launcher).await?;
    let api = Api::register(&address).await?;
    let projects = swarm::populate(&api, CROWD).await?;
    let mut conn = PgConnection::connect(launcher.database).await?;
    let agents = "select count(*) from agent";
    let at_first: i64 = sqlx::query_scalar(agents).fetch_one(&mut conn).await?;
    let started = Instant::now();
    swarm::start_all(&projects).await?;
    let (of, stories) = (CROWD.projects, CROWD.all_stories());
    say(&format!("{stories} stories of {of} projects with {at_first} agents are started"))?;
    swarm::reach(&mut conn, CROWD.all_stories(), started).await?;
    let wall = started.elapsed().as_secs_f64();
    swarm::check(&mut conn, launcher.binary, launcher.dir, launcher.database, &projects).await?;
    let at_last: i64 = sqlx::query_scalar(agents).fetch_one(&mut conn).await?;
    drop(processes);

    let settings = json!({
        "projects": CROWD.projects, "stories": CROWD.all_stories(), "agents": at_first, "agents_at_the_end": at_last,
        "processes": 2, "places_each": PLACES,
    });
    let mut figures = Figures::create(out)?;
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let rate = CROWD.all_stories() as f64 / wall;
    figures.add("fairness, stories", (rate, "per second"), None, &settings)?;
    let waits = waits(&mut conn).await?;
    if waits.len() != CROWD.projects {
        return Err(format!("{} of {} projects had steps", waits.len(), CROWD.projects).into());
    }
    let (fastest, slowest) = (waits[0], waits[waits.len() - 1]);
    figures.add("fairness, median wait of the fastest project", (fastest * 1000.0, "ms"), None, &settings)?;
    figures.add("fairness, median wait of the slowest project", (slowest * 1000.0, "ms"), None, &settings)?;
    let ratio = slowest / fastest;
    figures.add("fairness, slowest of fastest", (ratio, "times"), None, &settings)?;
    figures.finish()?;
    Ok(ratio)
}

/// Each project's median wait from ready to claimed, in seconds, the shortest first.
async fn waits(conn: &mut PgConnection) -> Result<Vec<f64>, Failure> {
    let medians = sqlx::query_scalar(
        "with told as (
            select project_id, type, at, lag(type) over stream as before, lag(at) over stream as ready
              from event where kind = 'run' and version > 0 window stream as (partition by stream_id order by version)
         )
         select percentile_cont(0.5) within group (order by extract(epoch from at - ready))::float8 as median
           from told
          where (before, type) in (('run.started.v1', 'run.model_call_started.v1'),
                                   ('run.model_call_finished.v1', 'run.tool_call_started.v1'),
                                   ('run.tool_call_finished.v1', 'run.model_call_started.v1'))
          group by project_id order by median",
    );
    Ok(medians.fetch_all(conn).await?)
}
