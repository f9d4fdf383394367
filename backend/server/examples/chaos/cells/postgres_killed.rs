//! PostgreSQL's main process is killed under work.

use super::{Cell, site::Site};
use crate::Failure;
use rand::{Rng, rngs::StdRng};
use std::time::Duration;

pub(super) const CELL: Cell = Cell {
    name: "postgres-killed",
    sentence: "PostgreSQL dies of SIGKILL and replays its log, and what was committed is there",
    redis: false,
    play: |site, rng| Box::pin(play(site, rng)),
};

async fn play(site: &mut Site, rng: &mut StdRng) -> Result<String, Failure> {
    site.begin_many(2).await?;
    let moment = Duration::from_millis(rng.random_range(0..2_000));
    tokio::time::sleep(moment).await;
    site.postgres.kill().await?;
    site.postgres.start_again().await?;
    site.finish().await?;
    Ok(format!("killed after {} ms, 2 stories done", moment.as_millis()))
}
