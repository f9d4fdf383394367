//! Putting jobs into a queue, and taking them out again before they ran.
//!
//! Everything here runs in the caller's transaction: a rollback leaves no job behind.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use crate::claim::AGEING_STEP;
use crate::rate::MAX_COUNT;
use crate::{RateLimit, ScheduleError};

/// Largest payload, in bytes of JSON: a job carries ids, not documents.
const MAX_PAYLOAD_BYTES: usize = 256 * 1024;

/// Rows per INSERT statement: past this the gain per row is gone and the statement only gets heavier.
const ROWS_PER_STATEMENT: usize = 1_000;

/// Attempts a job gets when it does not say otherwise.
const DEFAULT_ATTEMPTS: u16 = 8;

/// Order inside one project. Waiting raises a job by one level per ageing step, so that `Low` is late, not never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// Before everything else of the project.
    Urgent,
    /// Before normal work.
    High,
    /// What nobody gave a thought to.
    #[default]
    Normal,
    /// When nothing else waits.
    Low,
}

impl Priority {
    pub(crate) fn rank(self) -> i16 {
        match self {
            Self::Urgent => 0,
            Self::High => 1,
            Self::Normal => 2,
            Self::Low => 3,
        }
    }

    pub(crate) fn of_rank(rank: i16) -> Self {
        match rank {
            i16::MIN..=0 => Self::Urgent,
            1 => Self::High,
            2 => Self::Normal,
            3..=i16::MAX => Self::Low,
        }
    }
}

/// A job to be enqueued.
#[derive(Clone, Debug, PartialEq)]
pub struct NewJob {
    /// Queue it waits in.
    pub queue: String,
    /// Names the handler.
    pub kind: String,
    /// What the handler gets; at most 256 KiB of JSON.
    pub payload: Value,
    /// Project it belongs to: fairness turns on it.
    pub project: Option<Uuid>,
    /// Order inside the project.
    pub priority: Priority,
    /// Not before this time; `None` is at once.
    pub run_at: Option<DateTime<Utc>>,
    /// While a job with this key is live (ready, delayed or running), another one is refused as a duplicate.
    pub unique_key: Option<String>,
    /// At most one job of this key runs at a time, over all workers.
    pub concurrency_key: Option<String>,
    /// How often jobs of one key may start.
    pub rate: Option<RateLimit>,
    /// Attempts before the dead letters; 0 counts as 1. Lost workers and snoozes do not use them up.
    pub max_attempts: u16,
}

impl NewJob {
    /// A job of normal priority that may run at once.
    pub fn new(queue: impl Into<String>, kind: impl Into<String>, payload: Value) -> Self {
        Self {
            queue: queue.into(),
            kind: kind.into(),
            payload,
            project: None,
            priority: Priority::Normal,
            run_at: None,
            unique_key: None,
            concurrency_key: None,
            rate: None,
            max_attempts: DEFAULT_ATTEMPTS,
        }
    }

    /// Belongs to this project.
    #[must_use]
    pub fn for_project(mut self, project: Uuid) -> Self {
        self.project = Some(project);
        self
    }

    /// Sets the priority.
    #[must_use]
    pub fn with_priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }

    /// Not before `at`.
    #[must_use]
    pub fn not_before(mut self, at: DateTime<Utc>) -> Self {
        self.run_at = Some(at);
        self
    }

    /// Refused while another live job has this key.
    #[must_use]
    pub fn unique(mut self, key: impl Into<String>) -> Self {
        self.unique_key = Some(key.into());
        self
    }

    /// Never runs beside another job of this key.
    #[must_use]
    pub fn one_at_a_time(mut self, key: impl Into<String>) -> Self {
        self.concurrency_key = Some(key.into());
        self
    }

    /// Starts no more often than this allows, together with all other jobs of the limit's key.
    #[must_use]
    pub fn limited_to(mut self, rate: RateLimit) -> Self {
        self.rate = Some(rate);
        self
    }

    /// Sets how often it is tried.
    #[must_use]
    pub fn with_attempts(mut self, attempts: u16) -> Self {
        self.max_attempts = attempts;
        self
    }

    /// Whether its payload and its rate are within their limits. Enqueueing checks it, too: this says so before anything
    /// else is done.
    pub fn check(&self) -> Result<(), EnqueueError> {
        if let Some(rate) = self.rate.as_ref().filter(|rate| !rate.is_possible()) {
            return Err(EnqueueError::ImpossibleRate { kind: self.kind.clone(), key: rate.key.clone() });
        }
        let bytes = length(&self.payload);
        if bytes > MAX_PAYLOAD_BYTES {
            return Err(EnqueueError::PayloadTooLarge { kind: self.kind.clone(), bytes });
        }
        Ok(())
    }
}

