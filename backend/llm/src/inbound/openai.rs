//! OpenAI chat completions, seen from the server.

use serde_json::{Value, json};

use super::{
    DEFAULT_MAX_OUTPUT, Inbound, Reply, WireError, list_of, messages_of, plain_text, push, strings_of,
    text_of, tokens_of,
};
use crate::assemble::tool_block;
use crate::provider::openai::TOOL_ERROR_MARK;
use crate::types::{
    Block, ChatRequest, Delta, Image, Options, Role, StopReason, ToolChoice, ToolSpec, Usage,
};

pub(super) fn parse(body: &Value) -> Result<Inbound, WireError> {
    let mut system: Vec<String> = Vec::new();
    let mut messages = Vec::new();
    for message in messages_of(body)? {
        let content = || plain_text(message.get("content").unwrap_or(&Value::Null));
        match text_of(message, "role")? {
            "system" | "developer" => system.push(content()?),
            "user" => push(&mut messages, Role::User, parse_parts(message.get("content"))?),
            "assistant" => {
                let mut blocks = text_block(content()?);
                for call in list_of(message, "tool_calls")? {
                    blocks.push(parse_call(call)?);
                }
                push(&mut messages, Role::Assistant, blocks);
            }
            "tool" => push(
                &mut messages,
                Role::User,
                vec![parse_result(text_of(message, "tool_call_id")?, &content()?)],
            ),
            other => return Err(WireError::new(format!("the role `{other}` is not supported"))),
        }
    }
    let max = tokens_of(body, "max_completion_tokens")?.or(tokens_of(body, "max_tokens")?);
    let usage = body.pointer("/stream_options/include_usage").and_then(Value::as_bool);
    Ok(Inbound {
        model: text_of(body, "model")?.to_owned(),
        stream: body.get("stream").and_then(Value::as_bool).unwrap_or(false),
        include_usage: usage.unwrap_or(false),
        request: ChatRequest {
            system: system.join("\n\n"),
            messages,
            tools: list_of(body, "tools")?.iter().map(parse_tool).collect::<Result<_, _>>()?,
            max_output_tokens: max.unwrap_or(DEFAULT_MAX_OUTPUT),
            temperature: body.get("temperature").and_then(Value::as_f64),
            stop: strings_of(body.get("stop"))?,
            options: parse_options(body),
        },
    })
}

fn text_block(text: String) -> Vec<Block> {
    if text.is_empty() { Vec::new() } else { vec![Block::Text { text }] }
}

/// What a user says, in its order: texts that follow each other are one.
fn parse_parts(content: Option<&Value>) -> Result<Vec<Block>, WireError> {
    let Some(Value::Array(parts)) = content else {
        return Ok(text_block(plain_text(content.unwrap_or(&Value::Null))?));
    };
    let mut blocks: Vec<Block> = Vec::new();
    for part in parts {
        match (text_of(part, "type")?, blocks.last_mut()) {
            ("image_url", _) => blocks.push(Block::Image { image: parse_image(part)? }),
            (_, Some(Block::Text { text })) => text.push_str(&plain_text(&json!([part]))?),
            _ => blocks.extend(text_block(plain_text(&json!([part]))?)),
        }
    }
    Ok(blocks)
}

fn parse_image(part: &Value) -> Result<Image, WireError> {
    let url = part.pointer("/image_url/url").and_then(Value::as_str);
    let url = url.ok_or_else(|| WireError::new("an `image_url` has no `url`"))?;
    let Some(inline) = url.strip_prefix("data:") else { return Ok(Image::Url { url: url.to_owned() }) };
    let (media_type, data) = inline
        .split_once(";base64,")
        .ok_or_else(|| WireError::new("an image's data URL is not in base64"))?;
    Ok(Image::Data { media_type: media_type.to_owned(), data: data.to_owned() })
}

fn parse_options(body: &Value) -> Options {
    let tool_choice = body.get("tool_choice").and_then(|choice| match choice.as_str() {
        Some("auto") => Some(ToolChoice::Auto),
        Some("none") => Some(ToolChoice::None),
        Some("required") => Some(ToolChoice::Any),
        _ => Some(ToolChoice::Tool(choice.pointer("/function/name")?.as_str()?.to_owned())),
    });
    Options {
        top_p: body.get("top_p").and_then(Value::as_f64),
        tool_choice,
        parallel_tool_calls: body.get("parallel_tool_calls").and_then(Value::as_bool),
        output_schema: body.pointer("/response_format/json_schema/schema").cloned(),
        user: body.get("user").and_then(Value::as_str).map(str::to_owned),
    }
}

fn parse_call(call: &Value) -> Result<Block, WireError> {
    let function = call.get("function").ok_or_else(|| WireError::new("a tool call has no `function`"))?;
    let arguments = function.get("arguments").and_then(Value::as_str).unwrap_or_default();
    Ok(tool_block(
        text_of(call, "id")?.to_owned(),
        text_of(function, "name")?.to_owned(),
        arguments.to_owned(),
    ))
}

