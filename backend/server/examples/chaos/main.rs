//! Kills Syndarix at random moments of a running story, and proves that nothing was lost and nothing done twice.
//!
//! Each round writes a story, starts it, kills `syndarix serve` with SIGKILL at a random moment (in every third round
//! PostgreSQL, too), starts it again, answers the approval over REST, and waits until the story is done. In every fifth
//! round the same story is hit five times: again as soon as the next process works on it. A round whose story was done
//! before the last kill is repeated. After each, the tables, the repository and the audit chain are checked for all
//! stories so far, and the model endpoint's own count against the usage rows. At the end state rows are destroyed and
//! made again from the events. The seed is printed; with `--seed` the same moments come again, as far as the machine's
//! speed lets them. Then every cell is played, see `cells`. With `--swarm` two processes share the work, see `swarm`; with
//! `--fairness` so do many projects, see `fairness`; with `--soak` they work for half an hour, see `soak`.

mod cells;
mod client;
mod damage;
mod fairness;
#[path = "../bench/figures.rs"]
#[expect(dead_code, reason = "the benchmark needs more of it")]
mod figures;
mod invariants;
mod process;
mod rules;
mod soak;
mod swarm;

use clap::Parser;
use client::Story;
use rand::{Rng, SeedableRng, rngs::StdRng};
use std::{
    error::Error,
    io::Write,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// What went wrong, in words.
pub(crate) type Failure = Box<dyn Error + Send + Sync>;

/// A story that is not done after this long is stuck.
const ROUND_LIMIT: Duration = Duration::from_secs(120);

/// Kills of one story in every fifth round.
const MANY: u32 = 5;

/// Kill it, start it, check it.
#[derive(Debug, Parser)]
struct Arguments {
    /// How many rounds.
    #[arg(long, default_value_t = 60)]
    rounds: u32,
    /// The seed of the moments; a random one when not given.
    #[arg(long)]
    seed: Option<u64>,
    /// The `syndarix` to kill.
    #[arg(long)]
    binary: PathBuf,
    /// Two processes on one database, many agents and stories at once, instead of rounds.
    #[arg(long)]
    swarm: bool,
    /// Many projects at once, and a verdict over how long each waited, instead of rounds.
    #[arg(long)]
    fairness: bool,
    /// These cells, or all of them, instead of rounds.
    #[arg(long, num_args = 0.., value_name = "NAME")]
    cells: Option<Vec<String>>,
    /// Seeds of each cell.
    #[arg(long, default_value_t = 3)]
    seeds: u32,
    /// The `syndarix` of the release before: the cell that deploys begins with it; with the same when not given.
    #[arg(long, value_name = "PATH")]
    other_binary: Option<PathBuf>,
    /// Cells that are played side by side, each with a PostgreSQL of its own.
    #[arg(long, default_value_t = 1)]
    at_once: usize,
    /// Constant load for so long, and a verdict over what grew, instead of rounds.
    #[arg(long, value_name = "MINUTES", num_args = 0..=1, default_missing_value = "30")]
    soak: Option<u32>,
    /// Where figures and the soak's samples go.
    #[arg(long, default_value = "target/bench")]
    out: PathBuf,
    /// Where everything is kept; a temporary folder when not given.
    #[arg(long)]
    data_dir: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let arguments = Arguments::parse();
    if let Err(failure) = play(&arguments).await {
        // As it is meant to be read: with its lines.
        say(&failure.to_string())?;
        std::process::exit(1);
    }
    Ok(())
}

async fn play(arguments: &Arguments) -> Result<(), Failure> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let seed = arguments.seed.unwrap_or_else(|| u64::from(rand::random::<u32>()));
    let temporary = tempfile::Builder::new().prefix("syndarix-chaos-").tempdir()?;
    let data_dir = arguments.data_dir.clone().unwrap_or_else(|| temporary.path().to_owned());
    open_to_others(&data_dir)?;
    if arguments.swarm {
        return swarm::run(&arguments.binary, &data_dir, &arguments.out.join("swarm.jsonl")).await;
    }
    if arguments.fairness {
        return fairness::run(&arguments.binary, &data_dir, &arguments.out.join("fairness.jsonl")).await;
    }
    if let Some(minutes) = arguments.soak {
        return soak::run(&arguments.binary, &data_dir, minutes, &arguments.out).await;
    }
    if let Some(missing) = arguments.other_binary.as_deref().filter(|path| !path.is_file()) {
        return Err(format!("there is no other binary at {}: build it first", missing.display()).into());
    }
    if arguments.cells.is_none() {
        rounds(arguments, &data_dir, seed).await?;
    }
    let plan = cells::Plan {
        binary: &arguments.binary,
        before: arguments.other_binary.as_deref(),
        dir: &data_dir.join("cells"),
        names: arguments.cells.as_deref().unwrap_or_default(),
        seeds: arguments.seeds,
        at_once: arguments.at_once,
        first: seed,
        out: &arguments.out,
    };
    cells::run(&plan).await
}

