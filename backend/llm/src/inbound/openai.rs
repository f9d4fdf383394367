//! OpenAI chat completions, seen from the server.

use serde_json::{Value, json};

use super::conversation::{Conversation, Marked, mark_of, redacted, signed, thinking_block};
use super::{
    DEFAULT_MAX_OUTPUT, Inbound, Reply, WireError, list_of, messages_of, plain_text, strings_of, text_of,
    tokens_of,
};
use crate::assemble::tool_block;
use crate::provider::anthropic::REDACTED;
use crate::provider::openai::TOOL_ERROR_MARK;
use crate::types::{
    Block, CachePlace, ChatRequest, Delta, Effort, Image, Options, Reasoning, Role, StopReason, ToolChoice,
    ToolSpec, Usage,
};

pub(super) fn parse(body: &Value) -> Result<Inbound, WireError> {
    let mut said = Conversation::default();
    let tools = parse_tools(body, &mut said)?;
    for message in messages_of(body)? {
        parse_message(message, &mut said)?;
    }
    let max = tokens_of(body, "max_completion_tokens")?.or(tokens_of(body, "max_tokens")?);
    let usage = body.pointer("/stream_options/include_usage").and_then(Value::as_bool);
    let Conversation { system, messages, marks } = said;
    Ok(Inbound {
        model: text_of(body, "model")?.to_owned(),
        stream: body.get("stream").and_then(Value::as_bool).unwrap_or(false),
        include_usage: usage.unwrap_or(false),
        request: ChatRequest {
            system,
            messages,
            tools,
            max_output_tokens: max.unwrap_or(DEFAULT_MAX_OUTPUT),
            temperature: body.get("temperature").and_then(Value::as_f64),
            stop: strings_of(body.get("stop"))?,
            options: Options { cache: marks, ..parse_options(body) },
        },
    })
}

fn parse_message(message: &Value, said: &mut Conversation) -> Result<(), WireError> {
    let content = message.get("content");
    match text_of(message, "role")? {
        "system" | "developer" => parse_system(message, said)?,
        "user" => said.say(Role::User, on_the_last(parse_parts(content)?, message)),
        "assistant" => said.say(Role::Assistant, on_the_last(parse_said(message)?, message)),
        "tool" => {
            let result = parse_result(text_of(message, "tool_call_id")?, parse_parts(content)?)?;
            let mark = content.and_then(Value::as_array).and_then(|parts| parts.iter().find_map(mark_of));
            said.say(Role::User, on_the_last(vec![(result, mark)], message));
        }
        other => return Err(WireError::new(format!("the role `{other}` is not supported"))),
    }
    Ok(())
}

fn parse_system(message: &Value, said: &mut Conversation) -> Result<(), WireError> {
    match message.get("content") {
        Some(Value::Array(parts)) => {
            for (number, part) in parts.iter().enumerate() {
                let text = plain_text(&json!([part]))?;
                let mark = mark_of(part).or_else(|| mark_of(message).filter(|_| number + 1 == parts.len()));
                if number == 0 { said.instruct_apart(&text, mark) } else { said.instruct(&text, mark) }
            }
        }
        content => {
            said.instruct_apart(&plain_text(content.unwrap_or(&Value::Null))?, mark_of(message));
        }
    }
    Ok(())
}

/// A mark on a message holds for its end.
fn on_the_last(mut blocks: Vec<Marked>, message: &Value) -> Vec<Marked> {
    if let (Some((_, mark)), Some(whole)) = (blocks.last_mut(), mark_of(message)) {
        mark.get_or_insert(whole);
    }
    blocks
}

/// What the model said: its thoughts, its text, its calls.
fn parse_said(message: &Value) -> Result<Vec<Marked>, WireError> {
    let mut blocks: Vec<Marked> = parse_thoughts(message)?.into_iter().map(|block| (block, None)).collect();
    let content = message.get("content").unwrap_or(&Value::Null);
    match content {
        Value::Array(parts) => {
            for part in parts {
                // A refusal that is sent back is what the model said.
                let text = match part.get("refusal").and_then(Value::as_str) {
                    Some(refusal) => refusal.to_owned(),
                    None => plain_text(&json!([part]))?,
                };
                add_text(&mut blocks, text, part);
            }
        }
        _ => add_text(&mut blocks, plain_text(content)?, &Value::Null),
    }
    let refusal = message.get("refusal").and_then(Value::as_str).unwrap_or_default();
    add_text(&mut blocks, refusal.to_owned(), &Value::Null);
    for call in list_of(message, "tool_calls")? {
        blocks.push((parse_call(call)?, None));
    }
    Ok(blocks)
}

