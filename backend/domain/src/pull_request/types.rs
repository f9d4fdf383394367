//! The data of a pull request: state, commands, events, effects.

use crate::{
    Timestamp,
    actor::Actor,
    ids::{ProjectId, PullRequestId, StoryId},
    revision::Upgraded,
    story::Side,
};
use serde::{Deserialize, Serialize};

/// A branch offered for merging.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of New, documented there")]
pub struct PullRequest {
    pub id: PullRequestId,
    pub project: ProjectId,
    pub story: Option<StoryId>,
    pub number: i64,
    pub title: String,
    pub body: String,
    pub head_branch: String,
    pub base_branch: String,
    /// The newest commit of the head branch that the platform knows.
    pub head: String,
    /// Remarks, oldest first.
    pub comments: Vec<Comment>,
    /// Where it stands.
    pub phase: Phase,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// A remark on a pull request or on a line of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "a remark's ordinary parts")]
pub struct Comment {
    pub author: Actor,
    pub body: String,
    pub path: Option<String>,
    pub line: Option<u32>,
    #[serde(default)]
    pub side: Side,
    pub at: Timestamp,
}

/// Where a pull request stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case")]
pub enum Phase {
    /// Opened; nobody looks at it yet.
    Submitted,
    /// A reviewer looks at it.
    Reviewing,
    /// Good to merge at this head, and in the merge queue.
    Approved {
        /// The approved commit.
        head: String,
        /// The merge has begun: from here on only its outcome counts.
        merging: bool,
    },
    /// The author must change something.
    ChangesRequested,
    /// In the base branch.
    Merged {
        /// The merge commit.
        commit: String,
        /// When.
        at: Timestamp,
    },
    /// Given up.
    Closed {
        /// When.
        at: Timestamp,
    },
}

impl Phase {
    /// As the API names it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Submitted => "submitted",
            Self::Reviewing => "reviewing",
            Self::Approved { .. } => "approved",
            Self::ChangesRequested => "changes_requested",
            Self::Merged { .. } => "merged",
            Self::Closed { .. } => "closed",
        }
    }

    /// Over for good.
    pub fn is_terminal(&self) -> bool {
        matches!(self, Self::Merged { .. } | Self::Closed { .. })
    }
}

/// What may be asked of a pull request.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Open it.
    Submit(New),
    /// A reviewer begins.
    BeginReview,
    /// The head branch has new commits.
    Push {
        /// Its new head.
        head: String,
    },
    /// Good to merge, at this head only.
    Approve {
        /// The commit that was reviewed.
        head: String,
    },
    /// The author must change something.
    RequestChanges,
    /// The merge queue takes it.
    BeginMerge,
    /// It is in the base branch.
    FinishMerge {
        /// The merge commit.
        commit: String,
    },
    /// It could not be merged.
    FailMerge {
        /// Conflicting paths; empty when the reason is another.
        conflicts: Vec<String>,
        /// What happened, in a sentence.
        reason: String,
    },
    /// Remark.
    Comment {
        /// The remark.
        comment: Comment,
    },
    /// Give it up.
    Close,
}

/// A new pull request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct New {
    /// Its id.
    pub id: PullRequestId,
    /// The project it belongs to.
    pub project: ProjectId,
    /// The story it is for.
    pub story: Option<StoryId>,
    /// 1, 2, 3 ... within the project.
    pub number: i64,
    /// One line.
    pub title: String,
    /// What and why.
    pub body: String,
    /// The branch that is offered.
    pub head_branch: String,
    /// The branch that it is offered for.
    pub base_branch: String,
    /// The head commit at opening.
    pub head: String,
}

/// What has happened to a pull request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data")]
#[expect(missing_docs, reason = "the fields are those of the commands that cause them")]
pub enum Event {
    #[serde(rename = "pr.submitted.v1")]
    Submitted { pull_request: New, at: Timestamp },
    #[serde(rename = "pr.reviewing.v1")]
    Reviewing { at: Timestamp },
    #[serde(rename = "pr.pushed.v1")]
    Pushed { head: String, at: Timestamp },
    #[serde(rename = "pr.approved.v1")]
    Approved { head: String, at: Timestamp },
    #[serde(rename = "pr.changes_requested.v1")]
    ChangesRequested { reason: String, conflicts: Vec<String>, at: Timestamp },
    #[serde(rename = "pr.merging.v1")]
    Merging { at: Timestamp },
    #[serde(rename = "pr.merged.v1")]
    Merged { commit: String, at: Timestamp },
    #[serde(rename = "pr.commented.v1")]
    Commented { comment: Comment },
    #[serde(rename = "pr.closed.v1")]
    Closed { at: Timestamp },
    #[serde(rename = "pr.upgraded.v1")]
    Upgraded(Upgraded),
}

/// What must follow.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Put it into the repository's merge queue: a job.
    Merge,
    /// Tell the story that it is merged.
    TellMerged {
        /// The merge commit.
        commit: String,
    },
    /// Tell the story that it could not be merged.
    TellMergeFailed {
        /// What happened.
        reason: String,
        /// Conflicting paths.
        conflicts: Vec<String>,
    },
    /// Open questions about the old head are moot: new ones take their place.
    SupersedeApprovals,
    /// Open questions are moot, and nothing takes their place.
    WithdrawApprovals,
}

impl crate::machine::Command for Command {
    fn name(&self) -> &'static str {
        match self {
            Self::Submit(_) => "submit",
            Self::BeginReview => "begin_review",
            Self::Push { .. } => "push",
            Self::Approve { .. } => "approve",
            Self::RequestChanges => "request_changes",
            Self::BeginMerge => "begin_merge",
            Self::FinishMerge { .. } => "finish_merge",
            Self::FailMerge { .. } => "fail_merge",
            Self::Comment { .. } => "comment",
            Self::Close => "close",
        }
    }
}
