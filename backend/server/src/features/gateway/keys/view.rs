//! A key as the API shows it.

use serde::{Deserialize, Serialize};
use sqlx::FromRow;
use syndarix_domain::Timestamp;
use utoipa::ToSchema;
use uuid::Uuid;

/// A virtual key, without the key.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema, FromRow)]
#[schema(as = GatewayKey)]
pub(super) struct KeyView {
    pub(super) id: Uuid,
    /// What people call it.
    pub(super) name: String,
    /// How the key begins.
    pub(super) prefix: String,
    /// The agent in whose name calls are recorded; once it is terminated, the key is good for nothing.
    pub(super) agent_id: Option<Uuid>,
    /// The person whom the key is for; once they have left the project, it is good for nothing. Calls name the key only.
    pub(super) user_id: Option<Uuid>,
    /// The model groups and deployments that it may name; null: all.
    pub(super) models: Option<Vec<String>>,
    /// Calls in a minute; null: no limit.
    pub(super) requests_per_minute: Option<i32>,
    /// Tokens in a minute; null: no limit.
    pub(super) tokens_per_minute: Option<i32>,
    /// What may be spent with it in all, in micro-USD; null: no limit of its own.
    pub(super) hard_limit_micro_usd: Option<i64>,
    /// Real money spent with it, in micro-USD.
    pub(super) spent_micro_usd: i64,
    /// What the scripted endpoint would have cost. Counts against the limit, never as real money.
    pub(super) simulated_micro_usd: i64,
    /// Worst cost of its calls under way.
    pub(super) reserved_micro_usd: i64,
    /// When it ends by itself.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(super) expires_at: Option<Timestamp>,
    /// Since when it is good for nothing.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(super) revoked_at: Option<Timestamp>,
    /// Until when the secret before is good as well, since it was rotated with an overlap; null: there is none.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(super) previous_until: Option<Timestamp>,
    /// When it was last used, to the minute.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(super) last_used_at: Option<Timestamp>,
    #[schema(value_type = String, format = DateTime)]
    pub(super) created_at: Timestamp,
}

/// A key that was just made: the only time that it is shown.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(super) struct MadeKey {
    /// What is known of it later.
    pub(super) key: KeyView,
    /// The key itself. It is kept as a hash only: who loses it makes another.
    pub(super) secret: String,
}
