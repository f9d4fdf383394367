//! No more jobs of a key start than its limit allows, and nobody else waits for them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use serde_json::json;
use sqlx::PgPool;

use syndarix_jobs::{
    Claim, Cursor, EnqueueError, Filter, JobState, LastLine, NewJob, NewTimer, Outcome, RateLimit, Registry,
    Rescue, WorkerConfig, fire_due, let_out, list, list_dead, queue_stats, redrive, rescue, schedule_timer,
};
use tokio::sync::Barrier;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::harness::{
    Doomed, claim, count, enqueue, enqueue_all, expire, id, job, on_database, quick, start, until_count,
    until_done,
};

const WINDOW: Duration = Duration::from_secs(1);

fn limited(key: &str, count: u16) -> NewJob {
    job("call").limited_to(RateLimit { key: key.into(), count, per: WINDOW })
}

async fn open_line(pool: &PgPool) -> Vec<String> {
    let_out(&mut pool.acquire().await.unwrap(), &mut LastLine::default()).await.unwrap()
}

async fn now(pool: &PgPool) -> DateTime<Utc> {
    sqlx::query_scalar("select clock_timestamp()").fetch_one(pool).await.unwrap()
}

/// When a job may have started at the earliest and at the latest.
type Start = (DateTime<Utc>, DateTime<Utc>);

/// Claims and finishes, letting jobs out of the line as a worker does, until no job is left.
async fn work_off(pool: PgPool) -> Vec<Start> {
    let (mut cursor, mut starts) = (Cursor::default(), Vec::new());
    while count(&pool, "select count(*) from job").await > 0 {
        open_line(&pool).await;
        let wanted = Claim { queue: "default", owner: id(), limit: 3, lease: Duration::from_secs(60) };
        let mut conn = pool.acquire().await.unwrap();
        let earliest = now(&pool).await;
        let claimed = syndarix_jobs::claim(&mut conn, wanted, &mut cursor).await.unwrap();
        let latest = now(&pool).await;
        for (_, lease) in claimed.jobs {
            starts.push((earliest, latest));
            lease.complete(&mut conn).await.unwrap();
        }
    }
    starts
}

/// Fails when more than `most` of these started in one window for certain.
fn assert_within(most: usize, mut starts: Vec<Start>) {
    starts.sort_unstable_by_key(|(_, latest)| *latest);
    for over in starts.windows(most + 1) {
        let first = over.iter().map(|(earliest, _)| *earliest).min().unwrap();
        let (_, last) = over[most];
        assert!((last - first).to_std().unwrap() >= WINDOW, "{} started within {}", most + 1, last - first);
    }
}

#[test]
fn eight_racing_claimers_never_start_more_than_the_limit_in_any_window() {
    on_database(|pool| async move {
        enqueue_all(&pool, &vec![limited("api", 7); 25]).await;
        let (begun, mut claimers) = (Instant::now(), JoinSet::new());
        (0..8).for_each(|_| drop(claimers.spawn(work_off(pool.clone()))));
        let starts: Vec<Start> = claimers.join_all().await.concat();
        assert_eq!(starts.len(), 25);
        assert_within(7, starts);
        assert!(begun.elapsed() < 4 * WINDOW, "they start as soon as they may: {:?}", begun.elapsed());
    });
}

#[test]
fn the_claim_itself_keeps_the_limit_whatever_was_let_out() {
    on_database(|pool| async move {
        for round in 0..10 {
            enqueue_all(&pool, &vec![limited(&format!("api-{round}"), 3); 40]).await;
            let everything = "update job set due = true, in_line_at = null, fence = fence + 1";
            sqlx::query(everything).execute(&pool).await.unwrap();
            let (together, mut claimers) = (Arc::new(Barrier::new(8)), JoinSet::new());
            for _ in 0..8 {
                let (pool, together) = (pool.clone(), Arc::clone(&together));
                claimers.spawn(async move {
                    together.wait().await;
                    claim(&pool, id(), 20).await.len()
                });
            }
            assert_eq!(claimers.join_all().await.iter().sum::<usize>(), 3);
            sqlx::query("delete from job").execute(&pool).await.unwrap();
        }
    });
}

