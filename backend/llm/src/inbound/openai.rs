//! OpenAI chat completions, seen from the server.

mod answer;

pub(super) use answer::{Encoder, reply};

use serde_json::{Value, json};

use super::conversation::{Conversation, Marked, mark_of, redacted, signed, thinking_block};
use super::{
    DEFAULT_MAX_OUTPUT, Inbound, WireError, list_of, messages_of, plain_text, strings_of, text_of, tokens_of,
};
use crate::assemble::tool_block;
use crate::provider::openai::TOOL_ERROR_MARK;
use crate::types::{
    Block, CachePlace, ChatRequest, Effort, Image, Options, Reasoning, Role, ToolChoice, ToolSpec,
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
        Some(_) => None,
        None => Some(ToolChoice::Tool(choice.pointer("/function/name")?.as_str()?.to_owned())),
    });
    let text = |name: &str| body.get(name).and_then(Value::as_str);
    let strict = |tool: &&Value| tool.pointer("/function/strict") == Some(&Value::Bool(true));
    let tools = body.get("tools").and_then(Value::as_array).into_iter().flatten();
    let name = |tool: &Value| Some(tool.pointer("/function/name")?.as_str()?.to_owned());
    Options {
        top_p: body.get("top_p").and_then(Value::as_f64),
        tool_choice,
        parallel_tool_calls: body.get("parallel_tool_calls").and_then(Value::as_bool),
        output_schema: body.pointer("/response_format/json_schema/schema").cloned(),
        json_object: body.pointer("/response_format/type").is_some_and(|kind| kind == "json_object"),
        // The newer name of the same.
        user: text("safety_identifier").or_else(|| text("user")).map(str::to_owned),
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
    let kind = tool.get("type").and_then(Value::as_str).unwrap_or("function");
    let function = tool.get("function").ok_or_else(|| {
        WireError::new(format!("the tool `{kind}` is OpenAI's own: offer it as a `function`"))
    })?;
    Ok(ToolSpec {
        name: text_of(function, "name")?.to_owned(),
        description: function.get("description").and_then(Value::as_str).unwrap_or_default().to_owned(),
        input_schema: function.get("parameters").cloned().unwrap_or_else(|| json!({"type": "object"})),
    })
}
