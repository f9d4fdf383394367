//! The database's clock is set back: what was written by a clock that was ahead counts from this moment on. The server's
//! clock stays as it is; what it wrote an hour ago is made to look as if it had been an hour ahead then.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sqlx::PgPool;
use syndarix_jobs::{Job, Outcome, Registry, SetRight, set_right};

use crate::harness::{
    claim, count, enqueue, expire, id, in_seconds, job, on_database, quick, start, until_count, until_done,
};

/// Of a claim of the harness.
const LEASE: Duration = Duration::from_secs(60);
const DRAIN: Duration = Duration::from_secs(1);

const LEASES_AHEAD: &str = "update job set lease_until = lease_until + interval '1 hour'";
const WAITS_AHEAD: &str =
    "update job set run_at = run_at + interval '1 hour', waits_since = waits_since + interval '1 hour'";

/// What waits, and since when, is said.
const WAITING: &str = "select count(*) from job where not due and waits_since <= now()";

async fn execute(pool: &PgPool, sql: &'static str) {
    sqlx::query(sql).execute(pool).await.unwrap();
}

async fn right(pool: &PgPool) -> SetRight {
    set_right(&mut pool.acquire().await.unwrap(), LEASE).await.unwrap()
}

fn done_at_once() -> Registry {
    Registry::new().with("x", |_, _, _| async { Outcome::Done })
}

#[test]
fn no_lease_ends_later_than_a_new_one_would_and_it_stays_its_workers() {
    on_database(|pool| async move {
        enqueue(&pool, &job("x")).await;
        let (_, lease) = claim(&pool, id(), 1).await.remove(0);
        assert_eq!(right(&pool).await, SetRight::default(), "a lease that was just given");
        execute(&pool, LEASES_AHEAD).await;

        assert_eq!(right(&pool).await, SetRight { leases: 1, ..SetRight::default() });

        let left = "select count(*) from job where lease_until between now() + interval '50 s' and now() + interval '60 s'";
        assert_eq!(count(&pool, left).await, 1);
        lease.hold(&mut pool.acquire().await.unwrap()).await.unwrap();
        assert_eq!(right(&pool).await, SetRight::default(), "once is enough");
    });
}

#[test]
fn a_job_whose_worker_died_before_the_clock_was_set_back_is_taken_over_within_a_lease() {
    on_database(|pool| async move {
        enqueue(&pool, &job("x")).await;
        claim(&pool, id(), 1).await;
        execute(&pool, LEASES_AHEAD).await;
        let worker = start(&pool, &done_at_once(), quick("a", 1));
        until_done(&pool, 1).await;
        worker.shutdown(DRAIN).await;
    });
}

#[test]
fn a_heartbeat_that_is_still_to_come_counts_as_one_of_now() {
    on_database(|pool| async move {
        let beat = "insert into worker (incarnation, name, lock_key, last_seen)
                    values (gen_random_uuid(), 'w', 1, now() + interval '1 hour')";
        execute(&pool, beat).await;
        assert_eq!(right(&pool).await, SetRight { beats: 1, ..SetRight::default() });
        assert_eq!(count(&pool, "select count(*) from worker where last_seen > now()").await, 0);
    });
}

#[test]
fn a_wait_that_has_yet_to_begin_begins_anew_and_a_time_that_was_named_stays() {
    on_database(|pool| async move {
        let waits = enqueue(&pool, &job("waits")).await;
        enqueue(&pool, &job("named").not_before(in_seconds(&pool, 3_600.0).await)).await;
        execute(
            &pool,
            "update job set due = false, run_at = now() + interval '20 s', waits_since = now() where kind = 'waits'",
        )
        .await;
        assert_eq!(right(&pool).await, SetRight::default(), "it waits as it should");
        execute(&pool, WAITS_AHEAD).await;

        assert_eq!(right(&pool).await, SetRight { waits: 1, ..SetRight::default() });

        let soon: i64 = sqlx::query_scalar("select id from job where run_at <= now() + interval '20 s'")
            .fetch_one(&pool)
            .await
            .unwrap();
        assert_eq!(soon, waits);
        assert_eq!(count(&pool, "select count(*) from job where due").await, 0);
    });
}

#[test]
fn what_waits_for_its_next_attempt_is_tried_again_in_time_after_the_clock_was_set_back() {
    on_database(|pool| async move {
        let (wait, snoozed) = (Duration::from_secs(4), Arc::new(AtomicBool::new(false)));
        let registry = Registry::new()
            .with("fails", move |job: Job, _, _| async move {
                let retry = Outcome::Retry { after: Some(wait), reason: "not yet".into() };
                if job.attempt == 1 { retry } else { Outcome::Done }
            })
            .with("snoozes", move |_: Job, _, _| {
                let again = snoozed.swap(true, Ordering::SeqCst);
                let snooze = Outcome::Snooze { wait, reason: "not yet".into() };
                async move { if again { Outcome::Done } else { snooze } }
            });
        let worker = start(&pool, &registry, quick("a", 2));
        enqueue(&pool, &job("fails")).await;
        enqueue(&pool, &job("snoozes")).await;
        until_count(&pool, WAITING, 2).await;
        worker.shutdown(DRAIN).await;
        execute(&pool, WAITS_AHEAD).await;

        let worker = start(&pool, &registry, quick("b", 2));
        until_done(&pool, 2).await;
        worker.shutdown(DRAIN).await;
    });
}

#[test]
fn a_wait_after_a_rescue_says_when_it_began() {
    on_database(|pool| async move {
        enqueue(&pool, &job("unlucky")).await;
        execute(&pool, "update job set rescues = 9, attempt = 9").await;
        let owner = id();
        claim(&pool, owner, 1).await;
        expire(&pool, owner).await;
        let worker = start(&pool, &done_at_once(), quick("a", 0));
        until_count(&pool, WAITING, 1).await;
        worker.shutdown(DRAIN).await;
    });
}
