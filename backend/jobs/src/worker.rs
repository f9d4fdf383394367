//! The worker: its settings, its start and its drain.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sqlx::postgres::PgPoolOptions;
use sqlx::{AssertSqlSafe, Connection, PgConnection, PgPool};
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::outage::{SERVER_LIMIT, STATEMENT_LIMIT};
use crate::settle::Settlement;
use crate::{Holder, Lease, Registry, Rescue, Wake, beat, fetch, maintain};

/// Between cancelling what still runs and taking it back: time for a handler that listens.
const CANCEL_TO_HAND_BACK: Duration = Duration::from_secs(1);

/// Time for the loops of a drained worker to end, and again for its connections.
const LOOPS_TO_END: Duration = Duration::from_secs(1);

/// How much longer than its deadline [`WorkerHandle::shutdown`] takes at most.
pub const DRAIN_GRACE: Duration = CANCEL_TO_HAND_BACK
    .saturating_add(LOOPS_TO_END)
    .saturating_add(STATEMENT_LIMIT)
    .saturating_add(LOOPS_TO_END);

/// Connections for claims, ends and maintenance: they are short, a few serve many queues.
const CONNECTIONS: u32 = 4;

/// Ends waiting to be written; handlers that find it full wait.
const SETTLEMENTS_WAITING: usize = 1_024;

/// A queue and how many of its jobs this process runs at once.
#[derive(Clone, Debug)]
pub struct QueueConfig {
    /// Its name.
    pub name: String,
    /// Slots; 0 is none.
    pub concurrency: u16,
}

impl QueueConfig {
    /// A queue with this many slots.
    pub fn new(name: impl Into<String>, concurrency: u16) -> Self {
        Self { name: name.into(), concurrency }
    }
}

/// Wait before the next attempt: a random share of a limit that doubles with every failure.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    /// Limit after the first failure.
    pub base: Duration,
    /// The limit grows to this.
    pub cap: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { base: Duration::from_secs(2), cap: Duration::from_secs(15 * 60) }
    }
}

impl Backoff {
    pub(crate) fn limit(&self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        self.base.saturating_mul(1 << doublings).min(self.cap)
    }

    /// Full jitter: jobs that failed together do not come back together.
    pub(crate) fn delay(&self, failures: u32) -> Duration {
        self.limit(failures).mul_f64(rand::random::<f64>())
    }

    /// A random time of the limit's upper half: grows for sure, and still parts those that failed together.
    pub(crate) fn spread(&self, failures: u32) -> Duration {
        self.limit(failures).mul_f64(0.5 + 0.5 * rand::random::<f64>())
    }
}

/// Settings of a worker. Every duration has a default that holds in production; tests shorten them.
#[derive(Clone, Debug)]
pub struct WorkerConfig {
    /// Host or instance name, for people.
    pub name: String,
    /// Identity of this one process start; never reused, its last 64 bits name the advisory lock.
    pub incarnation: Uuid,
    /// What to work on.
    pub queues: Vec<QueueConfig>,
    /// What only one process at a time can hold, and this one does: its predecessors' jobs are taken over at once.
    pub place: Option<String>,
    /// How long a silent worker keeps its jobs.
    pub lease: Duration,
    /// Between two heartbeats.
    pub heartbeat: Duration,
    /// Heartbeat age from which a free advisory lock means that a worker is dead. Three quarters of it, and seven
    /// eighths to the last, are what a worker that lost its lock has for getting it back.
    pub stale_after: Duration,
    /// Longest wait between two looks at a queue nobody poked; the wait is between a quarter of it and all of it.
    pub poll: Duration,
    /// Between two looks at timers and delayed jobs.
    pub tick: Duration,
    /// From the cancellation of a handler to its abortion.
    pub cancel_grace: Duration,
    /// Wait for jobs whose kind has no handler here: a newer release may have it.
    pub unknown_kind_wait: Duration,
    /// Workers that a job may lose in a row, without an attempt that came to its end in between, before it goes to the
    /// dead letters as what kills them. With the default waits a crash loop goes on for about twenty minutes.
    pub max_rescues: u16,
    /// Waits between rescues in a row, from the second on.
    pub rescue_backoff: Backoff,
    /// Waits between attempts.
    pub backoff: Backoff,
    /// How long finished jobs stay in the history.
    pub history: Duration,
}

