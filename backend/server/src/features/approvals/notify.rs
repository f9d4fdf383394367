//! Telling people outside the UI: a recorded job, so that a mail is neither lost nor sent from a transaction that
//! rolls back.

use crate::{
    db::{Error, Uow},
    features::job::{self, payload},
    state::App,
};
use serde::{Deserialize, Serialize};
use syndarix_domain::ids::ProjectId;
use syndarix_jobs::{Job, NewJob, Outcome, Registry};

const KIND: &str = "people.notify";

/// What to tell.
#[derive(Debug, Serialize, Deserialize)]
struct Payload {
    sentence: String,
    subject: String,
    escalated: bool,
}

payload!(Payload);

/// Tells the people of a project. `subject` is what it is about, as in the event envelope.
pub async fn notify(
    uow: &mut Uow,
    project: ProjectId,
    sentence: &str,
    subject: &str,
    escalated: bool,
) -> Result<(), Error> {
    let payload = Payload { sentence: sentence.into(), subject: subject.into(), escalated };
    uow.enqueue(&NewJob::new("default", KIND, payload.to_json()).for_project(project.0)).await
}

pub(super) fn jobs(app: &App, registry: Registry) -> Registry {
    registry.with(KIND, job::handler(app, |app, job, _| async move { tell(&app, &job).await }))
}

async fn tell(_app: &App, job: &Job) -> Result<Outcome, Error> {
    let (project, payload): (ProjectId, Payload) = job::read(job)?;
    tracing::info!(%project, subject = %payload.subject, escalated = payload.escalated, "{}", payload.sentence);
    Ok(Outcome::Done)
}
