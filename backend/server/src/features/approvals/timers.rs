//! Reminders and expiry. A timer that rings after the answer changes nothing.

use crate::{
    db::{Author, Error, retry_conflicts},
    features::job::{self, payload},
    state::App,
};
use serde::{Deserialize, Serialize};
use syndarix_domain::{
    approval::{Approval, Command},
    ids::ApprovalId,
};
use syndarix_jobs::{Job, Lease, Outcome, Registry};

pub(super) const REMIND: &str = "approval.remind";
pub(super) const EXPIRE: &str = "approval.expire";

/// Which question.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Payload {
    pub(super) approval: ApprovalId,
}

payload!(Payload);

pub(super) fn jobs(app: &App, registry: Registry) -> Registry {
    let remind =
        job::handler(app, |app, job, lease| async move { ring(&app, &job, lease, Command::Remind).await });
    let expire =
        job::handler(app, |app, job, lease| async move { ring(&app, &job, lease, Command::Expire).await });
    registry.with(REMIND, remind).with(EXPIRE, expire)
}

async fn ring(app: &App, job: &Job, lease: Lease, command: Command) -> Result<Outcome, Error> {
    let (project, Payload { approval }) = job::read(job)?;
    retry_conflicts(|| async {
        let mut uow = app.store.begin(Author::system().within(lease));
        uow.tell::<Approval>(project, approval, &command).await?;
        uow.complete_job();
        uow.commit().await
    })
    .await?;
    Ok(Outcome::Completed)
}
