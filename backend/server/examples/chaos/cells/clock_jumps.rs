//! The clock of the process that works jumps by up to half an hour, forwards and back. The database's clock stays: leases
//! and due times are its, and what becomes of them when it jumps is shown by `database_clock_jumps`.

use super::{Cell, clock::Clock, site::Site};
use crate::Failure;
use rand::{Rng, rngs::StdRng};
use std::time::Duration;

/// How far off the clock may be, in seconds. A run's work is measured by this clock from its start, and the shortest limit
/// of the team is 2,400 s: a jump beyond it counts as work, and blocks the story for a person to look at.
const FURTHEST: i64 = 900;
/// An event's time that is off by so many seconds is the clock's doing.
const WRONG: i64 = 60;

pub(super) const CELL: Cell = Cell {
    name: "clock-jumps",
    sentence: "the clock of the process that works jumps by up to half an hour, forwards and back, and the stories get done",
    redis: false,
    play: |site, rng| Box::pin(play(site, rng)),
};

async fn play(site: &mut Site, rng: &mut StdRng) -> Result<String, Failure> {
    let clock = Clock::build(&site.launch.dir)?;
    // The first process keeps the right time and only answers calls; all the work is for the one whose clock jumps.
    site.servers[0].stop()?;
    site.replace_by_api(0).await?;
    site.servers[1].stop()?;
    site.launch.environment = clock.environment();
    let replaced = site.replace(1).await;
    site.launch.environment.clear();
    replaced?;
    site.begin_many(2).await?;
    let mut jumps = Vec::new();
    let done = tokio::select! {
        done = site.finish() => done,
        failed = jump(&clock, rng, &mut jumps) => failed,
    };
    // Only what it was told about the time can be shown of it from outside: what it wrote.
    let off =
        "select count(*) from event where abs(extract(epoch from at - clock_timestamp())) > $1::float8 + 120";
    let off: i64 = sqlx::query_scalar(off).bind(WRONG).fetch_one(&mut site.connect().await?).await?;
    done.map_err(|failure| format!("{failure}, after jumps to {jumps:?}"))?;
    for index in 0..site.servers.len() {
        site.servers[index].stop()?;
        site.replace(index).await?;
    }
    if off == 0 {
        return Err("no event bears a wrong time: the clock did not jump".into());
    }
    Ok(format!("{} jumps, {off} events bear a wrong time, 2 stories done", jumps.len()))
}

/// Jumps every now and then; ends only when it cannot.
async fn jump(clock: &Clock, rng: &mut StdRng, jumps: &mut Vec<i64>) -> Result<(), Failure> {
    loop {
        let seconds = rng.random_range(-FURTHEST..FURTHEST);
        clock.set(seconds)?;
        jumps.push(seconds);
        tokio::time::sleep(Duration::from_millis(rng.random_range(50..1_000))).await;
    }
}
