//! What follows from a story's decisions.

use super::queue;
use crate::{
    db::{Effects, Error, Uow},
    features::{
        approvals,
        workflow::{stage, timers},
    },
};
use futures::future::BoxFuture;
use syndarix_domain::{
    approval::{self, Approval},
    ids::PullRequestId,
    pull_request::{self, PullRequest},
    run::{self, Run},
    sprint::{self, Sprint},
    story::{Command, Effect, Feedback, Story},
};
use syndarix_jobs::{NewJob, NewTimer};

impl Effects for Story {
    fn carry_out<'u>(uow: &'u mut Uow, story: &'u Self, effect: Effect) -> BoxFuture<'u, Result<(), Error>> {
        Box::pin(async move {
            let project = story.project;
            match effect {
                Effect::WorkStage { stage } => uow.enqueue(stage::job(project, story.id, stage)),
                Effect::BeginReview { pull_request } => {
                    uow.tell::<PullRequest>(project, pull_request, &pull_request::Command::BeginReview).await
                }
                Effect::Approve { pull_request, head } => approve(uow, story, pull_request, head).await,
                Effect::RequestChanges { pull_request } => {
                    uow.tell::<PullRequest>(project, pull_request, &pull_request::Command::RequestChanges)
                        .await
                }
                Effect::ClosePullRequest { pull_request } => {
                    uow.tell::<PullRequest>(project, pull_request, &pull_request::Command::Close).await
                }
                Effect::CancelRun { run, reason } => {
                    uow.tell::<Run>(project, run, &run::Command::Cancel { reason }).await
                }
                Effect::WithdrawApproval { approval } => {
                    let reason = "the story moved on without the answer".to_owned();
                    uow.tell::<Approval>(project, approval, &approval::Command::Cancel { reason }).await
                }
                Effect::SetDeadline { stage, since, at } => {
                    let payload = timers::Deadline { story: story.id, stage, since };
                    let job = NewJob::new(queue::DEFAULT, timers::DEADLINE, payload.to_json());
                    let job = job.for_project(project.0);
                    let timer =
                        NewTimer { stream: story.id.0, name: timers::DEADLINE.into(), fire_at: at, job };
                    uow.set_timer(timer)
                }
                Effect::JoinSprint { sprint, from } => {
                    let command = sprint::Command::AddStory { story: story.id, from };
                    uow.execute::<Sprint>(project, sprint, &command).await.map(|_| ())
                }
                Effect::LeaveSprint { sprint, to } => {
                    let command = sprint::Command::RemoveStory { story: story.id, to };
                    uow.execute::<Sprint>(project, sprint, &command).await.map(|_| ())
                }
                Effect::ClearDeadline => {
                    uow.clear_timers(story.id, Some(timers::DEADLINE));
                    Ok(())
                }
                Effect::Notify { sentence, escalated } => {
                    // Every deadline of every stage is a notice of its own.
                    let kind = format!("deadline {}", uow.now().to_rfc3339());
                    let notice = approvals::Notice::about(format!("story/{}", story.id), kind, sentence);
                    let notice = if escalated { notice.escalated() } else { notice };
                    approvals::notify(uow, project, notice).await
                }
            }
        })
    }
}

/// An approval is for one head. When the head has moved meanwhile, the story goes back instead of waiting for ever.
async fn approve(
    uow: &mut Uow,
    story: &Story,
    pull_request: PullRequestId,
    head: String,
) -> Result<(), Error> {
    let command = pull_request::Command::Approve { head };
    let Err(rejection) = uow.ask::<PullRequest>(story.project, pull_request, &command).await? else {
        return Ok(());
    };
    let feedback =
        Feedback { from: "the merge queue".into(), summary: rejection.sentence, comments: Vec::new() };
    uow.tell::<Story>(story.project, story.id, &Command::MergeFailed { pull_request, feedback }).await
}
