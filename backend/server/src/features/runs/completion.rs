//! A model's answer as a step keeps it.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::HashSet;
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

/// Gives every tool call of the answer an id of its own. Some servers leave ids out or use one twice; results are
/// matched with calls by id, and the conversation is sent back with the ids that are kept here.
pub(super) fn with_distinct_ids(mut completion: Completion) -> Completion {
    let mut taken = HashSet::new();
    for block in &mut completion.blocks {
        let (Block::ToolUse { id, .. } | Block::InvalidToolUse { id, .. }) = block else { continue };
        if id.is_empty() {
            "call".clone_into(id);
        }
        let first = id.clone();
        let mut n = 1;
        while !taken.insert(id.clone()) {
            n += 1;
            *id = format!("{first}_{n}");
        }
    }
    completion
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
