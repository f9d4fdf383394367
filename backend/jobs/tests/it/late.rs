//! Claimers start looking where the ready jobs began last time; what stands before that place is found all the same.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};
use sqlx::PgPool;
use syndarix_jobs::{Claim, Cursor, Enqueued, NewJob, promote};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::harness::{enqueue, enqueue_all, id, job, on_database};

/// Jobs up to five seconds late are looked for every two; the rest is for a machine that is busy.
const FOUND_WITHIN: Duration = Duration::from_secs(6);

async fn claim_all(pool: &PgPool, cursor: &mut Cursor) -> Vec<i64> {
    let wanted = Claim { queue: "default", owner: id(), limit: 7, lease: Duration::from_secs(60) };
    let claimed = syndarix_jobs::claim(&mut pool.acquire().await.unwrap(), wanted, cursor).await.unwrap();
    claimed.jobs.into_iter().map(|(job, _)| job.id).collect()
}

/// Claims until this job is among what was claimed.
async fn until_claimed(pool: &PgPool, cursor: &mut Cursor, wanted: i64) {
    let started = Instant::now();
    while !claim_all(pool, cursor).await.contains(&wanted) {
        assert!(started.elapsed() < FOUND_WITHIN, "job {wanted} was passed over");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// A cursor that has seen the queue full and empty, and stands at its end.
async fn passed(pool: &PgPool) -> Cursor {
    let mut cursor = Cursor::default();
    enqueue_all(pool, &vec![job("early"); 30]).await;
    while !claim_all(pool, &mut cursor).await.is_empty() {}
    cursor
}

async fn enqueue_and_wait(pool: PgPool, new: NewJob, late: Duration) -> i64 {
    let mut transaction = pool.begin().await.unwrap();
    let Enqueued::Queued(id) = syndarix_jobs::enqueue(&mut transaction, &new).await.unwrap() else {
        panic!("a duplicate")
    };
    tokio::time::sleep(late).await;
    transaction.commit().await.unwrap();
    id
}

#[test]
fn jobs_that_commit_late_and_in_any_order_are_all_found() {
    on_database(|pool| async move {
        let lateness = prop::collection::vec((0u64..900, 0u128..4, prop::bool::ANY), 1..8);
        let mut runner = TestRunner::new(Config::default());
        for _ in 0..6 {
            let mut cursor = passed(&pool).await;
            let late = lateness.new_tree(&mut runner).unwrap().current();
            let mut producers = JoinSet::new();
            for (millis, project, keyed) in &late {
                let mut new = job("late").for_project(Uuid::from_u128(*project));
                new.concurrency_key = keyed.then(|| id().to_string());
                producers.spawn(enqueue_and_wait(pool.clone(), new, Duration::from_millis(*millis)));
            }
            let (mut committed, mut seen) = (HashMap::new(), HashSet::new());
            while !producers.is_empty() || !committed.is_empty() {
                enqueue(&pool, &job("punctual")).await;
                seen.extend(claim_all(&pool, &mut cursor).await);
                while let Some(id) = producers.try_join_next() {
                    committed.insert(id.unwrap(), Instant::now());
                }
                committed.retain(|id, _| !seen.contains(id));
                let overdue = committed.values().any(|since| since.elapsed() > FOUND_WITHIN);
                assert!(!overdue, "{committed:?} were passed over: {late:?}");
            }
        }
    });
}

#[test]
fn a_job_that_names_a_time_long_past_is_claimed_at_once() {
    on_database(|pool| async move {
        let mut cursor = passed(&pool).await;
        let long_ago: DateTime<Utc> =
            sqlx::query_scalar("select now() - interval '3 hours'").fetch_one(&pool).await.unwrap();
        let id = enqueue(&pool, &job("old").not_before(long_ago)).await;
        assert_eq!(claim_all(&pool, &mut cursor).await, [id]);
    });
}

#[test]
fn a_delayed_job_is_claimed_at_once_when_its_time_has_come() {
    on_database(|pool| async move {
        let soon: DateTime<Utc> =
            sqlx::query_scalar("select now() + interval '30 milliseconds'").fetch_one(&pool).await.unwrap();
        let id = enqueue(&pool, &job("delayed").not_before(soon)).await;
        let mut cursor = passed(&pool).await;
        while promote(&mut pool.acquire().await.unwrap()).await.unwrap().is_empty() {}
        assert_eq!(claim_all(&pool, &mut cursor).await, [id]);
    });
}

#[test]
fn a_job_whose_key_was_taken_is_claimed_when_the_key_is_free() {
    on_database(|pool| async move {
        let mut cursor = Cursor::default();
        let keyed = job("merge").one_at_a_time("repo");
        enqueue_all(&pool, &vec![keyed; 2]).await;
        let wanted = Claim { queue: "default", owner: id(), limit: 9, lease: Duration::from_secs(60) };
        let mut conn = pool.acquire().await.unwrap();
        let first = syndarix_jobs::claim(&mut conn, wanted, &mut cursor).await.unwrap();
        assert_eq!(first.jobs.len(), 1);
        enqueue_all(&pool, &vec![job("other"); 40]).await;
        while !claim_all(&pool, &mut cursor).await.is_empty() {}
        first.jobs[0].1.complete(&mut conn).await.unwrap();
        assert_eq!(claim_all(&pool, &mut cursor).await.len(), 1);
    });
}

#[test]
fn a_project_that_nobody_knew_is_found_beside_a_full_queue() {
    on_database(|pool| async move {
        let mut cursor = Cursor::default();
        enqueue_all(&pool, &vec![job("bulk").for_project(id()); 3_000]).await;
        claim_all(&pool, &mut cursor).await;
        let stranger = enqueue(&pool, &job("few").for_project(id())).await;
        until_claimed(&pool, &mut cursor, stranger).await;
    });
}

#[test]
fn new_jobs_are_claimed_at_once_also_beside_those_of_a_clock_that_was_ahead() {
    on_database(|pool| async move {
        let mut cursor = Cursor::default();
        enqueue_all(&pool, &vec![job("early"); 9]).await;
        let ahead = "update job set run_at = run_at + interval '1 hour'";
        sqlx::query(ahead).execute(&pool).await.unwrap();
        assert_eq!(
            claim_all(&pool, &mut cursor).await.len(),
            7,
            "two are left, and are believed to be the first"
        );
        let new = enqueue(&pool, &job("new")).await;
        assert!(claim_all(&pool, &mut cursor).await.contains(&new));
    });
}
