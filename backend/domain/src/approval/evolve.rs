//! How events change a question. Total: what does not fit changes nothing.

use super::types::{Approval, Event, Phase};

pub(super) fn evolve(state: Option<Approval>, event: &Event) -> Option<Approval> {
    if let Event::Upgraded(upgraded) = event {
        return upgraded.apply(state);
    }
    let Some(mut approval) = state else {
        return match event {
            Event::Requested { request, at } => Some(Approval {
                request: (**request).clone(),
                reminders: 0,
                escalated: false,
                phase: Phase::Pending,
                created_at: *at,
                updated_at: *at,
            }),
            _ => None,
        };
    };
    if approval.phase != Phase::Pending {
        return Some(approval);
    }
    approval.updated_at = match event {
        Event::Requested { .. } | Event::Upgraded(_) => approval.updated_at,
        Event::Decided(decided) => {
            approval.phase = Phase::Decided(decided.clone());
            decided.at
        }
        Event::Reminded { escalated, at } => {
            approval.reminders += 1;
            approval.escalated |= *escalated;
            *at
        }
        Event::Expired { at } => {
            approval.phase = Phase::Expired { at: *at };
            *at
        }
        Event::Cancelled { reason, at } => {
            approval.phase = Phase::Cancelled { reason: reason.clone(), at: *at };
            *at
        }
        Event::Superseded { reason, at } => {
            approval.phase = Phase::Superseded { reason: reason.clone(), at: *at };
            *at
        }
    };
    Some(approval)
}
