//! Jobs taken in from many callers in one commit: each caller gets its own answer, and gets it after the commit.

use serde_json::json;
use syndarix_jobs::{Enqueued, Intake, IntakeError, NewJob, Wake};
use tokio::task::JoinSet;
use tokio_util::task::TaskTracker;

use crate::harness::{count, job, on_database};

#[test]
fn every_caller_gets_the_answer_to_its_own_job_after_its_commit() {
    on_database(|pool| async move {
        let tasks = TaskTracker::new();
        let intake = Intake::start(pool.clone(), Wake::new(), &tasks);
        let mut callers = JoinSet::new();
        for n in 0..300_i64 {
            let (intake, pool) = (intake.clone(), pool.clone());
            callers.spawn(async move {
                let new = NewJob::new("default", "n", json!({ "n": n })).unique(format!("{}", n % 200));
                let Enqueued::Queued(id) = intake.enqueue(new).await.unwrap() else { return 0 };
                let seen: i64 = sqlx::query_scalar("select (payload->>'n')::bigint from job where id = $1")
                    .bind(id)
                    .fetch_one(&pool)
                    .await
                    .unwrap();
                assert_eq!(seen, n);
                1
            });
        }
        assert_eq!(callers.join_all().await.into_iter().sum::<i32>(), 200);
        assert_eq!(count(&pool, "select count(*) from job").await, 200);
        drop(intake);
        tasks.close();
        tasks.wait().await;
    });
}

#[test]
fn a_job_that_the_database_refuses_is_refused_alone() {
    on_database(|pool| async move {
        let tasks = TaskTracker::new();
        let intake = Intake::start(pool.clone(), Wake::new(), &tasks);
        let mut callers = JoinSet::new();
        for new in [job("a"), NewJob::new("default", "bad\0kind", json!({})), job("b")] {
            let intake = intake.clone();
            callers.spawn(async move { intake.enqueue(new).await });
        }
        let answers = callers.join_all().await;
        assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 2);
        assert!(answers.iter().any(|answer| matches!(answer, Err(IntakeError::Refused(_)))));
        let big = NewJob::new("default", "big", json!("x".repeat(300_000)));
        assert!(matches!(intake.enqueue(big).await, Err(IntakeError::Refused(_))));
    });
}
