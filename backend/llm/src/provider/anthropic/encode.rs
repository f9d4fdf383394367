//! The request, as Anthropic takes it.

use serde_json::{Value, json};

use super::REDACTED;
use crate::provider::{Deployment, openai::INVALID_ARGUMENTS};
use crate::types::{Block, ChatRequest, Image, Message, Options, Role, ToolChoice};

/// The request's body.
pub(crate) fn encode(deployment: &Deployment, request: &ChatRequest, max_output: u32) -> Value {
    let mut messages: Vec<Value> = Vec::new();
    for message in &request.messages {
        let content: Vec<Value> =
            ordered(message).filter_map(|block| encode_block(block, &deployment.model)).collect();
        // The API refuses an empty message, which is what is left of reasoning alone.
        if !content.is_empty() {
            messages.push(json!({"role": role(message.role), "content": content}));
        }
    }
    if let Some(last) = messages.last_mut().and_then(|message| message["content"].as_array_mut()?.last_mut())
    {
        let is_thinking = matches!(last["type"].as_str(), Some("thinking" | "redacted_thinking"));
        if !is_thinking {
            last["cache_control"] = json!({"type": "ephemeral"});
        }
    }
    let mut body = json!({
        "model": deployment.model,
        "messages": messages,
        "max_tokens": max_output,
        "stream": true,
    });
    if !request.system.is_empty() {
        body["system"] =
            json!([{"type": "text", "text": request.system, "cache_control": {"type": "ephemeral"}}]);
    }
    if !request.tools.is_empty() {
        body["tools"] = request
            .tools
            .iter()
            .map(|tool| json!({"name": tool.name, "description": tool.description, "input_schema": tool.input_schema}))
            .collect();
    }
    if let Some(temperature) = request.temperature.filter(|_| deployment.accepts_temperature) {
        body["temperature"] = json!(temperature);
    }
    if !request.stop.is_empty() {
        body["stop_sequences"] = json!(request.stop);
    }
    encode_options(&request.options, !request.tools.is_empty(), &mut body);
    body
}

fn encode_options(options: &Options, has_tools: bool, body: &mut Value) {
    if let Some(top_p) = options.top_p {
        body["top_p"] = json!(top_p);
    }
    if let Some(schema) = &options.output_schema {
        body["output_config"] = json!({"format": {"type": "json_schema", "schema": schema}});
    }
    if let Some(user) = &options.user {
        body["metadata"] = json!({"user_id": user});
    }
    // The API refuses a choice among no tools.
    if !has_tools || (options.tool_choice.is_none() && options.parallel_tool_calls != Some(false)) {
        return;
    }
    let mut choice = match options.tool_choice.as_ref().unwrap_or(&ToolChoice::Auto) {
        ToolChoice::Auto => json!({"type": "auto"}),
        ToolChoice::None => json!({"type": "none"}),
        ToolChoice::Any => json!({"type": "any"}),
        ToolChoice::Tool(name) => json!({"type": "tool", "name": name}),
    };
    if options.parallel_tool_calls == Some(false) && choice["type"] != "none" {
        choice["disable_parallel_tool_use"] = json!(true);
    }
    body["tool_choice"] = choice;
}

fn image(image: &Image) -> Value {
    match image {
        Image::Data { media_type, data } => {
            json!({"type": "image", "source": {"type": "base64", "media_type": media_type, "data": data}})
        }
        Image::Url { url } => json!({"type": "image", "source": {"type": "url", "url": url}}),
    }
}

/// Tool results first: the API wants them at the start of the message that follows the calls.
fn ordered(message: &Message) -> impl Iterator<Item = &Block> {
    let is_result = |block: &&Block| matches!(block, Block::ToolResult { .. });
    message
        .content
        .iter()
        .filter(is_result)
        .chain(message.content.iter().filter(move |block| !is_result(block)))
}

fn role(role: Role) -> &'static str {
    match role {
        Role::User => "user",
        Role::Assistant => "assistant",
    }
}

fn encode_block(block: &Block, model: &str) -> Option<Value> {
    Some(match block {
        Block::Text { text } if text.is_empty() => return None,
        Block::Text { text } => json!({"type": "text", "text": text}),
        Block::ToolUse { id, name, input } => {
            json!({"type": "tool_use", "id": id, "name": name, "input": input})
        }
        Block::InvalidToolUse { id, name, raw, .. } => {
            json!({"type": "tool_use", "id": id, "name": name, "input": {INVALID_ARGUMENTS: raw}})
        }
        Block::ToolResult { tool_use_id, content, is_error, images } => {
            let content = if images.is_empty() {
                json!(content)
            } else {
                let text = (!content.is_empty()).then(|| json!({"type": "text", "text": content}));
                text.into_iter().chain(images.iter().map(image)).collect()
            };
            json!({"type": "tool_result", "tool_use_id": tool_use_id, "content": content, "is_error": is_error})
        }
        Block::Image { image: picture } => image(picture),
        Block::Thinking { text, signature, model: origin } => {
            let signature =
                signature.as_ref().filter(|_| origin.as_deref().is_none_or(|origin| origin == model))?;
            match signature.strip_prefix(REDACTED) {
                Some(data) => json!({"type": "redacted_thinking", "data": data}),
                None => json!({"type": "thinking", "thinking": text, "signature": signature}),
            }
        }
    })
}
