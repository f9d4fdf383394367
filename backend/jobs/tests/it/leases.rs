//! Whoever lost the lease writes nothing.

use std::time::Duration;

use sqlx::{Acquire, PgPool};
use syndarix_jobs::{Backoff, Holder, Lease, LeaseLost, Rescue, Rescued, WorkerConfig, rescue};

use crate::harness::{claim, count, done, enqueue, expire, id, job, on_database};

const AT_ONCE: Backoff = Backoff { base: Duration::ZERO, cap: Duration::ZERO };
const RESCUE: Rescue = Rescue { stale_after: Duration::from_secs(4), max_rescues: 1_000, backoff: AT_ONCE };

async fn take_over(pool: &PgPool, from: uuid::Uuid) {
    expire(pool, from).await;
    let rescued = rescue(&mut pool.acquire().await.unwrap(), RESCUE, None).await.unwrap();
    assert_eq!(rescued.revived, 1);
}

async fn complete_with_effect(pool: &PgPool, lease: Lease) -> Result<(), LeaseLost> {
    let mut transaction = pool.begin().await?;
    sqlx::query("insert into effect values ($1, $2)")
        .bind(lease.job)
        .bind(lease.fence)
        .execute(&mut *transaction)
        .await?;
    lease.complete(&mut transaction).await?;
    Ok(transaction.commit().await?)
}

#[test]
fn a_job_enqueued_in_a_rolled_back_transaction_leaves_nothing() {
    on_database(|pool| async move {
        let mut transaction = pool.begin().await.unwrap();
        syndarix_jobs::enqueue(&mut transaction, &job("mail")).await.unwrap();
        transaction.rollback().await.unwrap();
        assert_eq!(count(&pool, "select count(*) from job").await, 0);
        assert!(claim(&pool, id(), 10).await.is_empty());
    });
}

#[test]
fn a_stale_lease_never_completes_in_200_tries() {
    on_database(|pool| async move {
        enqueue(&pool, &job("pay")).await;
        let mut stale = Vec::new();
        for _ in 0..200 {
            let owner = id();
            stale.push(claim(&pool, owner, 1).await.remove(0).1);
            take_over(&pool, owner).await;
        }
        let (_, current) = claim(&pool, id(), 1).await.remove(0);
        for lease in &stale {
            let refused = complete_with_effect(&pool, *lease).await;
            assert!(matches!(refused, Err(LeaseLost::Moved { .. })), "{lease:?} completed");
            let mut conn = pool.acquire().await.unwrap();
            assert!(matches!(lease.hold(&mut conn).await, Err(LeaseLost::Moved { .. })));
        }
        assert_eq!(count(&pool, "select count(*) from effect").await, 0);
        complete_with_effect(&pool, current).await.unwrap();
        assert_eq!((count(&pool, "select count(*) from effect").await, done(&pool).await), (1, 1));
    });
}

#[test]
fn two_completions_of_one_lease_have_one_effect() {
    on_database(|pool| async move {
        for _ in 0..20 {
            enqueue(&pool, &job("pay")).await;
            let (_, lease) = claim(&pool, id(), 1).await.remove(0);
            let (one, two) =
                tokio::join!(complete_with_effect(&pool, lease), complete_with_effect(&pool, lease));
            assert!(one.is_ok() != two.is_ok());
        }
        assert_eq!((count(&pool, "select count(*) from effect").await, done(&pool).await), (20, 20));
    });
}

#[test]
fn a_completion_that_is_rolled_back_leaves_the_job_running() {
    on_database(|pool| async move {
        enqueue(&pool, &job("pay")).await;
        let (_, lease) = claim(&pool, id(), 1).await.remove(0);
        let mut conn = pool.acquire().await.unwrap();
        let mut transaction = conn.begin().await.unwrap();
        lease.complete(&mut transaction).await.unwrap();
        transaction.rollback().await.unwrap();
        lease.hold(&mut conn).await.unwrap();
    });
}

