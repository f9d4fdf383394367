//! The database's clock is set back: what was written by a clock that was ahead counts from this moment on. Or it is set
//! ahead, and nobody has died of it. The server's clock stays as it is; what it wrote an hour ago is made to look as if it
//! had been an hour ahead then.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chrono::DateTime;
use sqlx::PgPool;
use syndarix_jobs::{
    Job, LastLine, Missed, Outcome, RateLimit, Recurring, Registry, Schedule, SetRight, WorkerConfig,
    ensure_recurring, fire_due, let_out, set_ready_right, set_right,
};

use crate::harness::{
    claim, count, enqueue, expire, id, in_seconds, job, on_database, quick, start, until_count, until_done,
};

/// Of a claim of the harness.
const LEASE: Duration = Duration::from_secs(60);
const DRAIN: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);

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

async fn schedule(pool: &PgPool, schedule: Schedule) {
    let recurring = Recurring { name: "sweep".into(), schedule, missed: Missed::RunOnce, job: job("sweep") };
    ensure_recurring(&mut pool.acquire().await.unwrap(), &recurring).await.unwrap();
}

async fn fire(pool: &PgPool) -> usize {
    fire_due(&mut pool.acquire().await.unwrap()).await.unwrap().count
}

/// A job of every minute that fired a second ago, by a clock that was an hour ahead.
async fn fired_ahead(pool: &PgPool) {
    schedule(pool, Schedule::Every { anchor: DateTime::UNIX_EPOCH, period: MINUTE }).await;
    execute(pool, "update timer set fire_at = now() - interval '1 s'").await;
    assert_eq!(fire(pool).await, 1);
    assert_eq!(right(pool).await, SetRight::default(), "it has just fired");
    execute(
        pool,
        "update timer set fire_at = fire_at + interval '1 hour', last_tick = last_tick + interval '1 hour'",
    )
    .await;
    execute(pool, "update job set tick = tick + interval '1 hour'").await;
}

#[test]
fn what_comes_back_every_minute_does_so_within_one_after_the_clock_was_set_back_but_no_tick_fires_again() {
    on_database(|pool| async move {
        fired_ahead(&pool).await;

        assert_eq!(right(&pool).await, SetRight { recurring: 1, ..SetRight::default() });
        assert_eq!(right(&pool).await, SetRight::default(), "once is enough");

        let soon = "select count(*) from timer where fire_at <= now() + interval '1 minute'";
        assert_eq!(count(&pool, soon).await, 1);
        let again = "select count(*) from timer, job where mod(extract(epoch from fire_at - tick), 60) = 0";
        assert_eq!(count(&pool, again).await, 0, "it has a beat of its own");
        execute(
            &pool,
            "update timer set fire_at = fire_at - interval '1 minute', last_tick = last_tick - interval '1 minute'",
        )
        .await;
        assert_eq!(fire(&pool).await, 1);
    });
}

#[test]
fn a_worker_sees_that_what_comes_back_is_further_away_than_it_can_be() {
    on_database(|pool| async move {
        fired_ahead(&pool).await;
        let worker = start(&pool, &done_at_once(), quick("a", 0));
        until_count(&pool, "select count(*) from timer where fire_at <= now() + interval '1 minute'", 1)
            .await;
        worker.shutdown(DRAIN).await;
    });
}

#[test]
fn what_comes_back_at_named_times_waits_for_the_next_of_them_that_has_not_fired() {
    on_database(|pool| async move {
        schedule(&pool, Schedule::Cron { expression: "0 3 * * *".into(), zone: "UTC".into() }).await;
        execute(
            &pool,
            "update timer set last_tick = fire_at + interval '1 day', fire_at = fire_at + interval '2 days'",
        )
        .await;
        assert_eq!(right(&pool).await, SetRight::default());
    });
}

async fn ready_right(pool: &PgPool) -> u64 {
    set_ready_right(&mut pool.acquire().await.unwrap()).await.unwrap()
}

