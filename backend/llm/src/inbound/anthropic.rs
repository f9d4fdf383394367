//! Anthropic messages, seen from the server.

use serde_json::{Value, json};

use super::conversation::{Conversation, Marked, mark_of, thinking_block};
use super::{
    DEFAULT_MAX_OUTPUT, Inbound, Reply, WireError, list_of, messages_of, plain_text, strings_of, text_of,
    tokens_of,
};
use crate::provider::anthropic::REDACTED;
use crate::types::{
    Block, CachePlace, ChatRequest, Delta, Effort, Image, Options, Reasoning, Role, StopReason, ToolChoice,
    ToolSpec, Usage,
};

pub(super) fn parse(body: &Value) -> Result<Inbound, WireError> {
    let mut said = Conversation::default();
    let tools = parse_tools(body, &mut said)?;
    parse_system(body.get("system").unwrap_or(&Value::Null), &mut said)?;
    for message in messages_of(body)? {
        let role = match text_of(message, "role")? {
            "user" => Role::User,
            "assistant" => Role::Assistant,
            other => return Err(WireError::new(format!("the role `{other}` is not supported"))),
        };
        let blocks: Vec<Marked> = match message.get("content") {
            Some(Value::String(text)) => vec![(Block::text(text), None)],
            Some(Value::Array(blocks)) => parse_blocks(blocks)?,
            _ => return Err(WireError::new("`content` is neither a string nor a list")),
        };
        said.say(role, blocks);
    }
    // Counting needs none, and a call without one gets what the deployment gives.
    let max = tokens_of(body, "max_tokens")?.unwrap_or(DEFAULT_MAX_OUTPUT);
    let Conversation { system, messages, marks } = said;
    Ok(Inbound {
        model: text_of(body, "model")?.to_owned(),
        stream: body.get("stream").and_then(Value::as_bool).unwrap_or(false),
        include_usage: true,
        request: ChatRequest {
            system,
            messages,
            tools,
            max_output_tokens: max,
            temperature: body.get("temperature").and_then(Value::as_f64),
            stop: strings_of(body.get("stop_sequences"))?,
            options: Options { cache: marks, ..parse_options(body) },
        },
    })
}

/// Every block of a system prompt stands by itself.
fn parse_system(system: &Value, said: &mut Conversation) -> Result<(), WireError> {
    let Value::Array(blocks) = system else {
        said.instruct(&plain_text(system)?, None);
        return Ok(());
    };
    for block in blocks {
        said.instruct_apart(&plain_text(&json!([block]))?, mark_of(block));
    }
    Ok(())
}

fn parse_blocks(blocks: &[Value]) -> Result<Vec<Marked>, WireError> {
    let mut parsed = Vec::new();
    for block in blocks {
        parsed.extend(parse_block(block)?.map(|said| (said, mark_of(block))));
    }
    Ok(parsed)
}

fn parse_options(body: &Value) -> Options {
    let choice = body.get("tool_choice");
    let tool_choice = choice.and_then(|choice| {
        Some(match choice.get("type")?.as_str()? {
            "auto" => ToolChoice::Auto,
            "none" => ToolChoice::None,
            "any" => ToolChoice::Any,
            "tool" => ToolChoice::Tool(choice.get("name")?.as_str()?.to_owned()),
            _ => return None,
        })
    });
    let alone = choice.and_then(|choice| choice.get("disable_parallel_tool_use")?.as_bool());
    // The older name of the field holds the format itself.
    let format = body.pointer("/output_config/format").or_else(|| body.get("output_format"));
    let strict = |tool: &&Value| tool.get("strict") == Some(&Value::Bool(true));
    let tools = body.get("tools").and_then(Value::as_array).into_iter().flatten();
    let name = |tool: &Value| Some(tool.get("name")?.as_str()?.to_owned());
    Options {
        top_p: body.get("top_p").and_then(Value::as_f64),
        tool_choice,
        parallel_tool_calls: alone.filter(|alone| *alone).map(|_| false),
        output_schema: format.and_then(|format| format.get("schema")).cloned(),
        json_object: false,
        user: body.pointer("/metadata/user_id").and_then(Value::as_str).map(str::to_owned),
        reasoning: parse_reasoning(body),
        strict_tools: tools.filter(strict).filter_map(name).collect(),
        cache: Vec::new(),
    }
}

/// A budget is what was meant exactly; an effort is the same wish in a word.
fn parse_reasoning(body: &Value) -> Option<Reasoning> {
    let effort = body.pointer("/output_config/effort").and_then(Value::as_str).and_then(Effort::named);
    let budget = || {
        let tokens = body.pointer("/thinking/budget_tokens").and_then(Value::as_u64)?;
        Some(Reasoning::Budget(u32::try_from(tokens).unwrap_or(u32::MAX)))
    };
    match body.pointer("/thinking/type").and_then(Value::as_str) {
        Some("disabled") => Some(Reasoning::Off),
        Some("enabled") => effort.map(Reasoning::Effort).or_else(budget),
        // What the API takes when no effort is said.
        Some("adaptive") => Some(Reasoning::Effort(effort.unwrap_or(Effort::High))),
        _ => effort.map(Reasoning::Effort),
    }
}

