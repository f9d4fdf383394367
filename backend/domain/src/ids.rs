//! Typed identifiers. Values are made by the application (time-ordered UUIDv7), never here.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};
use uuid::Uuid;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }

        impl From<Uuid> for $name {
            fn from(id: Uuid) -> Self {
                Self(id)
            }
        }

        impl From<$name> for Uuid {
            fn from(id: $name) -> Self {
                id.0
            }
        }
    )*};
}

ids! {
    /// A tenant: users and projects belong to one.
    OrganisationId,
    /// A person with an account.
    UserId,
    /// A piece of work on one git repository; the scope of every query.
    ProjectId,
    /// A time box of stories.
    SprintId,
    /// What a client asked for.
    StoryId,
    /// A branch offered for merging.
    PullRequestId,
    /// A versioned template that agents are spawned from.
    AgentTypeId,
    /// An agent instance.
    AgentId,
    /// One instance working one task.
    RunId,
    /// One model call or tool call of a run.
    StepId,
    /// One call to a model, with all its attempts; that of a step has the step's id.
    CallId,
    /// A virtual key of the model gateway.
    GatewayKeyId,
    /// A question that a human decides.
    ApprovalId,
    /// One run of a project's own test command.
    TestRunId,
    /// A message between agents.
    MessageId,
    /// One event of a stream.
    EventId,
    /// What makes a command from outside safe to repeat.
    CommandId,
}
