//! Around every attempt: reserve and record before, settle and record after.

use super::{
    call::Purpose,
    money::{Settlement, give, key_refusal, refusal, take},
};
use crate::{
    db::{Author, Error, storable},
    state::App,
};
use async_trait::async_trait;
use serde_json::json;
use sqlx::PgPool;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering};
use syndarix_domain::ids::{ProjectId, StepId};
use syndarix_llm::{
    AttemptHooks, AttemptIntent, AttemptOutcome, Delta, Grant, ProviderKind, RecordFailed, Refused,
};

/// The refusal's code when the intent could not be written.
const NOT_RECORDED: &str = "not_recorded";

/// Records the attempts of one call.
pub(super) struct Recorder {
    app: App,
    purpose: Purpose,
    /// Attempts of this call that an earlier worker made.
    earlier: i32,
    /// The attempt under way.
    current: AtomicU32,
    /// Whether a scripted endpoint answers it, as far as is known.
    simulated: AtomicBool,
    /// What the last refused attempt may have cost, in micro-USD.
    needed: AtomicI64,
}

impl Recorder {
    pub(super) async fn new(app: &App, purpose: Purpose) -> Result<Self, Error> {
        let earlier = match purpose.step {
            Some((step, _)) => attempts(app.pool(), purpose.project, step).await?,
            None => 0,
        };
        Ok(Self {
            app: app.clone(),
            purpose,
            earlier,
            current: AtomicU32::new(0),
            simulated: AtomicBool::new(false),
            needed: AtomicI64::new(0),
        })
    }

    pub(super) fn needed(&self) -> i64 {
        self.needed.load(Ordering::Acquire)
    }

    fn attempt(&self, n: u32) -> i32 {
        self.earlier.saturating_add(i32::try_from(n).unwrap_or(i32::MAX))
    }

