//! What API and CLI show of queues, jobs, dead letters and workers.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::types::Json;
use sqlx::{FromRow, PgConnection, Row};
use uuid::Uuid;

use crate::{DeathCause, Priority};

/// Rows of one page when the caller does not say, and the most it can ask for.
const DEFAULT_PAGE: u16 = 50;
const MAX_PAGE: u16 = 500;

/// Counts of one queue.
#[derive(Clone, Debug, PartialEq, FromRow, Serialize)]
pub struct QueueStats {
    /// Its name.
    pub queue: String,
    /// Jobs that could run now.
    pub ready: i64,
    /// Jobs whose time has not come, or whose rate's limit is used up.
    pub delayed: i64,
    /// Jobs a worker holds.
    pub running: i64,
    /// Dead letters.
    pub dead: i64,
    /// How long the oldest ready job has waited; 0 when there is none.
    pub oldest_ready_seconds: f64,
}

/// Where a live job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// Could run now.
    Ready,
    /// Its time has not come, or the limit of its rate is used up.
    Delayed,
    /// A worker holds it.
    Running,
}

impl JobState {
    fn name(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Delayed => "delayed",
            Self::Running => "running",
        }
    }
}

/// Which rows to list; what is `None` does not matter. Newest first.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Filter {
    /// Of this project.
    pub project: Option<Uuid>,
    /// Of one of these projects: what somebody may see.
    pub projects: Option<Vec<Uuid>>,
    /// In this queue.
    pub queue: Option<String>,
    /// Of this kind.
    pub kind: Option<String>,
    /// In this state; dead letters have none.
    pub state: Option<JobState>,
    /// Dead of this cause; live jobs have none.
    pub cause: Option<DeathCause>,
    /// Older than this id: the last one of the page before.
    pub before: Option<i64>,
    /// Rows of the page, at most 500; 50 when not given.
    pub limit: Option<u16>,
}

impl Filter {
    fn page(&self) -> i64 {
        i64::from(self.limit.unwrap_or(DEFAULT_PAGE).clamp(1, MAX_PAGE))
    }
}

/// A live job.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct JobRow {
    /// Its id.
    pub id: i64,
    /// Queue it is in.
    pub queue: String,
    /// Project it belongs to.
    pub project: Option<Uuid>,
    /// Names its handler.
    pub kind: String,
    /// What was enqueued.
    pub payload: Value,
    /// Its priority.
    pub priority: Priority,
    /// Where it stands.
    pub state: JobState,
    /// When it could run, or can.
    pub run_at: DateTime<Utc>,
    /// Attempts started, this one included.
    pub attempt: i32,
    /// Attempts before the dead letters.
    pub max_attempts: i32,
    /// Workers lost while running it.
    pub rescues: i32,
    /// Incarnation of the worker that holds it.
    pub owner: Option<Uuid>,
    /// Until when that worker holds it.
    pub lease_until: Option<DateTime<Utc>>,
    /// It runs and was asked to stop.
    pub cancel_requested: bool,
    /// What went wrong last, or what it waits for.
    pub last_error: Option<String>,
    /// When it was enqueued.
    pub created_at: DateTime<Utc>,
}

/// One failed attempt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// Its number.
    pub attempt: i32,
    /// When it failed.
    pub at: DateTime<Utc>,
    /// What went wrong.
    pub error: String,
}

/// A dead letter.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DeadJob {
    /// Its id.
    pub id: i64,
    /// Queue it was in.
    pub queue: String,
    /// Project it belongs to.
    pub project: Option<Uuid>,
    /// Names its handler.
    pub kind: String,
    /// What was enqueued.
    pub payload: Value,
    /// Attempts started.
    pub attempt: i32,
    /// Attempts it had.
    pub max_attempts: i32,
    /// Workers lost while running it.
    pub rescues: i32,
    /// Why it was given up.
    pub reason: String,
    /// The failed attempts, oldest first; the last 20 at most.
    pub errors: Vec<Attempt>,
    /// When it was enqueued.
    pub created_at: DateTime<Utc>,
    /// When it was given up.
    pub died_at: DateTime<Utc>,
}

/// A worker process that is up, or died lately.
#[derive(Clone, Debug, PartialEq, FromRow, Serialize)]
pub struct WorkerRow {
    /// Identity of this one process start.
    pub incarnation: Uuid,
    /// Host or instance name, for people.
    pub name: String,
    /// When it started.
    pub started_at: DateTime<Utc>,
    /// Its last heartbeat.
    pub last_seen: DateTime<Utc>,
    /// Age of its last heartbeat by the database's clock.
    pub silent_seconds: f64,
    /// Jobs it holds.
    pub running: i64,
    /// The queues it polls; `None` for one of an earlier release, which did not say.
    pub queues: Option<Vec<String>>,
}

impl WorkerRow {
    /// Whether it takes jobs from this queue. Of one that does not say it is believed: a false alarm helps nobody.
    pub fn polls(&self, queue: &str) -> bool {
        self.queues.as_ref().is_none_or(|queues| queues.iter().any(|polled| polled == queue))
    }
}