fn parse_image(block: &Value) -> Result<Image, WireError> {
    let source = block.get("source").unwrap_or(&Value::Null);
    let owned = |key| text_of(source, key).map(str::to_owned);
    match text_of(source, "type")? {
        "base64" => Ok(Image::Data { media_type: owned("media_type")?, data: owned("data")? }),
        "url" => Ok(Image::Url { url: owned("url")? }),
        other => Err(WireError::new(format!("an image from `{other}` is not supported"))),
    }
}

/// Text and pictures of a tool's result.
fn parse_result(content: &Value) -> Result<(String, Vec<Image>), WireError> {
    let Value::Array(parts) = content else { return Ok((plain_text(content)?, Vec::new())) };
    let is_image = |part: &&Value| part.get("type").and_then(Value::as_str) == Some("image");
    let images = parts.iter().filter(is_image).map(parse_image).collect::<Result<_, _>>()?;
    let rest: Vec<Value> = parts.iter().filter(|part| !is_image(part)).cloned().collect();
    Ok((plain_text(&Value::Array(rest))?, images))
}

/// None: thoughts that nobody signed, which no provider takes back.
fn parse_block(block: &Value) -> Result<Option<Block>, WireError> {
    let owned = |key| text_of(block, key).map(str::to_owned);
    Ok(Some(match text_of(block, "type")? {
        "text" => Block::Text { text: owned("text")? },
        "tool_use" => {
            let input = block.get("input").filter(|input| input.is_object());
            let input = input.ok_or_else(|| WireError::new("`input` of a tool_use is no object"))?.clone();
            Block::ToolUse { id: owned("id")?, name: owned("name")?, input }
        }
        "image" => Block::Image { image: parse_image(block)? },
        "tool_result" => {
            let (content, images) = parse_result(block.get("content").unwrap_or(&Value::Null))?;
            let is_error = block.get("is_error").and_then(Value::as_bool).unwrap_or(false);
            Block::ToolResult { tool_use_id: owned("tool_use_id")?, content, is_error, images }
        }
        "thinking" | "redacted_thinking" => return Ok(thinking_block(block)),
        other => return Err(WireError::new(format!("content of type `{other}` is not supported"))),
    }))
}

fn parse_tools(body: &Value, said: &mut Conversation) -> Result<Vec<ToolSpec>, WireError> {
    let mut tools = Vec::new();
    for tool in list_of(body, "tools")? {
        let spec = parse_tool(tool)?;
        said.mark(CachePlace::Tool(spec.name.clone()), mark_of(tool));
        tools.push(spec);
    }
    Ok(tools)
}

fn parse_tool(tool: &Value) -> Result<ToolSpec, WireError> {
    if let Some(kind) = tool.get("type").and_then(Value::as_str).filter(|kind| *kind != "custom") {
        return Err(WireError::new(format!("the tool `{kind}` runs at Anthropic only")));
    }
    Ok(ToolSpec {
        name: text_of(tool, "name")?.to_owned(),
        description: tool.get("description").and_then(Value::as_str).unwrap_or_default().to_owned(),
        input_schema: tool.get("input_schema").cloned().unwrap_or_else(|| json!({"type": "object"})),
    })
}

pub(super) fn reply(reply: &Reply) -> Value {
    let content: Vec<Value> = reply.blocks.iter().filter_map(block).collect();
    json!({
        "id": reply.id, "type": "message", "role": "assistant", "model": reply.model, "content": content,
        "stop_reason": stop_reason(&reply.stop), "stop_sequence": null, "usage": usage(&reply.usage),
    })
}

fn block(block: &Block) -> Option<Value> {
    Some(match block {
        Block::Text { text } => json!({"type": "text", "text": text}),
        Block::ToolUse { id, name, input } => {
            json!({"type": "tool_use", "id": id, "name": name, "input": input})
        }
        // As malformed as it came: a string where the format wants an object.
        Block::InvalidToolUse { id, name, raw, .. } => {
            json!({"type": "tool_use", "id": id, "name": name, "input": raw})
        }
        Block::Thinking { text, signature, .. } => match signature
            .as_ref()
            .map(|s| (s, s.strip_prefix(REDACTED)))
        {
            Some((_, Some(data))) => json!({"type": "redacted_thinking", "data": data}),
            Some((signature, None)) => json!({"type": "thinking", "thinking": text, "signature": signature}),
            None => json!({"type": "thinking", "thinking": text, "signature": ""}),
        },
        Block::ToolResult { .. } | Block::Image { .. } => return None,
    })
}

