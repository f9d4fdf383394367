//! What is said to a model.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use syndarix_mcp_kit::ToolFailure;

/// Most messages of a call.
const MAX_MESSAGES: usize = 200;
/// The longest conversation, in bytes: more than the largest context window holds.
const MAX_BYTES: usize = 3 * 1024 * 1024;

/// One message.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Message {
    pub(crate) role: Role,
    pub(crate) content: String,
}

/// Who says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Role {
    System,
    User,
    Assistant,
}

/// Refuses what no model could answer.
pub(crate) fn check(model: &str, messages: &[Message]) -> Result<(), ToolFailure> {
    if model.trim().is_empty() {
        return Err(ToolFailure::invalid("Name a model; `list_models` says which there are."));
    }
    if messages.len() > MAX_MESSAGES {
        return Err(ToolFailure::invalid(format!("Send at most {MAX_MESSAGES} messages.")));
    }
    if !messages.iter().any(|message| message.role == Role::User && !message.content.trim().is_empty()) {
        return Err(ToolFailure::invalid("Send at least one message of the role `user` that is not empty."));
    }
    let size: usize = messages.iter().map(|message| message.content.len()).sum();
    if size > MAX_BYTES {
        let message = format!("The messages are {size} bytes; send at most {MAX_BYTES}.");
        return Err(ToolFailure::too_large(message));
    }
    Ok(())
}