impl WorkerConfig {
    /// The defaults, for this identity and these queues.
    pub fn new(name: impl Into<String>, incarnation: Uuid, queues: Vec<QueueConfig>) -> Self {
        Self {
            name: name.into(),
            incarnation,
            queues,
            place: None,
            lease: Duration::from_secs(15),
            heartbeat: Duration::from_secs(2),
            stale_after: Duration::from_secs(4),
            poll: Duration::from_secs(1),
            tick: Duration::from_millis(250),
            cancel_grace: Duration::from_secs(10),
            unknown_kind_wait: Duration::from_secs(30),
            max_rescues: 25,
            rescue_backoff: Backoff { base: Duration::from_secs(1), cap: Duration::from_secs(60) },
            backoff: Backoff::default(),
            history: Duration::from_secs(7 * 24 * 3600),
        }
    }

    /// Silence after which the worker no longer trusts its leases and stops its own tasks: two thirds of a lease.
    pub(crate) fn distrust_after(&self) -> Duration {
        self.lease.mul_f64(2.0 / 3.0)
    }

    /// Silence after which a worker whose lock may be free does so: before a peer's patience is over.
    pub(crate) fn distrust_unlocked_after(&self) -> Duration {
        self.distrust_after().min(self.stale_after.mul_f64(3.0 / 4.0))
    }

    /// How long handlers may still run once their leases are not trusted: all are gone before a peer takes over.
    pub(crate) fn distrust_grace(&self) -> Duration {
        self.cancel_grace.min(self.stale_after / 8)
    }

    /// The queues that it takes jobs from, by name.
    pub(crate) fn polled(&self) -> Vec<&str> {
        self.queues.iter().filter(|queue| queue.concurrency > 0).map(|queue| queue.name.as_str()).collect()
    }

    pub(crate) fn rescue(&self) -> Rescue {
        Rescue { stale_after: self.stale_after, max_rescues: self.max_rescues, backoff: self.rescue_backoff }
    }

    pub(crate) fn holder(&self) -> Option<Holder<'_>> {
        self.place.as_deref().map(|place| Holder { incarnation: self.incarnation, place })
    }

    /// The advisory lock that says "this process lives".
    pub(crate) fn lock_key(&self) -> i64 {
        let (_, low) = self.incarnation.as_u64_pair();
        low.cast_signed()
    }
}

/// A job this process runs, or whose end is being written.
pub(crate) struct Running {
    pub(crate) fence: i64,
    pub(crate) cancel: CancellationToken,
    pub(crate) queue: Arc<str>,
    pub(crate) tenant: Uuid,
    /// Jobs of the same concurrency key may wait for its end: its queue is looked at again then.
    pub(crate) keyed: bool,
}

/// What the loops of one worker share.
pub(crate) struct Shared {
    pub(crate) pool: PgPool,
    pub(crate) registry: Registry,
    pub(crate) config: WorkerConfig,
    pub(crate) wake: Wake,
    /// Claim no more.
    pub(crate) stop: CancellationToken,
    /// Everything ends now.
    pub(crate) end: CancellationToken,
    /// The heartbeat gets through.
    pub(crate) healthy: watch::Sender<bool>,
    pub(crate) settlements: mpsc::Sender<Settlement>,
    /// Attempts that are cut short go back unspent.
    pub(crate) handing_back: AtomicBool,
    pub(crate) handed_back: AtomicU64,
    pub(crate) tasks: TaskTracker,
    running: Mutex<HashMap<i64, Running>>,
    ended: Notify,
}

