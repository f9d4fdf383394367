//! The process that works has a clock that jumps by hours, forwards and back; leases and due times are the database's
//! clock, which stays. It is the library within this process, because there its clock can be set: no machine is needed
//! whose own clock may be turned. Nothing else of it differs.

use super::{Cell, site::Site};
use crate::{Failure, process::free_port};
use chrono::TimeDelta;
use rand::{Rng, rngs::StdRng};
use std::time::{Duration, SystemTime};
use syndarix::{
    clock::Clock,
    config::{Config, Flags},
    lifecycle::{self, Duty, Options},
};
use syndarix_domain::Timestamp;

/// How far off the clock may be, in milliseconds.
const FURTHEST: i64 = 3 * 3_600_000;
/// The clock runs on in steps of this.
const STEP: Duration = Duration::from_millis(2);

pub(super) const CELL: Cell = Cell {
    name: "clock-jumps",
    sentence: "the clock of the one process that works jumps by up to three hours, forwards and back, and the stories get done",
    redis: false,
    play: |site, rng| Box::pin(play(site, rng)),
};

async fn play(site: &mut Site, rng: &mut StdRng) -> Result<String, Failure> {
    // The first process keeps the right time and only answers calls; all the work is for the one whose clock jumps.
    site.servers[1].stop()?;
    site.servers[0].stop()?;
    site.replace_by_api(0).await?;
    let clock = Clock::fixed(real());
    let config = config_of(site)?;
    let options = Options { duty: Duty::Worker, clock: clock.clone(), models: None };
    let jumper = lifecycle::start(config, options).await?;
    let mut jumps = 0;
    let worked = async {
        site.begin_many(2).await?;
        site.finish().await
    };
    let done = tokio::select! {
        done = worked => done,
        () = jump(&clock, rng, &mut jumps) => Ok(()),
    };
    let name = format!("syndarix-{}", std::process::id());
    let share =
        "select count(*) from chaos_witness w join worker o on o.incarnation = w.owner where o.name = $1";
    let share: i64 = sqlx::query_scalar(share).bind(name).fetch_one(&mut site.connect().await?).await?;
    jumper.stop().await;
    site.servers[0].stop()?;
    site.replace(0).await?;
    site.replace(1).await?;
    done?;
    Ok(format!("{jumps} jumps, {share} jobs were done by that clock, 2 stories done"))
}

fn real() -> Timestamp {
    SystemTime::now().into()
}

/// Lets the clock run on, and jump every now and then; never ends.
async fn jump(clock: &Clock, rng: &mut StdRng, jumps: &mut u32) {
    loop {
        let off = TimeDelta::milliseconds(rng.random_range(-FURTHEST..FURTHEST));
        *jumps += 1;
        for _ in 0..rng.random_range(20..200) {
            clock.set(real() + off);
            tokio::time::sleep(STEP).await;
        }
    }
}

fn config_of(site: &Site) -> Result<Config, Failure> {
    let flags = Flags {
        file: None,
        listen: Some(([127, 0, 0, 1], free_port()?).into()),
        data_dir: Some(site.launch.dir.clone()),
    };
    let models = site.launch.models.display().to_string();
    let config = Config::load(&flags, |name| match name {
        "DATABASE_URL" => Some(site.launch.database.clone()),
        "SYNDARIX_MODELS" => Some(models.clone()),
        other => syndarix::config::process_env(other),
    })?;
    Ok(config)
}
