//! What of a request has no place in the provider's format and is left out: told to the client, who may forbid it.
//! What depends on the deployment (see `fit`) is not decided here.

use serde_json::Value;

use super::openai::parse_thoughts;
use super::responses::parse_reasoning;
use crate::ask::Endpoint;
use crate::provider::Wire;

/// Fields of a chat completion that a translation carries, or that mean nothing when they are left out.
const CHAT: [&str; 18] = [
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
    "safety_identifier",
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

/// What is carried of a tool, in each format's words.
const TOOL: [&str; 8] =
    ["type", "function", "name", "description", "parameters", "input_schema", "strict", "cache_control"];

/// What a model thought, where a message has it.
pub(crate) const THOUGHTS: &str = "messages.thinking";

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
    let details = match endpoint {
        Endpoint::ChatCompletions => chat(body, wire),
        Endpoint::Messages => messages(body),
        Endpoint::Responses => responses(body, wire),
        Endpoint::Embeddings => Vec::new(),
    };
    lost.extend(details.into_iter().filter(|(is_lost, _)| *is_lost).map(|(_, name)| name.to_owned()));
    let tools = list(body, "tools").flat_map(|tool| [Some(tool), tool.get("function")]).flatten();
    let fields = tools.filter_map(Value::as_object).flatten();
    let unknown = fields.filter(|(name, value)| is_said(value) && !TOOL.contains(&name.as_str()));
    lost.extend(unknown.map(|(name, _)| format!("tools.{name}")));
    // Providers of the other format keep a prompt's beginning by themselves.
    if wire == Wire::OpenAi && mentions(body, "cache_control") {
        lost.push("cache_control".into());
    }
    lost
}

/// What is within known fields: whether it is left out, and its name.
type Details = Vec<(bool, &'static str)>;

fn chat(body: &Value, wire: Wire) -> Details {
    let format = body.pointer("/response_format/type").and_then(Value::as_str);
    let mut parts = list(body, "messages").filter_map(|message| message.get("content")?.as_array()).flatten();
    let is_detailed = |part: &Value| part.pointer("/image_url/detail").is_some_and(|detail| detail != "auto");
    // What a model thought is taken back with its provider's signature only.
    let is_unsigned = |message: &Value| {
        let thought = message.get("reasoning_content").or_else(|| message.get("reasoning"));
        thought.is_some_and(|thought| !thought.is_null())
            && parse_thoughts(message).is_ok_and(|signed| signed.is_empty())
    };
    let choice = body.get("tool_choice").filter(|choice| !choice.is_null());
    let is_known = |choice: &Value| match choice.as_str() {
        Some(word) => matches!(word, "auto" | "none" | "required"),
        None => choice.pointer("/function/name").is_some(),
    };
    let is_named = |message: &Value| {
        message["role"] != "tool" && message.get("name").is_some_and(|name| !name.is_null())
    };
    vec![
        (choice.is_some_and(|choice| !is_known(choice)), "tool_choice"),
        (list(body, "messages").any(is_named), "messages.name"),
        (wire == Wire::Anthropic && format == Some("json_object"), "response_format.json_object"),
        (body.get("n").and_then(Value::as_u64).is_some_and(|n| n > 1), "n"),
        (parts.any(is_detailed), "image_url.detail"),
        (list(body, "messages").any(is_unsigned), "messages.reasoning_content"),
    ]
}

/// Whether everything that was thought is sealed so: the model that sealed it is sent it back.
pub(crate) fn all_sealed(body: &Value, seal: &str) -> bool {
    let is_sealed = |block: &Value| block["signature"].as_str().is_some_and(|said| said.starts_with(seal));
    let blocks = list(body, "messages").filter_map(|message| message.get("content")?.as_array()).flatten();
    blocks.filter(|block| is_thinking(block)).all(is_sealed)
}

fn is_thinking(block: &Value) -> bool {
    matches!(block.get("type").and_then(Value::as_str), Some("thinking" | "redacted_thinking"))
}

fn messages(body: &Value) -> Details {
    let blocks = || list(body, "messages").filter_map(|message| message.get("content")?.as_array()).flatten();
    let is_cited = |block: &Value| block.get("citations").is_some_and(|list| !list.is_null());
    let thinking = body.pointer("/thinking/type").and_then(Value::as_str);
    vec![
        (blocks().any(is_thinking), THOUGHTS),
        (blocks().any(is_cited), "messages.citations"),
        (thinking == Some("between_tools"), "thinking"),
        (body.pointer("/thinking/display").is_some_and(is_said), "thinking.display"),
    ]
}

fn responses(body: &Value, wire: Wire) -> Details {
    let is_detailed =
        |part: &Value| part.get("detail").is_some_and(|detail| is_said(detail) && detail != "auto");
    let mut parts = list(body, "input").filter_map(|item| item.get("content")?.as_array()).flatten();
    let is_object = body.pointer("/text/format/type").is_some_and(|kind| kind == "json_object");
    let mut thoughts = list(body, "input").filter(|item| item["type"] == "reasoning");
    vec![
        // Signed thoughts are given whether they are asked for or not.
        (list(body, "include").any(|wanted| wanted != "reasoning.encrypted_content"), "include"),
        (wire == Wire::Anthropic && is_object, "text.format.json_object"),
        (body.pointer("/text/verbosity").is_some_and(is_said), "text.verbosity"),
        (parts.any(is_detailed), "input_image.detail"),
        (thoughts.any(|item| wire == Wire::OpenAi || parse_reasoning(item).is_none()), "input.reasoning"),
    ]
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
