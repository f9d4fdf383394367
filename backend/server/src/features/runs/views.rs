//! Runs and their steps as the API shows them.

use super::waiting::{Circumstances, Waiting, waiting};
use crate::features::agents::Limits;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::{FromRow, types::Json};
use syndarix_domain::{
    Timestamp,
    machine::Machine as _,
    run::{self, Phase, Resume, Run, RunResult},
};
use utoipa::ToSchema;
use uuid::Uuid;

/// A run: one agent working one stage of a story.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = Run)]
pub struct RunView {
    /// Its id.
    pub id: Uuid,
    /// The story that it works on.
    pub story_id: Uuid,
    /// Who works.
    pub agent: RunAgent,
    /// analysis, design, implementation, review, testing.
    pub stage: String,
    /// started, thinking, acting, waiting, succeeded, failed, stalled, cancelled.
    pub state: String,
    /// Why it does not go on at this moment.
    pub waiting: Option<Waiting>,
    /// Why it failed, stalled or was cancelled.
    pub reason: Option<String>,
    /// What it says of its result, offered or handed on.
    pub summary: Option<String>,
    /// How sure it is of it, 0 to 1.
    pub confidence: Option<f64>,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// When it ended.
    pub ended_at: Option<DateTime<Utc>>,
    /// Model calls and tool calls so far.
    pub steps_count: u32,
    /// Tokens sent.
    pub tokens_in: i64,
    /// Tokens received.
    pub tokens_out: i64,
    /// Real money so far, in micro-USD.
    pub cost_micro_usd: i64,
    /// What the scripted endpoint would have cost, in micro-USD.
    pub simulated_micro_usd: i64,
    /// What it may use up.
    pub limits: Limits,
    /// The version of its last event.
    pub version: i64,
}

/// The agent of a run.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RunAgent {
    /// Its id.
    pub id: Uuid,
    /// Its name.
    pub name: String,
    /// What it is for.
    pub role: String,
}

/// A run with its steps.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RunDetail {
    /// The run.
    #[serde(flatten)]
    pub run: RunView,
    /// What it did, in order.
    pub steps: Vec<StepView>,
}

/// A run of a story with its steps.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct TimelineItem {
    /// The run.
    pub run: RunView,
    /// What it did, in order.
    pub steps: Vec<StepView>,
}

/// A model call or a tool call.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema, FromRow)]
#[schema(as = Step)]
pub struct StepView {
    /// Its id; the idempotency key of a tool call.
    pub id: Uuid,
    /// The run that it belongs to.
    pub run_id: Uuid,
    /// 1, 2, 3 ... within the run.
    pub number: i32,
    /// model or tool.
    pub kind: String,
    /// The model group, or the tool.
    pub name: String,
    /// The tool's server.
    pub server: Option<String>,
    /// started, done, failed, unknown, interrupted.
    pub status: String,
    /// What the tool's definition allows when the call is interrupted: repeat (with the same key), trace (ask the tool
    /// whether it took effect), human (ask a person).
    pub recovery: Option<String>,
    /// What was done about an interruption: repeated, found, not_found, asked, allowed, declined.
    pub resolution: Option<String>,
    /// When its intent was recorded.
    pub started_at: DateTime<Utc>,
    /// When its result was recorded.
    pub ended_at: Option<DateTime<Utc>>,
    /// From intent to result, in milliseconds.
    pub duration_ms: Option<i64>,
    /// How often it was begun: more than once after a worker was lost.
    pub attempt: i32,
    /// In micro-USD.
    pub cost_micro_usd: i64,
    /// The cost is the scripted endpoint's: no real money.
    pub simulated: bool,
    /// Tokens sent.
    pub tokens_in: Option<i64>,
    /// Tokens received.
    pub tokens_out: Option<i64>,
    /// What was asked for.
    pub input: Value,
    /// What came back: a tool's text, or a model's answer. Long ones are cut, with a note at the end.
    pub output: Option<Value>,
    /// What went wrong.
    pub error: Option<String>,
    /// What it was about, in one line.
    pub target: Option<String>,
    /// Lines added.
    pub additions: Option<i32>,
    /// Lines removed.
    pub deletions: Option<i32>,
}