#[test]
fn while_one_claim_decides_about_a_key_no_other_does_and_none_waits() {
    on_database(|pool| async move {
        enqueue_all(&pool, &vec![limited("api", 3); 40]).await;
        sqlx::query("update job set due = true, in_line_at = null").execute(&pool).await.unwrap();
        let wanted = Claim { queue: "default", owner: id(), limit: 5, lease: Duration::from_secs(60) };
        let beside = || tokio::time::timeout(Duration::from_secs(5), claim(&pool, id(), 20));

        let mut undecided = pool.begin().await.unwrap();
        let taken = syndarix_jobs::claim(&mut undecided, wanted, &mut Cursor::default()).await.unwrap();
        assert_eq!(taken.jobs.len(), 3);
        assert_eq!(beside().await.expect("it waited").len(), 0);
        undecided.rollback().await.unwrap();

        assert_eq!(beside().await.unwrap().len(), 3, "what was rolled back has not started");
        assert_eq!(beside().await.unwrap().len(), 0);
    });
}

#[test]
fn jobs_over_the_limit_hold_up_neither_other_keys_nor_jobs_without_one() {
    on_database(|pool| async move {
        let project = id();
        enqueue_all(&pool, &vec![limited("slow", 1).for_project(project); 2_000]).await;
        sqlx::query("update job set due = true, in_line_at = null where id % 2 = 0")
            .execute(&pool)
            .await
            .unwrap();
        let free = enqueue(&pool, &job("free").for_project(project)).await;
        let other = enqueue(&pool, &limited("other", 1).for_project(project)).await;
        let begun = Instant::now();
        let (mut cursor, mut started) = (Cursor::default(), Vec::new());
        while !(started.contains(&free) && started.contains(&other)) {
            assert!(begun.elapsed() < Duration::from_secs(10), "still waiting behind the line: {started:?}");
            open_line(&pool).await;
            let wanted = Claim { queue: "default", owner: id(), limit: 50, lease: Duration::from_secs(60) };
            let claimed = syndarix_jobs::claim(&mut pool.acquire().await.unwrap(), wanted, &mut cursor).await;
            started.extend(claimed.unwrap().jobs.into_iter().map(|(job, _)| job.id));
        }
        assert!(
            count(&pool, "select count(*) from job where (rate).key = 'slow' and owner is null").await
                > 1_900
        );
    });
}

#[test]
fn a_limit_survives_the_death_of_the_worker_that_used_it_up() {
    on_database(|pool| async move {
        let minute = RateLimit { key: "api".into(), count: 4, per: Duration::from_secs(60) };
        enqueue_all(&pool, &vec![job("hang").limited_to(minute); 10]).await;
        let never_ends =
            |_: &PgPool| Registry::new().with("hang", |_, _, _| std::future::pending::<Outcome>());
        let doomed = Doomed::start(&pool, never_ends, quick("doomed", 8));
        until_count(&pool, "select count(*) from job where owner is not null", 4).await;
        doomed.kill();

        let done = Registry::new().with("hang", |_, _, _| async { Outcome::Done });
        let next = start(&pool, &done, quick("next", 8));
        until_count(&pool, "select count(*) from job where rescues > 0 and owner is null", 4).await;
        enqueue_all(&pool, &vec![job("hang"); 20]).await;
        until_done(&pool, 20).await;
        assert_eq!(
            count(&pool, "select count(*) from job where owner is null").await,
            10,
            "none of them started"
        );
        next.shutdown(Duration::from_secs(1)).await;
    });
}

#[test]
fn workers_start_jobs_over_the_limit_as_soon_as_they_may() {
    on_database(|pool| async move {
        let done = Registry::new().with("call", |_, _, _| async { Outcome::Done });
        let workers = [start(&pool, &done, quick("a", 4)), start(&pool, &done, quick("b", 4))];
        let begun = Instant::now();
        enqueue_all(&pool, &vec![limited("api", 5); 15]).await;
        until_done(&pool, 15).await;
        assert!(begun.elapsed() >= 2 * WINDOW, "{:?} is too early", begun.elapsed());
        assert!(begun.elapsed() < 5 * WINDOW, "{:?} is too late", begun.elapsed());
        for worker in workers {
            worker.shutdown(Duration::from_secs(1)).await;
        }
    });
}

