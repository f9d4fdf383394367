//! Around every attempt: reserve and record before, settle and record after.

use super::call::{Purpose, attempt_usage};
use crate::{
    db::{Author, Error, Store},
    state::App,
};
use async_trait::async_trait;
use serde_json::json;
use sqlx::PgConnection;
use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicI64, Ordering},
};
use syndarix_bus::Hub;
use syndarix_domain::{
    actor::Actor,
    ids::{ProjectId, StepId},
    run::Usage,
};
use syndarix_llm::{AttemptHooks, AttemptIntent, AttemptOutcome, Delta, ProviderKind, RecordFailed, Refused};

/// The refusal's code when a hard limit would be passed.
pub(super) const BUDGET: &str = "budget_exceeded";
/// The refusal's code when only what other calls reserve is in the way: most of it comes back when they settle.
pub(super) const RESERVED: &str = "budget_reserved";
/// The refusal's code when the intent could not be written.
const NOT_RECORDED: &str = "not_recorded";

/// Records the attempts of one call.
pub(super) struct Recorder {
    store: Store,
    hub: Hub,
    purpose: Purpose,
    /// Attempts of this step that an earlier worker made.
    earlier: i32,
    used: Mutex<Usage>,
    /// What the last refused attempt may have cost, in micro-USD.
    needed: AtomicI64,
}

impl Recorder {
    pub(super) async fn new(app: &App, purpose: Purpose) -> Result<Self, Error> {
        let earlier: i32 = sqlx::query_scalar(
            "select coalesce(max(attempt), 0) from usage where step_id = $1 and project_id = $2",
        )
        .bind(purpose.step.0)
        .bind(purpose.project.0)
        .fetch_one(app.pool())
        .await?;
        let (used, needed) = (Mutex::default(), AtomicI64::new(0));
        Ok(Self { store: app.store.clone(), hub: app.hub.clone(), purpose, earlier, used, needed })
    }

    pub(super) fn usage(&self) -> Usage {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn needed(&self) -> i64 {
        self.needed.load(Ordering::Acquire)
    }

    fn attempt(&self, n: u32) -> i32 {
        self.earlier.saturating_add(i32::try_from(n).unwrap_or(i32::MAX))
    }

    async fn reserve(&self, intent: &AttemptIntent<'_>) -> Result<Result<(), Refused>, Error> {
        let amount = intent.worst_case_cost_micro_usd;
        let mut tx = self.store.pool().begin().await?;
        if !take(&mut tx, self.purpose.project, amount).await? {
            self.needed.store(amount, Ordering::Release);
            let refused = refusal(&mut tx, self.purpose.project, amount).await?;
            return Ok(Err(refused));
        }
        let purpose = &self.purpose;
        sqlx::query(
            "insert into usage (id, project_id, story_id, run_id, step_id, agent_id, attempt, deployment, provider, model,
                                state, reserved_micro_usd, unpriced, simulated, fence, at)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 'reserved', $11, $12, $13, $14, $15)",
        )
        .bind(self.store.new_id())
        .bind(purpose.project.0)
        .bind(purpose.story.0)
        .bind(purpose.run.0)
        .bind(purpose.step.0)
        .bind(purpose.agent.0)
        .bind(self.attempt(intent.n))
        .bind(&intent.deployment.name)
        .bind(intent.deployment.vendor())
        .bind(&intent.deployment.model)
        .bind(amount)
        .bind(intent.price.is_unknown())
        .bind(intent.deployment.provider == ProviderKind::Scripted)
        .bind(purpose.fence)
        .bind(self.store.clock().now())
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(Ok(()))
    }

    async fn settle(&self, outcome: &AttemptOutcome<'_>) -> Result<(), Error> {
        let cost = outcome.cost.micro_usd;
        let purpose = &self.purpose;
        let mut uow = self.store.begin(Author::of(Actor::Agent(purpose.agent))).await?;
        let (model, error) = match outcome.result {
            Ok(completion) => (completion.model.clone(), None),
            Err(error) => (outcome.deployment.model.clone(), Some(error.to_string())),
        };
        let reserved: Option<i64> = sqlx::query_scalar(
            "update usage set state = $4, cost_micro_usd = $5, tokens_in = $6, tokens_out = $7, tokens_cached = $8,
                    tokens_reasoning = $9, latency_ms = $10, estimated = $11, simulated = $12, error = $13,
                    model = $14, settled_at = $15
             where step_id = $1 and attempt = $2 and project_id = $3 and state = 'reserved'
             returning reserved_micro_usd",
        )
        .bind(purpose.step.0)
        .bind(self.attempt(outcome.n))
        .bind(purpose.project.0)
        .bind(if error.is_none() { "settled" } else { "failed" })
        .bind(cost)
        .bind(i64::from(outcome.usage.prompt()))
        .bind(i64::from(outcome.usage.output))
        .bind(i64::from(outcome.usage.cache_read))
        .bind(i64::from(outcome.usage.reasoning))
        .bind(i64::try_from(outcome.latency_ms).unwrap_or(i64::MAX))
        .bind(outcome.usage.estimated)
        .bind(outcome.simulated)
        .bind(&error)
        .bind(&model)
        .bind(uow.now())
        .fetch_optional(uow.conn())
        .await?;
        // No row: another worker took the step over and settled this attempt as interrupted.
        let Some(reserved) = reserved else { return Ok(()) };
        let data = json!({
            "run_id": purpose.run, "step_id": purpose.step, "model": model, "cost_micro_usd": cost,
            "simulated": outcome.simulated, "tokens_in": outcome.usage.prompt(), "tokens_out": outcome.usage.output,
            "failed": error.is_some(),
        });
        uow.announce(purpose.project, "usage", purpose.step, "cost.recorded.v1", data);
        give(uow.conn(), purpose.project, reserved, cost, outcome.simulated).await?;
        uow.commit().await?;
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        *used = used.plus(attempt_usage(&outcome.usage, cost, outcome.simulated));
        Ok(())
    }
}

