//! The request, as OpenAI takes it.

use serde_json::{Value, json};

use super::{INVALID_ARGUMENTS, SCHEMA_NAME, TOOL_ERROR_MARK};
use crate::provider::Deployment;
use crate::provider::fit::{Fitted, Thought, fit};
use crate::types::{Block, ChatRequest, Image, Message, Options, Role, ToolChoice, ToolSpec};

/// The request's body.
pub(crate) fn encode(deployment: &Deployment, request: &ChatRequest, max_output: u32) -> Value {
    let mut messages = Vec::new();
    if !request.system.is_empty() {
        messages.push(json!({"role": "system", "content": request.system}));
    }
    for message in &request.messages {
        encode_message(message, &mut messages);
    }
    let mut body = json!({
        "model": deployment.model,
        "messages": messages,
        "stream": true,
        "stream_options": {"include_usage": true},
    });
    // OpenAI's reasoning models refuse the old name, most compatible servers know only the old one.
    let limit = if deployment.provider.is_openais_own() { "max_completion_tokens" } else { "max_tokens" };
    body[limit] = json!(max_output);
    if !request.tools.is_empty() {
        body["tools"] = request.tools.iter().map(|spec| tool(spec, &request.options)).collect();
    }
    if !request.stop.is_empty() {
        body["stop"] = json!(request.stop);
    }
    encode_options(&request.options, !request.tools.is_empty(), &mut body);
    encode_fitted(&fit(deployment, request, max_output), &mut body);
    body
}

fn tool(spec: &ToolSpec, options: &Options) -> Value {
    let mut function =
        json!({"name": spec.name, "description": spec.description, "parameters": spec.input_schema});
    if options.strict_tools.contains(&spec.name) {
        function["strict"] = json!(true);
    }
    json!({"type": "function", "function": function})
}

fn encode_fitted(fitted: &Fitted, body: &mut Value) {
    if let Some(temperature) = fitted.temperature {
        body["temperature"] = json!(temperature);
    }
    if let Some(top_p) = fitted.top_p {
        body["top_p"] = json!(top_p);
    }
    match fitted.thought {
        Some(Thought::Off) => body["reasoning_effort"] = json!("none"),
        Some(Thought::Effort(effort) | Thought::Adaptive(effort)) => {
            body["reasoning_effort"] = json!(effort.as_str());
        }
        Some(Thought::Budget(_)) | None => {}
    }
}

fn encode_options(options: &Options, has_tools: bool, body: &mut Value) {
    if let Some(schema) = &options.output_schema {
        let named = json!({"name": SCHEMA_NAME, "schema": schema, "strict": true});
        body["response_format"] = json!({"type": "json_schema", "json_schema": named});
    } else if options.json_object {
        body["response_format"] = json!({"type": "json_object"});
    }
    if let Some(user) = &options.user {
        body["user"] = json!(user);
    }
    let by_name = |name: &str| json!({"type": "function", "function": {"name": name}});
    encode_choice(options, has_tools, by_name, body);
}

/// Which tool is to be called, and whether several at once: both of OpenAI's APIs say it alike but for a tool by its name.
pub(super) fn encode_choice(
    options: &Options,
    has_tools: bool,
    by_name: impl Fn(&str) -> Value,
    body: &mut Value,
) {
    // The API refuses a choice among no tools.
    if !has_tools {
        return;
    }
    if let Some(choice) = &options.tool_choice {
        body["tool_choice"] = match choice {
            ToolChoice::Auto => json!("auto"),
            ToolChoice::None => json!("none"),
            ToolChoice::Any => json!("required"),
            ToolChoice::Tool(name) => by_name(name),
        };
    }
    if let Some(parallel) = options.parallel_tool_calls {
        body["parallel_tool_calls"] = json!(parallel);
    }
}

fn image(image: &Image) -> Value {
    let url = match image {
        Image::Data { media_type, data } => format!("data:{media_type};base64,{data}"),
        Image::Url { url } => url.clone(),
    };
    json!({"type": "image_url", "image_url": {"url": url}})
}

fn encode_message(message: &Message, out: &mut Vec<Value>) {
    let (mut calls, mut parts) = (Vec::new(), Vec::new());
    for block in &message.content {
        match block {
            Block::Text { text } => add_text(&mut parts, text, message.role),
            Block::Image { image: picture } => parts.push(image(picture)),
            Block::ToolUse { id, name, input } => calls.push(call(id, name, input)),
            Block::InvalidToolUse { id, name, raw, .. } => {
                calls.push(call(id, name, &json!({INVALID_ARGUMENTS: raw})));
            }
            // Results stand before any text of the same message: they must follow the calls they answer.
            Block::ToolResult { tool_use_id, content, is_error, images } => {
                let mark = if *is_error { TOOL_ERROR_MARK } else { "" };
                out.push(json!({"role": "tool", "tool_call_id": tool_use_id, "content": format!("{mark}{content}")}));
                // A tool's message has no pictures in this format: the user shows them.
                parts.extend(images.iter().map(image));
            }
            Block::Thinking { .. } => {}
        }
    }
    let role = match message.role {
        Role::User => "user",
        Role::Assistant => "assistant",
    };
    let text: String = parts.iter().filter_map(|part| part.get("text")?.as_str()).collect();
    if !calls.is_empty() {
        let content = if text.is_empty() { Value::Null } else { json!(text) };
        out.push(json!({"role": role, "content": content, "tool_calls": calls}));
    } else if parts.iter().any(|part| part["type"] == "image_url") {
        out.push(json!({"role": role, "content": parts}));
    } else if !text.is_empty() {
        out.push(json!({"role": role, "content": text}));
    }
}

/// Texts of the user's that follow each other are paragraphs of one: not every server takes a list of texts. What a model
/// said in pieces is one text.
fn add_text(parts: &mut Vec<Value>, more: &str, role: Role) {
    if more.is_empty() {
        return;
    }
    match parts.last_mut().and_then(|part| part.get_mut("text")) {
        Some(Value::String(text)) => {
            if role == Role::User {
                text.push_str("\n\n");
            }
            text.push_str(more);
        }
        _ => parts.push(json!({"type": "text", "text": more})),
    }
}

fn call(id: &str, name: &str, input: &Value) -> Value {
    json!({"id": id, "type": "function", "function": {"name": name, "arguments": input.to_string()}})
}
