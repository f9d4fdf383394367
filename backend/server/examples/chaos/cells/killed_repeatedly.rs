//! SIGKILL again and again, each time to whichever process works.

use super::{Cell, server::Server, site::Site, work::strike};
use crate::Failure;
use rand::{Rng, rngs::StdRng};

pub(super) const CELL: Cell = Cell {
    name: "killed-repeatedly",
    sentence: "process after process is killed as soon as it works, and every story gets done once",
    redis: false,
    play: |site, rng| Box::pin(play(site, rng)),
};

async fn play(site: &mut Site, rng: &mut StdRng) -> Result<String, Failure> {
    site.begin_many(2).await?;
    let (kills, mut lost) = (rng.random_range(3..6), 0);
    for _ in 0..kills {
        let hit = strike(site, rng, Server::kill).await?;
        lost += hit.jobs.len();
        site.replace(hit.index).await?;
    }
    let stories = site.begun.len();
    site.finish().await?;
    Ok(format!("{kills} kills hit {lost} jobs in hand, {stories} stories done"))
}
