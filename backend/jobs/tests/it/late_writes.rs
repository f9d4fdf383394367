//! Whoever lost a lease writes nothing any more, in whatever way it tries.

use std::time::Duration;

use sqlx::PgPool;
use syndarix_jobs::{Backoff, Job, Lease, LeaseLost, Outcome, Registry, Rescue, WorkerConfig, rescue};
use tokio::sync::watch;

use crate::harness::{claim, count, enqueue_all, id, job, on_database, quick, start, until, until_count};

const LEASES: u16 = 1_000;

/// Everything that a late write could change, as text.
const EVERYTHING: &str = "
select concat((select md5(string_agg(job::text, ' ' order by id)) from job), ' ', (select count(*) from job_done), ' ',
              (select count(*) from job_dead), ' ', (select count(*) from effect))";

async fn everything(pool: &PgPool) -> String {
    sqlx::query_scalar(EVERYTHING).fetch_one(pool).await.unwrap()
}

/// Writes an effect under the lease: with its end, or with no more than a look at it.
async fn with_effect(pool: &PgPool, lease: Lease, finish: bool) -> Result<(), LeaseLost> {
    let mut transaction = pool.begin().await?;
    let effect = sqlx::query("insert into effect values ($1, $2)").bind(lease.job).bind(lease.fence);
    effect.execute(&mut *transaction).await?;
    if finish {
        lease.complete(&mut transaction).await?;
    } else {
        lease.hold(&mut transaction).await?;
    }
    Ok(transaction.commit().await?)
}

/// Ends in another way from job to job.
async fn end_late(pool: &PgPool, job: &Job, lease: Lease) -> Outcome {
    let reason = "late".to_owned();
    match job.id % 7 {
        0 => Outcome::Done,
        1 => Outcome::Retry { after: None, reason },
        2 => Outcome::Retry { after: Some(Duration::ZERO), reason },
        3 => Outcome::Snooze { wait: Duration::ZERO, reason },
        4 => Outcome::Fail { reason },
        finish => match with_effect(pool, lease, finish == 5).await {
            Ok(()) => Outcome::Completed,
            Err(error) => Outcome::Retry { after: None, reason: error.to_string() },
        },
    }
}

/// Handlers that wait for the word and then end, whether or not they were asked to stop.
fn stubborn(pool: &PgPool, go: &watch::Receiver<bool>) -> Registry {
    let (pool, go) = (pool.clone(), go.clone());
    Registry::new().with("late", move |job: Job, lease: Lease, _| {
        let (pool, mut go) = (pool.clone(), go.clone());
        async move {
            go.wait_for(|go| *go).await.unwrap();
            end_late(&pool, &job, lease).await
        }
    })
}

/// Another worker takes every job over, as after a long silence of the one that runs them.
async fn take_all_over(pool: &PgPool) {
    let at_once = Backoff { base: Duration::ZERO, cap: Duration::ZERO };
    let limits = Rescue { stale_after: Duration::from_secs(4), max_rescues: u16::MAX, backoff: at_once };
    let successor = id();
    while count(pool, "select count(*) from job where rescues = 0 or owner is null").await > 0 {
        sqlx::query("update job set lease_until = now() - interval '1 second' where rescues = 0")
            .execute(pool)
            .await
            .unwrap();
        rescue(&mut pool.acquire().await.unwrap(), limits, None).await.unwrap();
        claim(pool, successor, 250).await;
    }
}

#[test]
fn of_a_thousand_lost_leases_not_one_is_written_under() {
    on_database(|pool| async move {
        let (word, go) = watch::channel(false);
        // They are asked to stop, and not made to: so they all come to their late end. Leases last as long as the successor's.
        let minute = Duration::from_secs(60);
        let config = WorkerConfig { cancel_grace: minute, lease: minute, ..quick("old", LEASES) };
        let old = start(&pool, &stubborn(&pool, &go), config);
        enqueue_all(&pool, &vec![job("late"); usize::from(LEASES)]).await;
        until_count(&pool, "select count(*) from job where owner is not null", i64::from(LEASES)).await;
        until(|| old.running() == usize::from(LEASES)).await;
        take_all_over(&pool).await;
        let before = everything(&pool).await;

        word.send_replace(true);
        until(|| old.running() == 0).await;

        assert_eq!(everything(&pool).await, before);
        old.shutdown(Duration::from_secs(1)).await;
        assert_eq!(everything(&pool).await, before, "a drain hands back what it still holds: nothing");
    });
}

#[test]
fn of_a_thousand_lost_leases_none_is_held_or_completed_in_a_batch() {
    on_database(|pool| async move {
        enqueue_all(&pool, &vec![job("late"); usize::from(LEASES)]).await;
        let mut lost = Vec::new();
        while lost.len() < usize::from(LEASES) {
            lost.extend(claim(&pool, id(), 250).await.into_iter().map(|(_, lease)| lease));
        }
        take_all_over(&pool).await;
        let before = everything(&pool).await;

        let mut conn = pool.acquire().await.unwrap();
        assert!(Lease::hold_all(&mut conn, &lost).await.unwrap().is_empty());
        assert!(Lease::complete_all(&mut conn, &lost).await.unwrap().is_empty());

        assert_eq!(everything(&pool).await, before);
    });
}
