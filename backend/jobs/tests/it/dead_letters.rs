//! Dead letters are found by what they have in common, driven again, or given up with a reason.

use std::time::Duration;

use sqlx::PgPool;
use syndarix_jobs::{
    DeathCause, Filter, Outcome, Redriven, Registry, Rescue, WorkerConfig, list_dead, purge, redrive, rescue,
};
use uuid::Uuid;

use crate::harness::{
    claim, count, enqueue, enqueue_all, expire, id, job, on_database, quick, start, until_count,
};

async fn dead(pool: &PgPool, filter: Filter) -> Vec<i64> {
    let mut letters: Vec<_> = list_dead(&mut pool.acquire().await.unwrap(), &filter)
        .await
        .unwrap()
        .into_iter()
        .map(|job| job.id)
        .collect();
    letters.sort_unstable();
    letters
}

async fn of_cause(pool: &PgPool, cause: DeathCause) -> Vec<i64> {
    dead(pool, Filter { cause: Some(cause), ..Filter::default() }).await
}

/// A job that lost its worker once too often.
async fn crash_loop(pool: &PgPool) -> i64 {
    let (owner, lost) = (id(), enqueue(pool, &job("crash")).await);
    claim(pool, owner, 1).await;
    expire(pool, owner).await;
    let config = WorkerConfig::new("w", id(), vec![]);
    let limits = Rescue { stale_after: config.stale_after, max_rescues: 0, backoff: config.rescue_backoff };
    assert_eq!(rescue(&mut pool.acquire().await.unwrap(), limits, None).await.unwrap().buried, 1);
    lost
}

#[test]
fn dead_letters_are_found_by_the_cause_of_their_death() {
    on_database(|pool| async move {
        let lost = crash_loop(&pool).await;
        let registry = Registry::new()
            .with("panics", |_, _, _| async { panic!("worker lost its mind") })
            .with("fails", |_, _, _| async { Outcome::Fail { reason: "no worker lost".into() } });
        let worker = start(&pool, &registry, quick("a", 2));
        let panicked = enqueue(&pool, &job("panics").with_attempts(1)).await;
        let failed = enqueue(&pool, &job("fails")).await;
        until_count(&pool, "select count(*) from job_dead", 3).await;
        assert_eq!(of_cause(&pool, DeathCause::WorkerLost).await, [lost]);
        assert_eq!(of_cause(&pool, DeathCause::Panicked).await, [panicked]);
        assert_eq!(of_cause(&pool, DeathCause::Failed).await, [failed]);
        worker.shutdown(Duration::from_secs(1)).await;
    });
}

/// So many dead letters of a kind in a project.
async fn bury(pool: &PgPool, kind: &str, project: Uuid, letters: usize) {
    enqueue_all(pool, &vec![job(kind).for_project(project); letters]).await;
    sqlx::query(
        "with gone as (delete from job returning *)
         insert into job_dead (id, queue, project_id, kind, payload, priority, attempt, max_attempts, rescues, fence, reason, errors, created_at)
         select id, queue, project_id, kind, payload, priority, 1, max_attempts, 0, 1, 'no', errors, created_at from gone",
    )
    .execute(pool)
    .await
    .unwrap();
}

#[test]
fn what_a_filter_finds_is_driven_again_a_bounded_page_at_a_time_and_nothing_else_is() {
    on_database(|pool| async move {
        let (mine, theirs) = (id(), id());
        bury(&pool, "mail", mine, 30).await;
        bury(&pool, "mail", theirs, 5).await;
        bury(&pool, "merge", mine, 5).await;
        let mine =
            Filter { project: Some(mine), kind: Some("mail".into()), limit: Some(20), ..Filter::default() };
        let mut conn = pool.acquire().await.unwrap();
        for page in [20, 10, 0] {
            let found = dead(&pool, mine.clone()).await;
            assert_eq!(found.len(), page);
            for letter in found {
                assert_eq!(redrive(&mut conn, letter).await.unwrap(), Redriven::Queued);
            }
        }
        assert_eq!(count(&pool, "select count(*) from job where kind = 'mail'").await, 30);
        assert_eq!(count(&pool, "select count(*) from job_dead").await, 10);
    });
}

#[test]
fn the_reason_for_giving_a_job_up_stays_in_the_history() {
    on_database(|pool| async move {
        bury(&pool, "mail", id(), 1).await;
        let letter = dead(&pool, Filter::default()).await[0];
        let mut conn = pool.acquire().await.unwrap();
        assert!(purge(&mut conn, letter, Some("the customer\0 left")).await.unwrap());
        assert!(!purge(&mut conn, letter, None).await.unwrap());
        let kept: (i64, String, String) =
            sqlx::query_as("select id, outcome, note from job_done").fetch_one(&pool).await.unwrap();
        assert_eq!(kept, (letter, "purged".into(), "the customer\u{fffd} left".into()));
    });
}
