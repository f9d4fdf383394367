//! Taking jobs over from workers that are gone.
//!
//! Three detectors. A free advisory lock beside a stale heartbeat says at once that the process died. A place that only
//! one process at a time can hold says it of those that held it before, also when the server has restarted and forgotten
//! the locks. A lease that ran out says it for networks that died without a word, and for claims whose worker never
//! learnt of them. Right after a start, and after a jump of the clock, only a place says anything: see `clock.rs`.
//!
//! Nobody knows which of a dead worker's jobs killed it, if any did. So no single loss says anything about a job: the
//! first rescue is ready at once, and those that follow without an end in between wait longer and longer, each for a
//! time of its own, which parts the innocent from the guilty. Only a job that outlasts all that is a crash loop.

use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::{Connection, PgConnection, Postgres, Transaction};
use uuid::Uuid;

use crate::cursor::Paced;
use crate::dead::WORKER_LOST;
use crate::outage::STATEMENT_LIMIT;
use crate::telemetry::Tally;
use crate::{Backoff, settle};

/// Jobs taken over by one statement: bounds its locks; the next tick goes on.
const RESCUED_PER_PASS: i64 = 500;
/// A pass that took over fewer than this has seen everything.
const RESCUED_AT_LEAST: usize = 500;

/// A lease becomes visible at most this long after it was to run out: claims and heartbeats have shorter limits than leases.
const LATE_AT_MOST: TimeDelta = TimeDelta::seconds(2);

/// Between two passes over all leases.
const WHOLE_EVERY: Duration = Duration::from_secs(60);

/// Advisory lock that keeps the workers from rescuing all at once. Any number would do, all must use the same.
const RESCUE_LOCK: i64 = 0x5379_6e4a_6f62_0001;

/// Limits of a rescue.
#[derive(Clone, Copy, Debug)]
pub struct Rescue {
    /// Heartbeat age from which a free lock means that the process is dead.
    pub stale_after: Duration,
    /// A job that loses more workers in a row than this is what kills them: dead letters.
    pub max_rescues: u16,
    /// Waits from the second rescue in a row on; the first is ready at once.
    pub backoff: Backoff,
}

impl Rescue {
    fn wait(&self, rescues_before: i32) -> Duration {
        match u32::try_from(rescues_before) {
            Ok(before @ 1..) => self.backoff.spread(before),
            _ => Duration::ZERO,
        }
    }
}

/// What a rescue did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rescued {
    /// Queues that got jobs back.
    pub queues: Vec<String>,
    /// Jobs that run again, at once or after a wait.
    pub revived: usize,
    /// Jobs that went to the dead letters.
    pub buried: usize,
}

#[derive(Debug, sqlx::FromRow)]
struct Lost {
    id: i64,
    queue: String,
    rescues: i32,
    cancel_requested: bool,
}

/// A place, and who holds it now.
#[derive(Clone, Copy, Debug)]
pub struct Holder<'a> {
    /// The worker that asks.
    pub incarnation: Uuid,
    /// What only one process at a time can hold.
    pub place: &'a str,
}

/// Makes the jobs of dead workers ready again. Any worker may do it at any time; one does it at a time.
pub async fn rescue(
    conn: &mut PgConnection,
    limits: Rescue,
    holder: Option<Holder<'_>>,
) -> Result<Rescued, sqlx::Error> {
    Patrol::default().rescue(conn, limits, holder).await
}

/// Where a series of rescues has got to: leases that had run out at the last one need not be looked at again.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Patrol {
    looked_at: Option<DateTime<Utc>>,
    whole: Paced,
}

impl Patrol {
    /// From where on leases are to be looked at.
    pub(crate) fn since(&self) -> Option<DateTime<Utc>> {
        self.looked_at.and_then(|at| at.checked_sub_signed(LATE_AT_MOST))
    }

    /// Whether it is time to start from the beginning.
    pub(crate) fn is_whole_due(&self) -> bool {
        self.whole.is_due(WHOLE_EVERY)
    }

    /// Somebody looked at this time, and nothing was lost.
    pub(crate) fn found_nothing(&mut self, at: DateTime<Utc>) {
        self.looked_at = Some(at);
    }