/// As this gateway gives them, `thinking_blocks`, and as OpenRouter does, `reasoning_details`.
pub(super) fn parse_thoughts(message: &Value) -> Result<Vec<Block>, WireError> {
    let ours: Vec<Block> = list_of(message, "thinking_blocks")?.iter().filter_map(thinking_block).collect();
    if !ours.is_empty() {
        return Ok(ours);
    }
    let detail = |detail: &Value| {
        let text = |key| detail.get(key).and_then(Value::as_str).unwrap_or_default();
        match text("type") {
            "reasoning.text" => signed(text("text"), text("signature")),
            "reasoning.encrypted" => redacted(text("data")),
            _ => None,
        }
    };
    Ok(list_of(message, "reasoning_details")?.iter().filter_map(detail).collect())
}

/// Texts that follow each other are one, unless a mark ends the first.
fn add_text(blocks: &mut Vec<Marked>, more: String, part: &Value) {
    if more.is_empty() {
        return;
    }
    match blocks.last_mut() {
        Some((Block::Text { text }, mark @ None)) => {
            text.push_str(&more);
            *mark = mark_of(part);
        }
        _ => blocks.push((Block::Text { text: more }, mark_of(part))),
    }
}

/// What a user says, in its order.
fn parse_parts(content: Option<&Value>) -> Result<Vec<Marked>, WireError> {
    let mut blocks = Vec::new();
    match content {
        Some(Value::Array(parts)) => {
            for part in parts {
                match text_of(part, "type")? {
                    "image_url" => blocks.push((Block::Image { image: parse_image(part)? }, mark_of(part))),
                    _ => add_text(&mut blocks, plain_text(&json!([part]))?, part),
                }
            }
        }
        content => add_text(&mut blocks, plain_text(content.unwrap_or(&Value::Null))?, &Value::Null),
    }
    Ok(blocks)
}

fn parse_image(part: &Value) -> Result<Image, WireError> {
    let url = part.pointer("/image_url/url").and_then(Value::as_str);
    image_of(url.ok_or_else(|| WireError::new("an `image_url` has no `url`"))?)
}

pub(super) fn image_of(url: &str) -> Result<Image, WireError> {
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
    let strict = |tool: &&Value| tool.pointer("/function/strict") == Some(&Value::Bool(true));
    let tools = body.get("tools").and_then(Value::as_array).into_iter().flatten();
    let name = |tool: &Value| Some(tool.pointer("/function/name")?.as_str()?.to_owned());
    Options {
        top_p: body.get("top_p").and_then(Value::as_f64),
        tool_choice,
        parallel_tool_calls: body.get("parallel_tool_calls").and_then(Value::as_bool),
        output_schema: body.pointer("/response_format/json_schema/schema").cloned(),
        user: body.get("user").and_then(Value::as_str).map(str::to_owned),
        reasoning: body.get("reasoning_effort").and_then(Value::as_str).and_then(reasoning),
        strict_tools: tools.filter(strict).filter_map(name).collect(),
        cache: Vec::new(),
    }
}