#[test]
fn a_held_lease_cannot_be_taken_over_until_its_transaction_ends() {
    on_database(|pool| async move {
        enqueue(&pool, &job("pay")).await;
        let owner = id();
        let (_, lease) = claim(&pool, owner, 1).await.remove(0);
        expire(&pool, owner).await;
        let mut transaction = pool.begin().await.unwrap();
        lease.hold(&mut transaction).await.unwrap();
        let rescued = rescue(&mut pool.acquire().await.unwrap(), RESCUE, None).await.unwrap();
        assert_eq!(rescued.revived, 0);
        lease.complete(&mut transaction).await.unwrap();
        transaction.commit().await.unwrap();
        assert_eq!(done(&pool).await, 1);
    });
}

#[test]
fn a_job_that_keeps_losing_its_worker_is_buried_with_its_history() {
    on_database(|pool| async move {
        let job = enqueue(&pool, &job("crash").with_attempts(1)).await;
        let limits = Rescue { max_rescues: 2, ..RESCUE };
        for _ in 0..3 {
            let owner = id();
            assert_eq!(claim(&pool, owner, 1).await.len(), 1);
            expire(&pool, owner).await;
            rescue(&mut pool.acquire().await.unwrap(), limits, None).await.unwrap();
        }
        let mut conn = pool.acquire().await.unwrap();
        let dead = syndarix_jobs::list_dead(&mut conn, &syndarix_jobs::Filter::default()).await.unwrap();
        assert_eq!((dead[0].id, dead[0].reason.as_str(), dead[0].attempt), (job, "worker lost", 3));
        assert_eq!(dead[0].errors.iter().map(|error| error.attempt).collect::<Vec<_>>(), [1, 2, 3]);
    });
}

/// Has the job lose a worker.
async fn lose_worker(pool: &PgPool, limits: Rescue) -> Rescued {
    let owner = id();
    assert_eq!(claim(pool, owner, 1).await.len(), 1);
    expire(pool, owner).await;
    rescue(&mut pool.acquire().await.unwrap(), limits, None).await.unwrap()
}

#[test]
fn with_the_default_limit_a_job_that_lost_ten_workers_in_a_row_is_run_again() {
    on_database(|pool| async move {
        enqueue(&pool, &job("unlucky").with_attempts(1)).await;
        let limits = Rescue { max_rescues: WorkerConfig::new("w", id(), vec![]).max_rescues, ..RESCUE };
        for _ in 0..10 {
            assert_eq!(lose_worker(&pool, limits).await.revived, 1);
        }
        let (job, lease) = claim(&pool, id(), 1).await.remove(0);
        assert_eq!((job.rescues, job.is_last_attempt()), (10, true), "and no attempt is used up");
        lease.complete(&mut pool.acquire().await.unwrap()).await.unwrap();
    });
}

#[test]
fn the_first_rescue_is_ready_at_once_and_the_next_ones_in_a_row_wait_longer_and_longer() {
    on_database(|pool| async move {
        enqueue(&pool, &job("unlucky")).await;
        let backoff = Backoff { base: Duration::from_secs(100), cap: Duration::from_secs(300) };
        for longest in [0, 100, 200, 300, 300] {
            lose_worker(&pool, Rescue { backoff, ..RESCUE }).await;
            let (due, wait): (bool, f64) = sqlx::query_as(
                "update job set due = true, run_at = now()
                   from (select due as was_due, extract(epoch from run_at - now())::float8 as wait from job) before
                 returning was_due, wait",
            )
            .fetch_one(&pool)
            .await
            .unwrap();
            assert_eq!(due, longest == 0);
            let longest = f64::from(longest);
            assert!(wait <= longest && wait >= longest / 2.0 - 5.0, "{wait} of {longest}");
        }
    });
}

