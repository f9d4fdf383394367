//! States across releases: what an earlier release has left behind is mapped, step by step, to what this one reads.
//!
//! Invariants: the mapping is total over what earlier releases wrote, which is known before any state is touched; it is
//! pure, so that an upgrade that is recorded as an event replays to the same state; a state of a later revision is never
//! read.

use crate::{
    Timestamp,
    machine::{Kind, Machine},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// From one revision to the next, for states of one phase.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    /// The phase that the state is in afterwards.
    pub phase: &'static str,
    /// The stored state, changed.
    pub map: fn(Value) -> Value,
}

/// A state that this release cannot take over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unmapped {
    /// A later release wrote it.
    #[error("a {} in `{phase}` is of revision {revision}, and this release knows revisions up to {known} only", .kind.name())]
    Later {
        /// Of which machine.
        kind: Kind,
        /// Its phase.
        phase: String,
        /// Its revision.
        revision: i32,
        /// The newest that is known.
        known: i32,
    },
    /// No step leads from it to this release's revision.
    #[error("a {} in `{phase}` of revision {revision} has no mapping to revision {known}", .kind.name())]
    Missing {
        /// Of which machine.
        kind: Kind,
        /// Its phase.
        phase: String,
        /// Its revision.
        revision: i32,
        /// The revision of this release.
        known: i32,
    },
    /// The mapping gave what does not read: a mistake of this release.
    #[error("a {} in `{phase}` of revision {revision} does not read after its mapping: {why}", .kind.name())]
    Unreadable {
        /// Of which machine.
        kind: Kind,
        /// Its phase.
        phase: String,
        /// Its revision.
        revision: i32,
        /// What does not read.
        why: String,
    },
}

/// The steps from this revision and phase to today's, oldest first; empty for a state of today.
pub fn steps<M: Machine>(revision: i32, phase: &str) -> Result<Vec<Step>, Unmapped> {
    let missing =
        || Unmapped::Missing { kind: M::KIND, phase: phase.to_owned(), revision, known: M::REVISION };
    if revision > M::REVISION {
        let (kind, phase, known) = (M::KIND, phase.to_owned(), M::REVISION);
        return Err(Unmapped::Later { kind, phase, revision, known });
    }
    let mut steps: Vec<Step> = Vec::new();
    for from in revision..M::REVISION {
        let at = steps.last().map_or(phase, |step| step.phase);
        steps.push(M::step(from, at).ok_or_else(missing)?);
    }
    let reached = steps.last().map_or(phase, |step| step.phase);
    if M::PHASES.contains(&reached) { Ok(steps) } else { Err(missing()) }
}

/// A stored state, read as today's.
pub fn read<M: Machine>(revision: i32, phase: &str, state: Value) -> Result<M, Unmapped> {
    let mapped = steps::<M>(revision, phase)?.into_iter().fold(state, |state, step| (step.map)(state));
    serde_json::from_value(mapped).map_err(|error| Unmapped::Unreadable {
        kind: M::KIND,
        phase: phase.to_owned(),
        revision,
        why: error.to_string(),
    })
}

/// The event of an upgrade: the state as it was left, whole, since it does not follow from the events before.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Upgraded {
    /// The revision before.
    pub from: i32,
    /// The revision of `state`.
    pub to: i32,
    /// The phase of `state`.
    pub phase: String,
    /// The state in that revision.
    pub state: Value,
    /// When.
    pub at: Timestamp,
}

impl Upgraded {
    /// The state that it left, as today's; what was there before where that does not read.
    pub fn apply<M: Machine>(&self, before: Option<M>) -> Option<M> {
        read(self.to, &self.phase, self.state.clone()).ok().or(before)
    }
}
