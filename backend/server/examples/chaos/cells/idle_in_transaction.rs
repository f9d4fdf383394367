//! Bystanders sit in transactions: with a snapshot over the hot tables and the lock on a project's log, and with jobs.

use super::{
    Cell,
    site::{Begun, Place, Site},
};
use crate::Failure;
use rand::{Rng, rngs::StdRng};
use sqlx::{Connection, PgConnection};
use std::time::{Duration, Instant};

/// Attempts to lock a row that moves all the time.
const ATTEMPTS: u32 = 200;

pub(super) const CELL: Cell = Cell {
    name: "idle-in-transaction",
    sentence: "a bystander's locks stop one project for as long as they last, and no other",
    redis: false,
    play: |site, rng| Box::pin(play(site, rng)),
};

async fn play(site: &mut Site, rng: &mut StdRng) -> Result<String, Failure> {
    site.begin_many(2).await?;
    tokio::time::sleep(Duration::from_millis(rng.random_range(0..800))).await;
    let project = site.scene(Place::Plain).project.to_owned();
    let (mut head, mut jobs) = (site.connect().await?, site.connect().await?);
    // The embedded server ends such sessions after ten seconds; one of another make may not, and a busy machine needs longer.
    for bystander in [&mut head, &mut jobs] {
        sqlx::query("set idle_in_transaction_session_timeout = 0").execute(bystander).await?;
    }
    let locked_at = lock_the_log(&mut head, &project).await?;
    let snapshot = "select (select count(*) from event) + (select count(*) from job)";
    let rows: i64 = sqlx::query_scalar(snapshot).fetch_one(&mut head).await?;
    let locked = lock_jobs(&mut jobs, &project).await?;
    let (begun, span) = (Instant::now(), Duration::from_millis(rng.random_range(1_000..4_000)));
    beside(site).await?;
    tokio::time::sleep(span.saturating_sub(begun.elapsed())).await;
    let sat = begun.elapsed().as_secs_f64();
    let now_at = "select head from project_log where project_id = $1::uuid";
    let now_at: i64 = sqlx::query_scalar(now_at).bind(&project).fetch_one(&mut site.connect().await?).await?;
    if now_at != locked_at {
        return Err("the locked project went on, so nothing was locked".into());
    }
    // Gone without a word: the server rolls back.
    head.close().await?;
    jobs.close().await?;
    site.finish().await?;
    Ok(format!(
        "a snapshot over {rows} rows, a project's log and {locked} jobs were held for {sat:.1} s; a story of another project was done meanwhile"
    ))
}

/// Another project is not stopped by it: its story is done before the bystanders leave.
async fn beside(site: &mut Site) -> Result<(), Failure> {
    let stopped: Vec<Begun> = std::mem::take(&mut site.begun);
    let title = format!("Beside {}", site.label);
    site.begin(Place::Slow, &title).await?;
    site.finish().await?;
    site.begun.splice(0..0, stopped);
    Ok(())
}

/// In a snapshot of its own a row that moved meanwhile cannot be locked: then everything begins anew.
async fn lock_the_log(conn: &mut PgConnection, project: &str) -> Result<i64, Failure> {
    for _ in 0..ATTEMPTS {
        sqlx::query("begin isolation level repeatable read").execute(&mut *conn).await?;
        let lock = "select head from project_log where project_id = $1::uuid for update";
        if let Ok(head) = sqlx::query_scalar(lock).bind(project).fetch_one(&mut *conn).await {
            return Ok(head);
        }
        sqlx::query("rollback").execute(&mut *conn).await?;
    }
    Err("the project's log cannot be locked".into())
}

async fn lock_jobs(conn: &mut PgConnection, project: &str) -> Result<usize, Failure> {
    sqlx::query("begin").execute(&mut *conn).await?;
    let lock = "select id from job where project_id = $1::uuid for update skip locked limit 3";
    Ok(sqlx::query(lock).bind(project).fetch_all(conn).await?.len())
}
