//! What an agent type says: one version of a template, as `*.agent.toml` and as stored.

use serde::{Deserialize, Serialize};
use syndarix_domain::{money::MicroUsd, run, stage::Role};
use utoipa::ToSchema;

/// One version of an agent type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Definition {
    /// Unique within the organisation.
    pub name: String,
    /// What it is for; the orchestrator looks for it.
    #[schema(value_type = String, example = "engineer")]
    pub role: Role,
    /// The model group that its calls go to.
    pub model_group: String,
    /// What it knows well.
    #[serde(default)]
    pub expertise: Vec<String>,
    /// How it speaks.
    #[serde(default)]
    pub personality: Personality,
    /// Its standing instructions.
    pub system_prompt: String,
    /// Which tools it may use: `git:read`, `filesystem:write`.
    pub capabilities: Vec<String>,
    /// What one run may use up.
    #[serde(default)]
    pub limits: Limits,
}

/// How an agent speaks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Personality {
    /// For example `concise`.
    pub style: String,
    /// For example `friendly`.
    pub tone: String,
}

/// What one run may use up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Model calls and tool calls together.
    pub max_steps: u32,
    /// Input and output tokens together.
    pub max_tokens: u64,
    /// Money in micro-USD.
    pub max_cost_micro_usd: i64,
    /// Working time in seconds.
    pub max_seconds: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_steps: 200, max_tokens: 2_000_000, max_cost_micro_usd: 5_000_000, max_seconds: 3_600 }
    }
}

impl Limits {
    /// As a run keeps them.
    pub fn for_run(self) -> run::Limits {
        run::Limits {
            max_steps: self.max_steps,
            max_tokens: self.max_tokens,
            max_cost: MicroUsd(self.max_cost_micro_usd),
            max_seconds: self.max_seconds,
        }
    }
}
