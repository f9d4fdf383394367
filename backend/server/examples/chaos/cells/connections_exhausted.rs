//! Bystanders take every connection there is, while sessions of ours end and cannot be opened again.

use super::{Cell, site::Site};
use crate::Failure;
use rand::{Rng, rngs::StdRng};
use sqlx::{Connection, PgConnection};
use std::time::Duration;

/// More than the server gives out.
const ENOUGH: usize = 200;

pub(super) const CELL: Cell = Cell {
    name: "connections-exhausted",
    sentence: "bystanders hold all connections and ours are ended, and once they leave the stories go on",
    redis: false,
    play: |site, rng| Box::pin(play(site, rng)),
};

async fn play(site: &mut Site, rng: &mut StdRng) -> Result<String, Failure> {
    site.begin_many(2).await?;
    let mut conn = site.connect().await?;
    tokio::time::sleep(Duration::from_millis(rng.random_range(0..1_000))).await;
    let mut bystanders = take_all(site).await?;
    let held = Duration::from_millis(rng.random_range(1_000..5_000));
    // Whatever of ours ends is taken by a bystander before it can be opened again.
    for _ in 0..4 {
        let half = "select count(pg_terminate_backend(pid)) from pg_stat_activity
                     where datname = current_database() and application_name in ('syndarix', 'syndarix groups') and (pid & 1) = 0";
        let _ended: i64 = sqlx::query_scalar(half).fetch_one(&mut conn).await?;
        bystanders.extend(take_all(site).await?);
        tokio::time::sleep(held / 4).await;
    }
    let taken = bystanders.len();
    for bystander in bystanders {
        bystander.close().await?;
    }
    site.finish().await?;
    Ok(format!("{taken} connections taken for {} ms, 2 stories done", held.as_millis()))
}

/// Opens connections until the server refuses.
async fn take_all(site: &Site) -> Result<Vec<PgConnection>, Failure> {
    let mut taken = Vec::new();
    while taken.len() < ENOUGH {
        match site.connect().await {
            Ok(conn) => taken.push(conn),
            Err(refused) if is_full(&*refused) => return Ok(taken),
            Err(failure) => return Err(failure),
        }
    }
    Err("the server gives out connections without end".into())
}

/// PostgreSQL's `too_many_connections`.
fn is_full(error: &(dyn std::error::Error + Send + Sync + 'static)) -> bool {
    let error = error.downcast_ref::<sqlx::Error>().and_then(sqlx::Error::as_database_error);
    error.and_then(sqlx::error::DatabaseError::code).as_deref() == Some("53300")
}
