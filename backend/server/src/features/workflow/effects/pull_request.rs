//! What follows from a pull request's decisions.

use crate::{
    db::{Effects, Error, Uow},
    features::{approvals, workflow::merge},
};
use futures::future::BoxFuture;
use syndarix_domain::{
    pull_request::{Effect, PullRequest},
    run::{self, Run},
    story::{self, Feedback, Story},
};

impl Effects for PullRequest {
    fn carry_out<'u>(uow: &'u mut Uow, pr: &'u Self, effect: Effect) -> BoxFuture<'u, Result<(), Error>> {
        Box::pin(async move {
            match effect {
                Effect::Merge => uow.enqueue(&merge::job(pr.project, pr.id)).await,
                Effect::TellMerged { commit } => {
                    let Some(story) = pr.story else { return Ok(()) };
                    let command = story::Command::Merged { pull_request: pr.id, commit };
                    uow.tell::<Story>(pr.project, story, &command).await
                }
                Effect::TellMergeFailed { reason, conflicts } => {
                    let Some(story) = pr.story else { return Ok(()) };
                    let command = story::Command::MergeFailed {
                        pull_request: pr.id,
                        feedback: merge_feedback(reason, &conflicts),
                    };
                    uow.tell::<Story>(pr.project, story, &command).await
                }
                Effect::SupersedeApprovals => supersede(uow, pr).await,
            }
        })
    }
}

fn merge_feedback(reason: String, conflicts: &[String]) -> Feedback {
    let summary = if conflicts.is_empty() {
        reason
    } else {
        format!("{reason}. Update the branch and resolve the conflicts in: {}", conflicts.join(", "))
    };
    Feedback { from: "the merge queue".into(), summary, comments: Vec::new() }
}

/// Questions about the old head are moot; the runs that wait for them end, and the stage is worked again.
async fn supersede(uow: &mut Uow, pr: &PullRequest) -> Result<(), Error> {
    let reason = "the pull request has new commits";
    for run in approvals::supersede_for_pull_request(uow, pr.project, pr.id, reason).await? {
        uow.tell::<Run>(pr.project, run, &run::Command::Fail { reason: reason.into() }).await?;
        if let Some(story) = pr.story {
            uow.tell::<Story>(pr.project, story, &story::Command::Unblock).await?;
        }
    }
    Ok(())
}
