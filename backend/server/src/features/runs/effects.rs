//! What follows from a run's decisions.

use super::{advance, steps, worktree};
use crate::{
    db::{Effects, Error, Uow},
    features::{agents, approvals},
};
use futures::future::BoxFuture;
use syndarix_domain::{
    approval::{self, Approval},
    pull_request::{self, Comment, PullRequest},
    run::{Effect, Outcome, Phase, Run, RunResult},
    story::{self, Feedback, StageOutput, Story},
};

impl Effects for Run {
    fn carry_out<'u>(uow: &'u mut Uow, run: &'u Self, effect: Effect) -> BoxFuture<'u, Result<(), Error>> {
        Box::pin(async move {
            let (project, story) = (run.project, run.story);
            match effect {
                Effect::Advance => uow.enqueue(advance::job(project, run.id, advance::KIND)),
                Effect::AdvanceAt { at } => {
                    uow.enqueue(advance::job(project, run.id, advance::WAKE).not_before(at))
                }
                Effect::TellAsked { approval } => {
                    uow.tell::<Story>(project, story, &story::Command::Ask { run: run.id, approval }).await
                }
                Effect::TellResumed => {
                    uow.tell::<Story>(project, story, &story::Command::Resume { run: run.id }).await
                }
                Effect::TellSucceeded { result } => succeeded(uow, run, result).await,
                Effect::TellFailed { reason } => {
                    if let Phase::Stalled { .. } | Phase::Failed { .. } = run.phase {
                        alert(uow, run, &reason).await?;
                    }
                    let command = story::Command::FailStage { run: run.id, reason };
                    uow.tell::<Story>(project, story, &command).await
                }
                Effect::WithdrawApproval { approval } => {
                    let reason = "the run that asked was stopped".to_owned();
                    uow.tell::<Approval>(project, approval, &approval::Command::Cancel { reason }).await
                }
                Effect::Release => release(uow, run).await,
            }
        })
    }
}

/// Nothing is left behind by a run that is over: no busy agent, no step without an end, no worktree, no job.
async fn release(uow: &mut Uow, run: &Run) -> Result<(), Error> {
    agents::release(uow, run.project, run.agent, run.id).await?;
    steps::end_open(uow, run.project, run.id).await?;
    if let Phase::Cancelled { .. } = run.phase {
        // Reaches the calls in flight, too, with the next heartbeat of whoever makes them.
        syndarix_jobs::cancel_key(uow.conn().await?, &advance::key(run.id)).await?;
    }
    uow.enqueue(worktree::removal(run.project, run.id))
}

/// Nobody works on the story from here on, and nobody waits for it: people are told.
async fn alert(uow: &mut Uow, run: &Run, reason: &str) -> Result<(), Error> {
    let sentence = format!("The {} of a story has stopped: {reason}", run.stage.name());
    let notice = approvals::Notice::about(format!("run/{}", run.id), "stopped", sentence);
    approvals::notify(uow, run.project, notice).await
}

/// Hands the result to the story, in the words of its stage.
async fn succeeded(uow: &mut Uow, run: &Run, result: RunResult) -> Result<(), Error> {
    let finish = |output| story::Command::FinishStage { run: run.id, output };
    let command = match result.outcome {
        Outcome::Requirements { acceptance } => finish(StageOutput::Analysis { acceptance }),
        Outcome::Architecture { decision } => finish(StageOutput::Design { decision }),
        Outcome::Implementation { head } => {
            push(uow, run, head).await?;
            finish(StageOutput::Implementation)
        }
        Outcome::Approved { head } => finish(StageOutput::Review { head }),
        Outcome::ChangesRequested { from, summary, comments } => {
            let feedback = Feedback { from, summary, comments };
            comment(uow, run, &feedback).await?;
            story::Command::RequestChanges { feedback }
        }
        Outcome::Tests { test_run, passed, report } => {
            story::Command::FinishTests { test_run, passed, report }
        }
    };
    if let Err(refused) = uow.ask::<Story>(run.project, run.story, &command).await? {
        // A story that moved on does not listen to this either; one that still waits for this run must not wait for ever.
        let reason = format!("the result was not accepted: {}", refused.sentence);
        let command = story::Command::FailStage { run: run.id, reason };
        uow.tell::<Story>(run.project, run.story, &command).await?;
    }
    Ok(())
}

/// The pull request learns its new head before the story asks for the review of it.
async fn push(uow: &mut Uow, run: &Run, head: String) -> Result<(), Error> {
    let story: Story = uow.load(run.project, run.story).await?;
    let Some(change) = story.change else { return Ok(()) };
    uow.tell::<PullRequest>(run.project, change.pull_request, &pull_request::Command::Push { head }).await
}

/// What the reviewer said stands on the pull request, too.
async fn comment(uow: &mut Uow, run: &Run, feedback: &Feedback) -> Result<(), Error> {
    let story: Story = uow.load(run.project, run.story).await?;
    let Some(change) = story.change else { return Ok(()) };
    let (author, at) = (uow.actor(), uow.now());
    let summary = (!feedback.summary.trim().is_empty()).then(|| Comment {
        author,
        body: feedback.summary.clone(),
        path: None,
        line: None,
        side: story::Side::New,
        at,
    });
    let lines = feedback.comments.iter().map(|line| Comment {
        author,
        body: line.body.clone(),
        path: Some(line.path.clone()),
        line: line.line,
        side: line.side,
        at,
    });
    for comment in summary.into_iter().chain(lines) {
        let command = pull_request::Command::Comment { comment };
        uow.tell::<PullRequest>(run.project, change.pull_request, &command).await?;
    }
    Ok(())
}