/// Sets the amount aside in one statement: `spent + reserved` cannot pass the limit in any interleaving.
async fn take(conn: &mut PgConnection, project: ProjectId, amount: i64) -> Result<bool, Error> {
    let taken = sqlx::query(
        "update budget set reserved_micro_usd = reserved_micro_usd + $2
         where project_id = $1
           and (hard_limit_micro_usd is null
                or spent_micro_usd + simulated_micro_usd + reserved_micro_usd + $2 <= hard_limit_micro_usd)",
    )
    .bind(project.0)
    .bind(amount)
    .execute(conn)
    .await?;
    Ok(taken.rows_affected() == 1)
}

/// Ends a reservation with the real cost.
async fn give(
    conn: &mut PgConnection,
    project: ProjectId,
    reserved: i64,
    cost: i64,
    simulated: bool,
) -> Result<(), Error> {
    sqlx::query(
        "update budget set reserved_micro_usd = reserved_micro_usd - $2,
                spent_micro_usd = spent_micro_usd + $3, simulated_micro_usd = simulated_micro_usd + $4
         where project_id = $1",
    )
    .bind(project.0)
    .bind(reserved)
    .bind(if simulated { 0 } else { cost })
    .bind(if simulated { cost } else { 0 })
    .execute(conn)
    .await?;
    Ok(())
}

async fn refusal(conn: &mut PgConnection, project: ProjectId, amount: i64) -> Result<Refused, Error> {
    use syndarix_domain::money::MicroUsd;
    let found: Option<(i64, i64, i64)> = sqlx::query_as(
        "select coalesce(hard_limit_micro_usd, 0), spent_micro_usd + simulated_micro_usd, reserved_micro_usd
         from budget where project_id = $1",
    )
    .bind(project.0)
    .fetch_optional(conn)
    .await?;
    let (code, reason) = match found {
        None => (BUDGET, "the project has no budget row".to_owned()),
        Some((limit, spent, reserved)) => (
            if spent + amount <= limit { RESERVED } else { BUDGET },
            format!(
                "the project's hard budget of {} would be passed: {} spent, {} reserved, this call may cost {}",
                MicroUsd(limit),
                MicroUsd(spent),
                MicroUsd(reserved),
                MicroUsd(amount)
            ),
        ),
    };
    Ok(Refused { code: code.into(), reason })
}

/// Whether the project could pay this much now. Holds the budget still until the end of the transaction: who
/// raises it meanwhile sees what was written in it.
pub async fn affordable(conn: &mut PgConnection, project: ProjectId, amount: i64) -> Result<bool, Error> {
    let affordable: Option<bool> = sqlx::query_scalar(
        "select hard_limit_micro_usd is null or spent_micro_usd + simulated_micro_usd + $2 <= hard_limit_micro_usd
         from budget where project_id = $1 for share",
    )
    .bind(project.0)
    .bind(amount)
    .fetch_optional(conn)
    .await?;
    Ok(affordable.unwrap_or(false))
}

/// Settles the attempts of a step whose worker was lost: nobody knows what they cost, so they cost what was
/// reserved, marked as estimated. Returns what that adds up to.
pub async fn settle_interrupted(
    conn: &mut PgConnection,
    project: ProjectId,
    step: StepId,
    now: syndarix_domain::Timestamp,
) -> Result<i64, Error> {
    let open: Vec<(i64, bool)> = sqlx::query_as(
        "update usage set state = 'interrupted', cost_micro_usd = reserved_micro_usd, estimated = true,
                settled_at = $3
         where step_id = $1 and project_id = $2 and state = 'reserved'
         returning reserved_micro_usd, simulated",
    )
    .bind(step.0)
    .bind(project.0)
    .bind(now)
    .fetch_all(&mut *conn)
    .await?;
    let mut total = 0;
    for (reserved, simulated) in open {
        give(conn, project, reserved, reserved, simulated).await?;
        total += reserved;
    }
    Ok(total)
}

#[async_trait]
impl AttemptHooks for Recorder {
    async fn before(&self, intent: &AttemptIntent<'_>) -> Result<(), Refused> {
        match crate::db::retry_conflicts(|| self.reserve(intent)).await {
            Ok(answer) => answer,
            Err(error) => {
                tracing::error!(%error, "cannot record a model call's intent");
                Err(Refused {
                    code: NOT_RECORDED.into(),
                    reason: format!("the intent could not be recorded: {error}"),
                })
            }
        }
    }

    async fn after(&self, outcome: &AttemptOutcome<'_>) -> Result<(), RecordFailed> {
        crate::db::retry_conflicts(|| self.settle(outcome))
            .await
            .map_err(|error| RecordFailed(error.to_string()))
    }

    async fn delta(&self, delta: &Delta) {
        if let Delta::Text { text, .. } = delta {
            let data = json!({ "run_id": self.purpose.run, "text": text });
            self.hub.ephemeral(self.purpose.project, "run.delta", &data);
        }
    }
}
