//! SIGKILL to a process with jobs in hand.

use super::{
    Cell,
    server::Server,
    site::Site,
    work::{started_elsewhere, strike},
};
use crate::Failure;
use rand::rngs::StdRng;
use std::time::Duration;

/// Its lock is free at once, and its heartbeat is old after four seconds.
const LIMIT: Duration = Duration::from_secs(5);

pub(super) const CELL: Cell = Cell {
    name: "worker-killed",
    sentence: "the jobs of a killed process start elsewhere within 5 s",
    redis: false,
    play: |site, rng| Box::pin(play(site, rng)),
};

async fn play(site: &mut Site, rng: &mut StdRng) -> Result<String, Failure> {
    site.begin_many(2).await?;
    let hit = strike(site, rng, Server::kill).await?;
    // The dead one is out of the way of the calls below; its successor is no part of what is shown.
    site.servers[hit.index].frozen = true;
    let waited = started_elsewhere(&mut site.connect().await?, &hit, LIMIT).await?;
    site.replace(hit.index).await?;
    if waited > LIMIT {
        return Err(format!("{} jobs were taken over after {waited:.1?} only", hit.jobs.len()).into());
    }
    site.waits.push(waited);
    site.finish().await?;
    Ok(format!("{} jobs in hand started elsewhere after {:.1} s", hit.jobs.len(), waited.as_secs_f64()))
}
