//! The data of a run: state, commands, events, effects. Prompts and results are not here: they are in the step
//! rows, found by step number.

use crate::{
    Timestamp,
    ids::{AgentId, ApprovalId, ProjectId, RunId, StoryId, TestRunId, UserId},
    money::MicroUsd,
    revision::Upgraded,
    stage::StageName,
    story::LineComment,
};
use serde::{Deserialize, Serialize};

/// One agent instance working one stage of a story.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Its id.
    pub id: RunId,
    /// The project it belongs to.
    pub project: ProjectId,
    /// Who works.
    pub agent: AgentId,
    /// On which story.
    pub story: StoryId,
    /// On which stage of it.
    pub stage: StageName,
    /// What it may use up.
    pub limits: Limits,
    /// Steps begun so far; the next step gets the next number.
    pub steps: u32,
    /// What it has used up.
    pub usage: Usage,
    /// Answers in a row that asked for no tool.
    pub idle_answers: u32,
    /// What the watchdog looks at.
    pub trail: Trail,
    /// Where it stands.
    pub phase: Phase,
    /// When it began.
    pub started_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// What a run may use up; the first limit reached ends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Model calls and tool calls together; the last answer may still make one call, to hand on its result.
    pub max_steps: u32,
    /// Input and output tokens together.
    pub max_tokens: u64,
    /// Money, real and simulated alike.
    pub max_cost: MicroUsd,
    /// Working time in seconds; waiting for people does not count.
    pub max_seconds: u32,
}

/// What model calls have used up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens sent.
    pub input_tokens: u64,
    /// Tokens received.
    pub output_tokens: u64,
    /// Real money.
    pub cost: MicroUsd,
    /// What the scripted endpoint would have cost. Never added to real money.
    pub simulated_cost: MicroUsd,
}

impl Usage {
    /// The sum of two.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            input_tokens: self.input_tokens.saturating_add(other.input_tokens),
            output_tokens: self.output_tokens.saturating_add(other.output_tokens),
            cost: self.cost.plus(other.cost),
            simulated_cost: self.simulated_cost.plus(other.simulated_cost),
        }
    }
}

/// The recent past, as the watchdog needs it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trail {
    /// Digests of the last tool calls (name and arguments), oldest first.
    pub calls: Vec<String>,
    /// Tool calls since the last one that made something new.
    pub since_artefact: u32,
    /// Seconds spent waiting so far: they do not count as working time.
    pub waited_seconds: i64,
}

/// Where a run stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case")]
pub enum Phase {
    /// Created; nothing done yet.
    Started,
    /// A model call is due, or under way as this step.
    Thinking {
        /// The recorded step; `None` while it is only due.
        step: Option<u32>,
    },
    /// The model asked for these tool calls.
    Acting {
        /// All of them, in the model's order.
        calls: Vec<Call>,
    },
    /// Parked: no task, no memory, no lease.
    Waiting {
        /// For what.
        wait: Wait,
        /// What it goes on with.
        resume: Resume,
        /// Since when.
        since: Timestamp,
    },
    /// The stage is finished.
    Succeeded {
        /// What it hands on.
        result: RunResult,
        /// When.
        at: Timestamp,
    },
    /// It cannot go on.
    Failed {
        /// Why.
        reason: String,
        /// When.
        at: Timestamp,
    },
    /// The watchdog stopped it: it turned in circles.
    Stalled {
        /// What the watchdog saw.
        reason: String,
        /// When.
        at: Timestamp,
    },
    /// Somebody stopped it, or its story moved on without it.
    Cancelled {
        /// Why.
        reason: String,
        /// When.
        at: Timestamp,
    },
}

impl Phase {
    /// As the API names it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Thinking { .. } => "thinking",
            Self::Acting { .. } => "acting",
            Self::Waiting { .. } => "waiting",
            Self::Succeeded { .. } => "succeeded",
            Self::Failed { .. } => "failed",
            Self::Stalled { .. } => "stalled",
            Self::Cancelled { .. } => "cancelled",
        }
    }

    /// Over for good.
    pub fn is_terminal(&self) -> bool {
        matches!(
            self,
            Self::Succeeded { .. } | Self::Failed { .. } | Self::Stalled { .. } | Self::Cancelled { .. }
        )
    }
}

/// A tool call that the model asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// The model's id for it; the result must carry it back.
    pub id: String,
    /// The tool, as offered to the model.
    pub tool: String,
    /// SHA-256 over name and canonical arguments, hex.
    pub digest: String,
    /// The step that records it, once begun.
    pub step: Option<u32>,
    /// How far it is.
    pub status: CallStatus,
}