impl StepView {
    /// The step as it stood then: what came of it later was not there.
    pub(super) fn until(self, then: Timestamp) -> Self {
        if self.ended_at.is_none_or(|ended| ended <= then) {
            return self;
        }
        Self {
            status: "started".into(),
            ended_at: None,
            duration_ms: None,
            cost_micro_usd: 0,
            tokens_in: None,
            tokens_out: None,
            output: None,
            error: None,
            target: None,
            additions: None,
            deletions: None,
            ..self
        }
    }
}

/// A recorded run of the project's tests.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema, FromRow)]
#[schema(as = TestRun)]
pub struct TestRunView {
    /// Its id.
    pub id: Uuid,
    /// The run that asked for it.
    pub run_id: Uuid,
    /// The tested commit; empty when the run's own worktree was tested.
    pub commit: String,
    /// What was run.
    pub command: String,
    /// It ended with success.
    pub passed: bool,
    /// As the system gave it; null when it was killed.
    pub exit_code: Option<i32>,
    /// Its duration in milliseconds.
    pub duration_ms: i64,
    /// The tail of what it printed.
    pub output: String,
    /// How strongly it was shut in.
    pub isolation: String,
    /// When it ended.
    pub at: DateTime<Utc>,
}

/// A run row with what its view needs beside the state.
#[derive(Debug, FromRow)]
pub(super) struct RunRow {
    pub(super) version: i64,
    pub(super) state: Json<Run>,
    pub(super) agent_name: Option<String>,
    pub(super) agent_role: Option<String>,
    pub(super) tokens_in: i64,
    pub(super) tokens_out: i64,
    pub(super) cost: i64,
    pub(super) simulated: i64,
    #[sqlx(flatten)]
    pub(super) around: Circumstances,
}

impl From<RunRow> for RunView {
    fn from(row: RunRow) -> Self {
        let Json(run) = row.state;
        let (reason, ended_at) = ending(&run.phase);
        let result = result(&run.phase);
        Self {
            id: run.id.0,
            story_id: run.story.0,
            agent: RunAgent {
                id: run.agent.0,
                name: row.agent_name.unwrap_or_else(|| "a former agent".into()),
                role: row.agent_role.unwrap_or_default(),
            },
            stage: run.stage.name().into(),
            state: run.phase().into(),
            waiting: waiting(&run.phase, &row.around),
            summary: result.map(|result| result.summary.clone()),
            confidence: result.map(|result| f64::from(result.confidence) / 100.0),
            reason,
            started_at: run.started_at,
            ended_at,
            steps_count: run.steps,
            tokens_in: row.tokens_in,
            tokens_out: row.tokens_out,
            cost_micro_usd: row.cost,
            simulated_micro_usd: row.simulated,
            limits: limits(run.limits),
            version: row.version,
        }
    }
}

fn limits(limits: run::Limits) -> Limits {
    Limits {
        max_steps: limits.max_steps,
        max_tokens: limits.max_tokens,
        max_cost_micro_usd: limits.max_cost.0,
        max_seconds: limits.max_seconds,
    }
}

fn ending(phase: &Phase) -> (Option<String>, Option<Timestamp>) {
    match phase {
        Phase::Succeeded { at, .. } => (None, Some(*at)),
        Phase::Failed { reason, at } | Phase::Stalled { reason, at } | Phase::Cancelled { reason, at } => {
            (Some(reason.clone()), Some(*at))
        }
        _ => (None, None),
    }
}

/// Handed on, or offered and not agreed to yet.
fn result(phase: &Phase) -> Option<&RunResult> {
    match phase {
        Phase::Succeeded { result, .. } | Phase::Waiting { resume: Resume::Result { result, .. }, .. } => {
            Some(result)
        }
        _ => None,
    }
}
