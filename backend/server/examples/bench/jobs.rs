//! The job queue by itself: how many jobs that do nothing it takes in and gets done, and how soon it starts one.

use crate::{
    Failure,
    engine::Measured,
    figures::{Figures, as_served, cpu_seconds, percentile},
};
use serde_json::{Value, json};
use sqlx::PgPool;
use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use syndarix_jobs::{
    Intake, Job, Lease, NewJob, Outcome, QueueConfig, Registry, Wake, Worker, WorkerConfig, WorkerHandle,
    enqueue, enqueue_many,
};
use tokio::{task::JoinSet, time::MissedTickBehavior};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;

const QUEUE: &str = "bench";
const KIND: &str = "bench.nothing";
/// Places of the worker.
const PLACES: u16 = 200;
/// Clients that enqueue one job at a time.
const CLIENTS: u64 = 32;
/// Jobs in one transaction of the producer of batches.
const BATCH: usize = 500;
/// Longest backlog, as a busy system has it: the rate is that of the slower side.
const BACKLOG: u64 = 4_000;

/// A worker whose handler counts, and says when it started a job that has a number.
struct Bench {
    pool: PgPool,
    postmaster: u32,
    wake: Wake,
    done: Arc<AtomicU64>,
    started: Arc<Mutex<Vec<(u64, Instant)>>>,
    worker: WorkerHandle,
}

impl Bench {
    fn start(pool: &PgPool, postmaster: u32) -> Self {
        let (done, started) = (Arc::<AtomicU64>::default(), Arc::<Mutex<Vec<_>>>::default());
        let (counter, stamps) = (Arc::clone(&done), Arc::clone(&started));
        let registry = Registry::new().with(KIND, move |job: Job, _: Lease, _: CancellationToken| {
            if let Some(number) = job.payload.get("n").and_then(Value::as_u64) {
                stamps.lock().unwrap_or_else(PoisonError::into_inner).push((number, Instant::now()));
            }
            counter.fetch_add(1, Ordering::Relaxed);
            std::future::ready(Outcome::Done)
        });
        let wake = Wake::new();
        let queues = vec![QueueConfig::new(QUEUE, PLACES)];
        let config = WorkerConfig::new("bench", Uuid::from_u128(rand::random()), queues);
        let worker = Worker::new(pool.clone(), registry, config, wake.clone()).start();
        Self { pool: pool.clone(), postmaster, wake, done, started, worker }
    }

    fn client(&self, way: Way) -> (TaskTracker, Client) {
        let tasks = TaskTracker::new();
        let (pool, wake) = (self.pool.clone(), self.wake.clone());
        let intake = (way == Way::Intake).then(|| Intake::start(pool.clone(), wake.clone(), &tasks));
        (tasks, Client { pool, wake, intake })
    }

    async fn until_done(&self, wanted: u64) {
        while self.done.load(Ordering::Relaxed) < wanted {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    async fn stop(self) {
        self.worker.shutdown(Duration::from_secs(10)).await;
    }
}

/// How a client enqueues a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// In a transaction of its own.
    OwnTransaction,
    /// Through the intake, which commits what waits together.
    Intake,
}

/// A client's way to the queue.
#[derive(Clone)]
struct Client {
    pool: PgPool,
    wake: Wake,
    intake: Option<Intake>,
}

impl Client {
    async fn enqueue(&self, job: NewJob) -> Result<(), Failure> {
        if let Some(intake) = &self.intake {
            intake.enqueue(job).await?;
        } else {
            enqueue(&mut *self.pool.acquire().await?, &job).await?;
            self.wake.poke(QUEUE);
        }
        Ok(())
    }
}

/// Takes all figures of the queue.
pub(crate) async fn queue(pool: &PgPool, by: Measured, figures: &mut Figures) -> Result<(), Failure> {
    enqueued_singly(pool, by, Way::OwnTransaction, figures).await?;
    let singly = singly(pool, by, figures).await?;
    batches(pool, by, figures).await?;
    dispatch(pool, by, singly / 2.0, figures).await
}

/// The intake ends with its last client.
async fn end(tasks: TaskTracker, client: Client) {
    drop(client);
    tasks.close();
    tasks.wait().await;
}

async fn settings(pool: &PgPool, producer: Value) -> Result<Value, Failure> {
    let mut settings = json!({ "places": PLACES });
    if let (Some(settings), Value::Object(producer)) = (settings.as_object_mut(), producer) {
        settings.extend(producer);
    }
    as_served(pool, settings).await
}

/// Clients that each enqueue one job after the other through the intake; returns the rate.
pub(crate) async fn singly(pool: &PgPool, by: Measured, figures: &mut Figures) -> Result<f64, Failure> {
    enqueued_singly(pool, by, Way::Intake, figures).await
}

async fn enqueued_singly(
    pool: &PgPool,
    by: Measured,
    way: Way,
    figures: &mut Figures,
) -> Result<f64, Failure> {
    let bench = Bench::start(pool, by.postmaster);
    let (tasks, client) = bench.client(way);
    let (cpu, begun) = (cpu_seconds(bench.postmaster), Instant::now());
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let client = client.clone();
        clients.spawn(async move {
            let mut enqueued = 0;
            while begun.elapsed() < by.span {
                client.enqueue(NewJob::new(QUEUE, KIND, json!({}))).await?;
                enqueued += 1;
            }
            Ok::<u64, Failure>(enqueued)
        });
    }
    let mut enqueued = 0;
    while let Some(client) = clients.join_next().await {
        enqueued += client??;
    }
    bench.until_done(enqueued).await;
    let (wall, cpu) = (begun.elapsed().as_secs_f64(), cpu_seconds(bench.postmaster) - cpu);
    end(tasks, client).await;
    bench.stop().await;
    let count = float(enqueued);
    let settings = settings(pool, json!({ "clients": CLIENTS, "enqueued_in_batches_of": 1 })).await?;
    let name = match way {
        Way::OwnTransaction => "jobs, singly in transactions of their own",
        Way::Intake => "jobs, enqueued singly by 32 clients",
    };
    figures.add(name, (count / wall, "per second"), Some(count / cpu), &settings)?;
    Ok(count / wall)
}

