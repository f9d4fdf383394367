//! The worker: its start and its drain.

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

use crate::config::WorkerConfig;
use crate::outage::{LOCK_LIMIT, SERVER_LIMIT, STATEMENT_LIMIT};
use crate::settle::Settlement;
use crate::{Lease, Registry, Wake, beat, fetch, maintain};

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
        tasks.spawn(maintain::prune(Arc::clone(&shared)));
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
                let (statement, lock) = (SERVER_LIMIT.as_millis(), LOCK_LIMIT.as_millis());
                let limits = format!("set statement_timeout = {statement}; set lock_timeout = {lock}");
                sqlx::raw_sql(AssertSqlSafe(limits)).execute(conn).await.map(drop)
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
    /// Jobs that could be neither ended nor handed back: others take them over when their leases run out.
    pub left: u64,
    /// Everything was written. When false the database did not answer.
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
        let before = self.running_here();
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
        let gone =
            tokio::time::timeout(STATEMENT_LIMIT, leave(&shared.pool, shared.config.incarnation)).await;
        // Closing is a courtesy to the server.
        tokio::time::timeout(LOOPS_TO_END, shared.pool.close()).await.ok();
        let rest = gone.ok().and_then(Result::ok);
        let clean = rest.is_some();
        let left = if clean { 0 } else { self.running_here() };
        let handed_back = shared.handed_back.load(Ordering::Acquire) + rest.unwrap_or(0);
        let finished = before.saturating_sub(handed_back + left);
        tracing::info!(finished, handed_back, left, clean, elapsed = ?started.elapsed(), "the worker is drained");
        Drained { finished, handed_back, left, clean }
    }

    fn running_here(&self) -> u64 {
        u64::try_from(self.running()).unwrap_or(u64::MAX)
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
