//! Jobs that come back by a schedule.
//!
//! Any worker may fire them, at any time: the timer's row is locked, the jobs of its ticks are written and the timer moves
//! on in one transaction. So a tick has its jobs or has not, whatever crashes, and no tick waits until a leader is elected.
//! A timer remembers its last tick, and only later ones fire: name and tick are the identity of what is started.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use crate::claim::AGEING_STEP;
use crate::schedule::Calendar;
use crate::timers::{Fired, bind_job};
use crate::{EnqueueError, Missed, NewJob, Schedule, ScheduleError};

/// Recurring timers fired in one transaction: bounds its locks and its run time.
const FIRED_PER_PASS: i64 = 50;

/// When a schedule that cannot be read is looked at again: a newer release, which wrote it, may run elsewhere.
const UNREADABLE_WAIT: Duration = Duration::from_secs(60);

/// A job that comes back again and again.
#[derive(Clone, Debug, PartialEq)]
pub struct Recurring {
    /// Its name, unique among the recurring ones; [`crate::cancel_timers`] of the nil stream with this name ends it.
    pub name: String,
    /// When it comes back.
    pub schedule: Schedule,
    /// What becomes of ticks that nobody fired in time.
    pub missed: Missed,
    /// The job it becomes; with a unique key, a tick is skipped while the last one still runs.
    pub job: NewJob,
}

/// Sets up a recurring job, or brings its definition up to date. Every instance may do so at every start: the
/// next tick stays where it is as long as the schedule is the same.
pub async fn ensure_recurring(conn: &mut PgConnection, recurring: &Recurring) -> Result<(), EnqueueError> {
    recurring.job.check()?;
    let unusable = |source| EnqueueError::Schedule { name: recurring.name.clone(), source };
    let calendar = Calendar::try_from(&recurring.schedule).map_err(unusable)?;
    let now: DateTime<Utc> = sqlx::query_scalar("select now()").fetch_one(&mut *conn).await?;
    // A tick at this very moment counts: the anchor may be now.
    let first = calendar.after(now - TimeDelta::microseconds(1)).map_err(unusable)?;
    let (every, cron, zone) = match &recurring.schedule {
        Schedule::Every { period, .. } => (Some(period.as_secs_f64()), None, None),
        Schedule::Cron { expression, zone } => (None, Some(expression), Some(zone)),
    };
    let query = sqlx::query(
        "insert into timer (stream, name, fire_at, queue, project_id, kind, payload, priority, unique_key, concurrency_key, max_attempts,
                            rate, every_seconds, cron, zone, catch_up)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11,
                 case when $12::text is not null then row($12, $13, $14)::rate_limit end, $15, $16, $17, $18)
         on conflict (stream, name) do update
            set fire_at = case when (timer.every_seconds, timer.cron, timer.zone)
                                    is not distinct from (excluded.every_seconds, excluded.cron, excluded.zone)
                               then timer.fire_at else excluded.fire_at end,
                every_seconds = excluded.every_seconds, cron = excluded.cron, zone = excluded.zone,
                catch_up = excluded.catch_up, queue = excluded.queue, project_id = excluded.project_id,
                kind = excluded.kind, payload = excluded.payload, priority = excluded.priority,
                unique_key = excluded.unique_key, concurrency_key = excluded.concurrency_key,
                max_attempts = excluded.max_attempts, rate = excluded.rate",
    )
    .bind(Uuid::nil())
    .bind(&recurring.name)
    .bind(first);
    bind_job(query, &recurring.job)
        .bind(every)
        .bind(cron)
        .bind(zone)
        .bind(recurring.missed.stored())
        .execute(conn)
        .await?;
    Ok(())
}

/// A recurring timer whose time has come.
#[derive(Debug, sqlx::FromRow)]
struct Ripe {
    name: String,
    queue: String,
    fire_at: DateTime<Utc>,
    every_seconds: Option<f64>,
    cron: Option<String>,
    zone: Option<String>,
    catch_up: i16,
    last_tick: Option<DateTime<Utc>>,
    looked_at: DateTime<Utc>,
}

/// What becomes of a ripe timer.
#[derive(Debug, Default, PartialEq, Eq)]
struct Moved {
    ticks: Vec<DateTime<Utc>>,
    /// `None`: it has no further tick.
    fire_at: Option<DateTime<Utc>>,
}

impl Ripe {
    fn calendar(&self) -> Result<Calendar, ScheduleError> {
        let schedule = match (self.every_seconds, &self.cron, &self.zone) {
            (_, Some(expression), Some(zone)) => {
                Schedule::Cron { expression: expression.clone(), zone: zone.clone() }
            }
            (every, _, _) => {
                let period = Duration::try_from_secs_f64(every.unwrap_or_default()).unwrap_or_default();
                Schedule::Every { anchor: self.fire_at, period }
            }
        };
        Calendar::try_from(&schedule)
    }

