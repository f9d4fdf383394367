//! Every tick of a schedule fires once, late or not, as its policy says.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;
use sqlx::PgPool;
use syndarix_jobs::{
    EnqueueError, Missed, NewJob, Recurring, Schedule, cancel_timers, ensure_recurring, fire_due,
};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::harness::{claim, count, id, in_seconds, on_database};

const HOUR: Duration = Duration::from_secs(3600);

async fn hours_from_now(pool: &PgPool, hours: f64) -> DateTime<Utc> {
    in_seconds(pool, hours * 3600.0).await
}

fn hourly(anchor: DateTime<Utc>) -> Recurring {
    Recurring {
        name: "sweep".into(),
        schedule: Schedule::Every { anchor, period: HOUR },
        missed: Missed::RunOnce,
        job: NewJob::new("default", "sweep", json!({})),
    }
}

fn cron(expression: &str, missed: Missed) -> Recurring {
    let schedule = Schedule::Cron { expression: expression.into(), zone: "Europe/Berlin".into() };
    Recurring { schedule, missed, ..hourly(DateTime::UNIX_EPOCH) }
}

async fn ensure(pool: &PgPool, recurring: &Recurring) {
    ensure_recurring(&mut pool.acquire().await.unwrap(), recurring).await.unwrap();
}

async fn fire(pool: &PgPool) -> usize {
    fire_due(&mut pool.acquire().await.unwrap()).await.unwrap().count
}

async fn next_tick(pool: &PgPool) -> DateTime<Utc> {
    sqlx::query_scalar("select fire_at from timer").fetch_one(pool).await.unwrap()
}

/// As if nobody had looked for so many hours.
async fn miss_hours(pool: &PgPool, hours: i32) {
    sqlx::query(
        "update timer set fire_at = fire_at - make_interval(hours => $1), last_tick = last_tick - make_interval(hours => $1)",
    )
    .bind(hours)
    .execute(pool)
    .await
    .unwrap();
}

#[test]
fn missed_ticks_make_one_job_and_the_beat_is_kept() {
    on_database(|pool| async move {
        let anchor = hours_from_now(&pool, -10.5).await;
        ensure(&pool, &hourly(anchor)).await;
        assert_eq!(fire(&pool).await, 0, "its next tick is half an hour away");
        miss_hours(&pool, 5).await;
        assert_eq!((fire(&pool).await, fire(&pool).await), (1, 0));
        assert_eq!(next_tick(&pool).await, anchor + 11 * HOUR);
        ensure(&pool, &hourly(anchor)).await;
        assert_eq!(next_tick(&pool).await, anchor + 11 * HOUR);
        let mut conn = pool.acquire().await.unwrap();
        assert_eq!(cancel_timers(&mut conn, Uuid::nil(), Some("sweep")).await.unwrap(), 1);
    });
}

#[test]
fn ticks_that_were_missed_are_skipped_or_made_up_for_and_each_job_knows_its_own() {
    on_database(|pool| async move {
        let anchor = hours_from_now(&pool, -10.5).await;
        for (missed, wanted) in
            [(Missed::Skip, 0), (Missed::CatchUp { at_most: 3 }, 3), (Missed::CatchUp { at_most: 9 }, 5)]
        {
            ensure(&pool, &Recurring { missed, ..hourly(anchor) }).await;
            miss_hours(&pool, 5).await;
            assert_eq!(fire(&pool).await, wanted, "{missed:?}");
            let ticks: Vec<_> =
                claim(&pool, id(), 9).await.into_iter().map(|(job, _)| job.tick.unwrap()).collect();
            let expected: Vec<_> = (0..wanted)
                .rev()
                .map(|ago| anchor + HOUR * 10 - HOUR * u32::try_from(ago).unwrap())
                .collect();
            assert_eq!(ticks, expected, "{missed:?}");
            sqlx::query("delete from timer").execute(&pool).await.unwrap();
        }
    });
}