#[test]
fn in_a_line_projects_take_turns_and_a_low_priority_stands_further_back() {
    on_database(|pool| async move {
        let (crowd, single) = (id(), id());
        let limit = RateLimit { key: "api".into(), count: 4, per: Duration::from_secs(60) };
        let low = job("low").with_priority(syndarix_jobs::Priority::Low);
        enqueue(&pool, &low.for_project(crowd).limited_to(limit.clone())).await;
        enqueue_all(&pool, &vec![job("bulk").for_project(crowd).limited_to(limit.clone()); 500]).await;
        enqueue(&pool, &job("one").for_project(single).limited_to(limit)).await;
        open_line(&pool).await;
        let started = claim(&pool, id(), 50).await;
        assert_eq!(started.len(), 4);
        assert!(started.iter().any(|(job, _)| job.project == Some(single)));
        assert!(started.iter().all(|(job, _)| job.kind != "low"));
    });
}

#[test]
fn a_place_that_is_let_out_and_cancelled_goes_to_the_next() {
    on_database(|pool| async move {
        let first = enqueue(&pool, &limited("api", 1)).await;
        let second = enqueue(&pool, &limited("api", 1)).await;
        assert_eq!(open_line(&pool).await, ["default"]);
        assert!(open_line(&pool).await.is_empty(), "what is let out counts");
        syndarix_jobs::cancel(&mut pool.acquire().await.unwrap(), first).await.unwrap();
        assert_eq!(open_line(&pool).await, ["default"]);
        assert_eq!(claim(&pool, id(), 9).await[0].0.id, second);
    });
}

#[test]
fn a_limited_job_is_shown_as_delayed_while_it_stands_in_line() {
    on_database(|pool| async move {
        enqueue(&pool, &limited("api", 1)).await;
        let mut conn = pool.acquire().await.unwrap();
        let delayed = Filter { state: Some(JobState::Delayed), ..Filter::default() };
        assert_eq!(list(&mut conn, &delayed).await.unwrap().len(), 1);
        let stats = queue_stats(&mut conn).await.unwrap();
        assert_eq!((stats[0].ready, stats[0].delayed), (0, 1));
    });
}

/// The one start that the limit allows is used up, so a job of the key that keeps its rate is not claimed.
async fn assert_still_limited(pool: &PgPool) {
    open_line(pool).await;
    assert!(claim(pool, id(), 9).await.is_empty());
    assert_eq!(count(pool, "select count(*) from job where (rate).key = 'api' and owner is null").await, 1);
}

#[test]
fn a_rate_outlasts_timers_delays_retries_and_dead_letters() {
    on_database(|pool| async move {
        let limit = RateLimit { key: "api".into(), count: 1, per: Duration::from_secs(60) };
        let new = job("call").limited_to(limit).with_attempts(1);
        let mut conn = pool.acquire().await.unwrap();
        let timer = NewTimer { stream: id(), name: "t".into(), fire_at: now(&pool).await, job: new.clone() };
        schedule_timer(&mut conn, &timer).await.unwrap();
        fire_due(&mut conn).await.unwrap();
        open_line(&pool).await;
        let owner = id();
        assert_eq!(claim(&pool, owner, 1).await.len(), 1, "the timer's job is the first");

        expire(&pool, owner).await;
        let limits = WorkerConfig::new("w", id(), vec![]);
        let once = Rescue { stale_after: WINDOW, max_rescues: 1, backoff: limits.rescue_backoff };
        assert_eq!(rescue(&mut conn, once, None).await.unwrap().revived, 1);
        assert_still_limited(&pool).await;

        sqlx::query("update job set in_line_at = null, run_at = now()").execute(&pool).await.unwrap();
        assert!(syndarix_jobs::promote(&mut conn).await.unwrap().is_empty());
        assert_still_limited(&pool).await;

        sqlx::query("truncate job_rate").execute(&pool).await.unwrap();
        open_line(&pool).await;
        let owner = id();
        assert_eq!(claim(&pool, owner, 1).await.len(), 1);
        expire(&pool, owner).await;
        assert_eq!(rescue(&mut conn, Rescue { max_rescues: 0, ..once }, None).await.unwrap().buried, 1);
        let dead = list_dead(&mut conn, &Filter::default()).await.unwrap();
        redrive(&mut conn, dead[0].id).await.unwrap();
        assert_still_limited(&pool).await;
    });
}

