//! Figures: transitions, jobs, run steps, API calls, start-up, memory. Printed with their settings, and written as JSON
//! lines under target/bench. How they are taken stands in docs/BENCHMARKS.md.

mod audit;
mod engine;
mod failover;
mod figures;
mod jobs;
mod leaving;
mod parked;
mod process;
mod steps;

use clap::{Parser, ValueEnum};
use figures::Figures;
use std::{
    error::Error,
    path::{Path, PathBuf},
    time::Duration,
};
use syndarix::{
    clock::Clock,
    db::{self, Store},
};
use syndarix_bus::Hub;
use syndarix_jobs::Wake;
use syndarix_postgres::{Embedded, EmbeddedOptions};

/// As in the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What went wrong, in words.
pub(crate) type Failure = Box<dyn Error + Send + Sync>;

/// Take figures.
#[derive(Debug, Parser)]
struct Arguments {
    /// The `syndarix` whose start-up and memory are measured.
    #[arg(long)]
    binary: PathBuf,
    /// Where the JSON lines go.
    #[arg(long, default_value = "target/bench")]
    out: PathBuf,
    /// Seconds for each rate.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Only transitions, jobs and run steps.
    #[arg(long)]
    engine: bool,
    /// Only what a failover takes, and how soon a provider is let go of when its client has left.
    #[arg(long)]
    failover: bool,
    /// Only what so many parked runs cost, and how soon one of them wakes.
    #[arg(long, value_name = "RUNS", num_args = 0..=1, default_missing_value = "1000000")]
    parked: Option<u32>,
    /// Only this; those that peers have too are taken in turns with them.
    #[arg(long, value_enum)]
    only: Option<Only>,
    /// Also take jobs beside a session that holds an old snapshot for so many seconds.
    #[arg(long)]
    old_snapshot: Option<u64>,
}

/// What is taken by itself.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Only {
    #[value(name = "transitions-1")]
    OneStream,
    #[value(name = "transitions-32")]
    SomeStreams,
    #[value(name = "transitions-256")]
    ManyStreams,
    JobsSingly,
    JobsInBatches,
    RunSteps,
    Audit,
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let arguments = Arguments::parse();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let file = match &arguments {
        Arguments { parked: Some(_), .. } => "parked.jsonl",
        Arguments { failover: true, .. } => "failover.jsonl",
        Arguments { only: Some(_), .. } => "only.jsonl",
        _ => "bench.jsonl",
    };
    let mut figures = Figures::create(&arguments.out.join(file))?;
    let folder = tempfile::Builder::new().prefix("syndarix-bench-").tempdir()?;
    process::open_to_others(folder.path())?;
    let span = Duration::from_secs(arguments.seconds);
    if let Some(count) = arguments.parked {
        parked::runs(&arguments.binary, &folder.path().join("parked"), count, &mut figures).await?;
        return figures.finish();
    }

    if arguments.failover {
        failover::past_the_time_out(&mut figures).await?;
        leaving::upstream_closed(&arguments.binary, &folder.path().join("leaving"), &mut figures).await?;
        return figures.finish();
    }

    let options =
        EmbeddedOptions::platform_default(syndarix::config::process_env).in_dir(folder.path().join("engine"));
    let postgres = worn_in(options).await?;
    let pool = db::connect(postgres.url().parse()?, 64);
    db::migrate(&pool).await?;
    let store = Store::new(pool.clone(), Clock::default(), Hub::default(), Wake::new());
    let by = engine::Measured { postmaster: postgres.pid(), span, beside: None };
    if let Some(only) = arguments.only {
        take(only, &arguments.binary, folder.path(), postgres.url(), (&store, by), &mut figures).await?;
    } else {
        let dir = folder.path();
        engine_of(&arguments, dir, postgres.url(), (&store, by), &mut figures).await?;
    }
    pool.close().await;
    postgres.stop().await?;

    if arguments.engine || arguments.only.is_some() {
        return figures.finish();
    }
    failover::past_the_time_out(&mut figures).await?;
    leaving::upstream_closed(&arguments.binary, &folder.path().join("leaving"), &mut figures).await?;
    process::serve(&arguments.binary, &folder.path().join("serve"), span, &mut figures).await?;
    figures.finish()
}

async fn take(
    only: Only,
    binary: &Path,
    folder: &Path,
    database: &str,
    (store, by): (&Store, engine::Measured),
    figures: &mut Figures,
) -> Result<(), Failure> {
    match only {
        Only::OneStream => engine::streams(store, 1, by, figures).await,
        Only::SomeStreams => engine::streams(store, 32, by, figures).await,
        Only::ManyStreams => engine::streams(store, engine::MOST, by, figures).await,
        Only::JobsSingly => jobs::singly(store.pool(), by, figures).await.map(drop),
        Only::JobsInBatches => jobs::batches(store.pool(), by, figures).await,
        Only::RunSteps => steps::of_runs(store.pool(), &folder.join("steps"), by, figures).await,
        Only::Audit => {
            audit::on_and_off(binary, &folder.join("sealer"), database, (store, by), figures).await
        }
    }
}

/// All figures of the engine.
async fn engine_of(
    arguments: &Arguments,
    folder: &Path,
    database: &str,
    (store, by): (&Store, engine::Measured),
    figures: &mut Figures,
) -> Result<(), Failure> {
    for streams in [engine::MOST, 32, 1] {
        engine::streams(store, streams, by, figures).await?;
    }
    engine::keyed(store, by, figures).await?;
    engine::stories(store, by, figures).await?;
    jobs::queue(store.pool(), by, figures).await?;
    let dir = folder.join("sealer");
    audit::on_and_off(&arguments.binary, &dir, database, (store, by), figures).await?;
    if let Some(seconds) = arguments.old_snapshot {
        let by = engine::Measured { span: Duration::from_secs(seconds), ..by };
        jobs::beside_an_old_snapshot(store.pool(), by, figures).await?;
    }
    steps::of_runs(store.pool(), &folder.join("steps"), by, figures).await
}

/// The log of a server that has run for a while consists of files that it uses again. A new server makes each of them
/// first, 16 MiB of zeros synced to the disk, for which everybody waits 50 ms. They are kept when it stops.
async fn worn_in(options: EmbeddedOptions) -> Result<Embedded, Failure> {
    const WRITTEN_MIB: i32 = 1024;
    let new = syndarix_postgres::start(options.clone()).await?;
    let pool = db::connect(new.url().parse()?, 1);
    for _ in 0..WRITTEN_MIB / 8 {
        sqlx::query("select pg_logical_emit_message(false, 'bench', repeat('x', 8 * 1024 * 1024))")
            .execute(&pool)
            .await?;
    }
    pool.close().await;
    new.stop().await?;
    Ok(syndarix_postgres::start(options).await?)
}
