//! A database per test, a worker with short times, and patient waiting.

use std::future::Future;
use std::time::{Duration, Instant};

use serde_json::json;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions, Executor, PgPool};
use syndarix_jobs::{
    Backoff, Claim, Cursor, Enqueued, Job, Lease, NewJob, QueueConfig, Registry, Wake, Worker, WorkerConfig,
    WorkerHandle,
};
use uuid::Uuid;

const SCHEMA: [&str; 12] = [
    include_str!("../../../../migrations/20261120000200_jobs.sql"),
    include_str!("../../../../migrations/20261128000600_worker_place.sql"),
    include_str!("../../../../migrations/20261128102000_queue_without_dead_ends.sql"),
    include_str!("../../../../migrations/20261128102100_history_in_days.sql"),
    include_str!("../../../../migrations/20261128102200_history_days_in_one_statement.sql"),
    include_str!("../../../../migrations/20261128104000_worker_queues.sql"),
    include_str!("../../../../migrations/20261128110000_rates.sql"),
    include_str!("../../../../migrations/20261128111000_schedules.sql"),
    include_str!("../../../../migrations/20261128112000_shares.sql"),
    include_str!("../../../../migrations/20261128113000_purge_reasons.sql"),
    include_str!("../../../../migrations/20261202120000_waits_begin_anew.sql"),
    include_str!("../../../../migrations/20261202121000_waits_by_beginning.sql"),
];

/// Longest a test waits for something that must happen.
const PATIENCE: Duration = Duration::from_secs(20);

/// A table for what handlers do, without any key that would hide a second effect.
const EFFECTS: &str = "create table effect (job bigint not null, fence bigint not null)";

#[expect(clippy::disallowed_methods, reason = "the test database comes from the environment")]
fn server() -> PgConnectOptions {
    let url = std::env::var("TEST_DATABASE_URL").or_else(|_| std::env::var("DATABASE_URL"));
    let url = url
        .expect("no TEST_DATABASE_URL: run the tests with `make test`, which starts a PostgreSQL for them");
    url.parse().unwrap()
}

/// Runs `test` on a fresh database and drops it, whether or not the test passed.
pub(crate) fn on_database<F, T>(test: F)
where
    F: FnOnce(PgPool) -> T,
    T: Future<Output = ()> + Send + 'static,
{
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let name = format!("jobs_test_{:032x}", rand::random::<u128>());
    let admin = |statement: String| async move {
        let mut conn = server().connect().await.unwrap();
        conn.execute(AssertSqlSafe(statement)).await.unwrap();
    };
    let result = runtime.block_on(async {
        admin(format!("create database {name}")).await;
        let options = server().database(&name);
        let pool = PgPoolOptions::new().max_connections(12).connect_with(options).await.unwrap();
        for part in SCHEMA {
            pool.execute(sqlx::raw_sql(part)).await.unwrap();
        }
        pool.execute(EFFECTS).await.unwrap();
        let result = runtime.spawn(test(pool)).await;
        admin(format!("drop database {name} with (force)")).await;
        result
    });
    runtime.shutdown_background();
    if let Err(failure) = result {
        std::panic::resume_unwind(failure.into_panic());
    }
}

pub(crate) fn id() -> Uuid {
    Uuid::from_u128(rand::random())
}

pub(crate) fn job(kind: &str) -> NewJob {
    NewJob::new("default", kind, json!({}))
}

pub(crate) async fn enqueue(pool: &PgPool, job: &NewJob) -> i64 {
    match syndarix_jobs::enqueue(&mut pool.acquire().await.unwrap(), job).await.unwrap() {
        Enqueued::Queued(id) => id,
        Enqueued::Duplicate => panic!("unexpected duplicate of {job:?}"),
    }
}

pub(crate) async fn enqueue_all(pool: &PgPool, jobs: &[NewJob]) -> Vec<Enqueued> {
    syndarix_jobs::enqueue_many(&mut pool.acquire().await.unwrap(), jobs).await.unwrap()
}

/// Claims from the default queue with a lease of a minute.
pub(crate) async fn claim(pool: &PgPool, owner: Uuid, limit: u16) -> Vec<(Job, Lease)> {
    let wanted = Claim { queue: "default", owner, limit, lease: Duration::from_secs(60) };
    let mut conn = pool.acquire().await.unwrap();
    syndarix_jobs::claim(&mut conn, wanted, &mut Cursor::default()).await.unwrap().jobs
}

/// Makes the leases of this owner run out.
pub(crate) async fn expire(pool: &PgPool, owner: Uuid) {
    sqlx::query("update job set lease_until = now() - interval '1 second' where owner = $1")
        .bind(owner)
        .execute(pool)
        .await
        .unwrap();
}

pub(crate) async fn count(pool: &PgPool, what: &'static str) -> i64 {
    sqlx::query_scalar(what).fetch_one(pool).await.unwrap()
}

pub(crate) async fn done(pool: &PgPool) -> i64 {
    count(pool, "select count(*) from job_done where outcome = 'done'").await
}

pub(crate) async fn until(condition: impl Fn() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < PATIENCE, "waited in vain");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A time by the database's clock.
pub(crate) async fn in_seconds(pool: &PgPool, seconds: f64) -> chrono::DateTime<chrono::Utc> {
    sqlx::query_scalar("select now() + make_interval(secs => $1)")
        .bind(seconds)
        .fetch_one(pool)
        .await
        .unwrap()
}

/// Waits until the query gives `wanted`.
pub(crate) async fn until_count(pool: &PgPool, what: &'static str, wanted: i64) {
    let started = Instant::now();
    loop {
        let seen = count(pool, what).await;
        if seen == wanted {
            return;
        }
        assert!(started.elapsed() < PATIENCE, "waited for {wanted}, saw {seen}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub(crate) async fn until_done(pool: &PgPool, wanted: i64) {
    until_count(pool, "select count(*) from job_done where outcome = 'done'", wanted).await;
}

pub(crate) fn quick(name: &str, slots: u16) -> WorkerConfig {
    WorkerConfig {
        lease: Duration::from_secs(3),
        heartbeat: Duration::from_millis(200),
        stale_after: Duration::from_millis(800),
        poll: Duration::from_millis(50),
        tick: Duration::from_millis(20),
        cancel_grace: Duration::from_millis(300),
        unknown_kind_wait: Duration::from_secs(60),
        backoff: Backoff { base: Duration::from_millis(1), cap: Duration::from_millis(5) },
        ..WorkerConfig::new(name, id(), vec![QueueConfig::new("default", slots)])
    }
}

pub(crate) fn start(pool: &PgPool, registry: &Registry, config: WorkerConfig) -> WorkerHandle {
    Worker::new(pool.clone(), registry.clone(), config, Wake::new()).start()
}

/// A worker on a runtime of its own, which can be killed with all it holds, connections included.
pub(crate) struct Doomed {
    runtime: tokio::runtime::Runtime,
}

impl Doomed {
    /// The handlers get a pool of that runtime: a connection does not outlive the runtime that opened it.
    pub(crate) fn start(
        pool: &PgPool,
        registry: impl FnOnce(&PgPool) -> Registry + Send + 'static,
        config: WorkerConfig,
    ) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let options = pool.connect_options().as_ref().clone();
        runtime.spawn(async move {
            let own = PgPoolOptions::new().max_connections(4).connect_with(options).await.unwrap();
            let registry = registry(&own);
            Worker::new(own, registry, config, Wake::new()).start();
        });
        Self { runtime }
    }

    pub(crate) fn kill(self) {
        self.runtime.shutdown_background();
    }
}
