//! Somebody holds rows of jobs for longer than any statement waits.

use std::time::Duration;

use syndarix_jobs::{Job, Lease, Outcome, Registry};
use tokio::sync::watch;

use crate::harness::{count, done, enqueue, job, on_database, quick, start, until_count, until_done};

#[test]
fn a_job_whose_row_somebody_holds_keeps_the_ends_of_no_others_waiting() {
    on_database(|pool| async move {
        let (say, told) = watch::channel(false);
        let registry = Registry::new().with("held", move |_: Job, _: Lease, _| {
            let mut told = told.clone();
            async move {
                told.wait_for(|told| *told).await.unwrap();
                Outcome::Done
            }
        });
        let held = enqueue(&pool, &job("held")).await;
        for _ in 0..7 {
            enqueue(&pool, &job("held")).await;
        }
        let worker = start(&pool, &registry, quick("w", 8));
        until_count(&pool, "select count(*) from job where owner is not null", 8).await;

        let mut bystander = pool.begin().await.unwrap();
        let lock = sqlx::query("select from job where id = $1 for update").bind(held);
        lock.execute(&mut *bystander).await.unwrap();
        // All eight are over at once, and their ends come in one batch.
        say.send(true).unwrap();
        until_done(&pool, 7).await;
        // Others go on coming to their ends while the first one waits.
        enqueue(&pool, &job("held")).await;
        until_done(&pool, 8).await;
        assert_eq!(count(&pool, "select count(*) from job").await, 1, "its row is still held");

        bystander.rollback().await.unwrap();
        until_count(&pool, "select count(*) from job", 0).await;
        assert_eq!(done(&pool).await, 9);
        assert!(worker.shutdown(Duration::from_secs(5)).await.clean);
    });
}