impl Shared {
    pub(crate) fn running(&self) -> MutexGuard<'_, HashMap<i64, Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The attempt under this lease is over and written.
    pub(crate) fn forget(&self, lease: Lease) {
        let gone = {
            let mut running = self.running();
            // The same job may run here again already, under a later fence.
            if running.get(&lease.job).is_some_and(|run| run.fence == lease.fence) {
                running.remove(&lease.job)
            } else {
                None
            }
        };
        if let Some(run) = gone.filter(|run| run.keyed) {
            self.wake.poke(&run.queue);
        }
        self.ended.notify_waiters();
    }

    pub(crate) fn cancel_all(&self) {
        self.running().values().for_each(|run| run.cancel.cancel());
    }

    async fn idle(&self) {
        loop {
            let ended = self.ended.notified();
            tokio::pin!(ended);
            // Registered before the look, so that an end between the two is not missed.
            ended.as_mut().enable();
            if self.running().is_empty() {
                return;
            }
            ended.await;
        }
    }
}

/// A worker that has not started.
pub struct Worker {
    pool: PgPool,
    registry: Registry,
    config: WorkerConfig,
    wake: Wake,
}

impl Worker {
    /// A worker on the database of `pool`. It opens up to five connections of its own, so that handlers which use up
    /// the pool cannot silence it.
    pub fn new(pool: PgPool, registry: Registry, config: WorkerConfig, wake: Wake) -> Self {
        Self { pool, registry, config, wake }
    }

    /// Starts the loops; must be called within a Tokio runtime. They run until [`WorkerHandle::shutdown`], whatever
    /// happens to the database.
    pub fn start(self) -> WorkerHandle {
        let (settlements, ends) = mpsc::channel(SETTLEMENTS_WAITING);
        let shared = Arc::new(Shared {
            pool: own_pool(&self.pool),
            registry: self.registry,
            config: self.config,
            wake: self.wake,
            stop: CancellationToken::new(),
            end: CancellationToken::new(),
            healthy: watch::Sender::new(false),
            settlements,
            handing_back: AtomicBool::new(false),
            handed_back: AtomicU64::new(0),
            tasks: TaskTracker::new(),
            running: Mutex::default(),
            ended: Notify::new(),
        });
        let tasks = &shared.tasks;
        tasks.spawn(beat::heartbeat(Arc::clone(&shared)));
        tasks.spawn(fetch::settle_ends(Arc::clone(&shared), ends));
        tasks.spawn(maintain::maintain(Arc::clone(&shared)));
        for queue in shared.config.queues.clone() {
            tasks.spawn(fetch::fetch(Arc::clone(&shared), queue));
        }
        WorkerHandle { shared }
    }
}

/// What the statements of a worker do by index, whatever the statistics say: a plan made while the table was empty would
/// read all of it once it is full, and planning anew each time costs a small claim more than running it.
const PLANS: &str =
    "set plan_cache_mode = force_generic_plan; set enable_seqscan = off; set enable_bitmapscan = off;
     set enable_hashjoin = off; set enable_mergejoin = off";

fn own_pool(pool: &PgPool) -> PgPool {
    PgPoolOptions::new()
        .max_connections(CONNECTIONS)
        .acquire_timeout(STATEMENT_LIMIT)
        .after_connect(|conn, _| {
            Box::pin(async move {
                sqlx::raw_sql(PLANS).execute(&mut *conn).await?;
                // What nobody waits for any more must not go on holding locks.
                let limit = format!("set statement_timeout = {}", SERVER_LIMIT.as_millis());
                sqlx::query(AssertSqlSafe(limit)).execute(conn).await.map(drop)
            })
        })
        .connect_lazy_with(pool.connect_options().as_ref().clone())
}

/// What a drain left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Jobs that were running and came to their own end.
    pub finished: u64,
    /// Jobs that were cut short and are ready again, with no attempt used up.
    pub handed_back: u64,
    /// Everything was written. When false the database did not answer: the leases run out by themselves.
    pub clean: bool,
}

/// A running worker. Dropping it leaves the worker running.
pub struct WorkerHandle {
    shared: Arc<Shared>,
}