/// One producer that enqueues batches.
pub(crate) async fn batches(pool: &PgPool, by: Measured, figures: &mut Figures) -> Result<(), Failure> {
    let bench = Bench::start(pool, by.postmaster);
    let (cpu, begun) = (cpu_seconds(bench.postmaster), Instant::now());
    let enqueued = produce(&bench, 0, begun + by.span).await?;
    bench.until_done(enqueued).await;
    let (wall, cpu) = (begun.elapsed().as_secs_f64(), cpu_seconds(bench.postmaster) - cpu);
    bench.stop().await;
    let count = float(enqueued);
    let settings = settings(pool, json!({ "enqueued_in_batches_of": BATCH })).await?;
    figures.add("jobs, enqueued in batches", (count / wall, "per second"), Some(count / cpu), &settings)
}

/// Enqueues batches until `until`, goes no further ahead than the backlog, and returns how many jobs there are by now.
async fn produce(bench: &Bench, before: u64, until: Instant) -> Result<u64, Failure> {
    let batch = vec![NewJob::new(QUEUE, KIND, json!({})); BATCH];
    let mut enqueued = before;
    while Instant::now() < until {
        if enqueued.saturating_sub(bench.done.load(Ordering::Relaxed)) > BACKLOG {
            tokio::time::sleep(Duration::from_millis(1)).await;
            continue;
        }
        enqueue_many(&mut *bench.pool.acquire().await?, &batch).await?;
        bench.wake.poke(QUEUE);
        enqueued += BATCH as u64;
    }
    Ok(enqueued)
}

/// How soon a job starts when the queue is half busy: clients that enqueue at a fixed pace, late or not.
async fn dispatch(pool: &PgPool, by: Measured, rate: f64, figures: &mut Figures) -> Result<(), Failure> {
    let bench = Bench::start(pool, by.postmaster);
    let (tasks, client) = bench.client(Way::Intake);
    let cpu = cpu_seconds(bench.postmaster);
    let begun = Instant::now();
    let mut clients = JoinSet::new();
    for nth in 0..CLIENTS {
        let client = client.clone();
        let pace = Duration::from_secs_f64(float(CLIENTS) / rate);
        clients.spawn(async move {
            let mut due = tokio::time::interval(pace);
            due.set_missed_tick_behavior(MissedTickBehavior::Burst);
            let mut committed = Vec::new();
            while begun.elapsed() < by.span {
                due.tick().await;
                let number = nth + CLIENTS * committed.len() as u64;
                let asked = Instant::now();
                client.enqueue(NewJob::new(QUEUE, KIND, json!({ "n": number }))).await?;
                committed.push((number, asked, Instant::now()));
            }
            Ok::<_, Failure>(committed)
        });
    }
    let mut committed = Vec::new();
    while let Some(client) = clients.join_next().await {
        committed.extend(client??);
    }
    bench.until_done(committed.len() as u64).await;
    let (wall, cpu) = (begun.elapsed().as_secs_f64(), cpu_seconds(bench.postmaster) - cpu);
    end(tasks, client).await;
    let mut started = std::mem::take(&mut *bench.started.lock().unwrap_or_else(PoisonError::into_inner));
    bench.stop().await;
    started.sort_unstable();
    committed.sort_unstable();
    let pairs = || committed.iter().zip(&started);
    // A handler may start before its client has read that the commit is through.
    let mut dispatch: Vec<_> =
        pairs().map(|((_, _, at), (_, start))| start.saturating_duration_since(*at)).collect();
    let mut whole: Vec<_> =
        pairs().map(|((_, at, _), (_, start))| start.saturating_duration_since(*at)).collect();
    dispatch.sort_unstable();
    whole.sort_unstable();
    let count = float(committed.len() as u64);
    let pace = json!({ "clients": CLIENTS, "per_second": (count / wall).round() });
    let settings = settings(pool, pace).await?;
    figures.add(
        "job, committed to started, median",
        (percentile(&dispatch, 0.5), "ms"),
        Some(count / cpu),
        &settings,
    )?;
    figures.add("job, committed to started, p99", (percentile(&dispatch, 0.99), "ms"), None, &settings)?;
    figures.add(
        "job, enqueue called to started, median",
        (percentile(&whole, 0.5), "ms"),
        None,
        &settings,
    )?;
    figures.add("job, enqueue called to started, p99", (percentile(&whole, 0.99), "ms"), None, &settings)
}

