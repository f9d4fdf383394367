//! The history goes by the day: old days are dropped whole, and the end of a job is never refused for want of one.

use std::time::Duration;

use sqlx::PgPool;
use syndarix_jobs::{Leadership, NotLeader, keep_history, lead};

use crate::harness::{claim, count, done, enqueue, id, job, on_database};

const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);
const DAYS: &str = "select count(*) from pg_inherits where inhparent = 'job_done'::regclass";

async fn leader(pool: &PgPool) -> Leadership {
    let mut conn = pool.acquire().await.unwrap();
    lead(&mut conn, "history", id(), Duration::from_secs(60)).await.unwrap().unwrap()
}

async fn ended(pool: &PgPool, job: i64, days_ago: i32) {
    sqlx::query(
        "insert into job_done (id, queue, kind, attempt, outcome, ended_at)
         values ($1, 'default', 'x', 1, 'done', now() - make_interval(days => $2))",
    )
    .bind(job)
    .bind(days_ago)
    .execute(pool)
    .await
    .unwrap();
}

#[test]
fn days_older_than_the_history_are_dropped_and_the_others_stay() {
    on_database(|pool| async move {
        for (job, days_ago) in [(1, 8), (2, 6), (3, 0), (4, 400)] {
            ended(&pool, job, days_ago).await;
        }
        assert_eq!(count(&pool, "select count(*) from job_done_rest").await, 1);
        let leadership = leader(&pool).await;
        let mut conn = pool.acquire().await.unwrap();
        assert_eq!(keep_history(&mut conn, &leadership, WEEK).await.unwrap(), 1);
        let left: Vec<i64> =
            sqlx::query_scalar("select id from job_done order by id").fetch_all(&pool).await.unwrap();
        assert_eq!(left, [2, 3]);
        assert_eq!(keep_history(&mut conn, &leadership, WEEK).await.unwrap(), 0);
    });
}

#[test]
fn the_days_to_come_are_made_ahead_and_a_job_ends_without_them() {
    on_database(|pool| async move {
        let names: Vec<String> = sqlx::query_scalar(
            "select relname::text from pg_inherits join pg_class on pg_class.oid = inhrelid
              where inhparent = 'job_done'::regclass and relname <> 'job_done_rest'",
        )
        .fetch_all(&pool)
        .await
        .unwrap();
        for name in names {
            sqlx::query(sqlx::AssertSqlSafe(format!("drop table {name}"))).execute(&pool).await.unwrap();
        }
        enqueue(&pool, &job("x")).await;
        let (_, lease) = claim(&pool, id(), 1).await.remove(0);
        lease.complete(&mut pool.acquire().await.unwrap()).await.unwrap();
        assert_eq!(done(&pool).await, 1);
        let mut conn = pool.acquire().await.unwrap();
        keep_history(&mut conn, &leader(&pool).await, WEEK).await.unwrap();
        // Today is in the rest already and stays there.
        assert_eq!(count(&pool, DAYS).await, 1 + 3);
        assert_eq!(done(&pool).await, 1);
    });
}

#[test]
fn who_lost_the_duty_neither_makes_nor_drops_a_day() {
    on_database(|pool| async move {
        ended(&pool, 1, 8).await;
        let before = count(&pool, DAYS).await;
        let lost = leader(&pool).await;
        lost.clone().resign(&mut pool.acquire().await.unwrap()).await.unwrap();
        leader(&pool).await;
        let refused = keep_history(&mut pool.acquire().await.unwrap(), &lost, WEEK).await;
        assert!(matches!(refused, Err(NotLeader::Moved { .. })));
        assert_eq!(count(&pool, DAYS).await, before);
    });
}
