//! Claiming ready jobs: batched, fenced, fair between projects.
//!
//! One statement chooses, locks and takes; its commit comes before the first job runs. Projects take turns, the
//! one with the fewest running jobs first; inside a project priority decides, raised by waiting.

use std::time::Duration;

use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use crate::{Job, Lease, Priority};

/// Waiting this long is worth one level of priority: a low job is treated as urgent after three steps.
const AGEING_STEP: Duration = Duration::from_secs(600);

/// Lost races for a concurrency key in one claim before it is left to the next poll.
const RACES_PER_CLAIM: u32 = 3;

/// Delayed jobs made ready by one statement: bounds its locks and its run time.
const PROMOTED_PER_STATEMENT: i64 = 1_000;

const ONE_PER_KEY: &str = "job_one_running_per_key";

/// Where the round of projects goes on. Kept in memory: after a restart the round starts anywhere.
#[derive(Clone, Copy, Debug)]
pub struct Cursor(Uuid);

impl Default for Cursor {
    fn default() -> Self {
        Self(Uuid::max())
    }
}

/// What to claim.
#[derive(Clone, Copy, Debug)]
pub struct Claim<'a> {
    /// Queue to take from.
    pub queue: &'a str,
    /// Incarnation of the worker that will own the jobs.
    pub owner: Uuid,
    /// At most this many.
    pub limit: u16,
    /// How long the first lease lasts.
    pub lease: Duration,
}

/// What was claimed.
#[derive(Debug, Default)]
pub struct Claimed {
    /// The jobs, in the order in which to start them.
    pub jobs: Vec<(Job, Lease)>,
    /// More was ready than was taken: ask again as soon as there is room.
    pub more: bool,
}

// `turn` walks from project to project by index, at most 32 of them, so that a project with a long backlog costs one
// probe like any other. `offer` names more jobs than are wanted: others may be locking them at this moment.
const CLAIM: &str = "
with recursive turn (tenant, wrapped, seat) as (
    select $3::uuid, false, 0
  union all
    select next.tenant, next.wrapped, turn.seat + 1
      from turn
     cross join lateral (
        (select j.tenant, turn.wrapped as wrapped from job j
          where j.queue = $1 and j.owner is null and j.due and j.tenant > turn.tenant
            and (not turn.wrapped or j.tenant <= $3)
          order by j.tenant limit 1)
        union all
        (select j.tenant, true from job j
          where not turn.wrapped and j.queue = $1 and j.owner is null and j.due and j.tenant <= $3
          order by j.tenant limit 1)
        order by wrapped limit 1
     ) next
     where turn.seat < 32
), busy as (
    select tenant, count(*) as running from job where queue = $1 and owner is not null group by tenant
), offer as materialized (
    select o.id, turn.seat,
           coalesce(busy.running, 0) + row_number() over (partition by turn.tenant order by o.rank, o.run_at, o.id) as round
      from turn
      left join busy using (tenant)
     cross join generate_series(0, 3) as level
     cross join lateral (
        select j.id, j.run_at, greatest(level - floor(extract(epoch from now() - j.run_at) / $6::float8), 0) as rank
          from job j
         where j.queue = $1 and j.tenant = turn.tenant and j.priority = level and j.owner is null and j.due
           and (j.concurrency_key is null
                or not exists (select from job r where r.concurrency_key = j.concurrency_key and r.owner is not null))
         order by j.run_at, j.id limit $2
     ) o
     where turn.seat > 0
), next_up as materialized (
    select id, round, seat from offer order by round, seat limit $2 * 4
), locked as (
    select j.id, j.concurrency_key, next_up.round, next_up.seat
      from next_up join job j on j.id = next_up.id
     where j.owner is null and j.due
     order by next_up.round, next_up.seat limit $2
       for update of j skip locked
), granted as (
    select id, round, seat
      from (select *, row_number() over (partition by concurrency_key order by round, seat) as nth from locked) l
     where case when concurrency_key is null then true
                when nth > 1 then false
                else pg_try_advisory_xact_lock(hashtextextended(concurrency_key, 7)) end
), taken as (
    update job set owner = $4, fence = fence + 1, attempt = attempt + 1, lease_until = now() + make_interval(secs => $5)
      from granted where job.id = granted.id
    returning job.*, granted.round, granted.seat, extract(epoch from now() - job.run_at)::float8 as waited
)
select taken.*, (select count(*) from offer) as offered,
       (select tenant from turn where seat > 0 order by seat desc limit 1) as last_turn
  from (select) always left join taken on true
 order by taken.round, taken.seat";

