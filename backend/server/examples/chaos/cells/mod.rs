//! Cells: one fault each, struck again and again with printed seeds, and after each seed the whole truth is checked.
//!
//! Every cell has a database of its own with two processes of `serve` on it, so that what one loses the other must take
//! over. A seed decides every random moment of its round; `--cells NAME --seeds 1 --seed N` plays one again, as far as the
//! machine's speed lets it. At the end of each cell every rule is broken on purpose, and its check must say so.

mod backends_ended;
mod clock;
mod clock_jumps;
mod connections_exhausted;
mod database_clock_jumps;
mod deploy_with_parked_approvals;
mod duplicate_signals;
mod idle_in_transaction;
mod killed_between_started_and_done;
mod killed_in_a_commit;
mod killed_repeatedly;
mod leader_lost;
mod postgres;
mod postgres_killed;
mod postgres_restarted;
mod redis;
mod redis_flushed;
mod sabotage;
pub(crate) mod server;
pub(crate) mod site;
mod witness;
mod work;
mod worker_frozen;
mod worker_killed;

pub(crate) use postgres::Postgres;

use crate::{
    Failure,
    figures::{Figures, percentile},
    say,
};
use futures::future::LocalBoxFuture;
use rand::{SeedableRng, rngs::StdRng};
use serde_json::json;
use site::{Ground, Site};
use std::{
    cell::RefCell,
    path::Path,
    slice::Iter,
    time::{Duration, Instant},
};

/// A fault, and what must come of it.
struct Cell {
    name: &'static str,
    sentence: &'static str,
    /// Hints travel over a Redis of the cell's own.
    redis: bool,
    /// Does it once; says what was seen.
    play: for<'a> fn(&'a mut Site, &'a mut StdRng) -> LocalBoxFuture<'a, Result<String, Failure>>,
}

const ALL: &[Cell] = &[
    // First, because they wait most of their time: others go on beside them.
    worker_frozen::CELL,
    database_clock_jumps::CELL,
    worker_killed::CELL,
    leader_lost::CELL,
    killed_repeatedly::CELL,
    killed_in_a_commit::CELL,
    killed_between_started_and_done::CELL,
    postgres_restarted::CELL,
    postgres_killed::CELL,
    backends_ended::CELL,
    connections_exhausted::CELL,
    idle_in_transaction::CELL,
    redis_flushed::CELL,
    clock_jumps::CELL,
    deploy_with_parked_approvals::CELL,
    duplicate_signals::CELL,
];

/// Which cells, how often, and of what.
pub(crate) struct Plan<'a> {
    pub(crate) binary: &'a Path,
    /// The release before, if there is one.
    pub(crate) before: Option<&'a Path>,
    pub(crate) dir: &'a Path,
    /// All of them when there is none.
    pub(crate) names: &'a [String],
    pub(crate) seeds: u32,
    /// Cells that are played side by side.
    pub(crate) at_once: usize,
    pub(crate) first: u64,
    /// Where figures go.
    pub(crate) out: &'a Path,
}

/// Plays them; the first seed that fails ends it.
pub(crate) async fn run(plan: &Plan<'_>) -> Result<(), Failure> {
    let unknown = plan.names.iter().find(|name| ALL.iter().all(|cell| cell.name != **name));
    if let Some(unknown) = unknown {
        let known: Vec<&str> = ALL.iter().map(|cell| cell.name).collect();
        return Err(format!("there is no cell `{unknown}`, but these: {}", known.join(", ")).into());
    }
    let chosen: Vec<&Cell> = ALL
        .iter()
        .filter(|cell| plan.names.is_empty() || plan.names.iter().any(|name| name == cell.name))
        .collect();
    let begun = Instant::now();
    let left = RefCell::new(chosen.iter());
    let lanes = (1..=plan.at_once.max(1)).map(|lane| play_all(plan, lane, &left));
    futures::future::try_join_all(lanes).await?;
    let seconds = begun.elapsed().as_secs();
    say(&format!(
        "cells: {} passed, 0 failed ({} seeds each from {} on, {seconds} s)",
        chosen.len(),
        plan.seeds,
        plan.first
    ))
}

/// Plays one cell after the other until none is left.
async fn play_all(plan: &Plan<'_>, lane: usize, left: &RefCell<Iter<'_, &Cell>>) -> Result<(), Failure> {
    let mut postgres = Postgres::start(&plan.dir.join(format!("lane-{lane}"))).await?;
    loop {
        let next = left.borrow_mut().next().copied();
        let Some(cell) = next else { return postgres.stop().await };
        postgres = cell.all_seeds(plan, postgres).await?;
    }
}

/// What a cell waited for, as figures: median and slowest of its seeds.
fn write_waits(plan: &Plan<'_>, cell: &str, waits: &mut [Duration]) -> Result<(), Failure> {
    if waits.is_empty() {
        return Ok(());
    }
    waits.sort_unstable();
    let mut figures = Figures::create(&plan.out.join(format!("{cell}.jsonl")))?;
    let settings = json!({ "seeds": plan.seeds, "first_seed": plan.first, "cells_at_once": plan.at_once });
    for (what, share) in [("median", 0.5), ("slowest", 1.0)] {
        let value = percentile(waits, share) / 1000.0;
        figures.add(&format!("{cell}, taken over, {what}"), (value, "s"), None, &settings)?;
    }
    figures.finish()
}

impl Cell {
    async fn all_seeds(&self, plan: &Plan<'_>, postgres: Postgres) -> Result<Postgres, Failure> {
        say(&format!("cell {}: {}", self.name, self.sentence))?;
        let begun = Instant::now();
        let redis = if self.redis { Some(redis::Redis::start()?) } else { None };
        let (binary, next) = match plan.before {
            Some(before) if self.name == deploy_with_parked_approvals::CELL.name => {
                (before, Some(plan.binary))
            }
            _ => (plan.binary, None),
        };
        let ground = Ground {
            binary,
            next,
            dir: plan.dir.join(self.name),
            name: self.name,
            redis: redis.as_ref().map(redis::Redis::url),
            seeds: plan.seeds,
        };
        let mut site = Site::open(postgres, ground).await?;
        for seed in (plan.first..).take(usize::try_from(plan.seeds)?) {
            if let Err(failure) = self.one_seed(&mut site, seed).await {
                let (name, remains) = (self.name, site.remains().await);
                let again = format!("--cells {name} --seeds 1 --seed {seed}");
                return Err(format!("cell {name} (again with {again}): {failure}\n{remains}").into());
            }
        }
        write_waits(plan, self.name, &mut site.waits)?;
        let noticed = sabotage::every_rule(&mut site).await.map_err(|e| format!("{}: {e}", self.name))?;
        say(&format!(
            "  {noticed} damages were done on purpose and noticed, {} s",
            begun.elapsed().as_secs()
        ))?;
        Ok(site.postgres)
    }

    async fn one_seed(&self, site: &mut Site, seed: u64) -> Result<(), Failure> {
        let started = Instant::now();
        let mut rng = StdRng::seed_from_u64(seed);
        site.label = format!("{} {seed}", self.name);
        site.sign_in().await?;
        let what = (self.play)(site, &mut rng).await?;
        site.check().await?;
        say(&format!(
            "{} {seed}: {what}; all invariants hold, {:.1} s",
            self.name,
            started.elapsed().as_secs_f64()
        ))
    }
}
