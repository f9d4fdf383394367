//! What a sprint answers to each command.

use super::types::{Command, Effect, Event, New, Phase, Sprint};
use crate::{
    Timestamp,
    ids::ApprovalId,
    machine::{Command as _, Decision, Kind, Machine, Rejection},
};
use chrono::{NaiveDate, NaiveTime};

type Answer = Result<Decision<Sprint>, Rejection>;

pub(super) fn decide(state: Option<&Sprint>, command: &Command, now: Timestamp) -> Answer {
    let Some(sprint) = state else {
        return match command {
            Command::Create(new) => create(new, now),
            other => Err(Rejection::illegal(Kind::Sprint, "nothing", other.name(), &["nothing"])),
        };
    };
    match command {
        Command::Create(_) => Err(Rejection::guard("exists", "this sprint exists already")),
        Command::Edit { name, goal, starts_on, ends_on } => match &sprint.phase {
            Phase::Planning => {
                check(name, *starts_on, *ends_on)?;
                let edited = Event::Edited {
                    name: name.clone(),
                    goal: goal.clone(),
                    starts_on: *starts_on,
                    ends_on: *ends_on,
                    at: now,
                };
                Ok(changed(sprint, edited))
            }
            _ => Err(illegal(sprint, command, &["planning"])),
        },
        Command::AddStory { story, from } if !sprint.phase.is_terminal() => {
            Ok(changed(sprint, Event::StoryAdded { story: *story, from: *from, at: now }))
        }
        Command::AddStory { .. } => Err(Rejection::guard(
            "sprint",
            format!("the sprint {} is {}: choose one that is not over", sprint.name, sprint.phase()),
        )),
        Command::RemoveStory { story, to } if !sprint.phase.is_terminal() => {
            Ok(changed(sprint, Event::StoryRemoved { story: *story, to: *to, at: now }))
        }
        Command::Start { stories, gate } => start(sprint, command, *stories, *gate, now),
        Command::RequestReview => match &sprint.phase {
            Phase::Active { .. } => Ok(review(false, now)),
            Phase::Review { .. } => Ok(Decision::nothing()),
            _ => Err(illegal(sprint, command, &["active"])),
        },
        // A timer may ring after somebody was quicker: that is not an error.
        Command::TimeUp => match &sprint.phase {
            Phase::Active { .. } => Ok(review(true, now)),
            _ => Ok(Decision::nothing()),
        },
        Command::Complete { unfinished, points, gate } => {
            complete(sprint, command, unfinished.len(), *points, *gate, now)
        }
        Command::Decline { approval } if sprint.asked == Some(*approval) => {
            Ok(Decision::of(Event::Declined { approval: *approval, at: now }))
        }
        // What a cancelled sprint leaves behind may go anywhere; an answer may come when nobody asks any more.
        Command::RemoveStory { .. } | Command::Decline { .. } => Ok(Decision::nothing()),
        Command::Cancel { reason } => match &sprint.phase {
            Phase::Planning | Phase::Active { .. } => {
                let open = sprint.asked.map(|approval| Effect::WithdrawApproval { approval });
                Ok(Decision::of(Event::Cancelled { reason: reason.clone(), at: now })
                    .then(Effect::ClearTimeUp)
                    .then_some(open))
            }
            Phase::Cancelled { .. } => Ok(Decision::nothing()),
            _ => Err(illegal(sprint, command, &["planning", "active"])),
        },
    }
}

fn create(new: &New, now: Timestamp) -> Answer {
    check(&new.name, new.starts_on, new.ends_on)?;
    Ok(Decision::of(Event::Created { sprint: new.clone(), at: now }))
}

fn start(
    sprint: &Sprint,
    command: &Command,
    stories: u32,
    gate: Option<ApprovalId>,
    now: Timestamp,
) -> Answer {
    let Phase::Planning = sprint.phase else {
        return Err(illegal(sprint, command, &["planning"]));
    };
    let (Some(_), Some(last)) = (sprint.starts_on, sprint.ends_on) else {
        return Err(Rejection::guard("dates", "a sprint needs a first and a last day before it can start"));
    };
    if sprint.goal.trim().is_empty() {
        return Err(Rejection::guard("goal", "a sprint needs a goal before it can start"));
    }
    if stories == 0 {
        return Err(Rejection::guard("stories", "a sprint needs at least one story before it can start"));
    }
    if let Some(approval) = gate {
        return ask(sprint, approval, now);
    }
    Ok(Decision::of(Event::Started { at: now }).then(Effect::SetTimeUp { at: end_of(last) }))
}

fn complete(
    sprint: &Sprint,
    command: &Command,
    unfinished: usize,
    points: u32,
    gate: Option<ApprovalId>,
    now: Timestamp,
) -> Answer {
    let Phase::Review { .. } = sprint.phase else {
        return Err(illegal(sprint, command, &["review"]));
    };
    if unfinished > 0 {
        return Err(Rejection::guard(
            "stories",
            format!("{unfinished} stories are not done: finish them or carry them over to another sprint"),
        ));
    }
    if let Some(approval) = gate {
        return ask(sprint, approval, now);
    }
    Ok(Decision::of(Event::Completed { points, at: now }).then(Effect::ClearTimeUp))
}

fn ask(sprint: &Sprint, approval: ApprovalId, now: Timestamp) -> Answer {
    match sprint.asked {
        Some(_) => Err(Rejection::guard("asked", "a human is being asked about this sprint already")),
        None => Ok(Decision::of(Event::Asked { approval, at: now })),
    }
}

fn review(time_up: bool, now: Timestamp) -> Decision<Sprint> {
    Decision::of(Event::ReviewStarted { time_up, at: now }).then(Effect::ClearTimeUp)
}

/// An open question is about the sprint as it was.
fn changed(sprint: &Sprint, event: Event) -> Decision<Sprint> {
    let open = sprint.asked.map(|approval| Effect::SupersedeApproval { approval });
    Decision::of(event).then_some(open)
}

fn check(name: &str, first: Option<NaiveDate>, last: Option<NaiveDate>) -> Result<(), Rejection> {
    if name.trim().is_empty() {
        return Err(Rejection::guard("name", "a sprint needs a name"));
    }
    match (first, last) {
        (Some(first), Some(last)) if last < first => {
            Err(Rejection::guard("dates", "the last day of a sprint is not before its first"))
        }
        _ => Ok(()),
    }
}

/// Midnight after the last day, UTC.
fn end_of(last: NaiveDate) -> Timestamp {
    let midnight = last.succ_opt().unwrap_or(last).and_time(NaiveTime::MIN);
    midnight.and_utc()
}

fn illegal(sprint: &Sprint, command: &Command, legal_from: &[&str]) -> Rejection {
    Rejection::illegal(Kind::Sprint, sprint.phase(), command.name(), legal_from)
}
