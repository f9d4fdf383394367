//! An approval: one question to a human, about exactly what its digest names.
//!
//! Invariants: the first answer wins; expiry is never consent; a decision names the digest of what was shown.

mod decide;
mod evolve;
mod types;

pub use decide::{ALREADY_DECIDED, CHANGED};
pub use types::*;

use crate::{
    Timestamp,
    machine::{Decision, Kind, Machine, Rejection},
    revision::Upgraded,
};

impl Machine for Approval {
    const KIND: Kind = Kind::Approval;
    const PHASES: &'static [&'static str] = &[
        "pending",
        "approved",
        "approved_with_changes",
        "changes_requested",
        "rejected",
        "expired",
        "cancelled",
        "superseded",
    ];
    type Command = Command;
    type Event = Event;
    type Effect = Effect;

    fn decide(state: Option<&Self>, command: &Command, now: Timestamp) -> Result<Decision<Self>, Rejection> {
        decide::decide(state, command, now)
    }

    fn evolve(state: Option<Self>, event: &Event) -> Option<Self> {
        evolve::evolve(state, event)
    }

    fn upgraded(upgraded: Upgraded) -> Event {
        Event::Upgraded(upgraded)
    }

    fn phase(&self) -> &'static str {
        self.phase.name()
    }
}
