//! One leader at a time, and no writing under a lost lease.

use std::time::{Duration, Instant};

use sqlx::PgPool;
use syndarix_jobs::{Duty, Leadership, NotLeader, lead};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::harness::{count, id, on_database, until_count};

/// Longest a statement that must not wait for another transaction may take.
const PATIENCE: Duration = Duration::from_millis(800);

#[test]
fn a_duty_has_one_holder_and_every_change_of_hands_a_new_epoch() {
    on_database(|pool| async move {
        let (mine, yours) = (id(), id());
        let mut conn = pool.acquire().await.unwrap();
        let short = Duration::from_millis(150);
        let first = lead(&mut conn, "seal", mine, short).await.unwrap().unwrap();
        assert!(lead(&mut conn, "seal", yours, short).await.unwrap().is_none());
        let renewed = lead(&mut conn, "seal", mine, short).await.unwrap().unwrap();
        assert_eq!((first.epoch, renewed.epoch), (1, 1));
        first.hold(&mut conn).await.unwrap();
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(matches!(first.hold(&mut conn).await, Err(NotLeader::Moved { epoch: 1, .. })));
        let second = lead(&mut conn, "seal", yours, Duration::from_secs(60)).await.unwrap().unwrap();
        assert_eq!(second.epoch, 2);
        assert!(first.hold(&mut conn).await.is_err());
        second.resign(&mut conn).await.unwrap();
        assert_eq!(lead(&mut conn, "seal", mine, short).await.unwrap().unwrap().epoch, 3);
    });
}

#[test]
fn racing_candidates_elect_one() {
    on_database(|pool| async move {
        let candidate = || async {
            lead(&mut pool.acquire().await.unwrap(), "relay", id(), Duration::from_secs(60))
                .await
                .unwrap()
                .is_some()
        };
        let (a, b, c, d) = tokio::join!(candidate(), candidate(), candidate(), candidate());
        assert_eq!([a, b, c, d].into_iter().filter(|elected| *elected).count(), 1);
    });
}

#[test]
fn a_duty_is_renewed_beside_its_own_transaction_and_not_taken_from_it() {
    on_database(|pool| async move {
        let (mine, yours, short) = (id(), id(), Duration::from_millis(100));
        let mut conn = pool.acquire().await.unwrap();
        let first = lead(&mut conn, "seal", mine, Duration::from_secs(60)).await.unwrap().unwrap();
        let mut at_work = pool.begin().await.unwrap();
        first.hold(&mut at_work).await.unwrap();
        let renewed = tokio::time::timeout(PATIENCE, lead(&mut conn, "seal", mine, short)).await;
        assert_eq!(renewed.expect("it waited for its own work").unwrap().unwrap().epoch, 1);
        until_expired(&pool).await;
        let taken = tokio::time::timeout(PATIENCE, lead(&mut conn, "seal", yours, short)).await;
        assert!(taken.expect("a candidate waited").unwrap().is_none(), "what is under way is the leader's");
        at_work.commit().await.unwrap();
        assert_eq!(lead(&mut conn, "seal", yours, short).await.unwrap().unwrap().epoch, 2);
    });
}

/// As if the clock had been set back by so many seconds since the duty was taken or renewed.
async fn set_back(pool: &PgPool, seconds: f64) {
    let ahead = "update leader_lease set expires_at = expires_at + make_interval(secs => $1)";
    sqlx::query(ahead).bind(seconds).execute(pool).await.unwrap();
}

#[test]
fn a_duty_whose_leader_died_before_the_clock_was_set_back_is_taken_at_once_but_not_from_its_own_work() {
    on_database(|pool| async move {
        let (mine, yours, ttl) = (id(), id(), Duration::from_secs(60));
        let mut conn = pool.acquire().await.unwrap();
        let first = lead(&mut conn, "seal", mine, ttl).await.unwrap().unwrap();
        set_back(&pool, 3_600.0).await;
        let mut at_work = pool.begin().await.unwrap();
        first.hold(&mut at_work).await.unwrap();
        assert!(lead(&mut conn, "seal", yours, ttl).await.unwrap().is_none(), "its work is under way");
        at_work.commit().await.unwrap();

        assert_eq!(lead(&mut conn, "seal", yours, ttl).await.unwrap().unwrap().epoch, 2);
        assert!(matches!(first.hold(&mut conn).await, Err(NotLeader::Moved { epoch: 1, .. })));
    });
}