    fn moved(&self) -> Moved {
        let calendar = match self.calendar() {
            Ok(calendar) => calendar,
            Err(error) => {
                let error: &(dyn std::error::Error + 'static) = &error;
                tracing::error!(name = self.name, error, "a recurring job has a schedule that does not read");
                return Moved { ticks: Vec::new(), fire_at: Some(self.looked_at + UNREADABLE_WAIT) };
            }
        };
        let first = self.fire_at - TimeDelta::microseconds(1);
        let since = self.last_tick.map_or(first, |last| last.max(first));
        let ticks = calendar.due(since, self.looked_at, Missed::of_stored(self.catch_up));
        let next = calendar.after(self.looked_at);
        if next.is_err() {
            tracing::warn!(name = self.name, "a recurring job has no further tick and ends");
        }
        Moved { ticks, fire_at: next.ok() }
    }
}

/// Turns the due ticks of recurring timers into jobs.
pub(crate) async fn fire_recurring(conn: &mut PgConnection, fired: &mut Fired) -> Result<(), sqlx::Error> {
    let mut transaction = conn.begin().await?;
    let ripe: Vec<Ripe> = sqlx::query_as(
        "select name, queue, fire_at, every_seconds, cron, zone, catch_up, last_tick, now() as looked_at from timer
          where fire_at <= now() and (every_seconds is not null or cron is not null)
          order by fire_at limit $1 for update skip locked",
    )
    .bind(FIRED_PER_PASS)
    .fetch_all(&mut *transaction)
    .await?;
    if ripe.is_empty() {
        return Ok(());
    }
    let moved: Vec<(&Ripe, Moved)> = ripe.iter().map(|timer| (timer, timer.moved())).collect();
    put_jobs(&mut transaction, &moved).await?;
    move_on(&mut transaction, &moved).await?;
    transaction.commit().await?;
    for (timer, Moved { ticks, .. }) in moved.iter().filter(|(_, moved)| !moved.ticks.is_empty()) {
        fired.count += ticks.len();
        fired.queues.push(timer.queue.clone());
        let late = ticks.last().and_then(|last| (timer.looked_at - *last).to_std().ok());
        fired.lag = fired.lag.max(late.unwrap_or_default());
    }
    Ok(())
}

// A live job with the timer's unique key swallows the tick: what it would have asked for is under way.
async fn put_jobs(conn: &mut PgConnection, moved: &[(&Ripe, Moved)]) -> Result<(), sqlx::Error> {
    let ticks =
        || moved.iter().flat_map(|(timer, moved)| moved.ticks.iter().map(|tick| (&timer.name, *tick)));
    sqlx::query(
        "insert into job (queue, project_id, kind, payload, priority, unique_key, concurrency_key, max_attempts, rate, due, in_line_at, tick)
         select t.queue, t.project_id, t.kind, t.payload, t.priority, t.unique_key, t.concurrency_key, t.max_attempts, t.rate,
                (t.rate).key is null,
                case when (t.rate).key is not null then now() + t.priority * make_interval(secs => $3) end, due.tick
           from unnest($1::text[], $2::timestamptz[]) with ordinality as due (name, tick, nth)
          cross join lateral (select * from timer where stream = $4 and name = due.name) t
          order by due.nth
         on conflict (unique_key) where unique_key is not null do nothing",
    )
    .bind(ticks().map(|(name, _)| name.as_str()).collect::<Vec<_>>())
    .bind(ticks().map(|(_, tick)| tick).collect::<Vec<_>>())
    .bind(AGEING_STEP.as_secs_f64())
    .bind(Uuid::nil())
    .execute(conn)
    .await
    .map(drop)
}

async fn move_on(conn: &mut PgConnection, moved: &[(&Ripe, Moved)]) -> Result<(), sqlx::Error> {
    let (ended, going): (Vec<_>, Vec<_>) = moved.iter().partition(|(_, moved)| moved.fire_at.is_none());
    sqlx::query(
        "update timer set fire_at = next.fire_at, last_tick = greatest(timer.last_tick, next.tick)
           from unnest($1::text[], $2::timestamptz[], $3::timestamptz[]) as next (name, fire_at, tick)
          where timer.stream = $4 and timer.name = next.name",
    )
    .bind(going.iter().map(|(timer, _)| timer.name.as_str()).collect::<Vec<_>>())
    .bind(going.iter().map(|(_, moved)| moved.fire_at).collect::<Vec<_>>())
    .bind(going.iter().map(|(_, moved)| moved.ticks.last().copied()).collect::<Vec<_>>())
    .bind(Uuid::nil())
    .execute(&mut *conn)
    .await?;
    if ended.is_empty() {
        return Ok(());
    }
    sqlx::query("delete from timer where stream = $1 and name = any($2)")
        .bind(Uuid::nil())
        .bind(ended.iter().map(|(timer, _)| timer.name.as_str()).collect::<Vec<_>>())
        .execute(conn)
        .await
        .map(drop)
}