/// Claims ready jobs. Run it on its own, outside any transaction: the claim must be committed before a job starts.
pub async fn claim(
    conn: &mut PgConnection,
    wanted: Claim<'_>,
    cursor: &mut Cursor,
) -> Result<Claimed, sqlx::Error> {
    let mut races = 0;
    loop {
        match claim_once(conn, wanted, cursor).await {
            // A claimer with an older snapshot asked for a key that was just taken; a new look settles it.
            Err(error) if races < RACES_PER_CLAIM && is_key_race(&error) => races += 1,
            Err(error) if is_key_race(&error) => return Ok(Claimed { jobs: Vec::new(), more: true }),
            result => return result,
        }
    }
}

fn is_key_race(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|error| error.constraint()) == Some(ONE_PER_KEY)
}

async fn claim_once(
    conn: &mut PgConnection,
    wanted: Claim<'_>,
    cursor: &mut Cursor,
) -> Result<Claimed, sqlx::Error> {
    let rows = sqlx::query(CLAIM)
        .bind(wanted.queue)
        .bind(i64::from(wanted.limit))
        .bind(cursor.0)
        .bind(wanted.owner)
        .bind(wanted.lease.as_secs_f64())
        .bind(AGEING_STEP.as_secs_f64())
        .fetch_all(conn)
        .await?;
    let mut claimed = Claimed::default();
    let mut offered = 0;
    for row in &rows {
        offered = row.try_get("offered")?;
        if row.try_get::<Option<i64>, _>("id")?.is_some() {
            cursor.0 = row.try_get("tenant")?;
            crate::telemetry::claimed(wanted.queue, waited(row)?);
            claimed.jobs.push(job_of(row)?);
        } else if let Some(last) = row.try_get("last_turn")? {
            // Nobody in this window could be served: the next look starts behind it.
            cursor.0 = last;
        }
    }
    claimed.more = i64::try_from(claimed.jobs.len()).unwrap_or(i64::MAX) < offered;
    Ok(claimed)
}

fn waited(row: &PgRow) -> Result<Duration, sqlx::Error> {
    Ok(Duration::try_from_secs_f64(row.try_get("waited")?).unwrap_or_default())
}

fn job_of(row: &PgRow) -> Result<(Job, Lease), sqlx::Error> {
    let id = row.try_get("id")?;
    let count = |column| row.try_get::<i32, _>(column).map(|n| u32::try_from(n).unwrap_or(0));
    let job = Job {
        id,
        queue: row.try_get("queue")?,
        project: row.try_get("project_id")?,
        kind: row.try_get("kind")?,
        payload: row.try_get("payload")?,
        priority: Priority::of_rank(row.try_get("priority")?),
        attempt: count("attempt")?,
        rescues: count("rescues")?,
        max_attempts: count("max_attempts")?,
        concurrency_key: row.try_get("concurrency_key")?,
        created_at: row.try_get("created_at")?,
    };
    Ok((job, Lease { job: id, fence: row.try_get("fence")? }))
}

/// Makes delayed jobs ready whose time has come; returns the queues that got some. Any worker may do it at any time.
pub async fn promote(conn: &mut PgConnection) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar(
        "with ripe as (
            select id from job where owner is null and not due and run_at <= now()
             order by run_at limit $1 for update skip locked
         ), woken as (
            update job set due = true from ripe where job.id = ripe.id returning job.queue
         )
         select distinct queue from woken",
    )
    .bind(PROMOTED_PER_STATEMENT)
    .fetch_all(conn)
    .await
}
