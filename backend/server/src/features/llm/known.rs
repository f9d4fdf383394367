//! An answer that was known already: it cost nothing, and is recorded and told of like any other.

use super::call::Purpose;
use crate::{
    db::{Author, Error, storable},
    state::App,
};
use serde_json::json;
use syndarix_llm::Completion;

/// Records that an answer was given again, and says so to whoever watches. Its tokens are none: nobody was asked.
pub async fn record_known(
    app: &App,
    purpose: &Purpose,
    (group, completion): (&str, &Completion),
) -> Result<(), Error> {
    let mut uow = app.store.begin(Author::of(purpose.actor()));
    let (id, now) = (uow.new_id(), uow.now());
    let model = storable(&completion.model);
    sqlx::query(
        "insert into usage (id, project_id, story_id, run_id, step_id, agent_id, key_id, call_id, attempt, fence,
                            deployment, provider, model, model_group, state, simulated, from_cache,
                            reserved_micro_usd, at, settled_at, user_id)
         values ($1, $2, $3, $4, $5, $6, $7, $8,
                 1 + (select coalesce(max(attempt), 0) from usage where call_id = $8 and project_id = $2), $9,
                 $10, $11, $12, $13, 'settled', $14, true, 0, $15, $15, $16)",
    )
    .bind(id)
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
    .bind(&model)
    .bind(group)
    .bind(completion.simulated)
    .bind(now)
    .bind(purpose.user.map(|id| id.0))
    .execute(uow.conn().await?)
    .await?;
    let data = json!({
        "run_id": purpose.run, "step_id": purpose.step.map(|(id, _)| id), "model": model, "cost_micro_usd": 0,
        "simulated": completion.simulated, "tokens_in": 0, "tokens_out": 0, "failed": false, "from_cache": true,
    });
    uow.announce(purpose.project, "usage", purpose.call, "cost.recorded.v1", data);
    uow.commit().await?;
    Ok(())
}
