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

    /// Whether one of these roles may work it, as tables name them.
    pub fn is_worked_by(self, agents: &[String]) -> bool {
        self.roles().iter().any(|role| agents.iter().any(|agent| agent == role.name()))
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

/// Whether a project may get one more agent for a stage without anybody's asking for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// It may.
    Free,
    /// Every place is taken.
    Full,
    /// Somebody works this stage already, and the places that are left are for stages that nobody can work yet: a project that
    /// gave them away would stand still there for good.
    Kept,
}

impl Room {
    /// For a stage of a project that has agents of these roles, and may have so many.
    pub fn of(stage: StageName, agents: &[String], limit: usize) -> Self {
        let left = limit.saturating_sub(agents.len());
        let nobodys = StageName::ALL.iter().filter(|stage| !stage.is_worked_by(agents)).count();
        match left {
            0 => Self::Full,
            left if stage.is_worked_by(agents) && left <= nobodys => Self::Kept,
            _ => Self::Free,
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{collection::vec, prelude::*, sample::select};

    fn roles(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn the_last_places_are_for_stages_that_nobody_can_work_yet() {
        let four = roles(&["analyst", "architect", "engineer", "reviewer"]);
        assert_eq!(Room::of(StageName::Implementation, &four, 5), Room::Kept);
        assert_eq!(Room::of(StageName::Testing, &four, 5), Room::Free);
        assert_eq!(Room::of(StageName::Implementation, &four, 6), Room::Free);
        assert_eq!(Room::of(StageName::Testing, &four, 4), Room::Full);
        assert_eq!(Room::of(StageName::Analysis, &roles(&["product_owner"]), 5), Room::Kept);
    }

    proptest! {
        #[test]
        fn whoever_may_have_an_agent_for_each_stage_gets_one_in_whatever_order_they_are_wanted(
            wanted in vec(select(StageName::ALL.to_vec()), 0..40),
            limit in StageName::ALL.len()..12,
        ) {
            let mut agents = Vec::new();
            for stage in wanted.into_iter().chain(StageName::ALL) {
                if Room::of(stage, &agents, limit) == Room::Free {
                    agents.push(stage.roles()[0].name().to_owned());
                }
            }
            prop_assert!(agents.len() <= limit);
            prop_assert!(StageName::ALL.iter().all(|stage| stage.is_worked_by(&agents)), "{agents:?}");
        }
    }
}