#[test]
fn what_a_worker_of_the_release_before_takes_out_of_the_line_is_limited_and_leaves_it_for_good() {
    on_database(|pool| async move {
        enqueue_all(&pool, &vec![limited("api", 1); 2]).await;
        let promoted = "update job set due = true, fence = fence + 1 where owner is null and not due and run_at <= now()";
        sqlx::query(promoted).execute(&pool).await.unwrap();
        let (_, lease) = claim(&pool, id(), 9).await.remove(0);
        assert_eq!(count(&pool, "select count(*) from job where owner is not null").await, 1);
        sqlx::query("truncate job_rate").execute(&pool).await.unwrap();
        open_line(&pool).await;
        lease.hold(&mut pool.acquire().await.unwrap()).await.expect("what runs is let alone");
    });
}

#[test]
fn a_clock_that_is_set_back_closes_a_key_for_no_longer_than_its_window() {
    on_database(|pool| async move {
        sqlx::query("insert into job_rate values ('api', array[now() + interval '1 hour'], now() + interval '2 hours')")
            .execute(&pool)
            .await
            .unwrap();
        let take = "select job_rate_take('api', 1, 1, 1)::bigint";
        assert_eq!(count(&pool, take).await, 0);
        until_count(&pool, take, 1).await;
    });
}

#[test]
fn a_line_moves_on_when_the_clock_was_set_back_behind_the_last_starts_of_its_key() {
    on_database(|pool| async move {
        let ahead = "insert into job_rate values ('api', array[now() + interval '1 hour'], now() + interval '2 hours')";
        sqlx::query(ahead).execute(&pool).await.unwrap();
        enqueue_all(&pool, &vec![limited("api", 1); 2]).await;
        let registry = Registry::new().with("call", |_, _, _| async { Outcome::Done });
        let worker = start(&pool, &registry, quick("a", 2));
        until_done(&pool, 2).await;
        worker.shutdown(Duration::from_secs(1)).await;
    });
}

#[test]
fn a_rate_that_cannot_be_kept_is_refused_and_nothing_is_written() {
    on_database(|pool| async move {
        let mut conn = pool.acquire().await.unwrap();
        let per = |count, per| job("x").limited_to(RateLimit { key: "api".into(), count, per });
        let ms = Duration::from_millis;
        for bad in [per(0, WINDOW), per(201, WINDOW), per(1, ms(999)), per(1, WINDOW * 3600 * 24 * 8)] {
            let refused = syndarix_jobs::enqueue_many(&mut conn, &[job("good"), bad]).await;
            assert!(matches!(refused, Err(EnqueueError::ImpossibleRate { .. })));
        }
        assert_eq!(count(&pool, "select count(*) from job").await, 0);
    });
}

#[test]
fn more_lines_than_one_look_takes_in_are_all_let_out() {
    on_database(|pool| async move {
        let jobs: Vec<_> = (0..1_100)
            .map(|n| NewJob::new("default", "n", json!({})).for_project(Uuid::from_u128(n % 7)))
            .zip(0..)
            .map(|(job, n)| job.limited_to(RateLimit { key: format!("key-{n}"), count: 1, per: WINDOW }))
            .collect();
        enqueue_all(&pool, &jobs).await;
        let (mut conn, mut last) = (pool.acquire().await.unwrap(), LastLine::default());
        for _ in 0..4 {
            let_out(&mut conn, &mut last).await.unwrap();
        }
        assert_eq!(count(&pool, "select count(*) from job where due").await, 1_100);
    });
}
