//! The stages that agents work, and the roles that work them.

use serde::{Deserialize, Serialize};

/// A working state of a story.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StageName {
    /// Requirements and acceptance criteria.
    Analysis,
    /// How it is going to be built.
    Design,
    /// Branch, commits, pull request.
    Implementation,
    /// Reading the diff; merging.
    Review,
    /// The project's own tests on the merged commit.
    Testing,
}

impl StageName {
    /// All stages, in the order in which a story passes them.
    pub const ALL: [Self; 5] =
        [Self::Analysis, Self::Design, Self::Implementation, Self::Review, Self::Testing];

    /// As the API and the tables name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Analysis => "analysis",
            Self::Design => "design",
            Self::Implementation => "implementation",
            Self::Review => "review",
            Self::Testing => "testing",
        }
    }

    /// The roles that may work this stage, best first.
    pub fn roles(self) -> &'static [Role] {
        match self {
            Self::Analysis => &[Role::Analyst, Role::ProductOwner],
            Self::Design => &[Role::Architect],
            Self::Implementation => &[Role::Engineer],
            Self::Review => &[Role::Reviewer],
            Self::Testing => &[Role::Qa],
        }
    }

    /// How long an owner may take before being reminded; twice this, and it is escalated.
    pub fn deadline(self) -> chrono::Duration {
        chrono::Duration::hours(match self {
            Self::Analysis | Self::Design => 8,
            Self::Implementation => 24,
            Self::Review => 48,
            Self::Testing => 4,
        })
    }
}

/// What an agent type is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names are the roles' ordinary names")]
pub enum Role {
    ProductOwner,
    Analyst,
    Architect,
    Engineer,
    Reviewer,
    Qa,
    Devops,
    Security,
    Writer,
    Data,
}

impl Role {
    /// As agent type files and the API name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::ProductOwner => "product_owner",
            Self::Analyst => "analyst",
            Self::Architect => "architect",
            Self::Engineer => "engineer",
            Self::Reviewer => "reviewer",
            Self::Qa => "qa",
            Self::Devops => "devops",
            Self::Security => "security",
            Self::Writer => "writer",
            Self::Data => "data",
        }
    }
}
