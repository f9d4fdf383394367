//! The data of a story: state, commands, events, effects.

use crate::{
    Timestamp,
    ids::{ApprovalId, ProjectId, PullRequestId, RunId, SprintId, StoryId, TestRunId},
    revision::Upgraded,
    stage::StageName,
};
use serde::{Deserialize, Serialize};

/// What a client asked for, and how far it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Story {
    /// Its id.
    pub id: StoryId,
    /// The project it belongs to.
    pub project: ProjectId,
    /// 1, 2, 3 ... within the project.
    pub number: i64,
    /// One line.
    pub title: String,
    /// What is wanted, in the client's words.
    pub description: String,
    /// Estimated effort; velocity is computed from it.
    pub points: Option<u16>,
    /// The sprint it is planned in.
    pub sprint: Option<SprintId>,
    /// What the analysis found must be true when it is done.
    pub acceptance: Vec<String>,
    /// What the design stage decided.
    pub design: Option<String>,
    /// The branch and pull request of the current attempt.
    pub change: Option<Change>,
    /// How often work was sent back to implementation.
    pub round: u32,
    /// What was sent back with it, newest last; handed to the engineer's next run.
    pub feedback: Vec<Feedback>,
    /// Where it stands.
    pub phase: Phase,
    /// When the client wrote it.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// The branch that carries a story's work, and the pull request that offers it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The pull request.
    pub pull_request: PullRequestId,
    /// Its head branch.
    pub branch: String,
}

/// Where a story stands. The data of a phase is in its variant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case")]
pub enum Phase {
    /// Somebody works on it, or should.
    Working {
        /// Which stage.
        stage: Stage,
        /// Who, since when.
        work: Work,
        /// Since when it is in this stage.
        since: Timestamp,
    },
    /// Merged and tested.
    Done {
        /// When.
        at: Timestamp,
        /// The merge commit.
        commit: String,
        /// The passing test run that proves it.
        test_run: TestRunId,
    },
    /// Somebody must do something first.
    Blocked {
        /// The stage to go back to.
        from: Stage,
        /// What is in the way.
        reason: String,
        /// Since when.
        at: Timestamp,
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
    /// As the API names it: a working story is named by its stage.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Working { stage, .. } => stage.name().name(),
            Self::Done { .. } => "done",
            Self::Blocked { .. } => "blocked",
            Self::Cancelled { .. } => "cancelled",
        }
    }

    /// Over for good.
    pub fn is_terminal(&self) -> bool {
        matches!(self, Self::Done { .. } | Self::Cancelled { .. })
    }
}

/// A working stage with what it needs to exist at all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case")]
pub enum Stage {
    /// Requirements and acceptance criteria.
    Analysis,
    /// How it is going to be built.
    Design,
    /// Branch, commits, pull request.
    Implementation,
    /// Reading the diff of this pull request; merging it.
    Review {
        /// The pull request under review.
        pull_request: PullRequestId,
    },
    /// The project's own tests on this commit.
    Testing {
        /// The merge commit.
        commit: String,
    },
}

impl Stage {
    /// Its name without its data.
    pub fn name(&self) -> StageName {
        match self {
            Self::Analysis => StageName::Analysis,
            Self::Design => StageName::Design,
            Self::Implementation => StageName::Implementation,
            Self::Review { .. } => StageName::Review,
            Self::Testing { .. } => StageName::Testing,
        }
    }
}

/// Who works on the current stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case")]
pub enum Work {
    /// Nobody has started it yet: the client presses start.
    Idle,
    /// A run is going to be started.
    Queued {
        /// Since when.
        since: Timestamp,
    },
    /// An agent works on it.
    Running {
        /// Its run.
        run: RunId,
        /// Since when.
        since: Timestamp,
    },
    /// The run is parked until a human answers.
    Asking {
        /// Its run.
        run: RunId,
        /// The open question.
        approval: ApprovalId,
        /// Since when.
        since: Timestamp,
    },
    /// The pull request is approved and waits in the merge queue.
    Merging {
        /// Since when.
        since: Timestamp,
    },
}

/// Why work was sent back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Feedback {
    /// Who or what sent it back: a name a person understands.
    pub from: String,
    /// What is wanted.
    pub summary: String,
    /// Remarks on lines of the diff.
    pub comments: Vec<LineComment>,
}

