//! What follows from a sprint's decisions.

use super::queue;
use crate::{
    db::{Effects, Error, Uow},
    features::{approvals, workflow::timers},
};
use futures::future::BoxFuture;
use syndarix_domain::{
    approval::{self, Approval},
    ids::ApprovalId,
    sprint::{Effect, Sprint},
};
use syndarix_jobs::{NewJob, NewTimer};

impl Effects for Sprint {
    fn carry_out<'u>(uow: &'u mut Uow, sprint: &'u Self, effect: Effect) -> BoxFuture<'u, Result<(), Error>> {
        Box::pin(async move {
            match effect {
                Effect::SetTimeUp { at } => {
                    let payload = timers::TimeUp { sprint: sprint.id };
                    let job = NewJob::new(queue::DEFAULT, timers::TIME_UP, payload.to_json())
                        .for_project(sprint.project.0);
                    let timer =
                        NewTimer { stream: sprint.id.0, name: timers::TIME_UP.into(), fire_at: at, job };
                    uow.set_timer(timer)
                }
                Effect::ClearTimeUp => {
                    uow.clear_timers(sprint.id, Some(timers::TIME_UP));
                    Ok(())
                }
                Effect::WithdrawApproval { approval } => {
                    let reason = "the sprint was cancelled".to_owned();
                    uow.tell::<Approval>(sprint.project, approval, &approval::Command::Cancel { reason })
                        .await
                }
                Effect::SupersedeApproval { approval } => supersede(uow, sprint, approval).await,
            }
        })
    }
}

/// Whoever asked is told: nobody else would ask again.
async fn supersede(uow: &mut Uow, sprint: &Sprint, approval: ApprovalId) -> Result<(), Error> {
    let reason = "the sprint or its stories have changed since it was asked".to_owned();
    let asked: Approval = uow.load(sprint.project, approval).await?;
    uow.tell::<Approval>(sprint.project, approval, &approval::Command::Supersede { reason }).await?;
    let sentence =
        format!("{}: the sprint has changed, so ask again when it is as it should be", asked.request.title);
    let notice =
        approvals::Notice::about(format!("sprint/{}", sprint.id), format!("moot {approval}"), sentence);
    approvals::notify(uow, sprint.project, notice.to(asked.request.requested_by)).await
}