fn parse_result(id: &str, content: &str) -> Block {
    let error = content.strip_prefix(TOOL_ERROR_MARK);
    Block::ToolResult {
        tool_use_id: id.to_owned(),
        content: error.unwrap_or(content).to_owned(),
        is_error: error.is_some(),
        images: Vec::new(),
    }
}

fn parse_tool(tool: &Value) -> Result<ToolSpec, WireError> {
    let function = tool.get("function").ok_or_else(|| WireError::new("a tool has no `function`"))?;
    Ok(ToolSpec {
        name: text_of(function, "name")?.to_owned(),
        description: function.get("description").and_then(Value::as_str).unwrap_or_default().to_owned(),
        input_schema: function.get("parameters").cloned().unwrap_or_else(|| json!({"type": "object"})),
    })
}

pub(super) fn reply(reply: &Reply) -> Value {
    let mut text = String::new();
    let mut calls = Vec::new();
    for block in &reply.blocks {
        match block {
            Block::Text { text: more } => text.push_str(more),
            Block::ToolUse { id, name, input } => calls.push(call(id, name, &input.to_string())),
            Block::InvalidToolUse { id, name, raw, .. } => calls.push(call(id, name, raw)),
            // The format has no place for reasoning, and a model's answer holds no results and no pictures.
            Block::Thinking { .. } | Block::ToolResult { .. } | Block::Image { .. } => {}
        }
    }
    let content = if text.is_empty() { Value::Null } else { json!(text) };
    let mut message = json!({"role": "assistant", "content": content, "refusal": null});
    if !calls.is_empty() {
        message["tool_calls"] = json!(calls);
    }
    json!({
        "id": reply.id, "object": "chat.completion", "created": reply.created, "model": reply.model,
        "choices": [{"index": 0, "message": message, "finish_reason": finish_reason(&reply.stop)}],
        "usage": usage(&reply.usage),
    })
}

fn call(id: &str, name: &str, arguments: &str) -> Value {
    json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}})
}

fn usage(usage: &Usage) -> Value {
    json!({
        "prompt_tokens": usage.prompt(),
        "completion_tokens": usage.output,
        "total_tokens": usage.prompt().saturating_add(usage.output),
        "prompt_tokens_details": {"cached_tokens": usage.cache_read},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
    })
}

fn finish_reason(stop: &StopReason) -> &str {
    match stop {
        // Words that this format has not: the model paused, and said all it had to say for now.
        StopReason::EndTurn | StopReason::StopSequence | StopReason::Other(_) => "stop",
        StopReason::ToolUse => "tool_calls",
        StopReason::MaxTokens => "length",
        StopReason::Refusal => "content_filter",
    }
}

/// Writes chunks.
#[derive(Debug)]
pub struct Encoder {
    id: String,
    model: String,
    created: u64,
    usage: Usage,
    include_usage: bool,
    /// Block indexes of the calls so far; a call's place is its number on the wire.
    calls: Vec<u32>,
}

impl Encoder {
    pub(super) fn new(head: &Reply, include_usage: bool) -> Self {
        let (id, model, created, usage) = (head.id.clone(), head.model.clone(), head.created, head.usage);
        Self { id, model, created, usage, include_usage, calls: Vec::new() }
    }

    pub(super) fn start(&self) -> String {
        self.chunk(&json!({"role": "assistant", "content": ""}), None)
    }

    pub(super) fn delta(&mut self, delta: &Delta) -> String {
        match delta {
            Delta::Text { text, .. } => self.chunk(&json!({"content": text}), None),
            Delta::ToolUse { index, id, name } => {
                let place = self.calls.len();
                self.calls.push(*index);
                let function = json!({"name": name, "arguments": ""});
                let call = json!({"index": place, "id": id, "type": "function", "function": function});
                self.chunk(&json!({"tool_calls": [call]}), None)
            }
            Delta::ToolInput { index, json } => {
                let Some(place) = self.calls.iter().position(|call| call == index) else {
                    return String::new();
                };
                let call = json!({"index": place, "function": {"arguments": json}});
                self.chunk(&json!({"tool_calls": [call]}), None)
            }
            Delta::Usage { usage } => {
                self.usage = *usage;
                String::new()
            }
            Delta::Finished { stop } => self.chunk(&json!({}), Some(finish_reason(stop))),
            Delta::Started { .. } | Delta::Thinking { .. } | Delta::Signature { .. } => String::new(),
        }
    }

    pub(super) fn finish(&mut self) -> String {
        let mut frames = String::new();
        if self.include_usage {
            let mut chunk = self.head();
            chunk["choices"] = json!([]);
            chunk["usage"] = usage(&self.usage);
            frames = format!("data: {chunk}\n\n");
        }
        frames + "data: [DONE]\n\n"
    }

    fn head(&self) -> Value {
        json!({"id": self.id, "object": "chat.completion.chunk", "created": self.created, "model": self.model})
    }

    fn chunk(&self, delta: &Value, finish: Option<&str>) -> String {
        let mut chunk = self.head();
        chunk["choices"] = json!([{"index": 0, "delta": delta, "finish_reason": finish}]);
        if self.include_usage {
            chunk["usage"] = Value::Null;
        }
        format!("data: {chunk}\n\n")
    }
}
