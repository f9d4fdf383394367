//! Durable timers: a job that does not exist until its time comes.
//!
//! Scheduling and cancelling belong to the transaction of the transition that causes them. A due timer turns into
//! its job in one statement, so it fires once, however many workers look.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, Row};
use uuid::Uuid;

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
        "insert into timer (stream, name, fire_at, queue, project_id, kind, payload, priority, unique_key, concurrency_key, max_attempts)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
         on conflict (stream, name) do update
            set fire_at = excluded.fire_at, queue = excluded.queue, project_id = excluded.project_id,
                kind = excluded.kind, payload = excluded.payload, priority = excluded.priority,
                unique_key = excluded.unique_key, concurrency_key = excluded.concurrency_key,
                max_attempts = excluded.max_attempts",
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
    select stream, name from timer where fire_at <= now() order by fire_at limit $1 for update skip locked
), gone as (
    delete from timer using ripe where timer.stream = ripe.stream and timer.name = ripe.name returning timer.*
), put as (
    insert into job (queue, project_id, kind, payload, priority, unique_key, concurrency_key, max_attempts)
    select queue, project_id, kind, payload, priority, unique_key, concurrency_key, max_attempts
      from gone order by fire_at
    on conflict (unique_key) where unique_key is not null do nothing
)
select queue, count(*) as fired, extract(epoch from max(now() - fire_at))::float8 as lag from gone group by queue";

/// Turns due timers into jobs. Any worker may do it at any time.
pub async fn fire_due(conn: &mut PgConnection) -> Result<Fired, sqlx::Error> {
    let mut fired = Fired::default();
    for row in sqlx::query(FIRE).bind(FIRED_PER_STATEMENT).fetch_all(conn).await? {
        fired.count += usize::try_from(row.try_get::<i64, _>("fired")?).unwrap_or(0);
        fired.queues.push(row.try_get("queue")?);
        fired.lag = fired.lag.max(Duration::try_from_secs_f64(row.try_get("lag")?).unwrap_or_default());
    }
    Ok(fired)
}
