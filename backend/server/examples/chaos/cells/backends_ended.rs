//! Sessions are ended one by one, whatever they are doing.

use super::{Cell, site::Site};
use crate::Failure;
use rand::{Rng, rngs::StdRng};
use std::time::Duration;

/// Times that sessions are ended in one seed.
const TIMES: u32 = 15;

pub(super) const CELL: Cell = Cell {
    name: "backends-ended",
    sentence: "sessions are terminated at random, heartbeats and open transactions among them, and the stories get done",
    redis: false,
    play: |site, rng| Box::pin(play(site, rng)),
};

async fn play(site: &mut Site, rng: &mut StdRng) -> Result<String, Failure> {
    site.begin_many(2).await?;
    let mut conn = site.connect().await?;
    let mut ended = 0;
    for _ in 0..TIMES {
        tokio::time::sleep(Duration::from_millis(rng.random_range(10..200))).await;
        let some = "select count(pg_terminate_backend(pid)) from pg_stat_activity
                     where datname = current_database() and application_name in ('syndarix', 'syndarix groups')
                       and (hashint8(pid + $1) & 3) = 0";
        let now: i64 = sqlx::query_scalar(some).bind(rng.random::<i64>() >> 8).fetch_one(&mut conn).await?;
        ended += now;
    }
    site.finish().await?;
    Ok(format!("{ended} sessions ended under work, 2 stories done"))
}
