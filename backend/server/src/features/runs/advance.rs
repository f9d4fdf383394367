//! The job that does what is due next for a run.

use super::{act, think, worktree};
use crate::{
    db::{Author, Error, retry_conflicts},
    features::job::{self, payload},
    state::App,
};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use syndarix_domain::{
    actor::Actor,
    ids::{ProjectId, RunId, UserId},
    run::{Command, Phase, Run, Wait},
};
use syndarix_jobs::{Handler, Job, Lease, NewJob, Outcome};
use tokio_util::sync::CancellationToken;

pub(super) const KIND: &str = "run.advance";
pub(super) const WAKE: &str = "run.wake";
const QUEUE: &str = "agent";
/// A step that fails for outside reasons is tried this often before the run is given up.
const ATTEMPTS: u16 = 12;

/// Which run.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Payload {
    run: RunId,
}

payload!(Payload);

/// A job for a run. Two of one run never run at the same time.
pub(super) fn job(project: ProjectId, run: RunId, kind: &str) -> NewJob {
    NewJob::new(QUEUE, kind, Payload { run }.to_json())
        .for_project(project.0)
        .one_at_a_time(format!("run:{run}"))
        .with_attempts(ATTEMPTS)
}

/// One attempt at what is due: the application, the run as it was read, and the right to write about it.
pub(super) struct Turn {
    pub(super) app: App,
    pub(super) project: ProjectId,
    pub(super) run: Run,
    pub(super) lease: Lease,
    pub(super) cancel: CancellationToken,
    pub(super) last_attempt: bool,
}

impl Turn {
    /// Everything a run does is done in its agent's name, under the job's lease.
    pub(super) fn author(&self) -> Author {
        Author::of(Actor::Agent(self.run.agent)).within(self.lease)
    }

    /// Gives the run a command that ends this turn.
    pub(super) async fn end_with(&self, command: &Command) -> Result<Outcome, Error> {
        retry_conflicts(|| async {
            let mut uow = self.app.store.begin(self.author()).await?;
            uow.tell::<Run>(self.project, self.run.id, command).await?;
            uow.complete_job();
            uow.commit().await
        })
        .await?;
        Ok(Outcome::Completed)
    }
}

/// The handler of `run.advance`.
pub(super) struct Advance {
    app: App,
}

impl Advance {
    pub(super) fn new(app: &App) -> Self {
        Self { app: app.clone() }
    }

    async fn advance(&self, job: &Job, lease: Lease, cancel: CancellationToken) -> Result<Outcome, Error> {
        let (project, Payload { run }): (ProjectId, Payload) = job::read(job)?;
        let run = self.app.store.read::<Run>(project, run).await?.state;
        let app = self.app.clone();
        let turn = Turn { app, project, run, lease, cancel, last_attempt: job.is_last_attempt() };
        if turn.run.phase.is_terminal() || matches!(turn.run.phase, Phase::Waiting { .. }) {
            return Ok(Outcome::Done);
        }
        if let Some(command) = held_up(&turn).await? {
            return turn.end_with(&command).await;
        }
        if let Err(reason) = worktree::ensure(&turn).await {
            return give_up_or_retry(&turn, format!("the worktree cannot be made: {reason}")).await;
        }
        match &turn.run.phase {
            Phase::Acting { .. } => act::act(&turn).await,
            _ => think::think(&turn).await,
        }
    }
}

/// A failure of the surroundings: tried again, until the job's attempts are used up.
pub(super) async fn give_up_or_retry(turn: &Turn, reason: String) -> Result<Outcome, Error> {
    if turn.last_attempt {
        return turn.end_with(&Command::Fail { reason }).await;
    }
    Ok(Outcome::Retry { after: None, reason })
}

/// A paused agent parks its run at the next step; a terminated one ends it.
async fn held_up(turn: &Turn) -> Result<Option<Command>, Error> {
    let found: Option<(String, Option<uuid::Uuid>)> =
        sqlx::query_as("select status, status_by from agent where id = $1 and project_id = $2")
            .bind(turn.run.agent.0)
            .bind(turn.project.0)
            .fetch_optional(turn.app.pool())
            .await?;
    Ok(match found {
        Some((status, by)) if status == "paused" => {
            let by = UserId(by.unwrap_or_default());
            Some(Command::Park { wait: Wait::Paused { by } })
        }
        Some((status, _)) if status == "terminated" => {
            Some(Command::Cancel { reason: "the agent was terminated".into() })
        }
        _ => None,
    })
}

#[async_trait]
impl Handler for Advance {
    async fn run(&self, job: Job, lease: Lease, cancel: CancellationToken) -> Outcome {
        match self.advance(&job, lease, cancel).await {
            Ok(outcome) => outcome,
            Err(error) => job::outcome_of(&error),
        }
    }
}

/// The handler of `run.wake`: the time that a run waited for has come.
pub(super) struct Wake {
    app: App,
}

impl Wake {
    pub(super) fn new(app: &App) -> Self {
        Self { app: app.clone() }
    }

    async fn wake(&self, job: &Job, lease: Lease) -> Result<Outcome, Error> {
        let (project, Payload { run }): (ProjectId, Payload) = job::read(job)?;
        let now = self.app.clock().now();
        let state = self.app.store.read::<Run>(project, run).await?.state;
        // Only a wait for time: one for money or a person that began meanwhile is not ended by a clock.
        let due =
            matches!(state.phase, Phase::Waiting { wait: Wait::RateLimit { until, .. }, .. } if until <= now);
        retry_conflicts(|| async {
            let mut uow = self.app.store.begin(Author::system().within(lease)).await?;
            if due {
                uow.tell::<Run>(project, run, &Command::Wake).await?;
            }
            uow.complete_job();
            uow.commit().await
        })
        .await?;
        Ok(Outcome::Completed)
    }
}

#[async_trait]
impl Handler for Wake {
    async fn run(&self, job: Job, lease: Lease, _cancel: CancellationToken) -> Outcome {
        self.wake(&job, lease).await.unwrap_or_else(|error| job::outcome_of(&error))
    }
}
