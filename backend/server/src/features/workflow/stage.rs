//! Starts the run of a stage: an idle agent of the right role, or a new one within the project's limit.

use super::effects::queue;
use crate::{
    db::{Author, Error, retry_conflicts},
    features::{agents, job::payload},
    state::App,
};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use syndarix_domain::{
    ids::{ProjectId, RunId, StoryId},
    run::{self, Run},
    stage::StageName,
    story::{Command, Phase, Story, Work},
};
use syndarix_jobs::{Handler, Job, Lease, NewJob, Outcome};
use tokio_util::sync::CancellationToken;

use crate::features::job;

pub(super) const KIND: &str = "stage.work";

/// How long to wait before looking for a free agent again.
const NO_AGENT_PAUSE: Duration = Duration::from_secs(2);

/// Which stage of which story.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Payload {
    pub(super) story: StoryId,
    pub(super) stage: StageName,
}

payload!(Payload);

/// The job that gives a stage to an agent.
pub(super) fn job(project: ProjectId, story: StoryId, stage: StageName) -> NewJob {
    NewJob::new(queue::AGENT, KIND, Payload { story, stage }.to_json())
        .for_project(project.0)
        .one_at_a_time(format!("story:{story}"))
}

/// The handler of `stage.work`.
pub(super) struct WorkStage {
    app: App,
}

impl WorkStage {
    pub(super) fn new(app: &App) -> Self {
        Self { app: app.clone() }
    }

    async fn work(&self, job: &Job, lease: Lease) -> Result<Outcome, Error> {
        let (project, payload): (ProjectId, Payload) = job::read(job)?;
        let assigned = retry_conflicts(|| self.assign(project, &payload, lease)).await?;
        Ok(if assigned {
            Outcome::Completed
        } else {
            Outcome::Snooze {
                wait: NO_AGENT_PAUSE,
                reason: format!("no agent is free to work on {}", payload.stage.name()),
            }
        })
    }

    /// True when the job is done: the run has begun, or is not wanted any more.
    async fn assign(&self, project: ProjectId, payload: &Payload, lease: Lease) -> Result<bool, Error> {
        let mut uow = self.app.store.begin(Author::system().within(lease));
        let story = uow.load::<Story>(project, payload.story).await?;
        let wanted = matches!(
            &story.phase,
            Phase::Working { stage, work: Work::Queued { .. }, .. } if stage.name() == payload.stage
        );
        if wanted {
            let run = RunId(uow.new_id());
            let task = format!("{} of story {}: {}", payload.stage.name(), story.number, story.title);
            let Some(agent) = agents::assign(&mut uow, project, payload.stage, run, &task).await? else {
                return Ok(false);
            };
            let new = run::New {
                id: run,
                project,
                agent: agent.id,
                story: story.id,
                stage: payload.stage,
                limits: agent.definition.limits.for_run(),
            };
            uow.create::<Run>(project, run, &run::Command::Start(new)).await?;
            uow.execute::<Story>(project, story.id, &Command::BeginRun { run, stage: payload.stage }).await?;
        }
        uow.complete_job();
        uow.commit().await?;
        Ok(true)
    }
}

#[async_trait]
impl Handler for WorkStage {
    async fn run(&self, job: Job, lease: Lease, cancel: CancellationToken) -> Outcome {
        job::until_cancelled(&cancel, Box::pin(self.work(&job, lease))).await
    }
}