fn usage(usage: &Usage) -> Value {
    let mut said = json!({
        "input_tokens": usage.input,
        "cache_creation_input_tokens": usage.cache_write,
        "cache_read_input_tokens": usage.cache_read,
        "output_tokens": usage.output,
    });
    if usage.cache_write > 0 {
        said["cache_creation"] = json!({
            "ephemeral_5m_input_tokens": usage.cache_write.saturating_sub(usage.cache_write_1h),
            "ephemeral_1h_input_tokens": usage.cache_write_1h,
        });
    }
    if usage.reasoning > 0 {
        said["output_tokens_details"] = json!({"thinking_tokens": usage.reasoning});
    }
    said
}

fn stop_reason(stop: &StopReason) -> &str {
    match stop {
        StopReason::ToolUse => "tool_use",
        StopReason::MaxTokens => "max_tokens",
        StopReason::StopSequence => "stop_sequence",
        StopReason::Refusal => "refusal",
        // A word of this format; others' words would be none that a client knows.
        StopReason::Other(word) if word == "pause_turn" => word,
        StopReason::EndTurn | StopReason::Other(_) => "end_turn",
    }
}

/// Writes events.
#[derive(Debug)]
pub(super) struct Encoder {
    id: String,
    model: String,
    usage: Usage,
    stop: StopReason,
    /// The neutral index of the open block, and how many blocks were opened.
    open: Option<u32>,
    opened: u32,
}

impl Encoder {
    pub(super) fn new(head: &Reply) -> Self {
        let (id, model, usage) = (head.id.clone(), head.model.clone(), head.usage);
        Self { id, model, usage, stop: StopReason::EndTurn, open: None, opened: 0 }
    }

    pub(super) fn start(&self) -> String {
        let mut message = reply(&Reply {
            id: self.id.clone(),
            model: self.model.clone(),
            created: 0,
            blocks: Vec::new(),
            stop: StopReason::EndTurn,
            usage: Usage { output: 1, ..self.usage },
        });
        message["stop_reason"] = Value::Null;
        frame("message_start", &json!({"type": "message_start", "message": message}))
    }

    pub(super) fn delta(&mut self, delta: &Delta) -> String {
        match delta {
            Delta::Text { index, text } => {
                let opening = self.open(*index, &json!({"type": "text", "text": ""}));
                opening + &self.piece(&json!({"type": "text_delta", "text": text}))
            }
            Delta::Thinking { index, text } => {
                let opening =
                    self.open(*index, &json!({"type": "thinking", "thinking": "", "signature": ""}));
                opening + &self.piece(&json!({"type": "thinking_delta", "thinking": text}))
            }
            Delta::Signature { index, signature } => self.signature(*index, signature),
            Delta::ToolUse { index, id, name } => {
                self.open(*index, &json!({"type": "tool_use", "id": id, "name": name, "input": {}}))
            }
            Delta::ToolInput { json, .. } => {
                self.piece(&json!({"type": "input_json_delta", "partial_json": json}))
            }
            Delta::Usage { usage } => {
                self.usage = *usage;
                String::new()
            }
            Delta::Finished { stop } => {
                self.stop = stop.clone();
                String::new()
            }
            Delta::Started { .. } => String::new(),
        }
    }

    fn signature(&mut self, index: u32, signature: &str) -> String {
        if let Some(data) = signature.strip_prefix(REDACTED) {
            return self.open(index, &json!({"type": "redacted_thinking", "data": data}));
        }
        let opening = self.open(index, &json!({"type": "thinking", "thinking": "", "signature": ""}));
        opening + &self.piece(&json!({"type": "signature_delta", "signature": signature}))
    }

    pub(super) fn finish(&mut self) -> String {
        let closing = self.close();
        let delta = json!({"stop_reason": stop_reason(&self.stop), "stop_sequence": null});
        let end = json!({"type": "message_delta", "delta": delta, "usage": usage(&self.usage)});
        closing + &frame("message_delta", &end) + &frame("message_stop", &json!({"type": "message_stop"}))
    }

    /// Opens the block if it is not open yet; this format allows one at a time.
    fn open(&mut self, index: u32, block: &Value) -> String {
        if self.open == Some(index) {
            return String::new();
        }
        let closing = self.close();
        self.open = Some(index);
        self.opened += 1;
        let start = json!({"type": "content_block_start", "index": self.opened - 1, "content_block": block});
        closing + &frame("content_block_start", &start)
    }

    fn close(&mut self) -> String {
        if self.open.take().is_none() {
            return String::new();
        }
        frame("content_block_stop", &json!({"type": "content_block_stop", "index": self.opened - 1}))
    }

    fn piece(&self, delta: &Value) -> String {
        let index = self.opened.saturating_sub(1);
        frame("content_block_delta", &json!({"type": "content_block_delta", "index": index, "delta": delta}))
    }
}

fn frame(event: &str, data: &Value) -> String {
    format!("event: {event}\ndata: {data}\n\n")
}
