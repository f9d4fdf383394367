//! What follows from a pull request's decisions.

use crate::{
    db::{Effects, Error, Uow},
    features::{approvals, workflow::merge},
};
use futures::future::BoxFuture;
use syndarix_domain::{
    approval,
    pull_request::{Effect, PullRequest},
    run::{self, Run},
    story::{self, Feedback, Story},
};

impl Effects for PullRequest {
    fn carry_out<'u>(uow: &'u mut Uow, pr: &'u Self, effect: Effect) -> BoxFuture<'u, Result<(), Error>> {
        Box::pin(async move {
            match effect {
                Effect::Merge => uow.enqueue(merge::job(pr.project, pr.id)),
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
                Effect::SupersedeApprovals => {
                    let reason = "the pull request has new commits".to_owned();
                    retire(uow, pr, approval::Command::Supersede { reason }).await
                }
                Effect::WithdrawApprovals => {
                    let reason = "the pull request was closed".to_owned();
                    retire(uow, pr, approval::Command::Cancel { reason }).await
                }
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

/// Open questions are moot; the runs that wait for them end, and the stage is worked again.
async fn retire(uow: &mut Uow, pr: &PullRequest, command: approval::Command) -> Result<(), Error> {
    let (approval::Command::Supersede { reason } | approval::Command::Cancel { reason }) = &command else {
        return Ok(());
    };
    for run in approvals::retire_for_pull_request(uow, pr.project, pr.id, &command).await? {
        uow.tell::<Run>(pr.project, run, &run::Command::Fail { reason: reason.clone() }).await?;
        if let Some(story) = pr.story {
            uow.tell::<Story>(pr.project, story, &story::Command::Unblock).await?;
        }
    }
    Ok(())
}
