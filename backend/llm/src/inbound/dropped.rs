//! What of a request has no place in the provider's format and is left out: told to the client, who may forbid it.
//! What depends on the deployment (see `fit`) is not decided here.

use serde_json::Value;

use super::openai::parse_thoughts;
use super::responses::parse_reasoning;
use crate::ask::Endpoint;
use crate::provider::Wire;

/// Fields of a chat completion that a translation carries, or that mean nothing when they are left out.
const CHAT: [&str; 17] = [
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
    "reasoning_effort",
    "user",
    "n",
    "store",
];
/// The same of a message.
const MESSAGES: [&str; 14] = [
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
    "thinking",
];

/// The same of a response.
const RESPONSES: [&str; 17] = [
    "model",
    "input",
    "instructions",
    "max_output_tokens",
    "include",
    "metadata",
    "parallel_tool_calls",
    "reasoning",
    "stream",
    "stream_options",
    "temperature",
    "text",
    "tool_choice",
    "tools",
    "top_p",
    "user",
    "safety_identifier",
];

/// The names of what is left out.
pub(crate) fn dropped(endpoint: Endpoint, wire: Wire, body: &Value) -> Vec<String> {
    let known: &[&str] = match endpoint {
        Endpoint::ChatCompletions => &CHAT,
        Endpoint::Messages => &MESSAGES,
        Endpoint::Responses => &RESPONSES,
        Endpoint::Embeddings => return Vec::new(),
    };
    let fields = body.as_object().into_iter().flatten();
    let mut lost: Vec<String> = fields
        .filter(|(name, value)| is_said(value) && !known.contains(&name.as_str()))
        .map(|(name, _)| name.clone())
        .collect();
    match endpoint {
        Endpoint::ChatCompletions => chat(body, &mut lost),
        Endpoint::Messages => messages(body, &mut lost),
        Endpoint::Responses => responses(body, wire, &mut lost),
        Endpoint::Embeddings => {}
    }
    // Providers of the other format keep a prompt's beginning by themselves.
    if wire == Wire::OpenAi && mentions(body, "cache_control") {
        lost.push("cache_control".into());
    }
    lost
}

fn chat(body: &Value, lost: &mut Vec<String>) {
    let mut lose = |is_lost: bool, name: &str| {
        if is_lost {
            lost.push(name.into());
        }
    };
    let format = body.pointer("/response_format/type").and_then(Value::as_str);
    lose(format == Some("json_object"), "response_format.json_object");
    lose(body.get("n").and_then(Value::as_u64).is_some_and(|n| n > 1), "n");
    let parts = list(body, "messages").filter_map(|message| message.get("content")?.as_array()).flatten();
    let is_detailed = |part: &Value| part.pointer("/image_url/detail").is_some_and(|detail| detail != "auto");
    lose(parts.into_iter().any(is_detailed), "image_url.detail");
    // What a model thought is taken back with its provider's signature only.
    let unsigned = |message: &Value| {
        let thought = message.get("reasoning_content").or_else(|| message.get("reasoning"));
        thought.is_some_and(|thought| !thought.is_null())
            && parse_thoughts(message).is_ok_and(|signed| signed.is_empty())
    };
    lose(list(body, "messages").any(unsigned), "messages.reasoning_content");
}

fn messages(body: &Value, lost: &mut Vec<String>) {
    let blocks = || list(body, "messages").filter_map(|message| message.get("content")?.as_array()).flatten();
    let is_thinking = |block: &Value| {
        matches!(block.get("type").and_then(Value::as_str), Some("thinking" | "redacted_thinking"))
    };
    let mut lose = |is_lost: bool, name: &str| {
        if is_lost {
            lost.push(name.into());
        }
    };
    lose(blocks().any(is_thinking), "messages.thinking");
    lose(
        blocks().any(|block| block.get("citations").is_some_and(|list| !list.is_null())),
        "messages.citations",
    );
    let thinking = body.pointer("/thinking/type").and_then(Value::as_str);
    lose(thinking == Some("between_tools"), "thinking");
    lose(body.pointer("/thinking/display").is_some_and(|display| !display.is_null()), "thinking.display");
}

fn responses(body: &Value, wire: Wire, lost: &mut Vec<String>) {
    let mut lose = |is_lost: bool, name: &str| {
        if is_lost {
            lost.push(name.into());
        }
    };
    // Signed thoughts are given whether they are asked for or not.
    lose(list(body, "include").any(|wanted| wanted != "reasoning.encrypted_content"), "include");
    lose(body.pointer("/text/format/type") == Some(&Value::from("json_object")), "text.format.json_object");
    lose(body.pointer("/text/verbosity").is_some_and(is_said), "text.verbosity");
    let detailed =
        |part: &Value| part.get("detail").is_some_and(|detail| is_said(detail) && detail != "auto");
    let mut parts = list(body, "input").filter_map(|item| item.get("content")?.as_array()).flatten();
    lose(parts.any(detailed), "input_image.detail");
    let mut thoughts = list(body, "input").filter(|item| item["type"] == "reasoning");
    lose(thoughts.any(|item| wire == Wire::OpenAi || parse_reasoning(item).is_none()), "input.reasoning");
}

/// What is null or false asks for nothing.
fn is_said(value: &Value) -> bool {
    !matches!(value, Value::Null | Value::Bool(false))
}

fn list<'a>(body: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    body.get(name).and_then(Value::as_array).into_iter().flatten()
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
