//! Model calls of agents: which model, at whose cost, recorded attempt by attempt.

use syndarix_llm::{Gateway, ModelGroups};

/// The gateway with the model groups that the operator configured.
pub struct Models {
    /// Calls models.
    pub gateway: Gateway,
    /// Ordered chains of deployments, by name.
    pub groups: ModelGroups,
}
