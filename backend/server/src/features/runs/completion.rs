//! A model's answer as a step keeps it.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use syndarix_domain::run::{Call, CallStatus};
use syndarix_llm::{Block, Completion};

/// As stored in a step's result.
pub(super) fn stored(completion: &Completion) -> Value {
    serde_json::to_value(completion).unwrap_or_default()
}

/// As read from a step's result.
pub(super) fn read(result: &Value) -> Option<Completion> {
    serde_json::from_value(result.clone()).ok()
}

/// The tool calls that the answer asks for, in its order.
pub(super) fn calls(completion: &Completion) -> Vec<Call> {
    completion
        .blocks
        .iter()
        .filter_map(|block| match block {
            Block::ToolUse { id, name, input } => Some(call(id, name, &input.to_string())),
            Block::InvalidToolUse { id, name, raw, .. } => Some(call(id, name, raw)),
            _ => None,
        })
        .collect()
}

fn call(id: &str, tool: &str, arguments: &str) -> Call {
    let digest = hex::encode(Sha256::digest(json!([tool, arguments]).to_string()));
    Call { id: id.to_owned(), tool: tool.to_owned(), digest, step: None, status: CallStatus::Pending }
}

/// What the model wants with this call.
pub(super) enum Wanted {
    /// The arguments.
    Call { tool: String, input: Value },
    /// They cannot be read: the sentence for the model.
    Unreadable { sentence: String },
}

/// Finds the call in the answer.
pub(super) fn wanted(completion: &Completion, id: &str) -> Option<Wanted> {
    completion.blocks.iter().find_map(|block| match block {
        Block::ToolUse { id: this, name, input } if this == id => {
            Some(Wanted::Call { tool: name.clone(), input: input.clone() })
        }
        Block::InvalidToolUse { id: this, .. } if this == id => {
            let sentence = match block.rejection() {
                Some(Block::ToolResult { content, .. }) => content,
                _ => "the arguments are not a JSON object".into(),
            };
            Some(Wanted::Unreadable { sentence })
        }
        _ => None,
    })
}
