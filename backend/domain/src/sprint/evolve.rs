//! How events change a sprint. Total: what does not fit changes nothing.

use super::types::{Event, Phase, Sprint};

pub(super) fn evolve(state: Option<Sprint>, event: &Event) -> Option<Sprint> {
    if let Event::Upgraded(upgraded) = event {
        return upgraded.apply(state);
    }
    let Some(mut sprint) = state else {
        return match event {
            Event::Created { sprint: new, at } => Some(Sprint {
                id: new.id,
                project: new.project,
                name: new.name.clone(),
                goal: new.goal.clone(),
                starts_on: new.starts_on,
                ends_on: new.ends_on,
                asked: None,
                phase: Phase::Planning,
                created_at: *at,
                updated_at: *at,
            }),
            _ => None,
        };
    };
    if sprint.phase.is_terminal() {
        return Some(sprint);
    }
    sprint.updated_at = match event {
        Event::Created { .. } | Event::Upgraded(_) => sprint.updated_at,
        Event::Edited { name, goal, starts_on, ends_on, at } => {
            sprint.name.clone_from(name);
            sprint.goal.clone_from(goal);
            sprint.starts_on = *starts_on;
            sprint.ends_on = *ends_on;
            sprint.asked = None;
            *at
        }
        Event::Asked { approval, at } => {
            sprint.asked = Some(*approval);
            *at
        }
        Event::StoryAdded { at, .. } | Event::StoryRemoved { at, .. } | Event::Declined { at, .. } => {
            sprint.asked = None;
            *at
        }
        Event::Started { at } => {
            sprint.asked = None;
            sprint.phase = Phase::Active { since: *at };
            *at
        }
        Event::ReviewStarted { at, .. } => {
            sprint.phase = Phase::Review { since: *at };
            *at
        }
        Event::Completed { points, at } => {
            sprint.asked = None;
            sprint.phase = Phase::Done { at: *at, points: *points };
            *at
        }
        Event::Cancelled { reason, at } => {
            sprint.asked = None;
            sprint.phase = Phase::Cancelled { reason: reason.clone(), at: *at };
            *at
        }
    };
    Some(sprint)
}
