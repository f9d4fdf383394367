//! What a question answers to each command.

use super::types::{Approval, Command, Decided, Effect, Event, Outcome, Phase, Request};
use crate::{
    Timestamp,
    machine::{Command as _, Decision, Kind, Rejection},
};
use serde_json::Value;

type Answer = Result<Decision<Approval>, Rejection>;

/// The guard's name when somebody else was quicker; the API adds who, when and what.
pub const ALREADY_DECIDED: &str = "already_decided";
/// The guard's name when what was asked has changed since it was shown.
pub const CHANGED: &str = "changed";

pub(super) fn decide(state: Option<&Approval>, command: &Command, now: Timestamp) -> Answer {
    let Some(approval) = state else {
        return match command {
            Command::Ask(request) => Ok(ask(request, now)),
            other => Err(Rejection::illegal(Kind::Approval, "nothing", other.name(), &["nothing"])),
        };
    };
    let pending = approval.phase == Phase::Pending;
    match command {
        Command::Ask(_) => Err(Rejection::guard("exists", "this question was asked already")),
        Command::Decide { digest, decided } => answer(approval, digest, decided),
        // Timers and withdrawals may come after the answer: that is not an error.
        _ if !pending => Ok(Decision::nothing()),
        Command::Remind => {
            let escalated = approval.reminders > 0;
            let sentence = format!("still waiting for an answer: {}", approval.request.title);
            let step = approval.request.remind_at.map(|first| first - approval.created_at);
            let again = step.filter(|_| !escalated).map(|step| Effect::SetReminder { at: now + step });
            Ok(Decision::of(Event::Reminded { escalated, at: now })
                .then(Effect::Notify { sentence })
                .then_some(again))
        }
        Command::Expire => Ok(Decision::of(Event::Expired { at: now })
            .then(Effect::ClearTimers)
            .then(Effect::Answer { subject: approval.request.subject.clone(), decided: None })),
        Command::Cancel { reason } => {
            Ok(Decision::of(Event::Cancelled { reason: reason.clone(), at: now }).then(Effect::ClearTimers))
        }
        Command::Supersede { reason } => {
            Ok(Decision::of(Event::Superseded { reason: reason.clone(), at: now }).then(Effect::ClearTimers))
        }
    }
}

fn ask(request: &Request, now: Timestamp) -> Decision<Approval> {
    let sentence = request.title.clone();
    Decision::of(Event::Requested { request: Box::new(request.clone()), at: now })
        .then(Effect::Notify { sentence })
        .then_some(request.remind_at.map(|at| Effect::SetReminder { at }))
        .then_some(request.expires_at.map(|at| Effect::SetExpiry { at }))
}

fn answer(approval: &Approval, digest: &str, decided: &Decided) -> Answer {
    match &approval.phase {
        Phase::Pending => {}
        Phase::Decided(first) => {
            return Err(Rejection::guard(
                ALREADY_DECIDED,
                format!("somebody was quicker: this was {} already", first.outcome.name().replace('_', " ")),
            ));
        }
        phase => {
            return Err(Rejection::guard(
                ALREADY_DECIDED,
                format!("this question is {} and takes no answer any more", phase.name()),
            ));
        }
    }
    if digest != approval.request.digest {
        return Err(Rejection::guard(CHANGED, "what is asked has changed since it was shown: look again"));
    }
    match decided.outcome {
        Outcome::ApprovedWithChanges if !approval.request.editable => {
            return Err(Rejection::guard("editable", "the arguments of this request cannot be changed"));
        }
        // Null is no arguments: stored as JSON, the two could not be told apart.
        Outcome::ApprovedWithChanges if decided.arguments.as_ref().is_none_or(Value::is_null) => {
            return Err(Rejection::guard("arguments", "send the changed arguments, or approve as asked"));
        }
        Outcome::Approved | Outcome::ChangesRequested | Outcome::Rejected if decided.arguments.is_some() => {
            return Err(Rejection::guard(
                "arguments",
                "changed arguments come with `approved_with_changes` only",
            ));
        }
        Outcome::ChangesRequested | Outcome::Rejected
            if decided.note.trim().is_empty() && decided.comments.is_empty() =>
        {
            return Err(Rejection::guard("note", "say what is wanted: a note or a comment on a line"));
        }
        _ => {}
    }
    Ok(Decision::of(Event::Decided(decided.clone()))
        .then(Effect::ClearTimers)
        .then(Effect::Answer { subject: approval.request.subject.clone(), decided: Some(decided.clone()) }))
}
