//! Durable timers: a job that does not exist until its time comes.
//!
//! Scheduling and cancelling belong to the transaction of the transition that causes them. A due timer turns into
//! its job in one statement, so it fires once, however many workers look. A recurring timer moves on in that same
//! statement, to its next time in the future: ticks missed while nobody looked make one job, not many.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use crate::claim::AGEING_STEP;
use crate::{EnqueueError, NewJob};

/// Timers fired by one statement: bounds its locks and its run time.
const FIRED_PER_STATEMENT: i64 = 500;

/// A timer to be set.
#[derive(Clone, Debug, PartialEq)]
pub struct NewTimer {
    /// Stream (machine instance) it belongs to.
    pub stream: Uuid,
    /// Its name within the stream; setting a name again moves the timer.
    pub name: String,
    /// Not before this time.
    pub fire_at: DateTime<Utc>,
    /// The job it becomes; `run_at` of it is not used.
    pub job: NewJob,
}

/// What a look at the timers did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fired {
    /// Timers that turned into jobs.
    pub count: usize,
    /// Queues that got a job.
    pub queues: Vec<String>,
    /// How late the latest of them was.
    pub lag: Duration,
}

/// Sets a timer, or moves the one of this name, in the caller's transaction.
pub async fn schedule_timer(conn: &mut PgConnection, timer: &NewTimer) -> Result<(), EnqueueError> {
    timer.job.check()?;
    sqlx::query(
        "insert into timer (stream, name, fire_at, queue, project_id, kind, payload, priority, unique_key, concurrency_key, max_attempts, rate)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11,
                 case when $12::text is not null then row($12, $13, $14)::rate_limit end)
         on conflict (stream, name) do update
            set fire_at = excluded.fire_at, queue = excluded.queue, project_id = excluded.project_id,
                kind = excluded.kind, payload = excluded.payload, priority = excluded.priority,
                unique_key = excluded.unique_key, concurrency_key = excluded.concurrency_key,
                max_attempts = excluded.max_attempts, rate = excluded.rate, every_seconds = null",
    )
    .bind(timer.stream)
    .bind(&timer.name)
    .bind(timer.fire_at)
    .bind(&timer.job.queue)
    .bind(timer.job.project)
    .bind(&timer.job.kind)
    .bind(&timer.job.payload)
    .bind(timer.job.priority.rank())
    .bind(&timer.job.unique_key)
    .bind(&timer.job.concurrency_key)
    .bind(i32::from(timer.job.max_attempts.max(1)))
    .bind(timer.job.rate.as_ref().map(|rate| rate.key.as_str()))
    .bind(timer.job.rate.as_ref().map(|rate| i32::from(rate.count)))
    .bind(timer.job.rate.as_ref().map(|rate| rate.per.as_secs_f64()))
    .execute(conn)
    .await?;
    Ok(())
}

/// A job that comes back again and again.
#[derive(Clone, Debug, PartialEq)]
pub struct Recurring {
    /// Its name, unique among the recurring ones; [`cancel_timers`] of the nil stream with this name ends it.
    pub name: String,
    /// A time it fires at; all others are whole periods before and after.
    pub anchor: DateTime<Utc>,
    /// Its period, at least a second.
    pub every: Duration,
    /// The job it becomes; with a unique key, a tick is skipped while the last one still runs.
    pub job: NewJob,
}