/// OpenAI's word for how much is thought.
pub(super) fn reasoning(word: &str) -> Option<Reasoning> {
    if word == "none" { Some(Reasoning::Off) } else { Effort::named(word).map(Reasoning::Effort) }
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

/// A tool's answer: text and, from some clients, pictures.
fn parse_result(id: &str, said: Vec<Marked>) -> Result<Block, WireError> {
    let (mut text, mut images) = (String::new(), Vec::new());
    for (block, _) in said {
        match block {
            Block::Image { image } => images.push(image),
            Block::Text { text: more } => text.push_str(&more),
            other => return Err(WireError::new(format!("a tool cannot answer with {other:?}"))),
        }
    }
    Ok(result_block(id, &text, images))
}

pub(super) fn result_block(id: &str, content: &str, images: Vec<Image>) -> Block {
    let error = content.strip_prefix(TOOL_ERROR_MARK);
    Block::ToolResult {
        tool_use_id: id.to_owned(),
        content: error.unwrap_or(content).to_owned(),
        is_error: error.is_some(),
        images,
    }
}

fn parse_tools(body: &Value, said: &mut Conversation) -> Result<Vec<ToolSpec>, WireError> {
    let mut tools = Vec::new();
    for tool in list_of(body, "tools")? {
        let spec = parse_tool(tool)?;
        let mark = mark_of(tool).or_else(|| mark_of(tool.get("function")?));
        said.mark(CachePlace::Tool(spec.name.clone()), mark);
        tools.push(spec);
    }
    Ok(tools)
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
    let (mut text, mut thought) = (String::new(), String::new());
    let (mut calls, mut proofs) = (Vec::new(), Vec::new());
    for block in &reply.blocks {
        match block {
            Block::Text { text: more } => text.push_str(more),
            Block::ToolUse { id, name, input } => calls.push(call(id, name, &input.to_string())),
            Block::InvalidToolUse { id, name, raw, .. } => calls.push(call(id, name, raw)),
            Block::Thinking { text: more, signature, .. } => {
                thought.push_str(more);
                proofs.extend(signature.as_ref().map(|signature| proof(more, signature)));
            }
            // A model's answer holds no results and no pictures.
            Block::ToolResult { .. } | Block::Image { .. } => {}
        }
    }
    let content = if text.is_empty() { Value::Null } else { json!(text) };
    let mut message = json!({"role": "assistant", "content": content, "refusal": null});
    if !thought.is_empty() {
        message["reasoning_content"] = json!(thought);
    }
    if !proofs.is_empty() {
        message["thinking_blocks"] = json!(proofs);
    }
    if !calls.is_empty() {
        message["tool_calls"] = json!(calls);
    }
    json!({
        "id": reply.id, "object": "chat.completion", "created": reply.created, "model": reply.model,
        "choices": [{"index": 0, "message": message, "finish_reason": finish_reason(&reply.stop)}],
        "usage": usage(&reply.usage),
    })
}

/// Thoughts as their provider wants them back.
fn proof(text: &str, signature: &str) -> Value {
    match signature.strip_prefix(REDACTED) {
        Some(data) => json!({"type": "redacted_thinking", "data": data}),
        None => json!({"type": "thinking", "thinking": text, "signature": signature}),
    }
}

fn call(id: &str, name: &str, arguments: &str) -> Value {
    json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}})
}

fn usage(usage: &Usage) -> Value {
    json!({
        "prompt_tokens": usage.prompt(),
        "completion_tokens": usage.output,
        "total_tokens": usage.prompt().saturating_add(usage.output),
        "prompt_tokens_details": {"cached_tokens": usage.cache_read, "cache_write_tokens": usage.cache_write},
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
pub(super) struct Encoder {
    id: String,
    model: String,
    created: u64,
    usage: Usage,
    include_usage: bool,
    /// Block indexes of the calls so far; a call's place is its number on the wire.
    calls: Vec<u32>,
    /// The thoughts that are being said: their block, their text and their signature.
    thought: Option<(u32, String, String)>,
}

impl Encoder {
    pub(super) fn new(head: &Reply, include_usage: bool) -> Self {
        let (id, model, created, usage) = (head.id.clone(), head.model.clone(), head.created, head.usage);
        Self { id, model, created, usage, include_usage, calls: Vec::new(), thought: None }
    }

    pub(super) fn start(&self) -> String {
        self.chunk(&json!({"role": "assistant", "content": ""}), None)
    }

    pub(super) fn delta(&mut self, delta: &Delta) -> String {
        match delta {
            Delta::Thinking { index, text } => {
                let before = self.think(*index, text, "");
                let piece = self.chunk(&json!({"reasoning_content": text}), None);
                if text.is_empty() { before } else { before + &piece }
            }
            Delta::Signature { index, signature } => self.think(*index, "", signature),
            Delta::Usage { .. } | Delta::Started { .. } => self.said(delta),
            _ => self.prove() + &self.said(delta),
        }
    }

    /// Keeps what was thought, which its proof repeats; frames of another thought's proof.
    fn think(&mut self, index: u32, text: &str, signature: &str) -> String {
        let is_another = self.thought.as_ref().is_some_and(|(known, ..)| *known != index);
        let before = if is_another { self.prove() } else { String::new() };
        let (_, said, proof) = self.thought.get_or_insert((index, String::new(), String::new()));
        said.push_str(text);
        proof.push_str(signature);
        before
    }

    /// The frames of the proof of what was thought: one piece, so that a client may send it back as it came.
    fn prove(&mut self) -> String {
        match self.thought.take() {
            Some((_, text, signature)) if !signature.is_empty() => {
                self.chunk(&json!({"thinking_blocks": [proof(&text, &signature)]}), None)
            }
            _ => String::new(),
        }
    }

    fn said(&mut self, delta: &Delta) -> String {
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
