//! Random interleavings of all that moves a job on, from enqueueing to driving it again, against a model in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};
use sqlx::PgPool;
use syndarix_jobs::{
    Backoff, Cancelled, Enqueued, Job, Lease, Outcome, QueueConfig, Redriven, Registry, Rescue, WorkerConfig,
    cancel, enqueue, promote, redrive, rescue,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::harness::{claim, expire, id, in_seconds, job, on_database, start, until};

const CASES: usize = 40;
const WORKERS: u128 = 3;
const MAX_ATTEMPTS: u16 = 4;
const MAX_RESCUES: u16 = 2;

const RESCUE: Rescue = Rescue { stale_after: LONG, max_rescues: MAX_RESCUES, backoff: AT_ONCE };
const AT_ONCE: Backoff = Backoff { base: Duration::ZERO, cap: Duration::ZERO };
/// A share of it so small that it is over before its case is, is not drawn.
const BACKOFF: Backoff = Backoff { base: YEARS, cap: YEARS.saturating_mul(2) };
const YEARS: Duration = Duration::from_secs(360_000_000);
/// A wait that no case outlasts.
const LATER: Duration = Duration::from_secs(3_600);
/// The leases of the harness's claims. No case outlasts it either.
const LONG: Duration = Duration::from_secs(60);
/// For a worker that has nothing to do to come to its end.
const DRAIN: Duration = Duration::from_secs(5);

#[derive(Clone, Debug)]
enum Op {
    Enqueue {
        unique: Option<u8>,
        key: Option<u8>,
        delayed: bool,
    },
    Claim {
        worker: u128,
        limit: u16,
    },
    /// Any lease ever given, stale ones included.
    Finish {
        lease: prop::sample::Index,
    },
    Cancel {
        job: prop::sample::Index,
    },
    Crash {
        worker: u128,
    },
    /// A worker runs all that is ready, until nothing is.
    Work {
        ends: Vec<End>,
    },
    /// A worker takes all that is ready, and is drained at once.
    HandBack,
    Redrive {
        job: prop::sample::Index,
    },
    /// The time of a delayed job comes.
    Ripen {
        job: prop::sample::Index,
    },
}

/// How an attempt ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Done,
    Fail,
    /// To be tried again at once.
    Retry,
    RetryLater,
    /// To be tried again after the worker's own wait.
    BackOff,
    Snooze,
    /// The job is taken over, and then the attempt says how it ended.
    Lost,
}

impl End {
    /// How this attempt ends: the model knows it beforehand, whichever job comes first.
    fn of(ends: &[Self], job: i64, attempt: u32) -> Self {
        ends[usize::try_from(job + i64::from(attempt)).unwrap() % ends.len()]
    }

    async fn come(self, pool: &PgPool, lease: Lease) -> Outcome {
        let reason = format!("{self:?}");
        match self {
            Self::Done => Outcome::Done,
            Self::Fail => Outcome::Fail { reason },
            Self::Retry => Outcome::Retry { after: Some(Duration::ZERO), reason },
            Self::RetryLater => Outcome::Retry { after: Some(LATER), reason },
            Self::BackOff => Outcome::Retry { after: None, reason },
            Self::Snooze => Outcome::Snooze { wait: LATER, reason },
            Self::Lost => {
                take_over(pool, lease).await;
                if lease.fence % 2 == 0 { Outcome::Done } else { Outcome::Fail { reason } }
            }
        }
    }

    /// How long a job waits at least and at most that was put off like this.
    fn wait(self, failures: u16) -> (Duration, Duration) {
        if self == Self::BackOff {
            let limit = BACKOFF.base.saturating_mul(1_u32 << (failures - 1)).min(BACKOFF.cap);
            return (Duration::ZERO, limit);
        }
        (LATER, LATER)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Ready,
    Delayed,
    Running { worker: u128, fence: i64, cancelled: bool },
    Done,
    Cancelled,
    Dead,
}

#[derive(Clone, Debug)]
struct Entry {
    unique: Option<u8>,
    key: Option<u8>,
    failures: u16,
    rescues: u16,
    last_fence: i64,
    state: State,
}

impl Entry {
    fn is_live(&self) -> bool {
        matches!(self.state, State::Ready | State::Delayed | State::Running { .. })
    }

