//! Which actions a human must agree to. The matrix is data, kept per project; what is here are its defaults
//! and how it is read.

use serde::{Deserialize, Serialize};

/// How much a project lets its agents do alone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Autonomy {
    /// Every significant action is asked.
    FullControl,
    /// Sprint boundaries, merges and major decisions are asked.
    #[default]
    Milestone,
    /// Only critical decisions are asked.
    Autonomous,
}

impl Autonomy {
    /// As the API names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::FullControl => "full_control",
            Self::Milestone => "milestone",
            Self::Autonomous => "autonomous",
        }
    }
}

/// What may need a human's agreement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// What a story must fulfil.
    StoryRequirements,
    /// How a story is going to be built.
    ArchitectureDecision,
    /// Starting a sprint.
    SprintStart,
    /// Completing a sprint.
    SprintComplete,
    /// The result of any other stage.
    StageWork,
    /// A new agent instance.
    AgentSpawn,
    /// A tool call that writes outside the run's worktree.
    ToolWrite,
    /// Merging a pull request.
    PullRequestMerge,
    /// Putting something into production.
    Deployment,
    /// Deleting data.
    DataDelete,
    /// Raising a budget.
    BudgetRaise,
    /// Talking to a host that was not talked to before.
    NewHost,
    /// An agent asks a human for what it does not know.
    HumanInput,
}

impl Action {
    /// A short title for people.
    pub fn title(self) -> &'static str {
        match self {
            Self::StoryRequirements => "requirements of a story",
            Self::ArchitectureDecision => "architecture decision",
            Self::SprintStart => "sprint start",
            Self::SprintComplete => "sprint completion",
            Self::StageWork => "result of a story stage",
            Self::AgentSpawn => "agent spawn",
            Self::ToolWrite => "tool call that writes outside the worktree",
            Self::PullRequestMerge => "pull request merge",
            Self::Deployment => "deployment",
            Self::DataDelete => "deleting data",
            Self::BudgetRaise => "raising a budget",
            Self::NewHost => "new outside host",
            Self::HumanInput => "question to a human",
        }
    }
}

/// Why something is asked; also the lane of the inbox it is shown in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Category {
    /// Always asked.
    Critical,
    /// Asked in full control and milestone.
    Milestone,
    /// Asked in full control.
    Routine,
    /// The agent is not sure enough.
    Uncertainty,
    /// The agent does not know.
    Expertise,
}

/// What a row of the matrix says for one autonomy level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// A human decides.
    Ask,
    /// It happens.
    Auto,
}

/// One action of the matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "one answer for each autonomy level, which is documented")]
pub struct Row {
    pub action: Action,
    pub full_control: Answer,
    pub milestone: Answer,
    pub autonomous: Answer,
}

impl Row {
    /// Follows from who is asked when: the same in every place that shows it.
    pub fn category(self) -> Category {
        match (self.autonomous, self.milestone) {
            _ if self.action == Action::HumanInput => Category::Expertise,
            (Answer::Ask, _) => Category::Critical,
            (Answer::Auto, Answer::Ask) => Category::Milestone,
            (Answer::Auto, Answer::Auto) => Category::Routine,
        }
    }

    fn answer(self, autonomy: Autonomy) -> Answer {
        match autonomy {
            Autonomy::FullControl => self.full_control,
            Autonomy::Milestone => self.milestone,
            Autonomy::Autonomous => self.autonomous,
        }
    }
}

/// A project's policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// One row for each action; a missing row means ask.
    pub rows: Vec<Row>,
    /// Below this confidence, in percent, a human is asked at every level.
    pub threshold: u8,
}

/// The default confidence threshold, in percent.
pub const DEFAULT_THRESHOLD: u8 = 85;

impl Default for Policy {
    fn default() -> Self {
        use Action as A;
        use Answer::{Ask, Auto};
        let rows = [
            (A::StoryRequirements, Ask, Ask, Ask),
            (A::ArchitectureDecision, Ask, Ask, Ask),
            (A::SprintStart, Ask, Ask, Auto),
            (A::SprintComplete, Ask, Ask, Auto),
            (A::StageWork, Ask, Auto, Auto),
            (A::AgentSpawn, Ask, Auto, Auto),
            (A::ToolWrite, Ask, Auto, Auto),
            (A::PullRequestMerge, Ask, Ask, Auto),
            (A::Deployment, Ask, Ask, Ask),
            (A::DataDelete, Ask, Ask, Ask),
            (A::BudgetRaise, Ask, Ask, Ask),
            (A::NewHost, Ask, Ask, Ask),
            (A::HumanInput, Ask, Ask, Ask),
        ];
        let row = |(action, full_control, milestone, autonomous)| Row {
            action,
            full_control,
            milestone,
            autonomous,
        };
        Self { rows: rows.map(row).into(), threshold: DEFAULT_THRESHOLD }
    }
}

/// What a policy says of one action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It happens; the rule says why nobody is asked.
    Auto {
        /// The policy line, as a sentence.
        rule: String,
    },
    /// A human decides.
    Ask {
        /// Why.
        category: Category,
        /// The policy line, as a sentence.
        rule: String,
    },
}

impl Policy {
    /// Reads the matrix. An action without a row is asked: a forgotten line must not mean consent.
    pub fn judge(&self, autonomy: Autonomy, action: Action, confidence: Option<u8>) -> Verdict {
        let row = self.rows.iter().find(|row| row.action == action);
        let level = autonomy.name().replace('_', " ");
        match row {
            None => Verdict::Ask {
                category: Category::Critical,
                rule: format!("the policy has no line for {}: asked", action.title()),
            },
            Some(row) if row.answer(autonomy) == Answer::Ask => Verdict::Ask {
                category: row.category(),
                rule: format!("{}: a person decides at autonomy level {level}", action.title()),
            },
            Some(_) if confidence.is_some_and(|sure| sure < self.threshold) => Verdict::Ask {
                category: Category::Uncertainty,
                rule: format!(
                    "the agent's confidence of {} % is below the project's threshold of {} %",
                    confidence.unwrap_or_default(),
                    self.threshold
                ),
            },
            Some(_) => Verdict::Auto {
                rule: format!("{}: nobody is asked at autonomy level {level}", action.title()),
            },
        }
    }
}
