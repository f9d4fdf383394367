//! PostgreSQL is restarted under work, in good order.

use super::{Cell, site::Site};
use crate::Failure;
use rand::{Rng, rngs::StdRng};
use std::time::Duration;

pub(super) const CELL: Cell = Cell {
    name: "postgres-restarted",
    sentence: "every session ends at once and the server is away for a while, and the stories go on by themselves",
    redis: false,
    play: |site, rng| Box::pin(play(site, rng)),
};

async fn play(site: &mut Site, rng: &mut StdRng) -> Result<String, Failure> {
    site.begin_many(2).await?;
    tokio::time::sleep(Duration::from_millis(rng.random_range(0..2_000))).await;
    let away = Duration::from_millis(rng.random_range(0..2_000));
    site.postgres.stop().await?;
    tokio::time::sleep(away).await;
    site.postgres.start_again().await?;
    site.finish().await?;
    Ok(format!("away for {} ms, 2 stories done", away.as_millis()))
}
