//! Timers fire once, late rather than never, and not at all when cancelled.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::json;
use sqlx::PgPool;
use syndarix_jobs::{
    NewJob, NewTimer, Outcome, Registry, TimerChange, cancel_timers, change_timers, fire_due, schedule_timer,
};
use uuid::Uuid;

use crate::harness::{count, id, on_database, quick, start, until_done};

async fn in_seconds(pool: &PgPool, seconds: f64) -> DateTime<Utc> {
    sqlx::query_scalar("select now() + make_interval(secs => $1)")
        .bind(seconds)
        .fetch_one(pool)
        .await
        .unwrap()
}

fn timer(stream: Uuid, name: &str, fire_at: DateTime<Utc>) -> NewTimer {
    let job = NewJob::new("default", "fire", json!({ "name": name }));
    NewTimer { stream, name: name.to_owned(), fire_at, job }
}

async fn set(pool: &PgPool, timer: &NewTimer) {
    schedule_timer(&mut pool.acquire().await.unwrap(), timer).await.unwrap();
}

#[test]
fn overdue_timers_fire_exactly_once_with_racing_loops() {
    on_database(|pool| async move {
        let past = in_seconds(&pool, -3600.0).await;
        let mut transaction = pool.begin().await.unwrap();
        for n in 0..1_200 {
            schedule_timer(&mut transaction, &timer(id(), &format!("t{n}"), past)).await.unwrap();
        }
        transaction.commit().await.unwrap();
        let firing = |pool: PgPool| async move {
            let mut fired = 0;
            while count(&pool, "select count(*) from timer").await > 0 {
                fired += fire_due(&mut pool.acquire().await.unwrap()).await.unwrap().count;
            }
            fired
        };
        let (one, two) = tokio::join!(firing(pool.clone()), firing(pool.clone()));
        assert_eq!(one + two, 1_200);
        assert_eq!(count(&pool, "select count(distinct payload) from job").await, 1_200);
        assert_eq!(count(&pool, "select count(*) from job").await, 1_200);
    });
}

#[test]
fn two_workers_run_a_fired_timer_once() {
    on_database(|pool| async move {
        let registry = Registry::new().with("fire", |_, _, _| async { Outcome::Done });
        let (one, two) = (start(&pool, &registry, quick("a", 4)), start(&pool, &registry, quick("b", 4)));
        for n in 0..40 {
            set(&pool, &timer(id(), "deadline", in_seconds(&pool, 0.02 * f64::from(n)).await)).await;
        }
        until_done(&pool, 40).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(count(&pool, "select count(*) from job_done").await, 40);
        one.shutdown(Duration::from_secs(1)).await;
        two.shutdown(Duration::from_secs(1)).await;
    });
}

#[test]
fn a_cancelled_or_moved_timer_does_not_fire() {
    on_database(|pool| async move {
        let (past, future) = (in_seconds(&pool, -1.0).await, in_seconds(&pool, 3600.0).await);
        let (cancelled, cleared, moved) = (id(), id(), id());
        set(&pool, &timer(cancelled, "remind", past)).await;
        set(&pool, &timer(cancelled, "expire", future)).await;
        set(&pool, &timer(cleared, "remind", past)).await;
        set(&pool, &timer(cleared, "expire", past)).await;
        set(&pool, &timer(moved, "remind", past)).await;
        set(&pool, &timer(moved, "remind", future)).await;
        let mut conn = pool.acquire().await.unwrap();
        assert_eq!(cancel_timers(&mut conn, cancelled, Some("remind")).await.unwrap(), 1);
        assert_eq!(cancel_timers(&mut conn, cleared, None).await.unwrap(), 2);
        assert_eq!(fire_due(&mut conn).await.unwrap().count, 0);
        assert_eq!(count(&pool, "select count(*) from timer").await, 2);
    });
}

/// The timers that are there, in order.
async fn all(pool: &PgPool) -> Vec<(Uuid, String, DateTime<Utc>)> {
    sqlx::query_as("select stream, name, fire_at from timer order by stream, name")
        .fetch_all(pool)
        .await
        .unwrap()
}

async fn one_after_the_other(pool: &PgPool, changes: &[&TimerChange]) {
    let mut conn = pool.acquire().await.unwrap();
    for change in changes {
        match change {
            TimerChange::Set(timer) => schedule_timer(&mut conn, timer).await.unwrap(),
            TimerChange::Clear { stream, name } => {
                cancel_timers(&mut conn, *stream, name.as_deref()).await.unwrap();
            }
        }
    }
}

#[test]
fn changes_made_together_come_to_the_same_as_one_after_the_other() {
    on_database(|pool| async move {
        let (soon, later) = (in_seconds(&pool, 60.0).await, in_seconds(&pool, 3600.0).await);
        let (one, other) = (id(), id());
        let set = |stream, name, at| TimerChange::Set(Box::new(timer(stream, name, at)));
        let clear = |stream, name: Option<&str>| TimerChange::Clear { stream, name: name.map(str::to_owned) };
        let changes = [
            set(one, "remind", soon),
            set(one, "remind", later),
            set(one, "expire", soon),
            set(other, "remind", soon),
            clear(one, Some("remind")),
            clear(one, None),
            clear(other, Some("expire")),
        ];
        let before = [set(one, "remind", soon), set(one, "overdue", soon), set(other, "expire", soon)];
        let (before, every): (Vec<_>, Vec<_>) = (before.iter().collect(), changes.iter().collect());
        for first in &every {
            for second in &every {
                for third in &every {
                    let made = [*first, *second, *third];
                    let mut there = Vec::new();
                    for together in [false, true] {
                        sqlx::query("delete from timer").execute(&pool).await.unwrap();
                        one_after_the_other(&pool, &before).await;
                        if together {
                            change_timers(&mut pool.acquire().await.unwrap(), &made).await.unwrap();
                        } else {
                            one_after_the_other(&pool, &made).await;
                        }
                        there.push(all(&pool).await);
                    }
                    assert_eq!(there[0], there[1], "{made:?}");
                }
            }
        }
    });
}

#[test]
fn a_timer_set_in_a_rolled_back_transaction_never_fires() {
    on_database(|pool| async move {
        let past = in_seconds(&pool, -1.0).await;
        let mut transaction = pool.begin().await.unwrap();
        schedule_timer(&mut transaction, &timer(id(), "expire", past)).await.unwrap();
        transaction.rollback().await.unwrap();
        assert_eq!(fire_due(&mut pool.acquire().await.unwrap()).await.unwrap().count, 0);
    });
}