/// How far a tool call is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallStatus {
    /// Not begun.
    Pending,
    /// Recorded as begun; no result yet.
    Started,
    /// A human allowed it; not begun.
    Allowed,
    /// Its result is recorded.
    Finished,
}

/// What a parked run waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "on", rename_all = "snake_case")]
pub enum Wait {
    /// A human's decision.
    Approval {
        /// The question.
        approval: ApprovalId,
    },
    /// A human's knowledge.
    Human {
        /// The question.
        approval: ApprovalId,
    },
    /// Every deployment of the model group is rate limited or down.
    RateLimit {
        /// When to try again.
        until: Timestamp,
        /// What the providers said.
        detail: String,
    },
    /// A hard limit would be passed.
    Budget {
        /// Which limit, in words.
        detail: String,
    },
    /// Somebody paused the agent.
    Paused {
        /// Who.
        by: UserId,
    },
}

/// What a parked run goes on with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "with", rename_all = "snake_case")]
pub enum Resume {
    /// A model call.
    Think,
    /// These tool calls.
    Act {
        /// All of them, in the model's order.
        calls: Vec<Call>,
    },
    /// One of these tool calls, which needed leave.
    Leave {
        /// All of them, in the model's order.
        calls: Vec<Call>,
        /// The id of the call that waits.
        call: String,
    },
    /// Its result, which needs a human's approval.
    Result {
        /// All calls of the answer that offered the result.
        calls: Vec<Call>,
        /// The id of the call that offered it.
        call: String,
        /// The offered result.
        result: RunResult,
    },
}

/// What a run hands on to its story.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunResult {
    /// In a few sentences.
    pub summary: String,
    /// How sure the agent is, in percent.
    pub confidence: u8,
    /// What the stage produced.
    pub outcome: Outcome,
}

/// What a stage produced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "stage", rename_all = "snake_case")]
pub enum Outcome {
    /// Analysis: what must be true when the story is done.
    Requirements {
        /// One sentence each.
        acceptance: Vec<String>,
    },
    /// Design: how it is going to be built.
    Architecture {
        /// The decision and its reasons.
        decision: String,
    },
    /// Implementation: the pull request is open, with this head.
    Implementation {
        /// The head commit that is offered.
        head: String,
    },
    /// Review: the diff is good at this head.
    Approved {
        /// The reviewed commit.
        head: String,
    },
    /// Review, by an agent or a human: changes are wanted.
    ChangesRequested {
        /// Who wants them: a name a person understands.
        from: String,
        /// What is wanted.
        summary: String,
        /// Remarks on lines.
        comments: Vec<LineComment>,
    },
    /// Testing: the tests ran.
    Tests {
        /// The recorded run.
        test_run: TestRunId,
        /// Did they pass?
        passed: bool,
        /// The tail of their output.
        report: String,
    },
}

/// What may be asked of a run.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Create it.
    Start(New),
    /// A model call begins: record the intent.
    BeginModelCall,
    /// The model answered.
    FinishModelCall {
        /// The recorded step.
        step: u32,
        /// The tool calls that it asks for.
        calls: Vec<Call>,
        /// What the call used up.
        usage: Usage,
    },
    /// The model call could not be made for good.
    FailModelCall {
        /// The recorded step.
        step: u32,
        /// Why.
        reason: String,
    },
    /// Model calls that gave no answer used this up.
    Charge {
        /// What.
        usage: Usage,
    },
    /// A tool call begins: record the intent.
    BeginToolCall {
        /// The model's id for it.
        call: String,
    },
    /// A tool call has its result.
    FinishToolCall {
        /// The model's id for it.
        call: String,
        /// Did it make something new (a file, a commit, a finding)?
        artefact: bool,
    },
    /// The run offers its result; with an approval, a human must agree first.
    Complete {
        /// The id of the call that offers it.
        call: String,
        /// The result.
        result: RunResult,
        /// The question that gates it.
        gate: Option<ApprovalId>,
    },
    /// A tool call needs a human's leave, or asks a human.
    AskHuman {
        /// The id of the call.
        call: String,
        /// The question.
        approval: ApprovalId,
        /// A question for knowledge, not for leave.
        expertise: bool,
    },
    /// Park it.
    Park {
        /// For what.
        wait: Wait,
    },
    /// A human answered the question that it waits for.
    Answer {
        /// The question.
        approval: ApprovalId,
        /// The answer.
        answer: Answer,
    },
    /// What it waited for (time, budget, a pause) is over.
    Wake,
    /// It cannot go on.
    Fail {
        /// Why.
        reason: String,
    },
    /// The watchdog's timer found no progress.
    Stall {
        /// What it saw.
        reason: String,
    },
    /// Stop it.
    Cancel {
        /// Why.
        reason: String,
    },
}