    /// As [`rescue`], but from where the last one ended; now and then from the start, to rely on no belief.
    pub(crate) async fn rescue(
        &mut self,
        conn: &mut PgConnection,
        limits: Rescue,
        holder: Option<Holder<'_>>,
    ) -> Result<Rescued, sqlx::Error> {
        let (begun, whole) = (Instant::now(), self.is_whole_due());
        if whole {
            self.whole.begin();
        }
        let since = self.since().filter(|_| !whole);
        let (rescued, looked_at) = rescue_since(conn, limits, holder, since).await?;
        // After a full pass, or while another does it, there may be more in the same place.
        let all = looked_at.filter(|_| rescued.revived + rescued.buried < RESCUED_AT_LEAST);
        self.looked_at = all.or(self.looked_at);
        if whole && all.is_some() {
            self.whole.done(begun);
        }
        Ok(rescued)
    }
}

async fn rescue_since(
    conn: &mut PgConnection,
    limits: Rescue,
    holder: Option<Holder<'_>>,
    since: Option<DateTime<Utc>>,
) -> Result<(Rescued, Option<DateTime<Utc>>), sqlx::Error> {
    let mut transaction = conn.begin().await?;
    if !is_alone(&mut transaction).await? {
        return Ok((Rescued::default(), None));
    }
    let mut dead = dead_workers(&mut transaction, limits.stale_after).await?;
    if let Some(holder) = holder {
        dead.extend(earlier_holders(&mut transaction, holder).await?);
    }
    let looked_at = sqlx::query_scalar("select now()").fetch_one(&mut *transaction).await?;
    // Two statements, because the common one must not walk past the leases that hold.
    let mut lost = leases_over(&mut transaction, since).await?;
    lost.extend(leases_of(&mut transaction, &dead, Some(looked_at)).await?);
    Ok((end(transaction, &dead, lost, limits).await?, Some(looked_at)))
}

/// As [`rescue`], but only from those that held the holder's place before: no clock has to say that they are gone.
pub(crate) async fn succeed(
    conn: &mut PgConnection,
    limits: Rescue,
    holder: Holder<'_>,
) -> Result<Rescued, sqlx::Error> {
    let mut transaction = conn.begin().await?;
    if !is_alone(&mut transaction).await? {
        return Ok(Rescued::default());
    }
    let gone = earlier_holders(&mut transaction, holder).await?;
    let lost = leases_of(&mut transaction, &gone, None).await?;
    end(transaction, &gone, lost, limits).await
}

/// Whether nobody else rescues at this moment, nor will until the end of the transaction.
async fn is_alone(conn: &mut PgConnection) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("select pg_try_advisory_xact_lock($1)").bind(RESCUE_LOCK).fetch_one(conn).await
}

async fn end(
    mut transaction: Transaction<'_, Postgres>,
    dead: &[Uuid],
    lost: Vec<Lost>,
    limits: Rescue,
) -> Result<Rescued, sqlx::Error> {
    let (rescued, tally) = take_over(&mut transaction, lost, limits).await?;
    note_emptied(&mut transaction, dead).await?;
    transaction.commit().await?;
    tally.committed();
    Ok(rescued)
}

/// A worker that was silent for so long that no claim of it can be under way, and holds nothing, is not asked about again.
async fn note_emptied(conn: &mut PgConnection, dead: &[Uuid]) -> Result<(), sqlx::Error> {
    if dead.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "update worker set emptied_at = now()
          where incarnation = any($1) and last_seen < now() - make_interval(secs => $2)
            and not exists (select from job where owner = incarnation and lease_until is not null)",
    )
    .bind(dead)
    .bind(2.0 * STATEMENT_LIMIT.as_secs_f64())
    .execute(conn)
    .await
    .map(drop)
}

