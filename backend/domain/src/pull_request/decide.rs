//! What a pull request answers to each command.

use super::types::{Command, Effect, Event, Phase, PullRequest};
use crate::{
    Timestamp,
    machine::{Command as _, Decision, Kind, Machine, Rejection},
};

type Answer = Result<Decision<PullRequest>, Rejection>;

/// Why changes are wanted, where nobody says more.
const ASKED: &str = "changes were requested";
const OPEN: &[&str] = &["submitted", "reviewing", "approved", "changes_requested"];

pub(super) fn decide(state: Option<&PullRequest>, command: &Command, now: Timestamp) -> Answer {
    let Some(pr) = state else {
        return match command {
            Command::Submit(new) => Ok(Decision::of(Event::Submitted { pull_request: new.clone(), at: now })),
            other => Err(Rejection::illegal(Kind::PullRequest, "nothing", other.name(), &["nothing"])),
        };
    };
    match command {
        Command::Submit(_) => Err(Rejection::guard("exists", "this pull request exists already")),
        // Changes that were asked for may turn out to need none, as after a merge that failed for want of space: then the
        // same commits are reviewed again.
        Command::BeginReview => match &pr.phase {
            Phase::Submitted | Phase::ChangesRequested => Ok(Decision::of(Event::Reviewing { at: now })),
            Phase::Reviewing => Ok(Decision::nothing()),
            _ => Err(illegal(pr, command, &["submitted", "changes_requested", "reviewing"])),
        },
        Command::Push { head } => push(pr, command, head, now),
        Command::Approve { head } => approve(pr, command, head, now),
        Command::RequestChanges => match &pr.phase {
            // Somebody looked before the reviewer began: that was the review.
            Phase::Submitted => Ok(Decision::of(Event::Reviewing { at: now }).and(changes(ASKED, &[], now))),
            Phase::Reviewing => Ok(Decision::of(changes(ASKED, &[], now))),
            Phase::ChangesRequested => Ok(Decision::nothing()),
            _ => Err(illegal(pr, command, &["submitted", "reviewing", "changes_requested"])),
        },
        Command::BeginMerge => match &pr.phase {
            Phase::Approved { merging: false, .. } => Ok(Decision::of(Event::Merging { at: now })),
            Phase::Approved { merging: true, .. } => Ok(Decision::nothing()),
            _ => Err(illegal(pr, command, &["approved"])),
        },
        Command::FinishMerge { commit } => match &pr.phase {
            Phase::Approved { merging: true, .. } => {
                Ok(Decision::of(Event::Merged { commit: commit.clone(), at: now })
                    .then(Effect::TellMerged { commit: commit.clone() }))
            }
            Phase::Merged { commit: merged, .. } if merged == commit => Ok(Decision::nothing()),
            _ => Err(illegal(pr, command, &["approved"])),
        },
        Command::FailMerge { conflicts, reason } => match &pr.phase {
            Phase::Approved { .. } => Ok(Decision::of(changes(reason, conflicts, now))
                .then(Effect::TellMergeFailed { reason: reason.clone(), conflicts: conflicts.clone() })),
            _ => Err(illegal(pr, command, &["approved"])),
        },
        Command::Comment { comment } if comment.body.trim().is_empty() => {
            Err(Rejection::guard("body", "a comment needs text"))
        }
        Command::Comment { comment } => Ok(Decision::of(Event::Commented { comment: comment.clone() })),
        Command::Close => match &pr.phase {
            Phase::Merged { .. } => Err(illegal(pr, command, OPEN)),
            Phase::Closed { .. } => Ok(Decision::nothing()),
            Phase::Approved { merging: true, .. } => Err(merging()),
            _ => Ok(Decision::of(Event::Closed { at: now }).then(Effect::WithdrawApprovals)),
        },
    }
}

fn push(pr: &PullRequest, command: &Command, head: &str, now: Timestamp) -> Answer {
    let pushed = Event::Pushed { head: head.to_owned(), at: now };
    match &pr.phase {
        Phase::Merged { .. } | Phase::Closed { .. } => Err(illegal(pr, command, OPEN)),
        _ if pr.head == head => Ok(Decision::nothing()),
        Phase::Approved { merging: true, .. } => Err(merging()),
        Phase::Submitted | Phase::Reviewing => Ok(Decision::of(pushed).then(Effect::SupersedeApprovals)),
        Phase::Approved { .. } | Phase::ChangesRequested => {
            Ok(Decision::of(pushed).and(Event::Reviewing { at: now }).then(Effect::SupersedeApprovals))
        }
    }
}

fn approve(pr: &PullRequest, command: &Command, head: &str, now: Timestamp) -> Answer {
    match &pr.phase {
        Phase::Approved { head: approved, .. } if approved == head => Ok(Decision::nothing()),
        Phase::Reviewing if pr.head == head => {
            Ok(Decision::of(Event::Approved { head: head.to_owned(), at: now }).then(Effect::Merge))
        }
        Phase::Reviewing => Err(Rejection::guard(
            "head",
            format!("an approval is for one head commit: {head} was reviewed, the head is {} now", pr.head),
        )),
        _ => Err(illegal(pr, command, &["reviewing", "approved"])),
    }
}

fn changes(reason: &str, conflicts: &[String], now: Timestamp) -> Event {
    Event::ChangesRequested { reason: reason.to_owned(), conflicts: conflicts.to_vec(), at: now }
}

fn merging() -> Rejection {
    Rejection::guard("merging", "the merge has begun: wait for its outcome")
}

fn illegal(pr: &PullRequest, command: &Command, legal_from: &[&str]) -> Rejection {
    Rejection::illegal(Kind::PullRequest, pr.phase(), command.name(), legal_from)
}