#[test]
fn a_leader_that_asks_first_keeps_its_duty_when_the_clock_is_set_back() {
    on_database(|pool| async move {
        let (mine, yours, ttl) = (id(), id(), Duration::from_secs(60));
        let mut conn = pool.acquire().await.unwrap();
        lead(&mut conn, "seal", mine, ttl).await.unwrap().unwrap();
        set_back(&pool, 3_600.0).await;

        assert_eq!(lead(&mut conn, "seal", mine, ttl).await.unwrap().unwrap().epoch, 1);
        assert!(lead(&mut conn, "seal", yours, ttl).await.unwrap().is_none());
    });
}

#[test]
fn a_clock_that_steps_back_a_little_takes_its_duty_from_nobody() {
    on_database(|pool| async move {
        let (mine, yours, ttl) = (id(), id(), Duration::from_secs(60));
        let mut conn = pool.acquire().await.unwrap();
        lead(&mut conn, "seal", mine, ttl).await.unwrap().unwrap();
        set_back(&pool, 0.9).await;

        assert!(lead(&mut conn, "seal", yours, ttl).await.unwrap().is_none());
        assert_eq!(lead(&mut conn, "seal", mine, ttl).await.unwrap().unwrap().epoch, 1);
    });
}

async fn until_expired(pool: &PgPool) {
    until_count(pool, "select count(*) from leader_lease where expires_at < clock_timestamp()", 1).await;
}

/// Somebody at work on a duty, who writes down its epoch every few milliseconds, as the leader.
fn keep(pool: &PgPool, stop: &CancellationToken) -> tokio::task::JoinHandle<()> {
    let duty = Duty { name: "count", holder: id(), pool: pool.clone() };
    let pool = pool.clone();
    let work = move |leadership: Leadership, ending: CancellationToken| {
        let pool = pool.clone();
        async move {
            while !ending.is_cancelled() && write_as(&pool, &leadership).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    };
    TaskTracker::new().spawn(duty.keep(work, stop.clone()))
}

async fn write_as(pool: &PgPool, leadership: &Leadership) -> Result<(), NotLeader> {
    let mut transaction = pool.begin().await?;
    leadership.hold(&mut transaction).await?;
    let written = sqlx::query("insert into effect values (0, $1)").bind(leadership.epoch);
    written.execute(&mut *transaction).await?;
    Ok(transaction.commit().await?)
}

const WRITTEN_BY_THE_NEXT: &str = "select count(*) from (select from effect where fence = 2 limit 1) e";

#[test]
fn when_its_leader_dies_a_duty_passes_within_three_seconds() {
    on_database(|pool| async move {
        let stop = CancellationToken::new();
        let dying = keep(&pool, &stop);
        until_count(&pool, "select count(*) from (select from effect limit 1) e", 1).await;
        let next = keep(&pool, &stop);
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert_eq!(count(&pool, WRITTEN_BY_THE_NEXT).await, 0, "it is renewed");
        dying.abort();
        let died = Instant::now();
        until_count(&pool, WRITTEN_BY_THE_NEXT, 1).await;
        assert!(died.elapsed() < Duration::from_secs(3), "{:?}", died.elapsed());
        stop.cancel();
        next.await.unwrap();
    });
}

#[test]
fn a_leader_that_freezes_in_its_transaction_is_followed_in_time_and_its_late_write_is_refused() {
    on_database(|pool| async move {
        let mut conn = pool.acquire().await.unwrap();
        let frozen = lead(&mut conn, "count", id(), Duration::from_secs(2)).await.unwrap().unwrap();
        let mut halfway = pool.begin().await.unwrap();
        frozen.hold(&mut halfway).await.unwrap();
        sqlx::query("insert into effect values (0, 1)").execute(&mut *halfway).await.unwrap();

        let (froze, stop) = (Instant::now(), CancellationToken::new());
        let next = keep(&pool, &stop);
        until_count(&pool, WRITTEN_BY_THE_NEXT, 1).await;
        assert!(froze.elapsed() < Duration::from_secs(3), "{:?}", froze.elapsed());

        assert!(halfway.commit().await.is_err(), "what was under way is undone");
        assert!(matches!(write_as(&pool, &frozen).await, Err(NotLeader::Moved { epoch: 1, .. })));
        assert_eq!(count(&pool, "select count(*) from effect where fence = 1").await, 0);
        stop.cancel();
        next.await.unwrap();
    });
}

#[test]
fn a_leader_that_stops_hands_its_duty_over_at_once() {
    on_database(|pool| async move {
        let stop = CancellationToken::new();
        let first = keep(&pool, &stop);
        until_count(&pool, "select count(*) from (select from effect limit 1) e", 1).await;
        stop.cancel();
        first.await.unwrap();
        let mut conn = pool.acquire().await.unwrap();
        assert_eq!(lead(&mut conn, "count", id(), Duration::from_secs(2)).await.unwrap().unwrap().epoch, 2);
    });
}
