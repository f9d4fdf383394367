//! The data of an approval: state, commands, events, effects.

use crate::{
    Timestamp,
    actor::Actor,
    ids::{AgentId, ApprovalId, ProjectId, PullRequestId, RunId, SprintId, StoryId, UserId},
    policy::{Action, Category},
    revision::Upgraded,
    story::LineComment,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One question to a human.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Approval {
    /// What was asked, and about what exactly.
    pub request: Request,
    /// How often people were reminded.
    pub reminders: u32,
    /// It was passed on to somebody else after nobody answered.
    pub escalated: bool,
    /// Where it stands.
    pub phase: Phase,
    /// When it was asked.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// Its id.
    pub id: ApprovalId,
    /// The project it belongs to.
    pub project: ProjectId,
    /// What waits for the answer.
    pub subject: Subject,
    /// What would be done.
    pub action: Action,
    /// Why it is asked.
    pub category: Category,
    /// The policy line that decided to ask, as a sentence.
    pub rule: String,
    /// One line.
    pub title: String,
    /// What a human needs to know, in a few sentences.
    pub summary: String,
    /// Who asks.
    pub requested_by: Actor,
    /// The story that it is about.
    pub story: Option<StoryId>,
    /// The pull request that it is about.
    pub pull_request: Option<PullRequestId>,
    /// What exactly is asked for; editable where `editable` says so.
    pub arguments: Value,
    /// The approver may change the arguments.
    pub editable: bool,
    /// SHA-256 over action, arguments and, for a pull request, its head: what the decision binds to. Hex.
    pub digest: String,
    /// How sure the agent is, in percent.
    pub confidence: Option<u8>,
    /// What else could be done.
    pub alternatives: Vec<String>,
    /// When people are reminded.
    pub remind_at: Option<Timestamp>,
    /// When the question lapses.
    pub expires_at: Option<Timestamp>,
}

/// What waits for the answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Subject {
    /// A parked run.
    Run {
        /// Which one.
        run: RunId,
    },
    /// A sprint that should start or be completed.
    Sprint {
        /// Which one.
        sprint: SprintId,
        /// Completing, not starting.
        complete: bool,
    },
    /// An agent that should join the project; what it is spawned from is in the arguments.
    Agent {
        /// The id that it will have.
        agent: AgentId,
    },
}

/// Where a question stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case")]
pub enum Phase {
    /// Nobody has answered.
    Pending,
    /// A human has.
    Decided(Decided),
    /// Nobody answered in time.
    Expired {
        /// Since when.
        at: Timestamp,
    },
    /// Withdrawn: what asked is gone.
    Cancelled {
        /// Why.
        reason: String,
        /// Since when.
        at: Timestamp,
    },
    /// What it was about has changed; a new question replaces it.
    Superseded {
        /// Why.
        reason: String,
        /// Since when.
        at: Timestamp,
    },
}

impl Phase {
    /// As the API names it: a decided question is named by its outcome.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Decided(decided) => decided.outcome.name(),
            Self::Expired { .. } => "expired",
            Self::Cancelled { .. } => "cancelled",
            Self::Superseded { .. } => "superseded",
        }
    }
}

/// A human's decision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Decided {
    /// The answer.
    pub outcome: Outcome,
    /// Who.
    pub by: UserId,
    /// When.
    pub at: Timestamp,
    /// Why, in their words.
    pub note: String,
    /// Remarks on lines of the diff, sent together.
    pub comments: Vec<LineComment>,
    /// The arguments that hold now, where the approver changed them.
    pub arguments: Option<Value>,
}

/// The answers a human can give.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Do it.
    Approved,
    /// Do it with these arguments instead.
    ApprovedWithChanges,
    /// Do it differently.
    ChangesRequested,
    /// Do not do it.
    Rejected,
}

impl Outcome {
    /// As the API names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Approved => "approved",
            Self::ApprovedWithChanges => "approved_with_changes",
            Self::ChangesRequested => "changes_requested",
            Self::Rejected => "rejected",
        }
    }
}

/// What may be asked of a question.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Ask it.
    Ask(Box<Request>),
    /// Answer it.
    Decide {
        /// The digest of what the human was shown.
        digest: String,
        /// The answer.
        decided: Decided,
    },
    /// The reminder's timer went off.
    Remind,
    /// The expiry's timer went off.
    Expire,
    /// What asked is gone.
    Cancel {
        /// Why.
        reason: String,
    },
    /// What it was about has changed.
    Supersede {
        /// Why.
        reason: String,
    },
}

/// What has happened to a question.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data")]
#[expect(missing_docs, reason = "the fields are those of the commands that cause them")]
pub enum Event {
    #[serde(rename = "approval.requested.v1")]
    Requested { request: Box<Request>, at: Timestamp },
    #[serde(rename = "approval.decided.v1")]
    Decided(Decided),
    #[serde(rename = "approval.reminded.v1")]
    Reminded { escalated: bool, at: Timestamp },
    #[serde(rename = "approval.expired.v1")]
    Expired { at: Timestamp },
    #[serde(rename = "approval.cancelled.v1")]
    Cancelled { reason: String, at: Timestamp },
    #[serde(rename = "approval.superseded.v1")]
    Superseded { reason: String, at: Timestamp },
    #[serde(rename = "approval.upgraded.v1")]
    Upgraded(Upgraded),
}

/// What must follow.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Tell people that they are asked, or still asked.
    Notify {
        /// The sentence to send.
        sentence: String,
    },
    /// Remind at this time.
    SetReminder {
        /// When.
        at: Timestamp,
    },
    /// Lapse at this time.
    SetExpiry {
        /// When.
        at: Timestamp,
    },
    /// No timers any more.
    ClearTimers,
    /// Hand the answer to what waits for it.
    Answer {
        /// What waits.
        subject: Subject,
        /// The answer; `None` when nobody answered in time.
        decided: Option<Decided>,
    },
}

impl crate::machine::Command for Command {
    fn name(&self) -> &'static str {
        match self {
            Self::Ask(_) => "ask",
            Self::Decide { .. } => "decide",
            Self::Remind => "remind",
            Self::Expire => "expire",
            Self::Cancel { .. } => "cancel",
            Self::Supersede { .. } => "supersede",
        }
    }
}