#[test]
fn a_lease_from_before_the_burial_does_not_match_the_life_after_it() {
    on_database(|pool| async move {
        let buried = enqueue(&pool, &job("crash")).await;
        let owner = id();
        let (_, old) = claim(&pool, owner, 1).await.remove(0);
        expire(&pool, owner).await;
        let mut conn = pool.acquire().await.unwrap();
        assert_eq!(rescue(&mut conn, Rescue { max_rescues: 0, ..RESCUE }, None).await.unwrap().buried, 1);
        syndarix_jobs::redrive(&mut conn, buried).await.unwrap();
        let (_, new) = claim(&pool, id(), 1).await.remove(0);
        assert!(new.fence > old.fence);
        assert!(matches!(old.complete(&mut conn).await, Err(LeaseLost::Moved { .. })));
        new.complete(&mut conn).await.unwrap();
    });
}

/// A worker that claimed a job with a long lease, fell silent ten seconds ago, and took its lock at `lock_taken_at`.
async fn silent_worker(pool: &PgPool, lock_taken_at: &'static str) {
    let owner = id();
    enqueue(pool, &job("x")).await;
    assert_eq!(claim(pool, owner, 1).await.len(), 1);
    sqlx::query("insert into worker (incarnation, name, lock_key, last_seen) values ($1, 'w', 4711, now() - interval '10 s')")
        .bind(owner)
        .execute(pool)
        .await
        .unwrap();
    sqlx::query(lock_taken_at).execute(pool).await.unwrap();
}

#[test]
fn a_free_lock_beside_a_stale_heartbeat_is_a_dead_worker() {
    on_database(|pool| async move {
        silent_worker(&pool, "update worker set lock_taken_at = now()").await;
        let mut holder = pool.acquire().await.unwrap();
        sqlx::query("select pg_advisory_lock(4711)").execute(&mut *holder).await.unwrap();
        let mut conn = pool.acquire().await.unwrap();
        assert_eq!(rescue(&mut conn, RESCUE, None).await.unwrap().revived, 0, "the lock is held: it lives");
        sqlx::query("select pg_advisory_unlock(4711)").execute(&mut *holder).await.unwrap();
        assert_eq!(rescue(&mut conn, RESCUE, None).await.unwrap().revived, 1);
    });
}

#[test]
fn whoever_holds_a_place_takes_over_from_those_that_held_it_before_and_from_nobody_else() {
    on_database(|pool| async move {
        silent_worker(&pool, "update worker set lock_taken_at = 'epoch', last_seen = now(), place = 'here'")
            .await;
        let mut conn = pool.acquire().await.unwrap();
        let me = id();
        assert_eq!(rescue(&mut conn, RESCUE, None).await.unwrap().revived, 0);
        let elsewhere = Holder { incarnation: me, place: "elsewhere" };
        assert_eq!(rescue(&mut conn, RESCUE, Some(elsewhere)).await.unwrap().revived, 0);
        let here = Holder { incarnation: me, place: "here" };
        assert_eq!(rescue(&mut conn, RESCUE, Some(here)).await.unwrap().revived, 1);
        assert_eq!(claim(&pool, me, 1).await.len(), 1);
        sqlx::query("insert into worker (incarnation, name, lock_key, place) values ($1, 'w', 4712, 'here')")
            .bind(me)
            .execute(&mut *conn)
            .await
            .unwrap();
        assert_eq!(
            rescue(&mut conn, RESCUE, Some(here)).await.unwrap().revived,
            0,
            "its own jobs are its own"
        );
    });
}

#[test]
fn a_free_lock_proves_nothing_after_a_restart_of_the_server() {
    on_database(|pool| async move {
        silent_worker(&pool, "update worker set lock_taken_at = pg_postmaster_start_time() - interval '1 s'")
            .await;
        let mut conn = pool.acquire().await.unwrap();
        assert_eq!(rescue(&mut conn, RESCUE, None).await.unwrap().revived, 0);
        sqlx::query("update job set lease_until = now() - interval '1 s'").execute(&pool).await.unwrap();
        assert_eq!(rescue(&mut conn, RESCUE, None).await.unwrap().revived, 1, "its lease still runs out");
    });
}
