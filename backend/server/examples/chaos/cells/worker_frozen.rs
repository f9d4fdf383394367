//! SIGSTOP to a process with jobs in hand, and SIGCONT when others have long taken them over.

use super::{
    Cell,
    server::Server,
    site::Site,
    work::{refused, started_elsewhere, strike},
};
use crate::Failure;
use rand::rngs::StdRng;
use std::time::Duration;

/// The lease: a frozen process holds its lock, so that nothing else speaks against it.
const LIMIT: Duration = Duration::from_secs(13);
/// A heartbeat may have extended the lease in the very moment of the freeze; lost jobs are looked for every 0.2 to 0.4 s and
/// taken over twice a second at most, and whoever claims them needs a moment, too.
const LOOK: Duration = Duration::from_secs(2);

pub(super) const CELL: Cell = Cell {
    name: "worker-frozen",
    sentence: "the jobs of a frozen process start elsewhere when its lease is over, and what it writes late is refused",
    redis: false,
    play: |site, rng| Box::pin(play(site, rng)),
};

async fn play(site: &mut Site, rng: &mut StdRng) -> Result<String, Failure> {
    site.begin_many(2).await?;
    let hit = strike(site, rng, Server::freeze).await?;
    let mut conn = site.connect().await?;
    let waited = started_elsewhere(&mut conn, &hit, LIMIT + LOOK).await?;
    if waited > LIMIT + LOOK {
        return Err(format!("{} jobs were taken over after {waited:.1?} only", hit.jobs.len()).into());
    }
    site.waits.push(waited);
    site.servers[hit.index].thaw()?;
    site.finish().await?;
    refused(site, &hit).await?;
    Ok(format!(
        "{} jobs in hand started elsewhere after {:.1} s, the thawed process changed none of them",
        hit.jobs.len(),
        waited.as_secs_f64()
    ))
}
