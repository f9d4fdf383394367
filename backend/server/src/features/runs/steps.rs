//! Step rows: the intent before, the result after. All SQL about steps is here.

use crate::db::{Error, Uow};
use serde_json::Value;
use sha2::{Digest, Sha256};
use sqlx::{FromRow, PgPool};
use syndarix_domain::{
    Timestamp,
    ids::{ProjectId, RunId, StepId},
};
use uuid::Uuid;

/// The newest text of a tool result that is kept in a row, in bytes.
pub(super) const MAX_RESULT: usize = 256 * 1024;

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
}

/// A recorded step.
#[derive(Debug, Clone, FromRow)]
pub(super) struct StepRow {
    pub(super) id: Uuid,
    pub(super) number: i32,
    pub(super) kind: String,
    pub(super) name: String,
    pub(super) call_id: Option<String>,
    pub(super) status: String,
    pub(super) result: Option<Value>,
    /// What the agent was told with this step.
    pub(super) told: Option<Value>,
}

/// Records an intent.
pub(super) async fn begin(uow: &mut Uow, project: ProjectId, intent: &Intent) -> Result<StepId, Error> {
    let id = StepId(uow.new_id());
    let hash = hex::encode(Sha256::digest(intent.request.to_string()));
    sqlx::query(
        "insert into step (id, project_id, run_id, number, kind, server, name, call_id, status, fence, request, request_hash, target, started_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, 'started', $9, $10, $11, $12, $13)",
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
    .bind(hash)
    .bind(&intent.target)
    .bind(uow.now())
    .execute(uow.conn().await?)
    .await?;
    Ok(id)
}

/// Records that a step is tried again after its first worker was lost.
pub(super) async fn again(uow: &mut Uow, project: ProjectId, step: StepId, fence: i64) -> Result<(), Error> {
    sqlx::query("update step set attempt = attempt + 1, fence = $3 where id = $1 and project_id = $2")
        .bind(step.0)
        .bind(project.0)
        .bind(fence)
        .execute(uow.conn().await?)
        .await?;
    Ok(())
}

/// Records a result.
pub(super) async fn end(uow: &mut Uow, project: ProjectId, step: StepId, ended: &Ended) -> Result<(), Error> {
    let now: Timestamp = uow.now();
    sqlx::query(
        "update step set status = $3, result = $4, error = $5, tokens_in = $6, tokens_out = $7, cost_micro_usd = $8,
                simulated = $9, additions = $10, deletions = $11, ended_at = $12
         where id = $1 and project_id = $2",
    )
    .bind(step.0)
    .bind(project.0)
    .bind(ended.status)
    .bind(&ended.result)
    .bind(&ended.error)
    .bind(ended.tokens.map(|(input, _)| input))
    .bind(ended.tokens.map(|(_, output)| output))
    .bind(ended.cost_micro_usd)
    .bind(ended.simulated)
    .bind(ended.lines.map(|(added, _)| added))
    .bind(ended.lines.map(|(_, removed)| removed))
    .bind(now)
    .execute(uow.conn().await?)
    .await?;
    Ok(())
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
        "update step set status = 'interrupted', error = 'the run was over before this step', ended_at = $3
         where run_id = $1 and project_id = $2 and status = 'started'",
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
        "select id, number, kind, name, call_id, status, result, request -> 'told' as told
         from step where project_id = $1 and run_id = $2 order by number",
    )
    .bind(project.0)
    .bind(run.0)
    .fetch_all(pool)
    .await?;
    Ok(rows)
}
