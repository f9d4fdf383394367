//! What a key may do, as people set it.

use crate::{db::Error, features::gateway::keys::queries, http::ApiError, state::App};
use serde::{Deserialize, Serialize};
use syndarix_domain::{Timestamp, ids::ProjectId};
use utoipa::ToSchema;
use uuid::Uuid;

/// The longest name, in characters.
const MAX_NAME: usize = 100;
/// More models than an installation has.
const MAX_MODELS: usize = 100;
/// The highest limit in micro-USD: a typing slip of nine zeros is refused.
const MAX_LIMIT: i64 = 1_000_000_000_000_000;

/// What a key is for and what it may do. Whatever is left out has no limit of its own.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct KeySettings {
    /// What people call it.
    pub(super) name: String,
    /// The agent in whose name calls are recorded; once it is terminated, the key is good for nothing.
    #[serde(default)]
    pub(super) agent_id: Option<Uuid>,
    /// The person whom the key is for; once they have left the project, it is good for nothing. Calls name the key only.
    #[serde(default)]
    pub(super) user_id: Option<Uuid>,
    /// The model groups and deployments that it may name; all when left out.
    #[serde(default)]
    pub(super) models: Option<Vec<String>>,
    /// Calls in a minute.
    #[serde(default)]
    #[schema(minimum = 1)]
    pub(super) requests_per_minute: Option<i32>,
    /// Tokens of prompts and answers in a minute.
    #[serde(default)]
    #[schema(minimum = 1)]
    pub(super) tokens_per_minute: Option<i32>,
    /// What may be spent with it in all, in micro-USD.
    #[serde(default)]
    pub(super) hard_limit_micro_usd: Option<i64>,
    /// When it ends by itself.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(super) expires_at: Option<Timestamp>,
}

impl KeySettings {
    /// Checked against the project: nobody else's agents, nobody who is not in it, no model that is not there.
    pub(super) async fn check(&self, app: &App, project: ProjectId) -> Result<(), ApiError> {
        let length = self.name.trim().chars().count();
        if length == 0 || length > MAX_NAME {
            return Err(ApiError::invalid("name", format!("must have 1 to {MAX_NAME} characters")));
        }
        at_least_one("requests_per_minute", self.requests_per_minute)?;
        at_least_one("tokens_per_minute", self.tokens_per_minute)?;
        if self.hard_limit_micro_usd.is_some_and(|limit| !(0..=MAX_LIMIT).contains(&limit)) {
            let message = format!("is between 0 and {MAX_LIMIT} micro-USD, or left out for no limit");
            return Err(ApiError::invalid("hard_limit_micro_usd", message));
        }
        if self.expires_at.is_some_and(|at| at <= app.clock().now()) {
            return Err(ApiError::invalid("expires_at", "has passed already"));
        }
        self.check_models(app, project).await?;
        self.check_owners(app, project).await?;
        Ok(())
    }

    async fn check_models(&self, app: &App, project: ProjectId) -> Result<(), ApiError> {
        let Some(models) = &self.models else { return Ok(()) };
        if models.is_empty() || models.len() > MAX_MODELS {
            let message = format!("must name 1 to {MAX_MODELS} models; leave it out to allow all");
            return Err(ApiError::invalid("models", message));
        }
        let groups = app.gateway.groups_of(app, project).await?;
        match models.iter().find(|model| groups.resolve(model).is_none()) {
            Some(unknown) => Err(ApiError::invalid(
                "models",
                format!("there is no model group and no deployment `{unknown}`"),
            )),
            None => Ok(()),
        }
    }

    async fn check_owners(&self, app: &App, project: ProjectId) -> Result<(), ApiError> {
        let (agent, user) = queries::owners(app.pool(), project, self.agent_id, self.user_id)
            .await
            .map_err(|error| ApiError::from(Error::from(error)))?;
        if !agent {
            return Err(ApiError::invalid("agent_id", "is no agent of this project, or was terminated"));
        }
        if !user {
            return Err(ApiError::invalid("user_id", "is nobody who is in this project"));
        }
        Ok(())
    }
}

fn at_least_one(field: &str, limit: Option<i32>) -> Result<(), ApiError> {
    match limit {
        Some(limit) if limit < 1 => Err(ApiError::invalid(field, "must be at least 1, or left out")),
        _ => Ok(()),
    }
}
