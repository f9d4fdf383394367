//! The last event: what came of a call, and which way it took.

use crate::{db::Error, features::llm::Purpose, state::App};
use serde::Serialize;
use sqlx::{FromRow, PgPool};
use syndarix_llm::{CallError, Cause, Completion, StopReason, inbound::Fault};
use utoipa::ToSchema;
use uuid::Uuid;

/// What came of a call.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PlaygroundEnd {
    /// Its attempts' usage rows carry it.
    call_id: Uuid,
    /// Why the model stopped, such as `end_turn` or `max_tokens`; null when there is no whole answer.
    stop: Option<String>,
    /// Why there is no whole answer.
    error: Option<PlaygroundFailure>,
    /// The cheaper group that was asked instead, since a budget has reached its soft limit, or would not pay for the other.
    downgraded_to: Option<String>,
    /// Every attempt in order; the last one answered, when there is an answer.
    attempts: Vec<PlaygroundAttempt>,
    /// Deployments that were passed over, and why: cooling down, too small a window, a request that it cannot be told.
    skipped: Vec<PlaygroundSkipped>,
    /// Real money, all attempts together, in micro-USD.
    cost_micro_usd: i64,
    /// What scripted endpoints would have cost.
    simulated_micro_usd: i64,
    /// Tokens sent, all attempts together.
    tokens_in: i64,
    /// Tokens received, all attempts together.
    tokens_out: i64,
}

/// Why there is no whole answer.
#[derive(Debug, Serialize, ToSchema)]
struct PlaygroundFailure {
    /// The HTTP status that a client of `/v1` would have got.
    status: u16,
    /// Stable, such as `budget_exceeded`.
    code: &'static str,
    /// For people.
    detail: String,
    /// After how long it is worth asking again.
    retry_after_seconds: Option<u64>,
}

/// One attempt.
#[derive(Debug, Serialize, ToSchema, FromRow)]
struct PlaygroundAttempt {
    /// From 1.
    attempt: i32,
    deployment: String,
    provider: String,
    /// As the provider names it.
    model: String,
    /// settled or failed; reserved where the outcome could not be recorded.
    outcome: String,
    /// Of what kind its failure was: a word as in the health of deployments, or `cancelled`.
    error_kind: Option<String>,
    /// Why it failed.
    error: Option<String>,
    /// From sending to the end.
    latency_ms: Option<i64>,
    /// From sending to the first content.
    first_content_ms: Option<i64>,
    tokens_in: i64,
    tokens_out: i64,
    /// In micro-USD.
    cost_micro_usd: i64,
    /// A scripted endpoint answered: its cost is no real money.
    simulated: bool,
    /// The provider gave no figures: they were counted here.
    estimated: bool,
    /// The price is not known: charged at the dearest rates that are.
    unpriced: bool,
    #[serde(skip)]
    downgraded_to: Option<String>,
}

/// A deployment that was passed over.
#[derive(Debug, Serialize, ToSchema)]
struct PlaygroundSkipped {
    deployment: String,
    reason: String,
}

/// What came of the call, with what is recorded of it.
pub(super) async fn end(
    app: &App,
    purpose: &Purpose,
    result: &Result<Completion, CallError>,
) -> Result<PlaygroundEnd, Error> {
    let failure = result.as_ref().err().map(|error| failure(&Fault::from(error)));
    let causes = match result {
        Ok(completion) => &completion.before,
        Err(error) => error.causes(),
    };
    let stop = result.as_ref().ok().map(|completion| word(&completion.stop));
    let attempts = attempts(app.pool(), purpose).await?;
    Ok(PlaygroundEnd {
        skipped: causes.iter().filter_map(skipped).collect(),
        ..told(purpose, attempts, stop, failure)
    })
}

/// The same without a result: the process stops, or the call is lost.
pub(super) fn cut_off(purpose: &Purpose, fault: &Fault) -> PlaygroundEnd {
    told(purpose, Vec::new(), None, Some(failure(fault)))
}

fn told(
    purpose: &Purpose,
    attempts: Vec<PlaygroundAttempt>,
    stop: Option<String>,
    error: Option<PlaygroundFailure>,
) -> PlaygroundEnd {
    let sum = |field: fn(&PlaygroundAttempt) -> i64| attempts.iter().map(field).sum();
    PlaygroundEnd {
        call_id: purpose.call.0,
        stop,
        error,
        downgraded_to: attempts.iter().find_map(|one| one.downgraded_to.clone()),
        skipped: Vec::new(),
        cost_micro_usd: sum(|one| if one.simulated { 0 } else { one.cost_micro_usd }),
        simulated_micro_usd: sum(|one| if one.simulated { one.cost_micro_usd } else { 0 }),
        tokens_in: sum(|one| one.tokens_in),
        tokens_out: sum(|one| one.tokens_out),
        attempts,
    }
}

async fn attempts(pool: &PgPool, purpose: &Purpose) -> Result<Vec<PlaygroundAttempt>, Error> {
    let rows = sqlx::query_as(
        "select attempt, deployment, provider, model, state as outcome, error_kind, error, latency_ms, first_content_ms, tokens_in,
                tokens_out, cost_micro_usd, simulated, estimated, unpriced, downgraded_to
           from usage where call_id = $1 and project_id = $2 order by attempt",
    )
    .bind(purpose.call.0)
    .bind(purpose.project.0)
    .fetch_all(pool)
    .await?;
    Ok(rows)
}

fn skipped(cause: &Cause) -> Option<PlaygroundSkipped> {
    match cause {
        Cause::Failed { .. } => None,
        Cause::Skipped { deployment, reason } => {
            Some(PlaygroundSkipped { deployment: deployment.clone(), reason: reason.to_string() })
        }
    }
}

fn failure(fault: &Fault) -> PlaygroundFailure {
    PlaygroundFailure {
        status: fault.status,
        code: fault.code,
        detail: fault.message.clone(),
        retry_after_seconds: fault.retry_after,
    }
}

fn word(stop: &StopReason) -> String {
    match stop {
        StopReason::EndTurn => "end_turn".into(),
        StopReason::ToolUse => "tool_use".into(),
        StopReason::MaxTokens => "max_tokens".into(),
        StopReason::StopSequence => "stop_sequence".into(),
        StopReason::Refusal => "refusal".into(),
        StopReason::Other(word) => word.clone(),
    }
}
