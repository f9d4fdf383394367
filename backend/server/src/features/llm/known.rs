//! An answer that was known already: it cost nothing, and is recorded like any other.

use super::call::Purpose;
use crate::{
    db::{Error, storable},
    state::App,
};
use syndarix_llm::Completion;

/// Records that an answer was given again. Its tokens are none: nobody was asked.
pub async fn record_known(
    app: &App,
    purpose: &Purpose,
    (group, completion): (&str, &Completion),
) -> Result<(), Error> {
    sqlx::query(
        "insert into usage (id, project_id, story_id, run_id, step_id, agent_id, key_id, call_id, attempt, fence,
                            deployment, provider, model, model_group, state, simulated, from_cache,
                            reserved_micro_usd, at, settled_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8,
                 1 + (select coalesce(max(attempt), 0) from usage where call_id = $8 and project_id = $2), $9,
                 $10, $11, $12, $13, 'settled', $14, true, 0, $15, $15)",
    )
    .bind(app.store.new_id())
    .bind(purpose.project.0)
    .bind(purpose.story.map(|id| id.0))
    .bind(purpose.run.map(|id| id.0))
    .bind(purpose.step.map(|(id, _)| id.0))
    .bind(purpose.agent.map(|id| id.0))
    .bind(purpose.key.map(|id| id.0))
    .bind(purpose.call.0)
    .bind(purpose.step.map(|(_, fence)| fence))
    .bind(&completion.deployment)
    .bind(&completion.provider)
    .bind(storable(&completion.model))
    .bind(group)
    .bind(completion.simulated)
    .bind(app.clock().now())
    .execute(app.pool())
    .await?;
    Ok(())
}
