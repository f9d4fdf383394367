//! A story: analysis -> design -> implementation -> review -> testing -> done.
//!
//! Invariants: review needs a pull request; testing needs its merge commit; done needs a recorded passing test
//! run; blocked remembers the stage it came from; a finished story never changes again.

mod decide;
mod evolve;
mod types;

pub use decide::MAX_ROUNDS;
pub use types::*;

use crate::{
    Timestamp,
    machine::{Decision, Kind, Machine, Rejection},
    revision::Upgraded,
};

impl Machine for Story {
    const KIND: Kind = Kind::Story;
    const PHASES: &'static [&'static str] =
        &["analysis", "design", "implementation", "review", "testing", "done", "blocked", "cancelled"];
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
