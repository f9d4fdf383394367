//! Durable timers: a job that does not exist until its time comes.
//!
//! Scheduling and cancelling belong to the transaction of the transition that causes them. A due timer turns into
//! its job in one statement, so it fires once, however many workers look. Those that come back are in `recurring.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use sqlx::{PgConnection, Postgres, Row};
use uuid::Uuid;

use crate::claim::AGEING_STEP;
use crate::recurring::fire_recurring;
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

/// A change of timers.
#[derive(Clone, Debug, PartialEq)]
pub enum TimerChange {
    /// Sets a timer, or moves the one of this name.
    Set(Box<NewTimer>),
    /// Cancels a stream's timers.
    Clear {
        /// The stream.
        stream: Uuid,
        /// Only the one of this name.
        name: Option<String>,
    },
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
    set_all(conn, &[timer]).await
}

/// Makes these changes in the caller's transaction. What is there afterwards is as if each had been made after the one
/// before; but all that is cancelled goes in one statement, and all that is set in another.
pub async fn change_timers(conn: &mut PgConnection, changes: &[&TimerChange]) -> Result<(), EnqueueError> {
    let Net { set, cleared } = Net::of(changes)?;
    if !cleared.is_empty() {
        clear_all(conn, &cleared).await?;
    }
    if !set.is_empty() {
        set_all(conn, &set).await?;
    }
    Ok(())
}

/// What changes come to: cancelled first, then set, each timer once.
struct Net<'c> {
    set: Vec<&'c NewTimer>,
    cleared: Vec<(Uuid, Option<&'c str>)>,
}

