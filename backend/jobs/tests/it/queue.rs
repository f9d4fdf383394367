//! Which job is next, and which is refused.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::json;
use sqlx::PgPool;
use syndarix_jobs::{
    Cancelled, Claim, Claimed, Cursor, EnqueueError, Enqueued, NewJob, Priority, cancel, promote,
};
use uuid::Uuid;

use crate::harness::{claim, count, enqueue, enqueue_all, id, in_seconds, job, on_database};

async fn claim_with(pool: &PgPool, limit: u16, cursor: &mut Cursor) -> Claimed {
    let wanted = Claim { queue: "default", owner: id(), limit, lease: Duration::from_secs(60) };
    syndarix_jobs::claim(&mut pool.acquire().await.unwrap(), wanted, cursor).await.unwrap()
}

#[test]
fn a_second_live_job_of_a_unique_key_is_a_duplicate() {
    on_database(|pool| async move {
        let unique = job("sync").unique("repo-7");
        enqueue(&pool, &unique).await;
        assert_eq!(enqueue_all(&pool, std::slice::from_ref(&unique)).await, [Enqueued::Duplicate]);
        let (_, lease) = claim(&pool, id(), 1).await.remove(0);
        assert_eq!(enqueue_all(&pool, std::slice::from_ref(&unique)).await, [Enqueued::Duplicate]);
        lease.complete(&mut pool.acquire().await.unwrap()).await.unwrap();
        enqueue(&pool, &unique).await;
    });
}

#[test]
fn a_batch_answers_in_the_order_of_its_jobs() {
    on_database(|pool| async move {
        let jobs: Vec<_> = (0..2_500)
            .map(|n| NewJob::new("default", "n", json!({ "n": n })).unique(format!("key-{}", n % 2_000)))
            .collect();
        let answers = enqueue_all(&pool, &jobs).await;
        assert!(answers[..2_000].iter().all(|answer| matches!(answer, Enqueued::Queued(_))));
        assert!(answers[2_000..].iter().all(|answer| *answer == Enqueued::Duplicate));
        let Enqueued::Queued(id) = answers[1_234] else { panic!("not queued") };
        let n: i64 = sqlx::query_scalar("select (payload->>'n')::bigint from job where id = $1")
            .bind(id)
            .fetch_one(&pool)
            .await
            .unwrap();
        assert_eq!(n, 1_234);
    });
}

#[test]
fn a_payload_over_the_limit_is_refused_and_nothing_is_written() {
    on_database(|pool| async move {
        let big = NewJob::new("default", "big", json!("x".repeat(300_000)));
        let mut conn = pool.acquire().await.unwrap();
        let refused = syndarix_jobs::enqueue_many(&mut conn, &[job("small"), big]).await;
        assert!(matches!(refused, Err(EnqueueError::PayloadTooLarge { bytes: 300_002, .. })));
        assert_eq!(count(&pool, "select count(*) from job").await, 0);
    });
}

#[test]
fn a_delayed_job_waits_for_its_time() {
    on_database(|pool| async move {
        let later = job("later").not_before(in_seconds(&pool, 0.3).await);
        enqueue(&pool, &later).await;
        assert!(promote(&mut pool.acquire().await.unwrap()).await.unwrap().is_empty());
        assert!(claim(&pool, id(), 1).await.is_empty());
        tokio::time::sleep(Duration::from_millis(350)).await;
        assert_eq!(promote(&mut pool.acquire().await.unwrap()).await.unwrap(), ["default"]);
        assert_eq!(claim(&pool, id(), 1).await.len(), 1);
    });
}

#[test]
fn priority_decides_inside_a_project_and_waiting_raises_it() {
    on_database(|pool| async move {
        let aged = job("aged low").with_priority(Priority::Low).not_before(in_seconds(&pool, -1_900.0).await);
        let jobs = [
            job("low").with_priority(Priority::Low),
            job("normal"),
            job("high").with_priority(Priority::High),
            job("urgent").with_priority(Priority::Urgent),
            aged,
        ];
        enqueue_all(&pool, &jobs).await;
        let order: Vec<_> = claim(&pool, id(), 5).await.into_iter().map(|(job, _)| job.kind).collect();
        assert_eq!(order, ["aged low", "urgent", "high", "normal", "low"]);
    });
}