/// A remark on a line of a diff.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineComment {
    /// The file, as the diff names it.
    pub path: String,
    /// The line on that side, from 1.
    pub line: Option<u32>,
    /// Which side of the diff the line number counts on.
    #[serde(default)]
    pub side: Side,
    /// The remark.
    pub body: String,
}

/// A side of a diff.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// Before the change.
    Old,
    /// After the change.
    #[default]
    New,
}

/// What a finished stage hands on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "stage", rename_all = "snake_case")]
pub enum StageOutput {
    /// The analyst's findings.
    Analysis {
        /// What must be true when the story is done.
        acceptance: Vec<String>,
    },
    /// The architect's decision.
    Design {
        /// How it is going to be built.
        decision: String,
    },
    /// The engineer has offered a pull request.
    Implementation,
    /// The review passed for this head commit, by an agent and, where the policy asks, by a human.
    Review {
        /// The commit that was reviewed: an approval is for one head.
        head: String,
    },
}

/// What may be asked of a story.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Write it.
    Create(New),
    /// Let the agents begin.
    Start,
    /// A run has been started for the current stage.
    BeginRun {
        /// The run.
        run: RunId,
        /// The stage that it was made for.
        stage: StageName,
    },
    /// The run asks a human.
    Ask {
        /// The run.
        run: RunId,
        /// The question.
        approval: ApprovalId,
    },
    /// The run goes on.
    Resume {
        /// The run.
        run: RunId,
    },
    /// The engineer opened a pull request.
    OpenPullRequest(Change),
    /// The run finished its stage.
    FinishStage {
        /// The run.
        run: RunId,
        /// What it hands on.
        output: StageOutput,
    },
    /// The run could not finish its stage.
    FailStage {
        /// The run.
        run: RunId,
        /// Why.
        reason: String,
    },
    /// The review, by an agent or a human, wants changes.
    RequestChanges {
        /// What is wanted.
        feedback: Feedback,
    },
    /// The merge queue merged the pull request.
    Merged {
        /// Which one.
        pull_request: PullRequestId,
        /// The merge commit.
        commit: String,
    },
    /// The merge queue could not merge it.
    MergeFailed {
        /// Which one.
        pull_request: PullRequestId,
        /// Conflicting paths, or another sentence.
        feedback: Feedback,
    },
    /// The project's tests ran on the merged commit.
    FinishTests {
        /// The recorded run.
        test_run: TestRunId,
        /// Did they pass?
        passed: bool,
        /// The tail of their output, for the engineer when they failed.
        report: String,
    },
    /// Something is in the way.
    Block {
        /// What.
        reason: String,
    },
    /// It is out of the way: work the stage again.
    Unblock,
    /// Not wanted any more.
    Cancel {
        /// Why.
        reason: String,
    },
    /// Plan it in another sprint, or in none.
    MoveToSprint {
        /// Where to.
        sprint: Option<SprintId>,
    },
    /// The timer of the stage went off.
    PassDeadline {
        /// The stage it was set for.
        stage: StageName,
        /// When that stage was entered: a timer of an earlier visit is moot.
        since: Timestamp,
    },
}

/// A new story.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of Story")]
pub struct New {
    pub id: StoryId,
    pub project: ProjectId,
    pub number: i64,
    pub title: String,
    pub description: String,
    pub points: Option<u16>,
    pub sprint: Option<SprintId>,
}