    fn is_running(&self) -> bool {
        matches!(self.state, State::Running { .. })
    }

    /// What its row counts: attempts that failed, attempts that lost their worker, and the one that runs.
    fn attempt(&self) -> u32 {
        u32::from(self.failures) + u32::from(self.rescues) + u32::from(self.is_running())
    }

    /// What a worker makes of it that has it as often as it is ready: says each attempt, and how the last one ended.
    fn work(&mut self, id: i64, ends: &[End]) -> (Vec<u32>, End) {
        let mut attempts = Vec::new();
        loop {
            let attempt = self.attempt() + 1;
            let end = End::of(ends, id, attempt);
            attempts.push(attempt);
            match end {
                End::Done => self.state = State::Done,
                End::Lost if self.rescues < MAX_RESCUES => self.rescues += 1,
                End::Fail | End::Lost => self.state = State::Dead,
                End::Snooze => (self.rescues, self.state) = (0, State::Delayed),
                End::Retry | End::RetryLater | End::BackOff => {
                    (self.rescues, self.failures) = (0, self.failures + 1);
                    if self.failures >= MAX_ATTEMPTS {
                        self.state = State::Dead;
                    } else if end != End::Retry {
                        self.state = State::Delayed;
                    }
                }
            }
            if self.state != State::Ready {
                return (attempts, end);
            }
        }
    }
}

#[derive(Default)]
struct Model {
    jobs: BTreeMap<i64, Entry>,
    leases: Vec<Lease>,
}

/// The attempts that a worker has begun.
#[derive(Clone, Default)]
struct Begun(Arc<Mutex<Vec<(Lease, u32)>>>);

impl Begun {
    fn note(&self, job: &Job, lease: Lease) {
        self.0.lock().unwrap().push((lease, job.attempt));
    }