impl WorkerHandle {
    /// Identity of this process start.
    pub fn incarnation(&self) -> Uuid {
        self.shared.config.incarnation
    }

    /// Whether the heartbeat gets through; false also before the first one.
    pub fn is_healthy(&self) -> bool {
        *self.shared.healthy.borrow()
    }

    /// Jobs that are running here.
    pub fn running(&self) -> usize {
        self.shared.running().len()
    }

    /// Stops claiming, waits up to `deadline` for what runs, cancels the rest and hands it back.
    ///
    /// Comes back within `deadline` plus [`DRAIN_GRACE`] even when handlers do not listen and the database is gone.
    pub async fn shutdown(self, deadline: Duration) -> Drained {
        let shared = &self.shared;
        let started = Instant::now();
        shared.stop.cancel();
        let before = u64::try_from(self.running()).unwrap_or(u64::MAX);
        if tokio::time::timeout(deadline, shared.idle()).await.is_err() {
            shared.handing_back.store(true, Ordering::Release);
            shared.cancel_all();
            // Running out of this time is what the next steps are for.
            tokio::time::timeout(CANCEL_TO_HAND_BACK, shared.idle()).await.ok();
        }
        shared.end.cancel();
        shared.tasks.close();
        if tokio::time::timeout(LOOPS_TO_END, shared.tasks.wait()).await.is_err() {
            tracing::warn!("a job handler does not stop; its lease is taken from it");
        }
        let left =
            tokio::time::timeout(STATEMENT_LIMIT, leave(&shared.pool, shared.config.incarnation)).await;
        // Closing is a courtesy to the server.
        tokio::time::timeout(LOOPS_TO_END, shared.pool.close()).await.ok();
        let clean = matches!(left, Ok(Ok(_)));
        let rest = left.ok().and_then(Result::ok).unwrap_or(0);
        let handed_back = shared.handed_back.load(Ordering::Acquire) + rest;
        let finished = before.saturating_sub(handed_back);
        tracing::info!(finished, handed_back, clean, elapsed = ?started.elapsed(), "the worker is drained");
        Drained { finished, handed_back, clean }
    }
}

/// Hands back what this incarnation still owns, then strikes it off: in one transaction, in this order.
async fn leave(pool: &PgPool, incarnation: Uuid) -> Result<u64, sqlx::Error> {
    let mut connection = pool.acquire().await?;
    let mut transaction = connection.begin().await?;
    let handed_back = hand_back_all(&mut transaction, incarnation).await?;
    sqlx::query("delete from worker where incarnation = $1")
        .bind(incarnation)
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(handed_back)
}

/// A lease that ran out a minute ago is no longer this worker's to give back, and the way to it may be long.
async fn hand_back_all(conn: &mut PgConnection, incarnation: Uuid) -> Result<u64, sqlx::Error> {
    let cancelled: Vec<i64> = sqlx::query_scalar(
        "select id from job where owner = $1 and lease_until > now() - interval '1 minute' and cancel_requested for update",
    )
    .bind(incarnation)
    .fetch_all(&mut *conn)
    .await?;
    crate::settle::finish_as(conn, &cancelled, "cancelled").await?;
    let handed_back = sqlx::query(
        "update job set owner = null, lease_until = null, fence = fence + 1, due = true,
                attempt = attempt - rescues - 1, rescues = 0
          where owner = $1 and lease_until > now() - interval '1 minute'",
    )
    .bind(incarnation)
    .execute(conn)
    .await?;
    Ok(handed_back.rows_affected())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn back_off_doubles_up_to_its_cap_and_never_overflows() {
        let backoff = Backoff { base: Duration::from_secs(2), cap: Duration::from_secs(60) };
        let limits: Vec<_> = (0..8).map(|failures| backoff.limit(failures).as_secs()).collect();
        assert_eq!(limits, [2, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(backoff.limit(u32::MAX), backoff.cap);
        assert!((0..100).all(|_| backoff.delay(3) <= Duration::from_secs(8)));
    }
}