#[test]
fn what_was_ready_before_the_clock_was_set_back_starts_before_what_comes_in_after_that() {
    on_database(|pool| async move {
        let mut order = Vec::new();
        for _ in 0..3 {
            order.push(enqueue(&pool, &job("x")).await);
        }
        let named = enqueue(&pool, &job("named").not_before(in_seconds(&pool, 3_600.0).await)).await;
        execute(&pool, "update job set run_at = run_at + interval '1 hour'").await;
        execute(&pool, "update job set fence = 1 where id = (select max(id) from job where due)").await;

        assert_eq!((ready_right(&pool).await, ready_right(&pool).await), (3, 0));

        order.push(enqueue(&pool, &job("x")).await);
        let claimed: Vec<i64> = claim(&pool, id(), 9).await.into_iter().map(|(job, _)| job.id).collect();
        assert_eq!(claimed, order);
        let later = "select id from job where run_at > now() + interval '1 minute'";
        let later: Vec<i64> = sqlx::query_scalar(later).fetch_all(&pool).await.unwrap();
        assert_eq!(later, [named], "its time was named");
    });
}

#[test]
fn a_line_keeps_its_order_when_the_clock_is_set_back() {
    on_database(|pool| async move {
        let limit = RateLimit { key: "api".into(), count: 1, per: HOUR };
        let limited = job("x").limited_to(limit);
        let first = enqueue(&pool, &limited).await;
        let ahead =
            "update job set run_at = run_at + interval '1 hour', in_line_at = in_line_at + interval '1 hour'";
        execute(&pool, ahead).await;

        assert_eq!((ready_right(&pool).await, ready_right(&pool).await), (1, 0));

        enqueue(&pool, &limited).await;
        let_out(&mut pool.acquire().await.unwrap(), &mut LastLine::default()).await.unwrap();
        let out: Vec<i64> = sqlx::query_scalar("select id from job where due and run_at <= now()")
            .fetch_all(&pool)
            .await
            .unwrap();
        assert_eq!(out, [first]);
    });
}

/// Beats so seldom that its lease can be seen to be over before it does.
fn seldom(name: &str, slots: u16) -> WorkerConfig {
    let (heartbeat, stale_after) = (Duration::from_secs(1), Duration::from_secs(4));
    WorkerConfig { heartbeat, stale_after, lease: LEASE, ..quick(name, slots) }
}

#[test]
fn a_process_that_starts_after_a_jump_ahead_leaves_their_jobs_to_those_that_live() {
    on_database(|pool| async move {
        let endless = Registry::new().with("x", |_, _, _| std::future::pending::<Outcome>());
        // It does not look for what is lost itself.
        let living = start(&pool, &endless, WorkerConfig { tick: 2 * HOUR, ..seldom("living", 1) });
        enqueue(&pool, &job("x")).await;
        until_count(&pool, "select count(*) from job where owner is not null", 1).await;
        execute(&pool, "update job set lease_until = now() - interval '1 minute'").await;

        let fresh = start(&pool, &endless, seldom("fresh", 0));
        until_count(&pool, "select count(*) from job where lease_until > now()", 1).await;

        assert_eq!(count(&pool, "select count(*) from job where fence = 1 and rescues = 0").await, 1);
        fresh.shutdown(DRAIN).await;
        living.shutdown(Duration::from_millis(50)).await;
    });
}

#[test]
fn whoever_holds_a_place_takes_over_from_those_before_without_waiting_for_a_beat_of_theirs() {
    on_database(|pool| async move {
        let before = id();
        enqueue(&pool, &job("x")).await;
        claim(&pool, before, 1).await;
        sqlx::query(
            "insert into worker (incarnation, name, lock_key, place) values ($1, 'before', 1, 'here')",
        )
        .bind(before)
        .execute(&pool)
        .await
        .unwrap();
        let place = Some("here".to_owned());
        let config = WorkerConfig { place, heartbeat: HOUR, lease: HOUR, ..quick("a", 1) };
        let worker = start(&pool, &done_at_once(), config);
        until_done(&pool, 1).await;
        worker.shutdown(DRAIN).await;
    });
}
