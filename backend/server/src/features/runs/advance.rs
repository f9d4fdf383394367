//! The job that does what is due next for a run.

use super::{act, think, worktree};
use crate::{
    db::{Author, Error, retry_conflicts, storable},
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
    pub(super) run: RunId,
}

payload!(Payload);

/// A job for a run. Two of one run never run at the same time.
pub(super) fn job(project: ProjectId, run: RunId, kind: &str) -> NewJob {
    NewJob::new(QUEUE, kind, Payload { run }.to_json())
        .for_project(project.0)
        .one_at_a_time(key(run))
        .with_attempts(ATTEMPTS)
}

/// What all jobs of a run have in common.
pub(super) fn key(run: RunId) -> String {
    format!("run:{run}")
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
            let mut uow = self.app.store.begin(self.author());
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
        if turn.run.phase.is_terminal() {
            return Ok(Outcome::Done);
        }
        if held_up(&turn).await? {
            return Ok(Outcome::Completed);
        }
        if matches!(turn.run.phase, Phase::Waiting { .. }) {
            return Ok(Outcome::Done);
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

impl Advance {
    /// A run must not be left without a job: where the job is given up, the run is, too.
    async fn failed(&self, job: &Job, lease: Lease, error: &Error) -> Outcome {
        let outcome = job::outcome_of(error);
        let reason = match &outcome {
            Outcome::Fail { reason } => reason.clone(),
            Outcome::Retry { reason, .. } if job.is_last_attempt() => reason.clone(),
            _ => return outcome,
        };
        match self.give_up(job, lease, reason).await {
            Ok(()) => Outcome::Completed,
            Err(error) => {
                tracing::error!(job = job.id, %error, "a run's job is given up, and the run cannot be told");
                outcome
            }
        }
    }

    async fn give_up(&self, job: &Job, lease: Lease, reason: String) -> Result<(), Error> {
        let (project, Payload { run }): (ProjectId, Payload) = job::read(job)?;
        let command = Command::Fail { reason };
        retry_conflicts(|| async {
            let mut uow = self.app.store.begin(Author::system().within(lease));
            uow.tell::<Run>(project, run, &command).await?;
            uow.complete_job();
            uow.commit().await
        })
        .await?;
        Ok(())
    }
}

/// A failure of the surroundings: tried again, until the job's attempts are used up.
pub(super) async fn give_up_or_retry(turn: &Turn, reason: String) -> Result<Outcome, Error> {
    let reason = storable(reason);
    if turn.last_attempt {
        return turn.end_with(&Command::Fail { reason }).await;
    }
    Ok(Outcome::Retry { after: None, reason })
}

/// What a run of a terminated agent is told.
pub(super) fn agent_terminated() -> Command {
    Command::Cancel { reason: "the agent was terminated".into() }
}

/// A paused agent parks its run at the next step; a terminated one ends it. The agent's row is held still meanwhile:
/// whoever resumes it finds the run parked, or the run finds it resumed.
pub(super) async fn held_up(turn: &Turn) -> Result<bool, Error> {
    retry_conflicts(|| async {
        let mut uow = turn.app.store.begin(turn.author());
        let found: Option<(String, Option<uuid::Uuid>)> =
            sqlx::query_as("select status, status_by from agent where id = $1 and project_id = $2 for share")
                .bind(turn.run.agent.0)
                .bind(turn.project.0)
                .fetch_optional(uow.conn().await?)
                .await?;
        let command = match found {
            Some((status, by)) if status == "paused" && !matches!(turn.run.phase, Phase::Waiting { .. }) => {
                let by = UserId(by.unwrap_or_default());
                Command::Park { wait: Wait::Paused { by } }
            }
            Some((status, _)) if status == "terminated" => agent_terminated(),
            _ => return Ok(false),
        };
        // Whoever goes on begins another model call: the one that was interrupted is nobody's any more.
        think::abandon(&turn.run, &mut uow, "the agent was stopped during the model call").await?;
        uow.tell::<Run>(turn.project, turn.run.id, &command).await?;
        uow.complete_job();
        uow.commit().await?;
        Ok(true)
    })
    .await
}

#[async_trait]
impl Handler for Advance {
    async fn run(&self, job: Job, lease: Lease, cancel: CancellationToken) -> Outcome {
        match self.advance(&job, lease, cancel).await {
            Ok(outcome) => outcome,
            Err(error) => self.failed(&job, lease, &error).await,
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
        let until = match state.phase {
            Phase::Waiting { wait: Wait::RateLimit { until, .. }, .. } => Some(until),
            _ => None,
        };
        if let Some(until) = until.filter(|until| *until > now) {
            // The database's clock, which woke this job, may be ahead of this machine's: what is left is a length of time.
            let wait = (until - now).to_std().unwrap_or_default();
            return Ok(Outcome::Snooze { wait, reason: "the run's time has not come".into() });
        }
        let due = until.is_some();
        retry_conflicts(|| async {
            let mut uow = self.app.store.begin(Author::system().within(lease));
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
    async fn run(&self, job: Job, lease: Lease, cancel: CancellationToken) -> Outcome {
        job::until_cancelled(&cancel, self.wake(&job, lease)).await
    }
}
