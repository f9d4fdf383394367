//! Kills Syndarix at random moments of a running story, and proves that nothing was lost and nothing done twice.
//!
//! Each round writes a story, starts it, kills `syndarix serve` with SIGKILL at a random moment (in every third round
//! PostgreSQL, too), starts it again, answers the approval over REST, and waits until the story is done. Then the
//! tables, the repository and the audit chain are checked. The seed is printed; with `--seed` the same moments come
//! again, as far as the machine's speed lets them. With `--swarm` two processes share the work; see `swarm`.

mod client;
mod invariants;
mod process;
mod swarm;

use clap::Parser;
use rand::{Rng, SeedableRng, rngs::StdRng};
use std::{
    error::Error,
    io::Write,
    path::PathBuf,
    time::{Duration, Instant},
};

/// What went wrong, in words.
pub(crate) type Failure = Box<dyn Error + Send + Sync>;

/// A story that is not done after this long is stuck.
const ROUND_LIMIT: Duration = Duration::from_secs(120);

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
    /// Where everything is kept; a temporary folder when not given.
    #[arg(long)]
    data_dir: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let arguments = Arguments::parse();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let seed = arguments.seed.unwrap_or_else(rand::random);
    let mut rng = StdRng::seed_from_u64(seed);
    let temporary = tempfile::Builder::new().prefix("syndarix-chaos-").tempdir()?;
    let data_dir = arguments.data_dir.clone().unwrap_or_else(|| temporary.path().to_owned());
    open_to_others(&data_dir)?;
    if arguments.swarm {
        return swarm::run(&arguments.binary, &data_dir).await;
    }
    say(&format!("seed {seed}, {} rounds", arguments.rounds))?;
    let mut world = process::World::prepare(&arguments.binary, &data_dir).await?;
    let mut span = undisturbed(&mut world).await?;
    say(&format!("an undisturbed story takes {:.1} s; kills come within that", span.as_secs_f64()))?;
    let begun = Instant::now();
    let mut kills = 0;
    for round in 1..=arguments.rounds {
        let database_too = round % 3 == 0;
        let moment = span.mul_f64(rng.random_range(0.0..1.0));
        let started = Instant::now();
        let story = one_round(&mut world, round, moment, database_too)
            .await
            .map(|ended| {
                // The machine is quicker than it was at first: the next kills come earlier, too.
                span = ended.before_the_kill.map_or(span, |took| span.min(took));
                ended.number
            })
            .map_err(|failure| format!("round {round} (seed {seed}): {failure}\n{}", world.log_tail()))?;
        kills += 1 + u32::from(database_too);
        say(&format!(
            "round {round:>3}: killed {}after {:>5} ms, story {} done after {:.1} s, all invariants hold",
            if database_too { "with PostgreSQL " } else { "" },
            moment.as_millis(),
            story,
            started.elapsed().as_secs_f64()
        ))?;
    }
    world.stop()?;
    let wall = begun.elapsed().as_secs_f64();
    say(&format!(
        "{} rounds passed, 0 failed ({kills} kills in {wall:.0} s, seed {seed})",
        arguments.rounds
    ))?;
    say(&format!("chaos: {} passed, 0 failed", arguments.rounds))?;
    Ok(())
}

/// How a round ended.
struct Ended {
    number: i64,
    /// How long the story took, when it was done before the kill came.
    before_the_kill: Option<Duration>,
}

async fn one_round(
    world: &mut process::World,
    round: u32,
    moment: Duration,
    database_too: bool,
) -> Result<Ended, Failure> {
    let story = world.client.write_story(round).await?;
    let started = Instant::now();
    world.client.start_story(&story.id).await?;
    let approver = world.client.approver(story.id.clone());
    let mut before_the_kill = None;
    while started.elapsed() < moment && before_the_kill.is_none() {
        approver.answer_if_asked().await.ok();
        if world.client.story(&story.id).await.is_ok_and(|story| story.phase == "done") {
            before_the_kill = Some(started.elapsed());
        }
        tokio::time::sleep(Duration::from_millis(50).min(moment.saturating_sub(started.elapsed()))).await;
    }
    world.kill(database_too)?;
    world.start().await?;
    finish(world, &story.id).await?;
    invariants::check(&world.scene()?, &story).await?;
    Ok(Ended { number: story.number, before_the_kill })
}

/// How long a story takes when nobody disturbs it; its invariants are checked as well.
async fn undisturbed(world: &mut process::World) -> Result<Duration, Failure> {
    let story = world.client.write_story(0).await?;
    let started = Instant::now();
    world.client.start_story(&story.id).await?;
    finish(world, &story.id).await?;
    let span = started.elapsed();
    invariants::check(&world.scene()?, &story).await?;
    Ok(span)
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
fn open_to_others(dir: &std::path::Path) -> Result<(), Failure> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::create_dir_all(dir)?;
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o755))?;
    Ok(())
}

pub(crate) fn say(line: &str) -> Result<(), Failure> {
    writeln!(std::io::stdout().lock(), "{line}")?;
    Ok(())
}