    fn count(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    fn take(&self) -> Vec<(Lease, u32)> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

/// A worker that trusts itself for longer than a case lasts, and rescues as the model does.
fn config(slots: usize) -> WorkerConfig {
    let queue = QueueConfig::new("default", u16::try_from(slots).unwrap());
    WorkerConfig {
        lease: LONG,
        stale_after: LONG,
        poll: Duration::from_millis(5),
        max_rescues: MAX_RESCUES,
        rescue_backoff: AT_ONCE,
        backoff: BACKOFF,
        ..WorkerConfig::new("w", id(), vec![queue])
    }
}

/// Has the lease run out, and somebody rescue the job.
async fn take_over(pool: &PgPool, lease: Lease) {
    loop {
        let expired = sqlx::query(
            "update job set lease_until = now() - interval '1 second' where id = $1 and fence = $2 and owner is not null",
        )
        .bind(lease.job)
        .bind(lease.fence)
        .execute(pool)
        .await
        .unwrap();
        if expired.rows_affected() == 0 {
            return;
        }
        // Another rescue may be under way: then it has it, or leaves it to this one.
        rescue(&mut pool.acquire().await.unwrap(), RESCUE, None).await.unwrap();
    }
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let worker = 1..=WORKERS;
    let op = prop_oneof![
        5 => (prop::option::weighted(0.4, 0u8..3), prop::option::weighted(0.4, 0u8..2), prop::bool::weighted(0.2))
            .prop_map(|(unique, key, delayed)| Op::Enqueue { unique, key, delayed }),
        4 => (worker.clone(), 1u16..4).prop_map(|(worker, limit)| Op::Claim { worker, limit }),
        4 => any::<prop::sample::Index>().prop_map(|lease| Op::Finish { lease }),
        1 => any::<prop::sample::Index>().prop_map(|job| Op::Cancel { job }),
        2 => worker.prop_map(|worker| Op::Crash { worker }),
        1 => prop::collection::vec(end(), 1..5).prop_map(|ends| Op::Work { ends }),
        1 => Just(Op::HandBack),
        2 => any::<prop::sample::Index>().prop_map(|job| Op::Redrive { job }),
        2 => any::<prop::sample::Index>().prop_map(|job| Op::Ripen { job }),
    ];
    prop::collection::vec(op, 1..60)
}

fn end() -> impl Strategy<Value = End> {
    let ends =
        [End::Done, End::Fail, End::Retry, End::RetryLater, End::BackOff, End::Snooze, End::Lost].to_vec();
    prop::sample::select(ends)
}

#[test]
fn random_interleavings_agree_with_the_model() {
    on_database(|pool| async move {
        let mut runner = TestRunner::new(Config::default());
        for _ in 0..CASES {
            sqlx::query("truncate job, job_done, job_dead").execute(&pool).await.unwrap();
            let ops = ops().new_tree(&mut runner).unwrap().current();
            let mut model = Model::default();
            for (at, op) in ops.iter().enumerate() {
                model.step(&pool, op).await;
                model.agrees_with(&pool, &ops[..=at]).await;
            }
        }
    });
}

impl Model {
    async fn step(&mut self, pool: &PgPool, op: &Op) {
        match op {
            Op::Enqueue { unique, key, delayed } => self.enqueue(pool, (*unique, *key), *delayed).await,
            Op::Claim { worker, limit } => self.claim(pool, *worker, *limit).await,
            Op::Finish { lease } if !self.leases.is_empty() => {
                self.finish(pool, *lease.get(&self.leases)).await;
            }
            Op::Cancel { job } if !self.jobs.is_empty() => {
                let ids: Vec<i64> = self.jobs.keys().copied().collect();
                self.cancel(pool, *job.get(&ids)).await;
            }
            Op::Crash { worker } => self.crash(pool, *worker).await,
            Op::Work { ends } => self.work(pool, ends).await,
            Op::HandBack => self.hand_back(pool).await,
            Op::Redrive { job } if !self.jobs.is_empty() => {
                // Others than dead letters only where there is none.
                let dead = self.in_state(&State::Dead);
                let ids = if dead.is_empty() { self.jobs.keys().copied().collect() } else { dead };
                self.redrive(pool, *job.get(&ids)).await;
            }
            Op::Ripen { job } => {
                let delayed = self.in_state(&State::Delayed);
                let ripe = (!delayed.is_empty()).then(|| *job.get(&delayed));
                self.ripen(pool, ripe).await;
            }
            Op::Finish { .. } | Op::Cancel { .. } | Op::Redrive { .. } => {}
        }
    }

    fn in_state(&self, state: &State) -> Vec<i64> {
        self.jobs.iter().filter(|(_, entry)| entry.state == *state).map(|(id, _)| *id).collect()
    }

    /// Whether a live job has this unique key.
    fn is_taken(&self, unique: Option<u8>) -> bool {
        unique.is_some() && self.jobs.values().any(|entry| entry.is_live() && entry.unique == unique)
    }

    /// What may be claimed now; of each key one at a time.
    fn free(&self) -> Vec<i64> {
        let mut ready = self.in_state(&State::Ready);
        ready.retain(|id| self.jobs[id].key.is_none_or(|key| self.running(key) == 0));
        ready
    }

    async fn enqueue(&mut self, pool: &PgPool, (unique, key): (Option<u8>, Option<u8>), delayed: bool) {
        let mut new = job("x").with_attempts(MAX_ATTEMPTS);
        new.unique_key = unique.map(|key| key.to_string());
        new.concurrency_key = key.map(|key| key.to_string());
        if delayed {
            new.run_at = Some(in_seconds(pool, LATER.as_secs_f64()).await);
        }
        let taken = self.is_taken(unique);
        match enqueue(&mut pool.acquire().await.unwrap(), &new).await.unwrap() {
            Enqueued::Duplicate => assert!(taken, "refused without a live twin"),
            Enqueued::Queued(id) => {
                assert!(!taken, "two live jobs of unique key {unique:?}");
                let state = if delayed { State::Delayed } else { State::Ready };
                let entry = Entry { unique, key, failures: 0, rescues: 0, last_fence: 0, state };
                assert!(self.jobs.insert(id, entry).is_none());
            }
        }
    }

    fn running(&self, key: u8) -> usize {
        let runs = |entry: &&Entry| entry.key == Some(key) && entry.is_running();
        self.jobs.values().filter(runs).count()
    }

    async fn claim(&mut self, pool: &PgPool, worker: u128, limit: u16) {
        let free = self.free().len();
        let claimed = claim(pool, Uuid::from_u128(worker), limit).await;
        assert!(claimed.len() <= usize::from(limit));
        assert_eq!(claimed.is_empty(), free == 0, "{free} jobs were free");
        for (job, lease) in claimed {
            let entry = self.jobs.get_mut(&job.id).unwrap();
            assert_eq!(entry.state, State::Ready);
            assert_eq!(entry.attempt() + 1, job.attempt);
            entry.state = State::Running { worker, fence: lease.fence, cancelled: false };
            self.note(lease);
        }
        assert!((0..2).all(|key| self.running(key) <= 1), "two running jobs of one key");
    }

    fn note(&mut self, lease: Lease) {
        let last = &mut self.jobs.get_mut(&lease.job).unwrap().last_fence;
        assert!(lease.fence > *last, "the fence went back");
        *last = lease.fence;
        self.leases.push(lease);
    }

    async fn finish(&mut self, pool: &PgPool, lease: Lease) {
        let entry = self.jobs.get_mut(&lease.job).unwrap();
        let held = matches!(entry.state, State::Running { fence, .. } if fence == lease.fence);
        let finished = lease.complete(&mut pool.acquire().await.unwrap()).await;
        assert_eq!(finished.is_ok(), held, "{lease:?} of {entry:?}");
        if held {
            entry.state = State::Done;
        }
    }

    async fn cancel(&mut self, pool: &PgPool, job: i64) {
        let entry = self.jobs.get_mut(&job).unwrap();
        let answer = cancel(&mut pool.acquire().await.unwrap(), job).await.unwrap();
        let (expected, next) = match entry.state.clone() {
            State::Ready | State::Delayed => (Cancelled::Removed, State::Cancelled),
            State::Running { worker, fence, .. } => {
                (Cancelled::Requested, State::Running { worker, fence, cancelled: true })
            }
            ended => (Cancelled::NotFound, ended),
        };
        assert_eq!(answer, expected);
        entry.state = next;
    }

    async fn crash(&mut self, pool: &PgPool, gone: u128) {
        expire(pool, Uuid::from_u128(gone)).await;
        rescue(&mut pool.acquire().await.unwrap(), RESCUE, None).await.unwrap();
        for entry in self.jobs.values_mut() {
            entry.state = match entry.state {
                State::Running { worker, cancelled: true, .. } if worker == gone => State::Cancelled,
                State::Running { worker, .. } if worker == gone && entry.rescues >= MAX_RESCUES => {
                    State::Dead
                }
                State::Running { worker, .. } if worker == gone => {
                    entry.rescues += 1;
                    State::Ready
                }
                ref other => other.clone(),
            };
        }
    }

    async fn work(&mut self, pool: &PgPool, ends: &[End]) {
        let (mut expected, mut waits) = (Vec::new(), Vec::new());
        for id in self.free() {
            let entry = self.jobs.get_mut(&id).unwrap();
            let (attempts, end) = entry.work(id, ends);
            expected.extend(attempts.into_iter().map(|attempt| (id, attempt)));
            if entry.state == State::Delayed {
                waits.push((id, end.wait(entry.failures)));
            }
        }
        if expected.is_empty() {
            return;
        }
        // An attempt that comes to its end forgets the rescues before it, and so the numbers do not only grow.
        expected.sort_unstable();
        let (begun, ends, on) = (Begun::default(), Arc::<[End]>::from(ends), pool.clone());
        let noted = begun.clone();
        let registry = Registry::new().with("x", move |job: Job, lease: Lease, _: CancellationToken| {
            noted.note(&job, lease);
            let (pool, end) = (on.clone(), End::of(&ends, job.id, job.attempt));
            async move { end.come(&pool, lease).await }
        });
        let earliest = in_seconds(pool, 0.0).await;

        let worker = start(pool, &registry, config(8));
        until(|| begun.count() >= expected.len() && worker.running() == 0).await;
        assert!(worker.shutdown(DRAIN).await.clean);

        let latest = in_seconds(pool, 0.0).await;
        let begun = begun.take();
        let mut attempts: Vec<_> = begun.iter().map(|(lease, attempt)| (lease.job, *attempt)).collect();
        attempts.sort_unstable();
        assert_eq!(attempts, expected);
        for (lease, _) in begun {
            self.note(lease);
        }
        for (id, (least, most)) in waits {
            let due: chrono::DateTime<chrono::Utc> =
                sqlx::query_scalar("select run_at from job where id = $1")
                    .bind(id)
                    .fetch_one(pool)
                    .await
                    .unwrap();
            assert!((earliest + least..=latest + most).contains(&due), "{due} after {least:?} to {most:?}");
        }
    }

    async fn hand_back(&mut self, pool: &PgPool) {
        let free = self.free();
        let keys: BTreeSet<u8> = free.iter().filter_map(|id| self.jobs[id].key).collect();
        let slots = free.iter().filter(|id| self.jobs[*id].key.is_none()).count() + keys.len();
        // A job that waits for another's key may still be claimed before it is given back, or not; only where it has no
        // rescues to be forgotten is that the same.
        let unknown = |id: &i64| self.jobs[id].key.is_some() && self.jobs[id].rescues > 0;
        if slots == 0 || (free.len() > slots && free.iter().any(unknown)) {
            return;
        }
        let begun = Begun::default();
        let noted = begun.clone();
        let registry = Registry::new().with("x", move |job: Job, lease: Lease, cancel: CancellationToken| {
            noted.note(&job, lease);
            async move {
                cancel.cancelled().await;
                Outcome::Retry { after: None, reason: "cut short".into() }
            }
        });

        let worker = start(pool, &registry, config(slots));
        until(|| worker.running() == slots).await;
        assert!(worker.shutdown(Duration::ZERO).await.clean);

        let begun = begun.take();
        assert!(begun.len() >= slots, "{begun:?}");
        for (lease, attempt) in begun {
            let entry = self.jobs.get_mut(&lease.job).unwrap();
            assert_eq!(entry.attempt() + 1, attempt);
            entry.rescues = 0;
            self.note(lease);
        }
    }

    async fn redrive(&mut self, pool: &PgPool, job: i64) {
        let Entry { state, unique, .. } = self.jobs[&job].clone();
        let expected = match state {
            State::Dead if self.is_taken(unique) => Redriven::Duplicate,
            State::Dead => Redriven::Queued,
            _ => Redriven::NotFound,
        };
        let answer = redrive(&mut pool.acquire().await.unwrap(), job).await.unwrap();
        assert_eq!(answer, expected);
        if answer == Redriven::Queued {
            let entry = self.jobs.get_mut(&job).unwrap();
            (entry.failures, entry.rescues, entry.state) = (0, 0, State::Ready);
        }
    }

    /// What waits for a later time stays where it is.
    async fn ripen(&mut self, pool: &PgPool, ripe: Option<i64>) {
        sqlx::query("update job set run_at = now() - interval '1 second' where id = $1")
            .bind(ripe)
            .execute(pool)
            .await
            .unwrap();
        let woken = promote(&mut pool.acquire().await.unwrap()).await.unwrap();
        assert_eq!(woken.is_empty(), ripe.is_none(), "{woken:?}");
        if let Some(ripe) = ripe {
            self.jobs.get_mut(&ripe).unwrap().state = State::Ready;
        }
    }

    /// Every job is in exactly the table and the state the model says, and in no other, after as many attempts.
    async fn agrees_with(&self, pool: &PgPool, history: &[Op]) {
        let rows: Vec<(i64, String, i64)> = sqlx::query_as(
            "select id, case when owner is not null then 'running' when due then 'ready' else 'delayed' end, attempt::bigint
               from job
             union all select id, outcome, 0 from job_done
             union all select id, 'dead', 0 from job_dead
             order by 1",
        )
        .fetch_all(pool)
        .await
        .unwrap();
        let modelled: Vec<_> = self
            .jobs
            .iter()
            .map(|(id, entry)| {
                let state = match entry.state {
                    State::Ready => "ready",
                    State::Delayed => "delayed",
                    State::Running { .. } => "running",
                    State::Done => "done",
                    State::Cancelled => "cancelled",
                    State::Dead => "dead",
                };
                let attempt = if entry.is_live() { entry.attempt() } else { 0 };
                (*id, state.to_owned(), i64::from(attempt))
            })
            .collect();
        assert_eq!(rows, modelled, "after {history:?}");
    }
}
