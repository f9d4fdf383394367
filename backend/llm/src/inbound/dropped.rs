//! What of a request has no place in the other format and is left out: told to the client, who may forbid it.

use serde_json::Value;

use crate::ask::Endpoint;

/// Fields of a chat completion that a translation carries, or that mean nothing when they are left out.
const CHAT: [&str; 16] = [
    "model",
    "messages",
    "stream",
    "stream_options",
    "max_tokens",
    "max_completion_tokens",
    "temperature",
    "top_p",
    "stop",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "response_format",
    "user",
    "n",
    "store",
];
/// The same of a message.
const MESSAGES: [&str; 13] = [
    "model",
    "messages",
    "system",
    "max_tokens",
    "stop_sequences",
    "stream",
    "temperature",
    "top_p",
    "tools",
    "tool_choice",
    "metadata",
    "output_config",
    "output_format",
];

/// The names of what is left out, each once, in order.
pub(crate) fn dropped(endpoint: Endpoint, body: &Value) -> Vec<String> {
    let known: &[&str] = match endpoint {
        Endpoint::ChatCompletions => &CHAT,
        Endpoint::Messages => &MESSAGES,
        Endpoint::Responses | Endpoint::Embeddings => return Vec::new(),
    };
    let fields = body.as_object().into_iter().flatten();
    let mut lost: Vec<String> = fields
        .filter(|(name, value)| !value.is_null() && !known.contains(&name.as_str()))
        .map(|(name, _)| name.clone())
        .collect();
    if endpoint == Endpoint::ChatCompletions {
        chat(body, &mut lost);
    } else {
        messages(body, &mut lost);
    }
    if mentions(body, "cache_control") {
        lost.push("cache_control".into());
    }
    lost.sort();
    lost.dedup();
    lost
}

fn chat(body: &Value, lost: &mut Vec<String>) {
    if body.pointer("/response_format/type").and_then(Value::as_str) == Some("json_object") {
        lost.push("response_format.json_object".into());
    }
    if body.get("n").and_then(Value::as_u64).is_some_and(|n| n > 1) {
        lost.push("n".into());
    }
    let parts = || {
        let messages = body.get("messages").and_then(Value::as_array).into_iter().flatten();
        messages.filter_map(|message| message.get("content")?.as_array()).flatten()
    };
    if parts().any(|part| part.pointer("/image_url/detail").is_some_and(|detail| detail != "auto")) {
        lost.push("image_url.detail".into());
    }
    let tools = body.get("tools").and_then(Value::as_array).into_iter().flatten();
    if tools.filter_map(|tool| tool.pointer("/function/strict")).any(|strict| *strict == true) {
        lost.push("tools.strict".into());
    }
}

fn messages(body: &Value, lost: &mut Vec<String>) {
    let messages = body.get("messages").and_then(Value::as_array).into_iter().flatten();
    let blocks = messages.filter_map(|message| message.get("content")?.as_array()).flatten();
    let is_thinking = |block: &Value| {
        matches!(block.get("type").and_then(Value::as_str), Some("thinking" | "redacted_thinking"))
    };
    if blocks.clone().any(is_thinking) {
        lost.push("messages.thinking".into());
    }
    if blocks.into_iter().any(|block| block.get("citations").is_some_and(|list| !list.is_null())) {
        lost.push("messages.citations".into());
    }
    let effort = body.pointer("/output_config/effort");
    if effort.is_some_and(|effort| !effort.is_null()) {
        lost.push("output_config.effort".into());
    }
}

/// Whether a field of this name is anywhere in it, but in schemas and arguments, which are the client's own.
fn mentions(value: &Value, name: &str) -> bool {
    match value {
        Value::Array(items) => items.iter().any(|item| mentions(item, name)),
        Value::Object(fields) => fields.iter().any(|(key, value)| {
            let own = matches!(key.as_str(), "input_schema" | "parameters" | "input" | "schema");
            (key == name && !value.is_null()) || (!own && mentions(value, name))
        }),
        _ => false,
    }
}
