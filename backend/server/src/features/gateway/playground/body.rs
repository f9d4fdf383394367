//! What a person asks.

use crate::http::ApiError;
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;
use syndarix_llm::{Endpoint, ModelGroup, ModelGroups, Native};
use utoipa::ToSchema;

/// The longest instruction and the longest question, in characters.
const MAX_TEXT: usize = 100_000;
/// The longest answer that can be asked for, in tokens; a deployment may allow less.
const MAX_TOKENS: u32 = 128_000;

/// A question to a model.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PlaygroundQuestion {
    /// A model group or a deployment.
    pub(super) model: String,
    /// Standing instructions.
    #[serde(default)]
    system: Option<String>,
    /// The question.
    prompt: String,
    /// Tokens that the answer may have at most.
    #[schema(minimum = 1)]
    max_tokens: u32,
}

impl PlaygroundQuestion {
    /// Who is asked, and what.
    pub(super) fn check(&self, groups: &ModelGroups) -> Result<(Arc<ModelGroup>, Native), ApiError> {
        text("prompt", &self.prompt)?;
        if let Some(system) = self.system.as_deref().filter(|system| !system.is_empty()) {
            text("system", system)?;
        }
        if !(1..=MAX_TOKENS).contains(&self.max_tokens) {
            return Err(ApiError::invalid("max_tokens", format!("must be from 1 to {MAX_TOKENS}")));
        }
        let group = groups.resolve(&self.model).ok_or_else(|| {
            let known: Vec<&str> = groups.names().collect();
            let message = format!(
                "there is no model group and no deployment of this name; there are: {}",
                known.join(", ")
            );
            ApiError::invalid("model", message)
        })?;
        Ok((group, self.native()?))
    }

    /// In the format that most providers speak.
    fn native(&self) -> Result<Native, ApiError> {
        let system = self.system.as_deref().filter(|system| !system.trim().is_empty());
        let system = system.map(|system| json!({ "role": "system", "content": system }));
        let user = json!({ "role": "user", "content": self.prompt });
        let messages: Vec<_> = system.into_iter().chain([user]).collect();
        let body = json!({
            "model": self.model, "stream": true, "max_tokens": self.max_tokens, "messages": messages,
        });
        Native::parse(Endpoint::ChatCompletions, body.to_string().into())
            .map_err(|error| ApiError::bad_request("invalid_request", error.to_string()))
    }
}

fn text(field: &str, value: &str) -> Result<(), ApiError> {
    if value.trim().is_empty() {
        return Err(ApiError::invalid(field, "must not be empty"));
    }
    if value.chars().count() > MAX_TEXT {
        return Err(ApiError::invalid(field, format!("must have at most {MAX_TEXT} characters")));
    }
    Ok(())
}
