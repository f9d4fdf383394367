//! The shape that every machine has: `decide` and `evolve`, both pure.
//!
//! Invariants: `decide` never changes anything; `evolve` is total, so that a history that was once accepted can
//! always be replayed; a rejection names the guard and the phases from which the command is legal.

use crate::{
    Timestamp,
    revision::{Step, Upgraded},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// The kinds of streams, as stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A time box of stories.
    Sprint,
    /// What a client asked for.
    Story,
    /// A branch offered for merging.
    PullRequest,
    /// One agent working one task.
    Run,
    /// A question that a human decides.
    Approval,
}

impl Kind {
    /// Every kind. No order of locks is promised: a transaction writes the rows in the order of its decisions, and a
    /// deadlock is a conflict, after which it decides again.
    pub const ALL: [Self; 5] = [Self::Approval, Self::Run, Self::PullRequest, Self::Story, Self::Sprint];

    /// The name of the kind in tables, event subjects and paths.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sprint => "sprint",
            Self::Story => "story",
            Self::PullRequest => "pull_request",
            Self::Run => "run",
            Self::Approval => "approval",
        }
    }
}

/// A state machine over an event stream. `None` is the state before the first event.
pub trait Machine:
    Sized + Clone + PartialEq + std::fmt::Debug + Serialize + DeserializeOwned + Send + Sync
{
    /// What kind of stream this is.
    const KIND: Kind;
    /// The revision of the states that this release writes: raised when a stored state of yesterday would not read, or
    /// would mean something else, today. See [`crate::revision`].
    const REVISION: i32 = 1;
    /// The names of all phases of this revision.
    const PHASES: &'static [&'static str];
    /// What may be asked of it.
    type Command: Command;
    /// What has happened to it.
    type Event: Serialize + DeserializeOwned + Clone + PartialEq + std::fmt::Debug + Send + Sync;
    /// What must follow, in the same transaction.
    type Effect: Clone + PartialEq + std::fmt::Debug + Send + Sync;

    /// Answers a command with what happens, or says why it may not.
    fn decide(
        state: Option<&Self>,
        command: &Self::Command,
        now: Timestamp,
    ) -> Result<Decision<Self>, Rejection>;

    /// Folds one event into the state. Total: an event that does not fit leaves the state as it was.
    fn evolve(state: Option<Self>, event: &Self::Event) -> Option<Self>;

    /// The name of the phase, as the API shows it.
    fn phase(&self) -> &'static str;

    /// How a state of an earlier revision, in this phase, becomes one of the next revision. There is one for every phase
    /// that an earlier release could leave behind; `None` is said of what no release has written.
    fn step(revision: i32, phase: &str) -> Option<Step> {
        let _ = (revision, phase);
        None
    }

    /// The event that records an upgrade.
    fn upgraded(upgraded: Upgraded) -> Self::Event;

    /// Replays a history from nothing.
    fn replay<'a>(events: impl IntoIterator<Item = &'a Self::Event>) -> Option<Self>
    where
        Self::Event: 'a,
    {
        events.into_iter().fold(None, Self::evolve)
    }
}

/// A command can say its name, for rejections, audit entries and diagrams.
pub trait Command: Clone + std::fmt::Debug + Send + Sync {
    /// Stable, snake_case.
    fn name(&self) -> &'static str;
}

/// What a machine answers to a legal command.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision<M: Machine> {
    /// What happened, in order; empty when the command was already fulfilled.
    pub events: Vec<M::Event>,
    /// What must follow.
    pub effects: Vec<M::Effect>,
}

impl<M: Machine> Decision<M> {
    /// Nothing to do: the command asks for what is already so.
    pub fn nothing() -> Self {
        Self { events: Vec::new(), effects: Vec::new() }
    }

    /// One event.
    pub fn of(event: M::Event) -> Self {
        Self { events: vec![event], effects: Vec::new() }
    }

    /// And another event.
    #[must_use]
    pub fn and(mut self, event: M::Event) -> Self {
        self.events.push(event);
        self
    }

    /// And what follows from it.
    #[must_use]
    pub fn then(mut self, effect: M::Effect) -> Self {
        self.effects.push(effect);
        self
    }

    /// And what follows from it, where there is something.
    #[must_use]
    pub fn then_some(mut self, effect: Option<M::Effect>) -> Self {
        self.effects.extend(effect);
        self
    }
}

/// A refused command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{sentence}")]
pub struct Rejection {
    /// Stable name of the guard that refused, for programs.
    pub guard: String,
    /// Why, and what to do, for people.
    pub sentence: String,
    /// The phases from which this command is legal.
    pub legal_from: Vec<String>,
}

impl Rejection {
    /// A guard other than the phase refused.
    pub fn guard(guard: &str, sentence: impl Into<String>) -> Self {
        Self { guard: guard.into(), sentence: sentence.into(), legal_from: Vec::new() }
    }

    /// The command is not legal in this phase.
    pub fn illegal(kind: Kind, phase: &str, command: &str, legal_from: &[&str]) -> Self {
        let from = if legal_from.is_empty() { "nowhere".to_owned() } else { legal_from.join(", ") };
        Self {
            guard: "phase".into(),
            sentence: format!(
                "a {} in `{phase}` does not take `{command}`; it is legal from: {from}",
                kind.name().replace('_', " ")
            ),
            legal_from: legal_from.iter().map(|&p| p.to_owned()).collect(),
        }
    }
}