/// A human's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Answer {
    /// Go on as asked.
    Approved,
    /// Go on with this result instead of the offered one: a human has edited it.
    Edited {
        /// What is handed on.
        result: Box<RunResult>,
    },
    /// Do it differently.
    ChangesRequested {
        /// The human's name.
        from: String,
        /// What is wanted.
        summary: String,
        /// Remarks on lines.
        comments: Vec<LineComment>,
    },
    /// Do not do it.
    Rejected {
        /// The human's name and reason.
        reason: String,
    },
    /// Nobody answered in time: never consent.
    Expired,
}

/// A new run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of Run")]
pub struct New {
    pub id: RunId,
    pub project: ProjectId,
    pub agent: AgentId,
    pub story: StoryId,
    pub stage: StageName,
    pub limits: Limits,
}

/// What has happened to a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data")]
#[expect(missing_docs, reason = "the fields are those of the commands that cause them")]
pub enum Event {
    #[serde(rename = "run.started.v1")]
    Started { run: New, at: Timestamp },
    #[serde(rename = "run.model_call_started.v1")]
    ModelCallStarted { step: u32, at: Timestamp },
    #[serde(rename = "run.model_call_finished.v1")]
    ModelCallFinished { step: u32, calls: Vec<Call>, usage: Usage, at: Timestamp },
    #[serde(rename = "run.model_call_failed.v1")]
    ModelCallFailed { step: u32, reason: String, at: Timestamp },
    #[serde(rename = "run.charged.v1")]
    Charged { usage: Usage, at: Timestamp },
    #[serde(rename = "run.tool_call_started.v1")]
    ToolCallStarted { call: String, tool: String, step: u32, at: Timestamp },
    #[serde(rename = "run.tool_call_finished.v1")]
    ToolCallFinished { call: String, tool: String, step: u32, artefact: bool, at: Timestamp },
    #[serde(rename = "run.waiting.v1")]
    Waiting { wait: Wait, resume: Resume, at: Timestamp },
    #[serde(rename = "run.woken.v1")]
    Woken { answer: Option<Answer>, at: Timestamp },
    #[serde(rename = "run.succeeded.v1")]
    Succeeded { result: RunResult, at: Timestamp },
    #[serde(rename = "run.failed.v1")]
    Failed { reason: String, at: Timestamp },
    #[serde(rename = "run.stalled.v1")]
    Stalled { reason: String, at: Timestamp },
    #[serde(rename = "run.cancelled.v1")]
    Cancelled { reason: String, at: Timestamp },
    #[serde(rename = "run.upgraded.v1")]
    Upgraded(Upgraded),
}

/// What must follow.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Do what is due next: a job.
    Advance,
    /// Do what is due at this time.
    AdvanceAt {
        /// When.
        at: Timestamp,
    },
    /// Tell the story that it waits for a human.
    TellAsked {
        /// The question.
        approval: ApprovalId,
    },
    /// Tell the story that it goes on.
    TellResumed,
    /// Tell the story the result.
    TellSucceeded {
        /// What it hands on.
        result: RunResult,
    },
    /// Tell the story that the stage could not be finished.
    TellFailed {
        /// Why.
        reason: String,
    },
    /// Withdraw the open question.
    WithdrawApproval {
        /// The question.
        approval: ApprovalId,
    },
    /// The agent is free again; its worktree may go.
    Release,
}

impl crate::machine::Command for Command {
    fn name(&self) -> &'static str {
        match self {
            Self::Start(_) => "start",
            Self::BeginModelCall => "begin_model_call",
            Self::FinishModelCall { .. } => "finish_model_call",
            Self::FailModelCall { .. } => "fail_model_call",
            Self::Charge { .. } => "charge",
            Self::BeginToolCall { .. } => "begin_tool_call",
            Self::FinishToolCall { .. } => "finish_tool_call",
            Self::Complete { .. } => "complete",
            Self::AskHuman { .. } => "ask_human",
            Self::Park { .. } => "park",
            Self::Answer { .. } => "answer",
            Self::Wake => "wake",
            Self::Fail { .. } => "fail",
            Self::Stall { .. } => "stall",
            Self::Cancel { .. } => "cancel",
        }
    }
}