impl<'c> Net<'c> {
    fn of(changes: &[&'c TimerChange]) -> Result<Self, EnqueueError> {
        // In one order for everybody, which is the order of the rows' locks.
        let (mut set, mut cleared) = (BTreeMap::new(), BTreeSet::new());
        for &change in changes {
            match change {
                TimerChange::Set(timer) => {
                    timer.job.check()?;
                    let name = timer.name.as_str();
                    // It is moved: it need not be taken away first.
                    cleared.remove(&(timer.stream, Some(name)));
                    set.insert((timer.stream, name), &**timer);
                }
                TimerChange::Clear { stream, name } => {
                    let name = name.as_deref();
                    set.retain(|(of, own), _| of != stream || name.is_some_and(|name| name != *own));
                    cleared.insert((*stream, name));
                }
            }
        }
        Ok(Self { set: set.into_values().collect(), cleared: cleared.into_iter().collect() })
    }
}

/// Sets timers whose jobs were checked, none of them twice.
async fn set_all(conn: &mut PgConnection, timers: &[&NewTimer]) -> Result<(), EnqueueError> {
    let jobs = || timers.iter().map(|timer| &timer.job);
    let rates = || jobs().map(|job| job.rate.as_ref());
    sqlx::query(
        "insert into timer (stream, name, fire_at, queue, project_id, kind, payload, priority, unique_key, concurrency_key, max_attempts, rate)
         select stream, name, fire_at, queue, project_id, kind, payload, priority, unique_key, concurrency_key, max_attempts,
                case when rate_key is not null then row(rate_key, rate_count, rate_seconds)::rate_limit end
           from unnest($1::uuid[], $2::text[], $3::timestamptz[], $4::text[], $5::uuid[], $6::text[], $7::jsonb[], $8::smallint[],
                       $9::text[], $10::text[], $11::int[], $12::text[], $13::int[], $14::float8[])
                with ordinality as t (stream, name, fire_at, queue, project_id, kind, payload, priority, unique_key, concurrency_key,
                                      max_attempts, rate_key, rate_count, rate_seconds, nth)
          order by nth
         on conflict (stream, name) do update
            set fire_at = excluded.fire_at, queue = excluded.queue, project_id = excluded.project_id,
                kind = excluded.kind, payload = excluded.payload, priority = excluded.priority,
                unique_key = excluded.unique_key, concurrency_key = excluded.concurrency_key,
                max_attempts = excluded.max_attempts, rate = excluded.rate,
                every_seconds = null, cron = null, zone = null",
    )
    .bind(timers.iter().map(|timer| timer.stream).collect::<Vec<_>>())
    .bind(timers.iter().map(|timer| timer.name.as_str()).collect::<Vec<_>>())
    .bind(timers.iter().map(|timer| timer.fire_at).collect::<Vec<_>>())
    .bind(jobs().map(|job| job.queue.as_str()).collect::<Vec<_>>())
    .bind(jobs().map(|job| job.project).collect::<Vec<_>>())
    .bind(jobs().map(|job| job.kind.as_str()).collect::<Vec<_>>())
    .bind(jobs().map(|job| &job.payload).collect::<Vec<_>>())
    .bind(jobs().map(|job| job.priority.rank()).collect::<Vec<_>>())
    .bind(jobs().map(|job| job.unique_key.as_deref()).collect::<Vec<_>>())
    .bind(jobs().map(|job| job.concurrency_key.as_deref()).collect::<Vec<_>>())
    .bind(jobs().map(|job| i32::from(job.max_attempts.max(1))).collect::<Vec<_>>())
    .bind(rates().map(|rate| rate.map(|rate| rate.key.as_str())).collect::<Vec<_>>())
    .bind(rates().map(|rate| rate.map(|rate| i32::from(rate.count))).collect::<Vec<_>>())
    .bind(rates().map(|rate| rate.map(|rate| rate.per.as_secs_f64())).collect::<Vec<_>>())
    .execute(conn)
    .await?;
    Ok(())
}

/// Cancels these timers; without a name all of the stream.
async fn clear_all(conn: &mut PgConnection, cleared: &[(Uuid, Option<&str>)]) -> Result<(), sqlx::Error> {
    sqlx::query(
        "delete from timer using unnest($1::uuid[], $2::text[]) as gone (stream, name)
          where timer.stream = gone.stream and (gone.name is null or timer.name = gone.name)",
    )
    .bind(cleared.iter().map(|(stream, _)| *stream).collect::<Vec<_>>())
    .bind(cleared.iter().map(|(_, name)| *name).collect::<Vec<_>>())
    // Not kept, as for every such statement that runs on connections of others: see `finish_leased`.
    .persistent(false)
    .execute(conn)
    .await
    .map(drop)
}

type PgQuery<'q> = Query<'q, Postgres, PgArguments>;

/// The columns that a timer keeps of its job, from `queue` to the three of its rate.
pub(crate) fn bind_job<'q>(query: PgQuery<'q>, job: &'q NewJob) -> PgQuery<'q> {
    let rate = job.rate.as_ref();
    query
        .bind(&job.queue)
        .bind(job.project)
        .bind(&job.kind)
        .bind(&job.payload)
        .bind(job.priority.rank())
        .bind(&job.unique_key)
        .bind(&job.concurrency_key)
        .bind(i32::from(job.max_attempts.max(1)))
        .bind(rate.map(|rate| rate.key.as_str()))
        .bind(rate.map(|rate| i32::from(rate.count)))
        .bind(rate.map(|rate| rate.per.as_secs_f64()))
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
        // Not kept, as for every such statement that runs on connections of others: see `finish_leased`.
        .persistent(false)
        .execute(conn)
        .await?;
    Ok(gone.rows_affected())
}

// A live job with the timer's unique key swallows the timer: what it would have asked for is under way.
const FIRE: &str = "
with ripe as (
    select * from timer where fire_at <= now() and every_seconds is null and cron is null
     order by fire_at limit $1 for update skip locked
), gone as (
    delete from timer using ripe where timer.stream = ripe.stream and timer.name = ripe.name
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
    fire_recurring(conn, &mut fired).await?;
    for row in
        sqlx::query(FIRE).bind(FIRED_PER_STATEMENT).bind(AGEING_STEP.as_secs_f64()).fetch_all(conn).await?
    {
        fired.count += usize::try_from(row.try_get::<i64, _>("fired")?).unwrap_or(0);
        fired.queues.push(row.try_get("queue")?);
        fired.lag = fired.lag.max(Duration::try_from_secs_f64(row.try_get("lag")?).unwrap_or_default());
    }
    Ok(fired)
}
