//! Deadlines of stories and the last day of sprints. A timer that rings late or twice changes nothing.

use crate::{
    db::{Author, Error, retry_conflicts},
    features::job::{self, payload},
    state::App,
};
use serde::{Deserialize, Serialize};
use syndarix_domain::{
    Timestamp,
    ids::{ProjectId, SprintId, StoryId},
    sprint::{self, Sprint},
    stage::StageName,
    story::{self, Story},
};
use syndarix_jobs::{Job, Lease, Outcome, Registry};

/// A story's stage has taken too long.
pub(super) const DEADLINE: &str = "story.deadline";
/// A sprint's last day is over.
pub(super) const TIME_UP: &str = "sprint.time_up";

/// Which stage of which story.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Deadline {
    pub(super) story: StoryId,
    pub(super) stage: StageName,
    pub(super) since: Timestamp,
}

/// Which sprint.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct TimeUp {
    pub(super) sprint: SprintId,
}

payload!(Deadline, TimeUp);

pub(super) fn jobs(app: &App, registry: Registry) -> Registry {
    let deadline = job::handler(app, |app, job, lease| async move { pass_deadline(&app, &job, lease).await });
    let time_up = job::handler(app, |app, job, lease| async move { end_time(&app, &job, lease).await });
    registry.with(DEADLINE, deadline).with(TIME_UP, time_up)
}

async fn pass_deadline(app: &App, job: &Job, lease: Lease) -> Result<Outcome, Error> {
    let (project, Deadline { story, stage, since }) = job::read(job)?;
    retry_conflicts(|| async {
        let mut uow = app.store.begin(Author::system().within(lease));
        uow.tell::<Story>(project, story, &story::Command::PassDeadline { stage, since }).await?;
        uow.complete_job();
        uow.commit().await
    })
    .await?;
    Ok(Outcome::Completed)
}

async fn end_time(app: &App, job: &Job, lease: Lease) -> Result<Outcome, Error> {
    let (project, TimeUp { sprint }): (ProjectId, TimeUp) = job::read(job)?;
    retry_conflicts(|| async {
        let mut uow = app.store.begin(Author::system().within(lease));
        uow.tell::<Sprint>(project, sprint, &sprint::Command::TimeUp).await?;
        uow.complete_job();
        uow.commit().await
    })
    .await?;
    Ok(Outcome::Completed)
}