/// Throughput in batches, clean and then beside a session that sits on an old snapshot.
pub(crate) async fn beside_an_old_snapshot(
    pool: &PgPool,
    by: Measured,
    figures: &mut Figures,
) -> Result<(), Failure> {
    /// Slices of the pinned time: the trend says whether it goes on getting worse.
    const SLICES: u32 = 10;
    /// The last of them, whose mean is held against the first: at least three quarters of it should be left.
    const LAST: usize = 3;
    let bench = Bench::start(pool, by.postmaster);
    let mut enqueued = 0;
    let clean = slice(&bench, &mut enqueued, by.span / SLICES).await?;
    let mut bystander = pool.begin().await?;
    // In force only here: the product gives idle transactions ten seconds.
    sqlx::raw_sql(
        "set local idle_in_transaction_session_timeout = 0; set transaction isolation level repeatable read",
    )
    .execute(&mut *bystander)
    .await?;
    sqlx::query("select count(*) from pg_class").execute(&mut *bystander).await?;
    let mut slices = Vec::new();
    for part in 1..=SLICES {
        let (rate, per_cpu) = slice(&bench, &mut enqueued, by.span / SLICES).await?;
        slices.push((rate, per_cpu));
        let held = (by.span / SLICES * part).as_secs();
        let held = json!({ "snapshot_held_for_s": held, "clean": clean.0.round() });
        let settings = settings(pool, held).await?;
        figures.add("jobs beside an old snapshot", (rate, "per second"), Some(per_cpu), &settings)?;
        figures.add("jobs beside an old snapshot, of clean", (rate / clean.0, "share"), None, &settings)?;
    }
    bystander.rollback().await?;
    bench.stop().await;
    let held = json!({ "snapshot_held_for_s": by.span.as_secs(), "last_slices": LAST });
    let settings = settings(pool, held).await?;
    let kept = last_of_first(&slices, LAST, |(rate, _)| *rate);
    figures.add("jobs beside an old snapshot, last of first", (kept, "share"), None, &settings)?;
    let kept = last_of_first(&slices, LAST, |(_, per_cpu)| *per_cpu);
    figures.add("jobs beside an old snapshot, last of first per CPU", (kept, "share"), None, &settings)
}

/// What the mean of the last slices is of the first.
fn last_of_first(slices: &[(f64, f64)], last: usize, of: impl Fn(&(f64, f64)) -> f64) -> f64 {
    let first = slices.first().map_or(f64::NAN, &of);
    let last = &slices[slices.len().saturating_sub(last)..];
    last.iter().map(&of).sum::<f64>() / float(last.len() as u64) / first
}

/// Rate and rate per CPU second over one stretch of time.
async fn slice(bench: &Bench, enqueued: &mut u64, span: Duration) -> Result<(f64, f64), Failure> {
    let (cpu, begun, before) = (cpu_seconds(bench.postmaster), Instant::now(), *enqueued);
    *enqueued = produce(bench, before, begun + span).await?;
    bench.until_done(*enqueued).await;
    let count = float(*enqueued - before);
    Ok((count / begun.elapsed().as_secs_f64(), count / (cpu_seconds(bench.postmaster) - cpu)))
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn float(count: u64) -> f64 {
    count as f64
}
