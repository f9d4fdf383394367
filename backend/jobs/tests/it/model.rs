//! Random interleavings of enqueue, claim, finish, cancel and crash, against a model in memory.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};
use sqlx::PgPool;
use syndarix_jobs::{Backoff, Cancelled, Enqueued, Lease, Rescue, cancel, enqueue, rescue};
use uuid::Uuid;

use crate::harness::{claim, expire, job, on_database};

const CASES: usize = 40;
const WORKERS: u128 = 3;
const MAX_RESCUES: u16 = 2;

#[derive(Clone, Debug)]
enum Op {
    Enqueue {
        unique: Option<u8>,
        key: Option<u8>,
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
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Ready,
    Running { worker: u128, fence: i64, cancelled: bool },
    Done,
    Cancelled,
    Dead,
}

#[derive(Clone, Debug)]
struct Entry {
    unique: Option<u8>,
    key: Option<u8>,
    rescues: u16,
    last_fence: i64,
    state: State,
}

impl Entry {
    fn is_live(&self) -> bool {
        matches!(self.state, State::Ready | State::Running { .. })
    }
}

#[derive(Default)]
struct Model {
    jobs: BTreeMap<i64, Entry>,
    leases: Vec<Lease>,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let worker = 1..=WORKERS;
    let op = prop_oneof![
        4 => (prop::option::weighted(0.4, 0u8..3), prop::option::weighted(0.4, 0u8..2))
            .prop_map(|(unique, key)| Op::Enqueue { unique, key }),
        4 => (worker.clone(), 1u16..4).prop_map(|(worker, limit)| Op::Claim { worker, limit }),
        4 => any::<prop::sample::Index>().prop_map(|lease| Op::Finish { lease }),
        1 => any::<prop::sample::Index>().prop_map(|job| Op::Cancel { job }),
        2 => worker.prop_map(|worker| Op::Crash { worker }),
    ];
    prop::collection::vec(op, 1..60)
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
            Op::Enqueue { unique, key } => self.enqueue(pool, *unique, *key).await,
            Op::Claim { worker, limit } => self.claim(pool, *worker, *limit).await,
            Op::Finish { lease } if !self.leases.is_empty() => {
                self.finish(pool, *lease.get(&self.leases)).await;
            }
            Op::Cancel { job } if !self.jobs.is_empty() => {
                let ids: Vec<i64> = self.jobs.keys().copied().collect();
                self.cancel(pool, *job.get(&ids)).await;
            }
            Op::Crash { worker } => self.crash(pool, *worker).await,
            Op::Finish { .. } | Op::Cancel { .. } => {}
        }
    }

    async fn enqueue(&mut self, pool: &PgPool, unique: Option<u8>, key: Option<u8>) {
        let mut new = job("x");
        new.unique_key = unique.map(|key| key.to_string());
        new.concurrency_key = key.map(|key| key.to_string());
        let taken =
            unique.is_some() && self.jobs.values().any(|entry| entry.is_live() && entry.unique == unique);
        match enqueue(&mut pool.acquire().await.unwrap(), &new).await.unwrap() {
            Enqueued::Duplicate => assert!(taken, "refused without a live twin"),
            Enqueued::Queued(id) => {
                assert!(!taken, "two live jobs of unique key {unique:?}");
                let entry = Entry { unique, key, rescues: 0, last_fence: 0, state: State::Ready };
                assert!(self.jobs.insert(id, entry).is_none());
            }
        }
    }

    fn running(&self, key: u8) -> usize {
        let runs = |entry: &&Entry| entry.key == Some(key) && matches!(entry.state, State::Running { .. });
        self.jobs.values().filter(runs).count()
    }

    async fn claim(&mut self, pool: &PgPool, worker: u128, limit: u16) {
        let ready = |entry: &&Entry| entry.state == State::Ready;
        let free = self
            .jobs
            .values()
            .filter(ready)
            .filter(|entry| entry.key.is_none_or(|key| self.running(key) == 0));
        let free = free.count();
        let claimed = claim(pool, Uuid::from_u128(worker), limit).await;
        assert!(claimed.len() <= usize::from(limit));
        assert_eq!(claimed.is_empty(), free == 0, "{free} jobs were free");
        for (job, lease) in claimed {
            let entry = self.jobs.get_mut(&job.id).unwrap();
            assert_eq!(entry.state, State::Ready);
            assert!(lease.fence > entry.last_fence, "the fence went back");
            assert_eq!(u32::from(entry.rescues) + 1, job.attempt);
            entry.last_fence = lease.fence;
            entry.state = State::Running { worker, fence: lease.fence, cancelled: false };
            self.leases.push(lease);
        }
        assert!((0..2).all(|key| self.running(key) <= 1), "two running jobs of one key");
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
            State::Ready => (Cancelled::Removed, State::Cancelled),
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
        let backoff = Backoff { base: Duration::ZERO, cap: Duration::ZERO };
        let limits = Rescue { stale_after: Duration::from_secs(60), max_rescues: MAX_RESCUES, backoff };
        rescue(&mut pool.acquire().await.unwrap(), limits, None).await.unwrap();
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

    /// Every job is in exactly the table and the state the model says, and in no other.
    async fn agrees_with(&self, pool: &PgPool, history: &[Op]) {
        let rows: Vec<(i64, String)> = sqlx::query_as(
            "select id, case when owner is null then 'ready' else 'running' end from job
             union all select id, outcome from job_done
             union all select id, 'dead' from job_dead
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
                    State::Running { .. } => "running",
                    State::Done => "done",
                    State::Cancelled => "cancelled",
                    State::Dead => "dead",
                };
                (*id, state.to_owned())
            })
            .collect();
        assert_eq!(rows, modelled, "after {history:?}");
    }
}