async fn dead_workers(conn: &mut PgConnection, stale_after: Duration) -> Result<Vec<Uuid>, sqlx::Error> {
    // A server that started after the lock was taken has forgotten it: then a free lock proves nothing.
    sqlx::query_scalar(
        "with stale as materialized (
            select incarnation, lock_key from worker
             where last_seen < now() - make_interval(secs => $1) and lock_taken_at > pg_postmaster_start_time()
               and emptied_at is null
         )
         select incarnation from stale where pg_try_advisory_xact_lock(lock_key)",
    )
    .bind(stale_after.as_secs_f64())
    .fetch_all(conn)
    .await
}

async fn earlier_holders(conn: &mut PgConnection, now: Holder<'_>) -> Result<Vec<Uuid>, sqlx::Error> {
    sqlx::query_scalar(
        "select incarnation from worker
          where place = $1 and incarnation <> $2 and emptied_at is null",
    )
    .bind(now.place)
    .bind(now.incarnation)
    .fetch_all(conn)
    .await
}

async fn leases_over(
    conn: &mut PgConnection,
    since: Option<DateTime<Utc>>,
) -> Result<Vec<Lost>, sqlx::Error> {
    sqlx::query_as(
        "select id, queue, rescues, cancel_requested from job
          where lease_until >= coalesce($1, '-infinity') and lease_until < now()
          order by lease_until limit $2 for update skip locked",
    )
    .bind(since)
    .bind(RESCUED_PER_PASS)
    .fetch_all(conn)
    .await
}

/// The jobs of these workers whose leases end at this time or later.
async fn leases_of(
    conn: &mut PgConnection,
    dead: &[Uuid],
    from: Option<DateTime<Utc>>,
) -> Result<Vec<Lost>, sqlx::Error> {
    if dead.is_empty() {
        return Ok(Vec::new());
    }
    sqlx::query_as(
        "select id, queue, rescues, cancel_requested from job
          where owner = any($1) and lease_until >= coalesce($3, '-infinity')
          order by lease_until limit $2 for update skip locked",
    )
    .bind(dead)
    .bind(RESCUED_PER_PASS)
    .bind(from)
    .fetch_all(conn)
    .await
}

async fn take_over(
    conn: &mut PgConnection,
    lost: Vec<Lost>,
    limits: Rescue,
) -> Result<(Rescued, Tally), sqlx::Error> {
    let mut tally = Tally::default();
    let (mut cancelled, mut buried, mut revived, mut waits, mut queues) =
        (vec![], vec![], vec![], vec![], vec![]);
    for job in lost {
        if job.cancel_requested {
            cancelled.push(job.id);
        } else if job.rescues >= i32::from(limits.max_rescues) {
            buried.push(job.id);
        } else {
            revived.push(job.id);
            waits.push(limits.wait(job.rescues).as_secs_f64());
            queues.push(job.queue);
        }
    }
    if !cancelled.is_empty() {
        settle::finish_as(conn, &cancelled, "cancelled").await?;
    }
    if !buried.is_empty() {
        tracing::warn!(jobs = ?buried, "jobs that keep losing their worker go to the dead letters");
        settle::note_error(conn, &buried, WORKER_LOST).await?;
        tally.buried(settle::bury(conn, &buried, WORKER_LOST).await?);
    }
    if !revived.is_empty() {
        tracing::warn!(jobs = ?revived, waits_s = ?waits, "jobs of a lost worker are to run again");
        revive(conn, &revived, &waits).await?;
        tally.rescued(queues.iter().cloned());
    }
    queues.sort_unstable();
    queues.dedup();
    Ok((Rescued { queues, revived: revived.len(), buried: buried.len() }, tally))
}

async fn revive(conn: &mut PgConnection, jobs: &[i64], waits: &[f64]) -> Result<(), sqlx::Error> {
    settle::note_error(conn, jobs, WORKER_LOST).await?;
    sqlx::query(
        "update job set owner = null, lease_until = null, fence = fence + 1, rescues = rescues + 1, due = wait = 0,
                run_at = case when wait = 0 then run_at else now() + make_interval(secs => wait) end,
                waits_since = case when wait > 0 then now() end
           from unnest($1::bigint[], $2::float8[]) as back (lost, wait) where id = lost",
    )
    .bind(jobs)
    .bind(waits)
    .execute(conn)
    .await
    .map(drop)
}
