//! The request, as Anthropic takes it.

use serde_json::{Value, json};

use super::REDACTED;
use crate::provider::Deployment;
use crate::provider::fit::{Fitted, Thought, fit};
use crate::provider::openai::{INVALID_ARGUMENTS, SEAL};
use crate::types::{
    Block, CacheMark, CachePlace, ChatRequest, Image, Message, Options, Role, ToolChoice, ToolSpec,
};

/// The request's body.
pub(crate) fn encode(deployment: &Deployment, request: &ChatRequest, max_output: u32) -> Value {
    let mut messages: Vec<Value> = Vec::new();
    let marks = &request.options.cache;
    for (place, message) in request.messages.iter().enumerate() {
        let blocks = ordered(message).filter_map(|(number, block)| {
            let block = encode_block(block, &deployment.model)?;
            Some(marked(block, marks, &CachePlace::Block(place, number)))
        });
        let content: Vec<Value> = blocks.collect();
        // The API refuses an empty message, which is what is left of reasoning alone.
        if !content.is_empty() {
            messages.push(json!({"role": role(message.role), "content": content}));
        }
    }
    if let Some(last) = messages.last_mut().and_then(|message| message["content"].as_array_mut()?.last_mut())
        && marks.is_empty()
        && !is_thinking(last)
    {
        last["cache_control"] = json!({"type": "ephemeral"});
    }
    let mut body = json!({
        "model": deployment.model,
        "messages": messages,
        "max_tokens": max_output,
        "stream": true,
    });
    if !request.system.is_empty() {
        body["system"] = json!(system(&request.system, marks));
    }
    if !request.tools.is_empty() {
        body["tools"] = request.tools.iter().map(|spec| tool(spec, &request.options)).collect();
    }
    if !request.stop.is_empty() {
        body["stop_sequences"] = json!(request.stop);
    }
    encode_options(&request.options, !request.tools.is_empty(), &mut body);
    encode_fitted(&fit(deployment, request, max_output), &mut body);
    body
}

/// A provider refuses a mark on what a model thought.
fn marked(mut block: Value, marks: &[CacheMark], place: &CachePlace) -> Value {
    if let Some(mark) = marks.iter().find(|mark| mark.after == *place)
        && !is_thinking(&block)
    {
        block["cache_control"] = cache_control(mark);
    }
    block
}

fn is_thinking(block: &Value) -> bool {
    matches!(block["type"].as_str(), Some("thinking" | "redacted_thinking"))
}

fn cache_control(mark: &CacheMark) -> Value {
    match mark.time {
        Some(time) => json!({"type": "ephemeral", "ttl": time.as_str()}),
        None => json!({"type": "ephemeral"}),
    }
}

/// The system prompt, cut where it is marked; as a whole where nobody marks anything.
fn system(text: &str, marks: &[CacheMark]) -> Vec<Value> {
    if marks.is_empty() {
        return vec![json!({"type": "text", "text": text, "cache_control": {"type": "ephemeral"}})];
    }
    let mut blocks = Vec::new();
    let mut rest = text;
    for mark in marks {
        let CachePlace::System(end) = mark.after else { continue };
        let length = end.saturating_sub(text.len() - rest.len());
        let Some((head, tail)) = rest.split_at_checked(length).filter(|(head, _)| !head.is_empty()) else {
            continue;
        };
        blocks.push(json!({"type": "text", "text": head, "cache_control": cache_control(mark)}));
        // What stands between two instructions is no part of the second.
        rest = tail.strip_prefix("\n\n").unwrap_or(tail);
    }
    if !rest.is_empty() {
        blocks.push(json!({"type": "text", "text": rest}));
    }
    blocks
}

fn tool(spec: &ToolSpec, options: &Options) -> Value {
    let mut tool =
        json!({"name": spec.name, "description": spec.description, "input_schema": spec.input_schema});
    if options.strict_tools.contains(&spec.name) {
        tool["strict"] = json!(true);
    }
    marked(tool, &options.cache, &CachePlace::Tool(spec.name.clone()))
}

fn encode_fitted(fitted: &Fitted, body: &mut Value) {
    if let Some(temperature) = fitted.temperature {
        body["temperature"] = json!(temperature);
    }
    if let Some(top_p) = fitted.top_p {
        body["top_p"] = json!(top_p);
    }
    match fitted.thought {
        None => {}
        Some(Thought::Off) => body["thinking"] = json!({"type": "disabled"}),
        Some(Thought::Budget(tokens)) => {
            body["thinking"] = json!({"type": "enabled", "budget_tokens": tokens});
        }
        Some(Thought::Adaptive(effort)) => {
            // Said as it is by default for older models and not for newer ones.
            body["thinking"] = json!({"type": "adaptive", "display": "summarized"});
            body["output_config"]["effort"] = json!(effort.as_str());
        }
        Some(Thought::Effort(effort)) => body["output_config"]["effort"] = json!(effort.as_str()),
    }
}

fn encode_options(options: &Options, has_tools: bool, body: &mut Value) {
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
fn ordered(message: &Message) -> impl Iterator<Item = (usize, &Block)> {
    let is_result = |block: &Block| matches!(block, Block::ToolResult { .. });
    let blocks = || message.content.iter().enumerate();
    blocks()
        .filter(move |(_, block)| is_result(block))
        .chain(blocks().filter(move |(_, block)| !is_result(block)))
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
            let is_own = origin.as_deref().is_none_or(|origin| origin == model);
            let signature = signature.as_ref().filter(|said| is_own && !said.starts_with(SEAL))?;
            match signature.strip_prefix(REDACTED) {
                Some(data) => json!({"type": "redacted_thinking", "data": data}),
                None => json!({"type": "thinking", "thinking": text, "signature": signature}),
            }
        }
    })
}