/// Counts of every queue that has jobs or dead letters, by name.
pub async fn queue_stats(conn: &mut PgConnection) -> Result<Vec<QueueStats>, sqlx::Error> {
    sqlx::query_as(
        "with live as (
            select queue,
                   count(*) filter (where owner is null and run_at <= now() and in_line_at is null) as ready,
                   count(*) filter (where owner is null and (run_at > now() or in_line_at is not null)) as delayed,
                   count(*) filter (where owner is not null) as running,
                   min(run_at) filter (where owner is null and run_at <= now() and in_line_at is null) as oldest
              from job group by queue
         ), dead as (select queue, count(*) as dead from job_dead group by queue)
         select queue, coalesce(ready, 0) as ready, coalesce(delayed, 0) as delayed, coalesce(running, 0) as running,
                coalesce(dead, 0) as dead, coalesce(extract(epoch from now() - oldest), 0)::float8 as oldest_ready_seconds
           from live full join dead using (queue) order by queue",
    )
    .fetch_all(conn)
    .await
}

/// Live jobs, newest first.
pub async fn list(conn: &mut PgConnection, filter: &Filter) -> Result<Vec<JobRow>, sqlx::Error> {
    // All columns are named: where a newer release adds some, plans of `*` fail from then on.
    let rows = sqlx::query(
        "select * from (
            select id, queue, project_id, kind, payload, priority, run_at, attempt, max_attempts, rescues, owner, lease_until,
                   cancel_requested, last_error, created_at,
                   case when owner is not null then 'running' when run_at > now() or in_line_at is not null then 'delayed' else 'ready' end as state
              from job
         ) j
          where ($1::uuid is null or project_id = $1) and ($2::text is null or queue = $2)
            and ($3::text is null or kind = $3) and ($4::bigint is null or id < $4) and ($5::text is null or state = $5)
            and ($7::uuid[] is null or project_id = any($7))
          order by id desc limit $6",
    )
    .bind(filter.project)
    .bind(&filter.queue)
    .bind(&filter.kind)
    .bind(filter.before)
    .bind(filter.state.map(JobState::name))
    .bind(filter.page())
    .bind(&filter.projects)
    .fetch_all(conn)
    .await?;
    rows.iter().map(job_row).collect()
}

fn job_row(row: &sqlx::postgres::PgRow) -> Result<JobRow, sqlx::Error> {
    Ok(JobRow {
        id: row.try_get("id")?,
        queue: row.try_get("queue")?,
        project: row.try_get("project_id")?,
        kind: row.try_get("kind")?,
        payload: row.try_get("payload")?,
        priority: Priority::of_rank(row.try_get("priority")?),
        state: match row.try_get::<&str, _>("state")? {
            "running" => JobState::Running,
            "delayed" => JobState::Delayed,
            _ => JobState::Ready,
        },
        run_at: row.try_get("run_at")?,
        attempt: row.try_get("attempt")?,
        max_attempts: row.try_get("max_attempts")?,
        rescues: row.try_get("rescues")?,
        owner: row.try_get("owner")?,
        lease_until: row.try_get("lease_until")?,
        cancel_requested: row.try_get("cancel_requested")?,
        last_error: row.try_get("last_error")?,
        created_at: row.try_get("created_at")?,
    })
}

/// Dead letters, newest first.
pub async fn list_dead(conn: &mut PgConnection, filter: &Filter) -> Result<Vec<DeadJob>, sqlx::Error> {
    let (like, unlike) = filter.cause.map(DeathCause::patterns).unwrap_or_default();
    let rows = sqlx::query(
        "select id, queue, project_id, kind, payload, attempt, max_attempts, rescues, reason, errors, created_at, died_at
           from job_dead
          where ($1::uuid is null or project_id = $1) and ($2::text is null or queue = $2)
            and ($3::text is null or kind = $3) and ($4::bigint is null or id < $4)
            and ($6::uuid[] is null or project_id = any($6))
            and ($7::text is null or reason like $7) and not reason like any ($8)
          order by id desc limit $5",
    )
    .bind(filter.project)
    .bind(&filter.queue)
    .bind(&filter.kind)
    .bind(filter.before)
    .bind(filter.page())
    .bind(&filter.projects)
    .bind(like)
    .bind(unlike)
    .fetch_all(conn)
    .await?;
    rows.iter().map(dead_job).collect()
}

fn dead_job(row: &sqlx::postgres::PgRow) -> Result<DeadJob, sqlx::Error> {
    Ok(DeadJob {
        id: row.try_get("id")?,
        queue: row.try_get("queue")?,
        project: row.try_get("project_id")?,
        kind: row.try_get("kind")?,
        payload: row.try_get("payload")?,
        attempt: row.try_get("attempt")?,
        max_attempts: row.try_get("max_attempts")?,
        rescues: row.try_get("rescues")?,
        reason: row.try_get("reason")?,
        errors: row.try_get::<Json<Vec<Attempt>>, _>("errors")?.0,
        created_at: row.try_get("created_at")?,
        died_at: row.try_get("died_at")?,
    })
}

/// Workers, longest running first.
pub async fn workers(conn: &mut PgConnection) -> Result<Vec<WorkerRow>, sqlx::Error> {
    sqlx::query_as(
        "select incarnation, name, started_at, last_seen, extract(epoch from now() - last_seen)::float8 as silent_seconds,
                coalesce(held.running, 0) as running, queues
           from worker left join (select owner, count(*) as running from job where lease_until is not null group by owner) held
             on held.owner = incarnation
          order by started_at",
    )
    .fetch_all(conn)
    .await
}