    async fn reserve(&self, intent: &AttemptIntent<'_>) -> Result<Result<(), Refused>, Error> {
        self.current.store(intent.n, Ordering::Release);
        self.simulated.store(intent.deployment.provider == ProviderKind::Scripted, Ordering::Release);
        let amount = intent.worst_case_cost_micro_usd;
        let mut tx = self.app.store.pool().begin().await?;
        if !take(&mut tx, self.purpose.project, amount).await? {
            self.needed.store(amount, Ordering::Release);
            let refused = refusal(&mut tx, self.purpose.project, amount).await?;
            return Ok(Err(refused));
        }
        let purpose = &self.purpose;
        if let Some(key) = purpose.key
            && let Some(refused) = key_refusal(&mut tx, purpose.project, key, amount).await?
        {
            self.needed.store(amount, Ordering::Release);
            return Ok(Err(refused));
        }
        sqlx::query(
            "insert into usage (id, project_id, story_id, run_id, step_id, agent_id, attempt, deployment, provider, model,
                                state, reserved_micro_usd, unpriced, simulated, fence, at, call_id, key_id)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 'reserved', $11, $12, $13, $14, $15, $16, $17)",
        )
        .bind(self.app.store.new_id())
        .bind(purpose.project.0)
        .bind(purpose.story.map(|id| id.0))
        .bind(purpose.run.map(|id| id.0))
        .bind(purpose.step.map(|(id, _)| id.0))
        .bind(purpose.agent.map(|id| id.0))
        .bind(self.attempt(intent.n))
        .bind(&intent.deployment.name)
        .bind(intent.deployment.vendor())
        .bind(&intent.deployment.model)
        .bind(amount)
        .bind(intent.price.is_unknown())
        .bind(self.simulated.load(Ordering::Acquire))
        .bind(purpose.step.map(|(_, fence)| fence))
        .bind(self.app.store.clock().now())
        .bind(purpose.call.0)
        .bind(purpose.key.map(|id| id.0))
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(Ok(()))
    }

    async fn settle(&self, outcome: &AttemptOutcome<'_>) -> Result<(), Error> {
        let cost = outcome.cost.micro_usd;
        let purpose = &self.purpose;
        let mut uow = self.app.store.begin(Author::of(purpose.actor())).await?;
        let (model, error) = match outcome.result {
            Ok(completion) => (storable(&completion.model), None),
            Err(error) => (outcome.deployment.model.clone(), Some(storable(error.to_string()))),
        };
        let rates = outcome.price.rates();
        let reserved: Option<i64> = sqlx::query_scalar(
            "update usage set state = $4, cost_micro_usd = $5, tokens_in = $6, tokens_out = $7, tokens_cached = $8,
                    tokens_reasoning = $9, latency_ms = $10, estimated = $11, simulated = $12, error = $13,
                    model = $14, settled_at = $15, tokens_cache_write = $16, rate_input = $17, rate_output = $18,
                    rate_cache_read = $19, rate_cache_write = $20, price_version = $21, first_content_ms = $22
             where call_id = $1 and attempt = $2 and project_id = $3 and state = 'reserved'
             returning reserved_micro_usd",
        )
        .bind(purpose.call.0)
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
        .bind(i64::from(outcome.usage.cache_write))
        .bind(rates.input)
        .bind(rates.output)
        .bind(rates.cache_read)
        .bind(rates.cache_write)
        .bind(self.app.models.gateway.price_version(outcome.deployment))
        .bind(outcome.first_content_ms.map(|ms| i64::try_from(ms).unwrap_or(i64::MAX)))
        .fetch_optional(uow.conn().await?)
        .await?;
        // No row: another worker took the step over and settled this attempt as interrupted.
        let Some(reserved) = reserved else { return Ok(()) };
        let data = json!({
            "run_id": purpose.run, "step_id": purpose.step.map(|(id, _)| id), "model": model, "cost_micro_usd": cost,
            "simulated": outcome.simulated, "tokens_in": outcome.usage.prompt(), "tokens_out": outcome.usage.output,
            "failed": error.is_some(),
        });
        uow.announce(purpose.project, "usage", purpose.call, "cost.recorded.v1", data);
        let settlement = Settlement { reserved, cost, simulated: outcome.simulated };
        give(&mut uow, purpose.project, settlement).await?;
        uow.commit().await?;
        Ok(())
    }

    /// An endpoint behind a real provider's name says that it is scripted: from here on its cost is no real money,
    /// also if nobody hears the end of its answer.
    async fn note_simulated(&self) {
        if self.simulated.swap(true, Ordering::AcqRel) {
            return;
        }
        let noted = sqlx::query(
            "update usage set simulated = true where call_id = $1 and attempt = $2 and project_id = $3",
        )
        .bind(self.purpose.call.0)
        .bind(self.attempt(self.current.load(Ordering::Acquire)))
        .bind(self.purpose.project.0)
        .execute(self.app.pool())
        .await;
        if let Err(error) = noted {
            tracing::warn!(%error, "cannot note that an attempt is simulated; its settlement will");
        }
    }
}

/// The attempts that a step has had: also those of the version before, which gave them no call.
async fn attempts(pool: &PgPool, project: ProjectId, step: StepId) -> Result<i32, Error> {
    let query = "select coalesce(max(attempt), 0) from usage where step_id = $1 and project_id = $2";
    Ok(sqlx::query_scalar(query).bind(step.0).bind(project.0).fetch_one(pool).await?)
}

#[async_trait]
impl AttemptHooks for Recorder {
    async fn before(&self, intent: &AttemptIntent<'_>) -> Result<Grant, Refused> {
        match crate::db::retry_conflicts(|| self.reserve(intent)).await {
            Ok(answer) => answer.map(|()| intent.granted()),
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
        match delta {
            Delta::Started { simulated: true, .. } => self.note_simulated().await,
            Delta::Text { text, .. } => {
                let simulated = self.simulated.load(Ordering::Acquire);
                // Without a run there is nobody on a screen who reads along.
                let Some(run) = self.purpose.run else { return };
                let data = json!({ "run_id": run, "text": text, "simulated": simulated });
                self.app.hub.ephemeral(self.purpose.project, "run.delta", &data);
            }
            _ => {}
        }
    }
}
