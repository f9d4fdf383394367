//! What is said to a model and what it says, as OpenTelemetry writes it. Only for operators who want it in their traces.

use crate::telemetry::attribute;
use serde_json::{Value, json};
use syndarix_llm::{Ask, Block, Completion, Role};

/// The longest text of one attribute, in bytes; of what is longer, only the length is told.
const LONGEST: usize = 64 << 10;

/// The conversation so far.
pub(super) fn said(ask: Ask<'_>) -> Vec<Value> {
    // What cannot be said in our words, such as texts to be embedded, is not told.
    let Ok(request) = ask.neutral() else { return Vec::new() };
    let messages = request.messages.iter().map(|message| {
        let role = match message.role {
            Role::User => "user",
            Role::Assistant => "assistant",
        };
        json!({ "role": role, "parts": parts(&message.content) })
    });
    let mut attributes = vec![bounded("gen_ai.input.messages", &messages.collect())];
    if !request.system.is_empty() {
        let system = json!([{ "type": "text", "content": request.system }]);
        attributes.push(bounded("gen_ai.system_instructions", &system));
    }
    attributes
}

/// The answer.
pub(super) fn answered(completion: &Completion) -> Vec<Value> {
    let message = json!([{ "role": "assistant", "parts": parts(&completion.blocks) }]);
    vec![bounded("gen_ai.output.messages", &message)]
}

fn bounded(key: &str, value: &Value) -> Value {
    let text = value.to_string();
    if text.len() <= LONGEST {
        attribute(key, text)
    } else {
        attribute(key, format!("[{} bytes]", text.len()))
    }
}

fn parts(blocks: &[Block]) -> Vec<Value> {
    blocks.iter().map(part).collect()
}

fn part(block: &Block) -> Value {
    match block {
        Block::Text { text } => json!({ "type": "text", "content": text }),
        Block::Thinking { text, .. } => json!({ "type": "reasoning", "content": text }),
        Block::ToolUse { id, name, input } => {
            json!({ "type": "tool_call", "id": id, "name": name, "arguments": input })
        }
        Block::InvalidToolUse { id, name, raw, .. } => {
            json!({ "type": "tool_call", "id": id, "name": name, "arguments": raw })
        }
        Block::ToolResult { tool_use_id, content, .. } => {
            json!({ "type": "tool_call_response", "id": tool_use_id, "response": content })
        }
        // A picture is a picture; its bytes are nobody's to read in a trace.
        Block::Image { .. } => json!({ "type": "image" }),
    }
}
