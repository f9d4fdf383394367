//! Who did something.

use crate::ids::{AgentId, UserId};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The author of a command, kept on every event and audit entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "type", content = "id", rename_all = "snake_case")]
pub enum Actor {
    /// An agent instance, acting within a run.
    Agent(AgentId),
    /// A signed-in person.
    User(UserId),
    /// The platform itself: timers, workers, reconcilers.
    System,
}

impl Actor {
    /// `agent`, `user` or `system`, as in the event envelope.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Agent(_) => "agent",
            Self::User(_) => "user",
            Self::System => "system",
        }
    }

    /// The id behind the actor; the system has none.
    pub fn id(&self) -> Option<Uuid> {
        match self {
            Self::Agent(id) => Some(id.0),
            Self::User(id) => Some(id.0),
            Self::System => None,
        }
    }
}
