//! Step rows: the intent before, the result after. All SQL about steps is here.
//!
//! The journal of what a run does outside the database. `started` is committed before the call, with the idempotency key
//! (the step's id) and the hash of the request; the end is committed with the transition that uses it. In between, nobody
//! knows: see `resolve`.

use crate::db::{Error, Uow};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use sqlx::{FromRow, PgPool};
use syndarix_domain::{
    Timestamp,
    ids::{ProjectId, RunId, StepId},
};
use syndarix_mcp::Recovery;
use uuid::Uuid;

/// The longest text of a tool result that is kept, in bytes.
pub(super) const MAX_RESULT: usize = 256 * 1024;
/// What is larger as JSON, in bytes, is kept apart from the step, which holds its hash.
const MAX_IN_ROW: usize = 32 * 1024;

/// What is said of a call whose intent is recorded and whose result is not.
pub(super) const INTERRUPTED: &str =
    "This call was interrupted; it is not known whether it took effect. Look before you repeat it.";

/// The beginning of a text, at most so many bytes.
pub(super) fn head(text: &str, max: usize) -> &str {
    let mut end = text.len().min(max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// What is about to be done.
#[derive(Debug, Clone)]
pub(super) struct Intent {
    pub(super) run: RunId,
    pub(super) number: u32,
    pub(super) kind: &'static str,
    pub(super) server: Option<String>,
    pub(super) name: String,
    pub(super) call_id: Option<String>,
    pub(super) request: Value,
    pub(super) target: Option<String>,
    pub(super) fence: i64,
    /// What the tool's definition allows after an interruption.
    pub(super) recovery: Option<Recovery>,
}

/// What was done about a step of which no end was known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Resolution {
    /// Called again with the same key.
    Repeated,
    /// The tool was asked, and it had taken effect.
    Found,
    /// The tool was asked, and it had not: called.
    NotFound,
    /// A human is asked.
    Asked,
    /// A human had it called again, with the same key.
    Allowed,
    /// A human had it left as it is, or nobody answered.
    Declined,
}

impl Resolution {
    /// As stored and shown.
    fn name(self) -> &'static str {
        match self {
            Self::Repeated => "repeated",
            Self::Found => "found",
            Self::NotFound => "not_found",
            Self::Asked => "asked",
            Self::Allowed => "allowed",
            Self::Declined => "declined",
        }
    }
}

/// How it ended.
#[derive(Debug, Clone, Default)]
pub(super) struct Ended {
    pub(super) status: &'static str,
    pub(super) result: Value,
    pub(super) error: Option<String>,
    pub(super) tokens: Option<(i64, i64)>,
    pub(super) cost_micro_usd: i64,
    pub(super) simulated: bool,
    pub(super) lines: Option<(i32, i32)>,
    /// What was done about an interruption before this end; none leaves what is recorded.
    pub(super) resolution: Option<Resolution>,
}

/// A recorded step.
#[derive(Debug, Clone, FromRow)]
pub(super) struct StepRow {
    pub(super) id: Uuid,
    pub(super) number: i32,
    pub(super) kind: String,
    pub(super) name: String,
    pub(super) call_id: Option<String>,
    pub(super) server: Option<String>,
    pub(super) status: String,
    pub(super) request_hash: String,
    pub(super) result: Option<Value>,
    /// What the agent was told with this step.
    pub(super) told: Option<Value>,
}

/// Records an intent.
pub(super) async fn begin(uow: &mut Uow, project: ProjectId, intent: &Intent) -> Result<StepId, Error> {
    let id = StepId(uow.new_id());
    sqlx::query(
        "insert into step (id, project_id, run_id, number, kind, server, name, call_id, status, fence, request, request_hash, target, started_at, recovery)
         values ($1, $2, $3, $4, $5, $6, $7, $8, 'started', $9, $10, $11, $12, $13, $14)",
    )
    .bind(id.0)
    .bind(project.0)
    .bind(intent.run.0)
    .bind(i32::try_from(intent.number).unwrap_or(i32::MAX))
    .bind(intent.kind)
    .bind(&intent.server)
    .bind(&intent.name)
    .bind(&intent.call_id)
    .bind(intent.fence)
    .bind(&intent.request)
    .bind(hash_of(&intent.request))
    .bind(&intent.target)
    .bind(uow.now())
    .bind(intent.recovery.map(Recovery::name))
    .execute(uow.conn().await?)
    .await?;
    Ok(id)
}

/// What a repetition must have in common with the first attempt. serde_json keeps object keys sorted.
pub(super) fn hash_of(request: &Value) -> String {
    hex::encode(Sha256::digest(request.to_string()))
}

