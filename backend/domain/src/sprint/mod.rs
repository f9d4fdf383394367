//! A sprint: planning -> active -> review -> done.
//!
//! Invariants: it starts with a goal, dates and at least one story; it ends only when every story is done or carried over.
//! A question about it is about what it was when it was asked: any change of it or of its stories supersedes the question.

mod decide;
mod evolve;
mod types;

pub use types::*;

use crate::{
    Timestamp,
    machine::{Decision, Kind, Machine, Rejection},
    revision::Upgraded,
};

impl Machine for Sprint {
    const KIND: Kind = Kind::Sprint;
    const PHASES: &'static [&'static str] = &["planning", "active", "review", "done", "cancelled"];
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
