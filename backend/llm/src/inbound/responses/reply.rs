//! The documents of a response: the whole and its items.

use serde_json::{Value, json};

use super::PROOF;
use crate::inbound::Reply;
use crate::types::{Block, StopReason, Usage};

/// What a response repeats of its request, and what is there when the request says nothing.
const ECHOED: [(&str, &str); 13] = [
    ("instructions", "null"),
    ("max_output_tokens", "null"),
    ("max_tool_calls", "null"),
    ("metadata", "{}"),
    ("parallel_tool_calls", "true"),
    ("reasoning", r#"{"effort":null,"summary":null}"#),
    ("temperature", "1.0"),
    ("text", r#"{"format":{"type":"text"}}"#),
    ("tool_choice", r#""auto""#),
    ("tools", "[]"),
    ("top_p", "1.0"),
    ("user", "null"),
    ("safety_identifier", "null"),
];

/// The parts of a response that are known before its answer. `asked` is the request.
pub(super) fn head(reply: &Reply, asked: &Value) -> Value {
    let mut head = json!({
        "id": reply.id, "object": "response", "created_at": reply.created, "model": reply.model,
        "status": "in_progress", "background": false, "error": null, "incomplete_details": null, "output": [],
        "previous_response_id": null, "service_tier": "default", "store": false, "top_logprobs": 0,
        "truncation": "disabled", "usage": null,
    });
    for (name, otherwise) in ECHOED {
        let said = asked.get(name).filter(|value| !value.is_null()).cloned();
        head[name] = said.unwrap_or_else(|| serde_json::from_str(otherwise).unwrap_or(Value::Null));
    }
    head
}

/// How a response ends.
pub(super) fn ended(mut head: Value, stop: &StopReason, usage: &Usage, output: &[Value]) -> Value {
    let cut = match stop {
        StopReason::MaxTokens => Some("max_output_tokens"),
        StopReason::Refusal => Some("content_filter"),
        StopReason::EndTurn | StopReason::ToolUse | StopReason::StopSequence | StopReason::Other(_) => None,
    };
    head["status"] = json!(if cut.is_some() { "incomplete" } else { "completed" });
    head["incomplete_details"] = cut.map_or(Value::Null, |reason| json!({"reason": reason}));
    head["output"] = json!(output);
    head["usage"] = json!({
        "input_tokens": usage.prompt(),
        "input_tokens_details": {"cached_tokens": usage.cache_read, "cache_write_tokens": usage.cache_write},
        "output_tokens": usage.output,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.prompt().saturating_add(usage.output),
    });
    head
}

/// A whole response.
pub(crate) fn reply(reply: &Reply, asked: &Value) -> Value {
    let items = reply.blocks.iter().enumerate();
    let output: Vec<Value> = items.filter_map(|(place, block)| item(&reply.id, place, block)).collect();
    ended(head(reply, asked), &reply.stop, &reply.usage, &output)
}

fn item(response: &str, place: usize, block: &Block) -> Option<Value> {
    let id = |kind: &str| item_id(response, kind, place);
    Some(match block {
        Block::Text { text } => message(&id("msg"), text, "completed"),
        Block::ToolUse { id: call, name, input } => call_item(&id("fc"), call, name, &input.to_string()),
        Block::InvalidToolUse { id: call, name, raw, .. } => call_item(&id("fc"), call, name, raw),
        Block::Thinking { text, signature, .. } => {
            reasoning(&id("rs"), text, signature.as_deref().unwrap_or_default())
        }
        // A model's answer holds no results and no pictures.
        Block::ToolResult { .. } | Block::Image { .. } => return None,
    })
}

/// Ids are unique among all responses, as the response's own is.
pub(super) fn item_id(response: &str, kind: &str, place: usize) -> String {
    format!("{kind}_{}_{place}", response.trim_start_matches("resp_"))
}

pub(super) fn output_text(text: &str) -> Value {
    json!({"type": "output_text", "text": text, "annotations": [], "logprobs": []})
}

pub(super) fn message(id: &str, text: &str, status: &str) -> Value {
    let content = if status == "in_progress" { Vec::new() } else { vec![output_text(text)] };
    json!({"id": id, "type": "message", "role": "assistant", "status": status, "content": content})
}

pub(super) fn call_item(id: &str, call: &str, name: &str, arguments: &str) -> Value {
    json!({"id": id, "type": "function_call", "status": "completed", "call_id": call, "name": name,
        "arguments": arguments})
}

pub(super) fn summary(text: &str) -> Value {
    json!({"type": "summary_text", "text": text})
}

/// The signature goes out as what only its provider can read, and comes back with the item.
pub(super) fn reasoning(id: &str, text: &str, signature: &str) -> Value {
    let parts: Vec<Value> = if text.is_empty() { Vec::new() } else { vec![summary(text)] };
    let mut item = json!({"id": id, "type": "reasoning", "summary": parts});
    if !signature.is_empty() {
        item["encrypted_content"] = json!(format!("{PROOF}{signature}"));
    }
    item
}