async fn rounds(arguments: &Arguments, data_dir: &Path, seed: u64) -> Result<(), Failure> {
    say(&format!("seed {seed}, {} rounds", arguments.rounds))?;
    let mut chaos = Chaos::begin(&arguments.binary, data_dir, StdRng::seed_from_u64(seed)).await?;
    let begun = Instant::now();
    for round in 1..=arguments.rounds {
        let played = chaos.round(round).await;
        let line = played.map_err(|failure| {
            format!("round {round} (seed {seed}): {failure}\n{}", chaos.world.log_tail())
        })?;
        say(&line)?;
    }
    chaos.undo_damage().await.map_err(|failure| format!("(seed {seed}): {failure}"))?;
    chaos.world.stop()?;
    let wall = begun.elapsed().as_secs_f64();
    let Chaos { kills, repeated, in_a_row, .. } = chaos;
    say(&format!(
        "{} rounds passed, 0 failed ({kills} kills in {wall:.0} s, {repeated} rounds repeated because the story was quicker, \
         at most {in_a_row} lost workers in a row for one job, seed {seed})",
        arguments.rounds
    ))?;
    say(&format!("chaos: {} passed, 0 failed", arguments.rounds))?;
    Ok(())
}

/// What the rounds have in common.
struct Chaos {
    world: process::World,
    rng: StdRng,
    /// How long a story takes; kills come within it.
    span: Duration,
    /// Every story there ever was.
    stories: Vec<Story>,
    kills: u32,
    repeated: u32,
    in_a_row: i32,
}

/// How an attempt at a round ended.
enum Ended {
    Killed,
    /// The story was done before the last kill, so nothing is proved.
    TooLate,
}

impl Chaos {
    /// Prepares the world and sees how long a story takes when nobody disturbs it.
    async fn begin(binary: &Path, data_dir: &Path, rng: StdRng) -> Result<Self, Failure> {
        let world = process::World::prepare(binary, data_dir).await?;
        let (span, stories) = (ROUND_LIMIT, Vec::new());
        let mut chaos = Self { world, rng, span, stories, kills: 0, repeated: 0, in_a_row: 0 };
        let (story, started) = chaos.start_story(0).await?;
        finish(&chaos.world, &story).await?;
        chaos.span = started.elapsed();
        chaos.check().await?;
        let span = chaos.span.as_secs_f64();
        say(&format!("an undisturbed story takes {span:.1} s; kills come within that"))?;
        Ok(chaos)
    }

    async fn start_story(&mut self, round: u32) -> Result<(String, Instant), Failure> {
        let story = self.world.client.write_story(round).await?;
        let started = Instant::now();
        self.world.client.start_story(&story.id).await?;
        let id = story.id.clone();
        self.stories.push(story);
        Ok((id, started))
    }

    async fn check(&mut self) -> Result<(), Failure> {
        let mut accounts = std::mem::take(&mut self.world.accounts);
        let checked = invariants::check(&self.world.scene()?, &self.stories, &mut accounts).await;
        self.world.accounts = accounts;
        checked
    }