/// Bytes of a value as JSON, without writing it anywhere.
fn length(value: &Value) -> usize {
    struct Count(usize);
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    // Neither a JSON value nor a counter can fail; if one did, the job would be over the limit.
    serde_json::to_writer(&mut count, value).map_or(usize::MAX, |()| count.0)
}

/// What became of a job that was to be enqueued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Enqueued {
    /// It is in the queue once the transaction commits.
    Queued(i64),
    /// A live job has its unique key already; nothing was written.
    Duplicate,
}

/// Why a job could not be enqueued.
#[derive(Debug, thiserror::Error)]
pub enum EnqueueError {
    /// The payload is over the limit; nothing was written.
    #[error("the payload of a {kind} job has {bytes} bytes, more than the {MAX_PAYLOAD_BYTES} allowed")]
    PayloadTooLarge {
        /// Kind of the job.
        kind: String,
        /// Size of its payload as JSON.
        bytes: usize,
    },
    /// The rate is none that can be kept; nothing was written.
    #[error("the rate {key} of a {kind} job is not from 1 to {MAX_COUNT} starts in a second to a week")]
    ImpossibleRate {
        /// Kind of the job.
        kind: String,
        /// Key of its rate.
        key: String,
    },
    /// The schedule of a recurring job cannot be used; nothing was written.
    #[error("cannot use the schedule of the recurring job {name}")]
    Schedule {
        /// Its name.
        name: String,
        /// What is wrong with the schedule.
        source: ScheduleError,
    },
    /// The database refused.
    #[error("cannot write the job")]
    Database(#[from] sqlx::Error),
}

// Ids are drawn before the insert: it is the only way to tell which of the rows a conflict swallowed. A job that names
// its time may stand before those that claimers have passed already: its fence says so (see the index `job_again`). One
// that has a rate goes to the line of its key, unless its own time is still to come.
const ENQUEUE: &str = "
with wanted as materialized (
    select nextval('job_id_seq') as id, u.*
      from unnest($1::text[], $2::uuid[], $3::text[], $4::jsonb[], $5::smallint[], $6::timestamptz[], $7::text[], $8::text[], $9::int[],
                  $10::text[], $11::int[], $12::float8[])
           with ordinality as u (queue, project_id, kind, payload, priority, run_at, unique_key, concurrency_key, max_attempts,
                                 rate_key, rate_count, rate_seconds, nth)
), put as (
    insert into job (id, queue, project_id, kind, payload, priority, run_at, due, fence, unique_key, concurrency_key, max_attempts,
                     rate, in_line_at)
    select id, queue, project_id, kind, payload, priority, coalesce(run_at, statement_timestamp()),
           rate_key is null and coalesce(run_at <= now(), true), (run_at is not null)::int, unique_key, concurrency_key, max_attempts,
           case when rate_key is not null then row(rate_key, rate_count, rate_seconds)::rate_limit end,
           case when rate_key is not null and coalesce(run_at <= now(), true)
                then coalesce(run_at, statement_timestamp()) + priority * make_interval(secs => $13) end
      from wanted order by nth
    on conflict (unique_key) where unique_key is not null do nothing
    returning id
)
select wanted.id, put.id is not null as queued from wanted left join put using (id) order by nth";

/// Enqueues one job in the caller's transaction.
///
/// After the commit, poke [`crate::Wake`] to have it started without waiting for the next poll.
pub async fn enqueue(conn: &mut PgConnection, job: &NewJob) -> Result<Enqueued, EnqueueError> {
    let written = enqueue_many(conn, std::slice::from_ref(job)).await?;
    Ok(written.first().copied().unwrap_or(Enqueued::Duplicate))
}

/// Enqueues many jobs in the caller's transaction; the answers come in the order of the jobs.
pub async fn enqueue_many(conn: &mut PgConnection, jobs: &[NewJob]) -> Result<Vec<Enqueued>, EnqueueError> {
    jobs.iter().try_for_each(NewJob::check)?;
    let mut written = Vec::with_capacity(jobs.len());
    for batch in jobs.chunks(ROWS_PER_STATEMENT) {
        write_batch(conn, batch, &mut written).await?;
    }
    Ok(written)
}

async fn write_batch(
    conn: &mut PgConnection,
    batch: &[NewJob],
    written: &mut Vec<Enqueued>,
) -> Result<(), EnqueueError> {
    let rates = || batch.iter().map(|job| job.rate.as_ref());
    let rows = sqlx::query(ENQUEUE)
        .bind(batch.iter().map(|job| job.queue.as_str()).collect::<Vec<_>>())
        .bind(batch.iter().map(|job| job.project).collect::<Vec<_>>())
        .bind(batch.iter().map(|job| job.kind.as_str()).collect::<Vec<_>>())
        .bind(batch.iter().map(|job| &job.payload).collect::<Vec<_>>())
        .bind(batch.iter().map(|job| job.priority.rank()).collect::<Vec<_>>())
        .bind(batch.iter().map(|job| job.run_at).collect::<Vec<_>>())
        .bind(batch.iter().map(|job| job.unique_key.as_deref()).collect::<Vec<_>>())
        .bind(batch.iter().map(|job| job.concurrency_key.as_deref()).collect::<Vec<_>>())
        .bind(batch.iter().map(|job| i32::from(job.max_attempts.max(1))).collect::<Vec<_>>())
        .bind(rates().map(|rate| rate.map(|rate| rate.key.as_str())).collect::<Vec<_>>())
        .bind(rates().map(|rate| rate.map(|rate| i32::from(rate.count))).collect::<Vec<_>>())
        .bind(rates().map(|rate| rate.map(|rate| rate.per.as_secs_f64())).collect::<Vec<_>>())
        .bind(AGEING_STEP.as_secs_f64())
        .fetch_all(conn)
        .await?;
    for row in rows {
        written.push(if row.try_get("queued")? {
            Enqueued::Queued(row.try_get("id")?)
        } else {
            Enqueued::Duplicate
        });
    }
    Ok(())
}

/// What a cancellation found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancelled {
    /// It had not started; it is gone.
    Removed,
    /// It is running; its cancellation token fires within one heartbeat of its worker.
    Requested,
    /// No live job has this id.
    NotFound,
}