/// What has happened to a story.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data")]
#[expect(missing_docs, reason = "the fields are those of the commands that cause them")]
pub enum Event {
    #[serde(rename = "story.created.v1")]
    Created { story: New, at: Timestamp },
    #[serde(rename = "story.started.v1")]
    Started { at: Timestamp },
    #[serde(rename = "story.run_started.v1")]
    RunStarted { run: RunId, at: Timestamp },
    #[serde(rename = "story.asked.v1")]
    Asked { run: RunId, approval: ApprovalId, at: Timestamp },
    #[serde(rename = "story.resumed.v1")]
    Resumed { run: RunId, at: Timestamp },
    #[serde(rename = "story.pull_request_opened.v1")]
    PullRequestOpened { change: Change, at: Timestamp },
    #[serde(rename = "story.stage_finished.v1")]
    StageFinished { run: RunId, output: StageOutput, at: Timestamp },
    #[serde(rename = "story.moved.v1")]
    Moved { stage: Stage, at: Timestamp },
    #[serde(rename = "story.review_passed.v1")]
    ReviewPassed { run: RunId, head: String, at: Timestamp },
    #[serde(rename = "story.changes_requested.v1")]
    ChangesRequested { feedback: Feedback, at: Timestamp },
    #[serde(rename = "story.merged.v1")]
    Merged { pull_request: PullRequestId, commit: String, at: Timestamp },
    #[serde(rename = "story.tests_failed.v1")]
    TestsFailed { test_run: TestRunId, feedback: Feedback, at: Timestamp },
    #[serde(rename = "story.done.v1")]
    Done { commit: String, test_run: TestRunId, at: Timestamp },
    #[serde(rename = "story.blocked.v1")]
    Blocked { reason: String, at: Timestamp },
    #[serde(rename = "story.unblocked.v1")]
    Unblocked { at: Timestamp },
    #[serde(rename = "story.cancelled.v1")]
    Cancelled { reason: String, at: Timestamp },
    #[serde(rename = "story.planned.v1")]
    Planned { sprint: Option<SprintId>, at: Timestamp },
    #[serde(rename = "story.deadline_passed.v1")]
    DeadlinePassed { stage: StageName, escalated: bool, at: Timestamp },
    #[serde(rename = "story.upgraded.v1")]
    Upgraded(Upgraded),
}

/// What must follow.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Start a run of a fitting agent for this stage.
    WorkStage {
        /// The stage.
        stage: StageName,
    },
    /// Tell the pull request that its review begins.
    BeginReview {
        /// Which one.
        pull_request: PullRequestId,
    },
    /// Tell the pull request that this head is approved; it goes to the merge queue.
    Approve {
        /// Which one.
        pull_request: PullRequestId,
        /// The reviewed commit.
        head: String,
    },
    /// Tell the pull request that changes are wanted.
    RequestChanges {
        /// Which one.
        pull_request: PullRequestId,
    },
    /// Close the pull request: the story will not be merged.
    ClosePullRequest {
        /// Which one.
        pull_request: PullRequestId,
    },
    /// Stop the run, if it still goes on.
    CancelRun {
        /// The run.
        run: RunId,
        /// Why.
        reason: String,
    },
    /// Withdraw the question: its answer would change nothing any more.
    WithdrawApproval {
        /// The question.
        approval: ApprovalId,
    },
    /// Wake the story's deadline at this time; earlier deadlines are moot.
    SetDeadline {
        /// The stage it is for.
        stage: StageName,
        /// When the stage was entered.
        since: Timestamp,
        /// When to wake.
        at: Timestamp,
    },
    /// The story is planned in this sprint from now on.
    JoinSprint {
        /// Which one.
        sprint: SprintId,
        /// The one it comes from.
        from: Option<SprintId>,
    },
    /// The story is planned in this sprint no more.
    LeaveSprint {
        /// Which one.
        sprint: SprintId,
        /// The one it goes to.
        to: Option<SprintId>,
    },
    /// No deadline any more.
    ClearDeadline,
    /// Tell people: reminded, or escalated.
    Notify {
        /// The sentence to send.
        sentence: String,
        /// The second deadline is an escalation.
        escalated: bool,
    },
}

impl crate::machine::Command for Command {
    fn name(&self) -> &'static str {
        match self {
            Self::Create(_) => "create",
            Self::Start => "start",
            Self::BeginRun { .. } => "begin_run",
            Self::Ask { .. } => "ask",
            Self::Resume { .. } => "resume",
            Self::OpenPullRequest(_) => "open_pull_request",
            Self::FinishStage { .. } => "finish_stage",
            Self::FailStage { .. } => "fail_stage",
            Self::RequestChanges { .. } => "request_changes",
            Self::Merged { .. } => "merged",
            Self::MergeFailed { .. } => "merge_failed",
            Self::FinishTests { .. } => "finish_tests",
            Self::Block { .. } => "block",
            Self::Unblock => "unblock",
            Self::Cancel { .. } => "cancel",
            Self::MoveToSprint { .. } => "move_to_sprint",
            Self::PassDeadline { .. } => "pass_deadline",
        }
    }
}
