//! The data of a sprint: state, commands, events, effects.

use crate::{
    Timestamp,
    ids::{ApprovalId, ProjectId, SprintId, StoryId},
    revision::Upgraded,
};
use chrono::NaiveDate;
use serde::{Deserialize, Serialize};

/// A time box of stories.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of New, documented there")]
pub struct Sprint {
    pub id: SprintId,
    pub project: ProjectId,
    pub name: String,
    pub goal: String,
    pub starts_on: Option<NaiveDate>,
    pub ends_on: Option<NaiveDate>,
    /// The question that is open about starting or completing it.
    pub asked: Option<ApprovalId>,
    /// Where it stands.
    pub phase: Phase,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// Where a sprint stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case")]
pub enum Phase {
    /// Stories are being chosen.
    Planning,
    /// The team works.
    Active {
        /// Since when.
        since: Timestamp,
    },
    /// Time is up, or somebody asked for the review.
    Review {
        /// Since when.
        since: Timestamp,
    },
    /// Every story is done or carried over.
    Done {
        /// Since when.
        at: Timestamp,
        /// Points of the stories that were done: the sprint's velocity.
        points: u32,
    },
    /// Not wanted any more.
    Cancelled {
        /// Why.
        reason: String,
        /// Since when.
        at: Timestamp,
    },
}

impl Phase {
    /// As the API names it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Planning => "planning",
            Self::Active { .. } => "active",
            Self::Review { .. } => "review",
            Self::Done { .. } => "done",
            Self::Cancelled { .. } => "cancelled",
        }
    }

    /// Over for good.
    pub fn is_terminal(&self) -> bool {
        matches!(self, Self::Done { .. } | Self::Cancelled { .. })
    }
}

/// What may be asked of a sprint.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Plan it.
    Create(New),
    /// Change goal, name or dates while it is planned.
    Edit {
        /// The new name.
        name: String,
        /// The new goal.
        goal: String,
        /// The new first day.
        starts_on: Option<NaiveDate>,
        /// The new last day.
        ends_on: Option<NaiveDate>,
    },
    /// A story is planned in it.
    AddStory {
        /// The story.
        story: StoryId,
        /// The sprint it comes from: it was carried over.
        from: Option<SprintId>,
    },
    /// A story is planned in it no more.
    RemoveStory {
        /// The story.
        story: StoryId,
        /// The sprint it goes to: it was carried over.
        to: Option<SprintId>,
    },
    /// Let the team begin; with an approval, a human must agree first.
    Start {
        /// How many stories are planned in it.
        stories: u32,
        /// The question that gates it.
        gate: Option<ApprovalId>,
    },
    /// Go into review before time is up.
    RequestReview,
    /// The timer of its last day went off.
    TimeUp,
    /// Finish it; with an approval, a human must agree first.
    Complete {
        /// Stories that are neither done nor cancelled and stay in it.
        unfinished: Vec<StoryId>,
        /// Points of the stories that are done.
        points: u32,
        /// The question that gates it.
        gate: Option<ApprovalId>,
    },
    /// The open question was not answered with yes.
    Decline {
        /// The question.
        approval: ApprovalId,
    },
    /// Not wanted any more.
    Cancel {
        /// Why.
        reason: String,
    },
}

/// A new sprint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct New {
    /// Its id.
    pub id: SprintId,
    /// The project it belongs to.
    pub project: ProjectId,
    /// A short name.
    pub name: String,
    /// What it is for.
    pub goal: String,
    /// Its first day.
    pub starts_on: Option<NaiveDate>,
    /// Its last day.
    pub ends_on: Option<NaiveDate>,
}

/// What has happened to a sprint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data")]
#[expect(missing_docs, reason = "the fields are those of the commands that cause them")]
pub enum Event {
    #[serde(rename = "sprint.created.v1")]
    Created { sprint: New, at: Timestamp },
    #[serde(rename = "sprint.edited.v1")]
    Edited {
        name: String,
        goal: String,
        starts_on: Option<NaiveDate>,
        ends_on: Option<NaiveDate>,
        at: Timestamp,
    },
    #[serde(rename = "sprint.story_added.v1")]
    StoryAdded { story: StoryId, from: Option<SprintId>, at: Timestamp },
    #[serde(rename = "sprint.story_removed.v1")]
    StoryRemoved { story: StoryId, to: Option<SprintId>, at: Timestamp },
    #[serde(rename = "sprint.asked.v1")]
    Asked { approval: ApprovalId, at: Timestamp },
    #[serde(rename = "sprint.declined.v1")]
    Declined { approval: ApprovalId, at: Timestamp },
    #[serde(rename = "sprint.started.v1")]
    Started { at: Timestamp },
    #[serde(rename = "sprint.review_started.v1")]
    ReviewStarted { time_up: bool, at: Timestamp },
    #[serde(rename = "sprint.completed.v1")]
    Completed { points: u32, at: Timestamp },
    #[serde(rename = "sprint.cancelled.v1")]
    Cancelled { reason: String, at: Timestamp },
    #[serde(rename = "sprint.upgraded.v1")]
    Upgraded(Upgraded),
}

/// What must follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Wake the sprint after its last day.
    SetTimeUp {
        /// When.
        at: Timestamp,
    },
    /// No timer any more.
    ClearTimeUp,
    /// Withdraw the open question.
    WithdrawApproval {
        /// The question.
        approval: ApprovalId,
    },
    /// The open question is about what the sprint was: it is moot, and whoever asked is told.
    SupersedeApproval {
        /// The question.
        approval: ApprovalId,
    },
}

impl crate::machine::Command for Command {
    fn name(&self) -> &'static str {
        match self {
            Self::Create(_) => "create",
            Self::Edit { .. } => "edit",
            Self::AddStory { .. } => "add_story",
            Self::RemoveStory { .. } => "remove_story",
            Self::Start { .. } => "start",
            Self::RequestReview => "request_review",
            Self::TimeUp => "time_up",
            Self::Complete { .. } => "complete",
            Self::Decline { .. } => "decline",
            Self::Cancel { .. } => "cancel",
        }
    }
}