    /// Until the kill came in time. Whatever came too late must hold all the same.
    async fn round(&mut self, round: u32) -> Result<String, Failure> {
        loop {
            let started = Instant::now();
            let (database_too, kills) =
                (round.is_multiple_of(3), if round.is_multiple_of(5) { MANY } else { 1 });
            let moment = self.span.mul_f64(self.rng.random_range(0.0..1.0));
            let (story, begun) = self.start_story(round).await?;
            let ended = self.disturb(&story, begun + moment, kills, database_too).await?;
            finish(&self.world, &story).await?;
            self.check().await?;
            match ended {
                Ended::TooLate => {
                    self.repeated += 1;
                    // The machine is quicker than it was at first: the next kills come earlier, too.
                    self.span = self.span.min(moment);
                }
                Ended::Killed => {
                    return Ok(format!(
                        "round {round:>3}: killed {}{kills} times from {:>5} ms on, done after {:.1} s, all invariants hold for {} stories",
                        if database_too { "with PostgreSQL " } else { "" },
                        moment.as_millis(),
                        started.elapsed().as_secs_f64(),
                        self.stories.len()
                    ));
                }
            }
        }
    }

    /// Kills at the moment, and then again whenever the story is being worked on.
    async fn disturb(
        &mut self,
        story: &str,
        moment: Instant,
        kills: u32,
        database_too: bool,
    ) -> Result<Ended, Failure> {
        if self.follow_until(story, moment).await? {
            return Ok(Ended::TooLate);
        }
        self.kill(database_too).await?;
        // Nobody can have worked since: its jobs still belong to the process that is gone.
        if self.world.client.story(story).await?.phase == "done" {
            return Ok(Ended::TooLate);
        }
        for _ in 1..kills {
            if !self.world.caught(story, ROUND_LIMIT).await? {
                return Ok(Ended::TooLate);
            }
            tokio::time::sleep(Duration::from_millis(self.rng.random_range(0..40))).await;
            self.kill(database_too).await?;
            self.in_a_row = self.in_a_row.max(self.world.losses_in_a_row().await?);
        }
        Ok(Ended::Killed)
    }

    async fn kill(&mut self, database_too: bool) -> Result<(), Failure> {
        self.world.kill(database_too)?;
        self.kills += 1 + u32::from(database_too);
        self.world.start().await
    }

    /// Answers what is asked until the moment has come; true when the story was done before.
    async fn follow_until(&self, story: &str, moment: Instant) -> Result<bool, Failure> {
        let approver = self.world.client.approver(story.to_owned());
        loop {
            approver.answer_if_asked().await?;
            if self.world.client.story(story).await?.phase == "done" {
                return Ok(true);
            }
            let left = moment.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            tokio::time::sleep(left.min(Duration::from_millis(50))).await;
        }
    }

    /// Once at the end: the state rows are lost and come back.
    async fn undo_damage(&mut self) -> Result<(), Failure> {
        self.world.stop_serving()?;
        let differed = damage::undone(&self.world.stopped(), &mut self.rng).await?;
        self.world.start().await?;
        self.check().await?;
        say(&format!(
            "{differed} state rows were deleted or spoilt, and made again from their events as they were"
        ))
    }
}

/// Answers what is asked until the story is done.
async fn finish(world: &process::World, story: &str) -> Result<(), Failure> {
    let limit = Instant::now() + ROUND_LIMIT;
    let approver = world.client.approver(story.to_owned());
    loop {
        let now = world.client.story(story).await?;
        match now.phase.as_str() {
            "done" => return Ok(()),
            "blocked" | "cancelled" => {
                return Err(format!("story {} is {}: {}", now.number, now.phase, now.waiting_for).into());
            }
            _ if Instant::now() > limit => {
                return Err(format!("story {} is stuck: {}", now.number, now.waiting_for).into());
            }
            _ => {}
        }
        approver.answer_if_asked().await?;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// PostgreSQL runs as another user when we are root: it must be able to pass through.
fn open_to_others(dir: &Path) -> Result<(), Failure> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::create_dir_all(dir)?;
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o755))?;
    Ok(())
}

pub(crate) fn say(line: &str) -> Result<(), Failure> {
    writeln!(std::io::stdout().lock(), "{line}")?;
    Ok(())
}
