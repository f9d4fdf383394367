//! What a run at work costs the engine, when its model and its tools take no time: a worker takes the run's job, the intent
//! of the step is committed, then its result with the transition that it causes and the job of the next step.

use crate::{
    Failure,
    engine::{self, Measured, PROJECTS},
    figures::{Figures, as_served},
};
use serde_json::json;
use sqlx::PgPool;
use std::{
    collections::HashMap,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use syndarix::{
    config::{Config, Flags},
    db::{Author, Store},
    features::runs::bench,
    lifecycle,
    state::App,
};
use syndarix_domain::{
    ids::{AgentId, RunId, StoryId},
    money::MicroUsd,
    run::{Command, Limits, New, Run},
    stage::StageName,
};
use syndarix_jobs::{Job, Lease, Outcome, QueueConfig, Registry, Worker, WorkerConfig, WorkerHandle};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Where the jobs of runs wait, and what they are called.
const QUEUE: &str = "agent";
const KIND: &str = "run.advance";
/// Runs at work at the same time.
const IN_FLIGHT: [usize; 3] = [256, 32, 1];
/// Places of the worker: more than there are runs.
const PLACES: u16 = 300;
/// Within this every run has ended a step.
const PATIENCE: Duration = Duration::from_secs(30);
/// No run of the benchmark comes to an end.
const LIMITS: Limits =
    Limits { max_steps: u32::MAX, max_tokens: u64::MAX, max_cost: MicroUsd(i64::MAX), max_seconds: u32::MAX };

/// When each run ended its last step, and how long each step took from the end of the one before.
#[derive(Default)]
struct Progress {
    ended: HashMap<RunId, Instant>,
    samples: Vec<Duration>,
    failed: Option<String>,
}

impl Progress {
    fn end(&mut self, run: RunId) {
        let now = Instant::now();
        if let Some(before) = self.ended.insert(run, now) {
            self.samples.push(now - before);
        }
    }

    /// What was measured so far; from here on it is measured anew.
    fn take(&mut self) -> Result<Vec<Duration>, Failure> {
        match self.failed.take() {
            Some(reason) => Err(format!("a step failed: {reason}").into()),
            None => Ok(std::mem::take(&mut self.samples)),
        }
    }
}

type Shared = Arc<Mutex<Progress>>;

fn locked(progress: &Shared) -> MutexGuard<'_, Progress> {
    progress.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes the figure with many runs at work, with some, and with one.
pub(crate) async fn of_runs(
    pool: &PgPool,
    dir: &Path,
    by: Measured,
    figures: &mut Figures,
) -> Result<(), Failure> {
    std::fs::create_dir_all(dir)?;
    let flags = Flags { data_dir: Some(dir.to_owned()), ..Flags::default() };
    let app = lifecycle::offline(Config::load(&flags, |_| None)?, pool.clone()).await?;
    for runs in IN_FLIGHT {
        at_once(&app, runs, by, figures).await?;
    }
    Ok(())
}

async fn at_once(app: &App, runs: usize, by: Measured, figures: &mut Figures) -> Result<(), Failure> {
    start_runs(&app.store, runs).await?;
    let progress = Shared::default();
    let worker = start_worker(app, &progress);
    warm(&progress, runs).await?;
    // Every connection reads its catalog and plans its statements in its first steps, which is over soon in a process
    // that stays.
    tokio::time::sleep(by.span).await;
    locked(&progress).take()?;
    let (cpu, begun) = (by.cpu_seconds(), Instant::now());
    tokio::time::sleep(by.span).await;
    let took = (begun.elapsed().as_secs_f64(), by.cpu_seconds() - cpu);
    let samples = locked(&progress).take()?;
    worker.shutdown(Duration::from_secs(5)).await;
    // The runs stay at work, and nobody goes on with them.
    sqlx::query("delete from job where kind = $1").bind(KIND).execute(app.pool()).await?;
    let own = json!({ "runs": runs, "projects": PROJECTS.min(runs), "places": PLACES });
    let settings = as_served(app.pool(), own).await?;
    engine::report(&format!("run steps, {runs} in flight"), samples, took, figures, &settings)?;
    Ok(())
}

/// Waits until every run has ended a step.
async fn warm(progress: &Shared, runs: usize) -> Result<(), Failure> {
    let begun = Instant::now();
    while locked(progress).ended.len() < runs {
        if begun.elapsed() > PATIENCE {
            locked(progress).take()?;
            return Err("a run does not begin".into());
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}

/// So many runs of up to eight projects, each with the job of its first step.
async fn start_runs(store: &Store, runs: usize) -> Result<(), Failure> {
    let projects = PROJECTS.min(runs);
    for _ in 0..projects {
        let project = engine::project(store).await?;
        for _ in 0..runs / projects {
            let id = RunId(store.new_id());
            let (worker, about) = (AgentId(store.new_id()), StoryId(store.new_id()));
            let new = New {
                id,
                project,
                agent: worker,
                story: about,
                stage: StageName::Implementation,
                limits: LIMITS,
            };
            let mut uow = store.begin(Author::system());
            uow.create::<Run>(project, id, &Command::Start(new)).await?;
            uow.commit().await?;
        }
    }
    Ok(())
}

fn start_worker(app: &App, progress: &Shared) -> WorkerHandle {
    let handler = {
        let (app, progress) = (app.clone(), Arc::clone(progress));
        move |job: Job, lease: Lease, _: CancellationToken| {
            let (app, progress) = (app.clone(), Arc::clone(&progress));
            async move {
                match bench::step(&app, &job, lease).await {
                    Ok((run, outcome)) => {
                        locked(&progress).end(run);
                        outcome
                    }
                    Err(error) => {
                        let reason = error.to_string();
                        locked(&progress).failed = Some(reason.clone());
                        Outcome::Fail { reason }
                    }
                }
            }
        }
    };
    let registry = Registry::new().with(KIND, handler);
    let queues = vec![QueueConfig::new(QUEUE, PLACES)];
    let config = WorkerConfig::new("bench", Uuid::from_u128(rand::random()), queues);
    Worker::new(app.pool().clone(), registry, config, app.wake.clone()).start()
}