/// Records that a step is tried again after its first worker was lost, or a human allowed it.
pub(super) async fn again(uow: &mut Uow, project: ProjectId, step: StepId, fence: i64) -> Result<(), Error> {
    sqlx::query(
        "update step set attempt = attempt + 1, fence = $3, status = 'started', error = null, ended_at = null,
                resolution = case when status = 'unknown' then $4 else resolution end
          where id = $1 and project_id = $2",
    )
    .bind(step.0)
    .bind(project.0)
    .bind(fence)
    .bind(Resolution::Allowed.name())
    .execute(uow.conn().await?)
    .await?;
    Ok(())
}

/// Records that nobody knows whether the step took effect, why, and that a human is asked.
pub(super) async fn doubt(uow: &mut Uow, project: ProjectId, step: StepId, why: &str) -> Result<(), Error> {
    sqlx::query(
        "update step set status = 'unknown', error = $3, resolution = $4 where id = $1 and project_id = $2",
    )
    .bind(step.0)
    .bind(project.0)
    .bind(why)
    .bind(Resolution::Asked.name())
    .execute(uow.conn().await?)
    .await?;
    Ok(())
}

/// Records a result.
pub(super) async fn end(uow: &mut Uow, project: ProjectId, step: StepId, ended: &Ended) -> Result<(), Error> {
    let now: Timestamp = uow.now();
    let (result, hash) = keep(uow, project, &ended.result).await?;
    sqlx::query(
        "update step set status = $3, result = $4, error = $5, tokens_in = $6, tokens_out = $7, cost_micro_usd = $8,
                simulated = $9, additions = $10, deletions = $11, ended_at = $12, result_hash = $13,
                resolution = coalesce($14, resolution)
         where id = $1 and project_id = $2",
    )
    .bind(step.0)
    .bind(project.0)
    .bind(ended.status)
    .bind(result)
    .bind(&ended.error)
    .bind(ended.tokens.map(|(input, _)| input))
    .bind(ended.tokens.map(|(_, output)| output))
    .bind(ended.cost_micro_usd)
    .bind(ended.simulated)
    .bind(ended.lines.map(|(added, _)| added))
    .bind(ended.lines.map(|(_, removed)| removed))
    .bind(now)
    .bind(hash)
    .bind(ended.resolution.map(Resolution::name))
    .execute(uow.conn().await?)
    .await?;
    Ok(())
}

/// What the row holds, and the hash of what is kept apart.
async fn keep(uow: &mut Uow, project: ProjectId, result: &Value) -> Result<(Value, Option<String>), Error> {
    let text = result.to_string();
    if text.len() <= MAX_IN_ROW {
        return Ok((result.clone(), None));
    }
    let hash = hex::encode(Sha256::digest(&text));
    sqlx::query(
        "insert into step_result (project_id, hash, bytes, body) values ($1, $2, $3, $4) on conflict do nothing",
    )
    .bind(project.0)
    .bind(&hash)
    .bind(i32::try_from(text.len()).unwrap_or(i32::MAX))
    .bind(result)
    .execute(uow.conn().await?)
    .await?;
    Ok((json!({ "hash": hash, "bytes": text.len() }), Some(hash)))
}

/// The step of this number, if it has not ended.
pub(super) async fn open(
    uow: &mut Uow,
    project: ProjectId,
    run: RunId,
    number: u32,
) -> Result<Option<StepId>, Error> {
    let id: Option<Uuid> = sqlx::query_scalar(
        "select id from step where project_id = $1 and run_id = $2 and number = $3 and status = 'started'",
    )
    .bind(project.0)
    .bind(run.0)
    .bind(i32::try_from(number).unwrap_or(i32::MAX))
    .fetch_optional(uow.conn().await?)
    .await?;
    Ok(id.map(StepId))
}

/// Ends the steps that a run leaves open when it is over. A result that still comes in takes the place of this.
pub(super) async fn end_open(uow: &mut Uow, project: ProjectId, run: RunId) -> Result<(), Error> {
    let now: Timestamp = uow.now();
    sqlx::query(
        "update step set status = case when status = 'started' then 'interrupted' else status end,
                error = coalesce(error, 'the run was over before this step'), ended_at = $3,
                resolution = case when resolution = 'asked' then 'declined' else resolution end
         where run_id = $1 and project_id = $2 and status in ('started', 'unknown') and ended_at is null",
    )
    .bind(run.0)
    .bind(project.0)
    .bind(now)
    .execute(uow.conn().await?)
    .await?;
    Ok(())
}

/// All steps of a run, in order.
pub(super) async fn of_run(pool: &PgPool, project: ProjectId, run: RunId) -> Result<Vec<StepRow>, Error> {
    let rows = sqlx::query_as(
        "select s.id, s.number, s.kind, s.name, s.server, s.call_id, s.status, s.request_hash,
                coalesce(large.body, s.result) as result, s.request -> 'told' as told
           from step s left join step_result large on large.project_id = s.project_id and large.hash = s.result_hash
          where s.project_id = $1 and s.run_id = $2 order by s.number",
    )
    .bind(project.0)
    .bind(run.0)
    .fetch_all(pool)
    .await?;
    Ok(rows)
}