#[test]
fn a_project_with_ten_thousand_jobs_does_not_keep_others_waiting() {
    on_database(|pool| async move {
        let (busy, small, other) = (id(), id(), id());
        let backlog: Vec<_> = (0..10_000).map(|_| job("bulk").for_project(busy)).collect();
        enqueue_all(&pool, &backlog).await;
        enqueue_all(&pool, &vec![job("few").for_project(small); 5]).await;
        enqueue_all(&pool, &vec![job("few").for_project(other); 5]).await;
        let mut served: HashMap<Uuid, usize> = HashMap::new();
        let mut cursor = Cursor::default();
        for _ in 0..15 {
            let claimed = claim_with(&pool, 1, &mut cursor).await;
            *served.entry(claimed.jobs[0].0.project.unwrap()).or_default() += 1;
            claimed.jobs[0].1.complete(&mut pool.acquire().await.unwrap()).await.unwrap();
        }
        assert_eq!(served, HashMap::from([(busy, 5), (small, 5), (other, 5)]));
    });
}

#[test]
fn slots_go_to_the_project_with_the_fewest_running_jobs() {
    on_database(|pool| async move {
        let (early, late) = (id(), id());
        enqueue_all(&pool, &vec![job("x").for_project(early); 20]).await;
        assert_eq!(claim(&pool, id(), 6).await.len(), 6);
        enqueue_all(&pool, &vec![job("x").for_project(late); 20]).await;
        let next = claim(&pool, id(), 6).await;
        assert!(next.iter().all(|(job, _)| job.project == Some(late)));
    });
}

#[test]
fn more_projects_than_one_window_are_all_served() {
    on_database(|pool| async move {
        let jobs: Vec<_> = (0..100).map(|_| job("x").for_project(id())).collect();
        enqueue_all(&pool, &jobs).await;
        let (mut cursor, mut served) = (Cursor::default(), 0);
        for _ in 0..20 {
            let claimed = claim_with(&pool, 10, &mut cursor).await;
            served += claimed.jobs.len();
        }
        assert_eq!(served, 100);
    });
}

#[test]
fn racing_claimers_never_run_two_jobs_of_one_concurrency_key() {
    on_database(|pool| async move {
        let jobs: Vec<_> = (0..400).map(|n| job("merge").one_at_a_time(format!("repo-{}", n % 4))).collect();
        enqueue_all(&pool, &jobs).await;
        let claimer = |pool: PgPool| async move {
            let (mut cursor, mut finished) = (Cursor::default(), 0);
            while count(&pool, "select count(*) from job").await > 0 {
                for (job, lease) in claim_with(&pool, 3, &mut cursor).await.jobs {
                    let beside: i64 = sqlx::query_scalar(
                        "select count(*) from job where concurrency_key = $1 and owner is not null",
                    )
                    .bind(&job.concurrency_key)
                    .fetch_one(&pool)
                    .await
                    .unwrap();
                    assert_eq!(beside, 1);
                    lease.complete(&mut pool.acquire().await.unwrap()).await.unwrap();
                    finished += 1;
                }
            }
            finished
        };
        let (one, two, three, four) = tokio::join!(
            claimer(pool.clone()),
            claimer(pool.clone()),
            claimer(pool.clone()),
            claimer(pool.clone())
        );
        assert_eq!(one + two + three + four, 400);
    });
}

#[test]
fn racing_claimers_share_a_queue_without_overlap() {
    on_database(|pool| async move {
        enqueue_all(&pool, &vec![job("x"); 1_000]).await;
        let claimer = |pool: PgPool| async move {
            let (mut cursor, mut taken) = (Cursor::default(), Vec::new());
            loop {
                let claimed = claim_with(&pool, 17, &mut cursor).await;
                if claimed.jobs.is_empty() && !claimed.more {
                    return taken;
                }
                taken.extend(claimed.jobs.into_iter().map(|(job, _)| job.id));
            }
        };
        let (one, two, three) =
            tokio::join!(claimer(pool.clone()), claimer(pool.clone()), claimer(pool.clone()));
        let mut all = [one, two, three].concat();
        all.sort_unstable();
        assert_eq!(all.len(), 1_000);
        all.dedup();
        assert_eq!(all.len(), 1_000);
    });
}

#[test]
fn a_waiting_job_is_cancelled_at_once_and_in_the_callers_transaction() {
    on_database(|pool| async move {
        let waiting = enqueue(&pool, &job("x")).await;
        let mut transaction = pool.begin().await.unwrap();
        assert_eq!(cancel(&mut transaction, waiting).await.unwrap(), Cancelled::Removed);
        transaction.rollback().await.unwrap();
        let mut conn = pool.acquire().await.unwrap();
        assert_eq!(cancel(&mut conn, waiting).await.unwrap(), Cancelled::Removed);
        assert_eq!(cancel(&mut conn, waiting).await.unwrap(), Cancelled::NotFound);
        assert!(claim(&pool, id(), 1).await.is_empty());
        assert_eq!(count(&pool, "select count(*) from job_done where outcome = 'cancelled'").await, 1);
    });
}
