//! A run: one agent instance working one stage of a story.
//!
//! started -> thinking <-> acting -> waiting -> succeeded | failed | stalled | cancelled.
//! Invariants: every step is recorded before and after; every tool call that the model asked for ends with a
//! result; stalled is never success; limits and the watchdog are checked here, where no crash can skip them.

mod decide;
mod evolve;
mod types;
pub mod watchdog;

pub use decide::MAX_IDLE_ANSWERS;
pub use types::*;

use crate::{
    Timestamp,
    machine::{Decision, Kind, Machine, Rejection},
    revision::Upgraded,
};

impl Machine for Run {
    const KIND: Kind = Kind::Run;
    const PHASES: &'static [&'static str] =
        &["started", "thinking", "acting", "waiting", "succeeded", "failed", "stalled", "cancelled"];
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