/// Cancels a job in the caller's transaction: one that waits is removed, one that runs is asked to stop.
pub async fn cancel(conn: &mut PgConnection, job: i64) -> Result<Cancelled, sqlx::Error> {
    let owned: Option<bool> = sqlx::query_scalar(
        "update job set cancel_requested = true where id = $1 returning owner is not null",
    )
    .bind(job)
    .persistent(false)
    .fetch_optional(&mut *conn)
    .await?;
    match owned {
        None => Ok(Cancelled::NotFound),
        Some(true) => Ok(Cancelled::Requested),
        Some(false) => {
            crate::settle::finish_as(conn, &[job], "cancelled").await?;
            Ok(Cancelled::Removed)
        }
    }
}

/// Cancels all live jobs of a concurrency key in the caller's transaction, as [`cancel`] does one.
pub async fn cancel_key(conn: &mut PgConnection, key: &str) -> Result<(), sqlx::Error> {
    let waiting: Vec<i64> = sqlx::query_scalar(
        "with asked as (update job set cancel_requested = true where concurrency_key = $1 returning id, owner)
         select id from asked where owner is null",
    )
    .bind(key)
    .persistent(false)
    .fetch_all(&mut *conn)
    .await?;
    crate::settle::finish_as(conn, &waiting, "cancelled").await
}