#[test]
fn racing_processes_fire_each_tick_once() {
    on_database(|pool| async move {
        ensure(&pool, &cron("0 * * * *", Missed::CatchUp { at_most: 4 })).await;
        for round in 1..=30 {
            miss_hours(&pool, 2).await;
            let mut racing = JoinSet::new();
            for _ in 0..4 {
                let pool = pool.clone();
                racing.spawn(async move { fire(&pool).await });
            }
            assert_eq!(racing.join_all().await.iter().sum::<usize>(), 2, "round {round}");
            sqlx::query("delete from job").execute(&pool).await.unwrap();
        }
    });
}

#[test]
fn a_process_that_dies_while_it_fires_leaves_the_tick_to_the_next_one() {
    on_database(|pool| async move {
        ensure(&pool, &cron("0 * * * *", Missed::RunOnce)).await;
        miss_hours(&pool, 1).await;
        let mut dying = pool.begin().await.unwrap();
        assert_eq!(fire_due(&mut dying).await.unwrap().count, 1);
        assert_eq!(fire(&pool).await, 0, "it is being fired");
        dying.rollback().await.unwrap();
        assert_eq!((fire(&pool).await, fire(&pool).await), (1, 0));
        assert_eq!(count(&pool, "select count(*) from job").await, 1);
    });
}

#[test]
fn a_tick_that_has_fired_does_not_fire_again_when_clock_or_schedule_go_back() {
    on_database(|pool| async move {
        ensure(&pool, &cron("0 * * * *", Missed::CatchUp { at_most: 9 })).await;
        miss_hours(&pool, 3).await;
        assert_eq!(fire(&pool).await, 3);
        sqlx::query("update timer set fire_at = fire_at - interval '3 hours'").execute(&pool).await.unwrap();
        assert_eq!(fire(&pool).await, 0);
        ensure(&pool, &cron("0 0 * * *", Missed::CatchUp { at_most: 9 })).await;
        ensure(&pool, &cron("0 * * * *", Missed::CatchUp { at_most: 9 })).await;
        assert_eq!(fire(&pool).await, 0);
        assert_eq!(count(&pool, "select count(distinct tick) from job").await, 3);
    });
}

#[test]
fn a_new_schedule_moves_the_next_tick_and_a_new_policy_does_not() {
    on_database(|pool| async move {
        ensure(&pool, &cron("17 3 * * *", Missed::Skip)).await;
        let before = next_tick(&pool).await;
        ensure(&pool, &cron("17 3 * * *", Missed::RunOnce)).await;
        assert_eq!(next_tick(&pool).await, before);
        ensure(&pool, &cron("18 3 * * *", Missed::RunOnce)).await;
        let moved = next_tick(&pool).await - before;
        assert_eq!(moved.num_minutes().rem_euclid(24 * 60), 1);
    });
}

#[test]
fn a_schedule_that_does_not_read_is_refused_and_one_from_a_newer_release_waits() {
    on_database(|pool| async move {
        let mut conn = pool.acquire().await.unwrap();
        for bad in ["61 * * * *", "0 0 30 2 *", ""] {
            let refused = ensure_recurring(&mut conn, &cron(bad, Missed::Skip)).await;
            assert!(matches!(refused, Err(EnqueueError::Schedule { .. })), "{bad}");
        }
        ensure(&pool, &cron("0 * * * *", Missed::Skip)).await;
        let newer = "update timer set cron = '@moonrise', fire_at = now() - interval '1 second'";
        sqlx::query(newer).execute(&pool).await.unwrap();
        assert_eq!(fire(&pool).await, 0);
        assert!(next_tick(&pool).await > hours_from_now(&pool, 0.0).await + TimeDelta::seconds(50));
    });
}

#[test]
fn a_timer_of_the_release_before_keeps_its_period_and_makes_one_job_of_missed_ticks() {
    on_database(|pool| async move {
        sqlx::query(
            "insert into timer (stream, name, fire_at, queue, kind, payload, max_attempts, every_seconds)
             values ($1, 'sweep', now() - interval '150 seconds', 'default', 'sweep', '{}', 1, 60)",
        )
        .bind(Uuid::nil())
        .execute(&pool)
        .await
        .unwrap();
        let before = next_tick(&pool).await;
        assert_eq!((fire(&pool).await, fire(&pool).await), (1, 0));
        assert_eq!(next_tick(&pool).await - before, TimeDelta::seconds(180));
    });
}
