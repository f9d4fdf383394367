//! A pull request: submitted -> reviewing -> approved -> merged.
//!
//! Invariants: an approval is for one head commit, new commits take it back; what is being merged cannot be closed;
//! merged and closed are final.

mod decide;
mod evolve;
mod types;

pub use types::*;

use crate::{
    Timestamp,
    machine::{Decision, Kind, Machine, Rejection},
    revision::Upgraded,
};

impl Machine for PullRequest {
    const KIND: Kind = Kind::PullRequest;
    const PHASES: &'static [&'static str] =
        &["submitted", "reviewing", "approved", "changes_requested", "merged", "closed"];
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