/// Sets up a recurring job, or brings its definition up to date. Every instance may do so at every start: the
/// next tick stays where it is as long as the period is the same.
pub async fn ensure_recurring(conn: &mut PgConnection, recurring: &Recurring) -> Result<(), EnqueueError> {
    recurring.job.check()?;
    sqlx::query(
        "insert into timer (stream, name, fire_at, every_seconds, queue, project_id, kind, payload, priority, unique_key, concurrency_key, max_attempts, rate)
         values ($1, $2,
                 $3 + make_interval(secs => $4 * greatest(ceil(extract(epoch from now() - $3)::float8 / $4), 0)),
                 $4, $5, $6, $7, $8, $9, $10, $11, $12,
                 case when $13::text is not null then row($13, $14, $15)::rate_limit end)
         on conflict (stream, name) do update
            set fire_at = case when timer.every_seconds = excluded.every_seconds then timer.fire_at else excluded.fire_at end,
                every_seconds = excluded.every_seconds, queue = excluded.queue, project_id = excluded.project_id,
                kind = excluded.kind, payload = excluded.payload, priority = excluded.priority,
                unique_key = excluded.unique_key, concurrency_key = excluded.concurrency_key,
                max_attempts = excluded.max_attempts, rate = excluded.rate",
    )
    .bind(Uuid::nil())
    .bind(&recurring.name)
    .bind(recurring.anchor)
    .bind(recurring.every.as_secs_f64())
    .bind(&recurring.job.queue)
    .bind(recurring.job.project)
    .bind(&recurring.job.kind)
    .bind(&recurring.job.payload)
    .bind(recurring.job.priority.rank())
    .bind(&recurring.job.unique_key)
    .bind(&recurring.job.concurrency_key)
    .bind(i32::from(recurring.job.max_attempts.max(1)))
    .bind(recurring.job.rate.as_ref().map(|rate| rate.key.as_str()))
    .bind(recurring.job.rate.as_ref().map(|rate| i32::from(rate.count)))
    .bind(recurring.job.rate.as_ref().map(|rate| rate.per.as_secs_f64()))
    .execute(conn)
    .await?;
    Ok(())
}

/// Cancels one timer of a stream, or all of them, in the caller's transaction; returns how many there were.
///
/// A timer that has fired is a job by now: its handler must check that it still matters.
pub async fn cancel_timers(
    conn: &mut PgConnection,
    stream: Uuid,
    name: Option<&str>,
) -> Result<u64, sqlx::Error> {
    let gone = sqlx::query("delete from timer where stream = $1 and ($2::text is null or name = $2)")
        .bind(stream)
        .bind(name)
        // Not cached, as for every statement that runs on a foreign connection: see Lease::hold.
        .persistent(false)
        .execute(conn)
        .await?;
    Ok(gone.rows_affected())
}

// A live job with the timer's unique key swallows the timer: what it would have asked for is under way.
const FIRE: &str = "
with ripe as (
    select * from timer where fire_at <= now() order by fire_at limit $1 for update skip locked
), gone as (
    delete from timer using ripe
     where timer.stream = ripe.stream and timer.name = ripe.name and ripe.every_seconds is null
), moved as (
    update timer
       set fire_at = ripe.fire_at + make_interval(
               secs => ripe.every_seconds * (floor(extract(epoch from now() - ripe.fire_at)::float8 / ripe.every_seconds) + 1))
      from ripe
     where timer.stream = ripe.stream and timer.name = ripe.name and ripe.every_seconds is not null
), put as (
    insert into job (queue, project_id, kind, payload, priority, unique_key, concurrency_key, max_attempts, rate, due, in_line_at)
    select queue, project_id, kind, payload, priority, unique_key, concurrency_key, max_attempts, rate, (rate).key is null,
           case when (rate).key is not null then now() + priority * make_interval(secs => $2) end
      from ripe order by fire_at
    on conflict (unique_key) where unique_key is not null do nothing
)
select queue, count(*) as fired, extract(epoch from max(now() - fire_at))::float8 as lag from ripe group by queue";

/// Turns due timers into jobs. Any worker may do it at any time.
pub async fn fire_due(conn: &mut PgConnection) -> Result<Fired, sqlx::Error> {
    let mut fired = Fired::default();
    for row in
        sqlx::query(FIRE).bind(FIRED_PER_STATEMENT).bind(AGEING_STEP.as_secs_f64()).fetch_all(conn).await?
    {
        fired.count += usize::try_from(row.try_get::<i64, _>("fired")?).unwrap_or(0);
        fired.queues.push(row.try_get("queue")?);
        fired.lag = fired.lag.max(Duration::try_from_secs_f64(row.try_get("lag")?).unwrap_or_default());
    }
    Ok(fired)
}
