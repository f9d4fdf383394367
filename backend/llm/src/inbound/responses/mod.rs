//! OpenAI responses, seen from the server: what agents use of them, over a provider of any format.
//!
//! Nothing is stored: the conversation comes with every request. What would need a memory, or runs at OpenAI only, is
//! refused by its name.

mod reply;
mod stream;

pub(crate) use stream::Encoder;

pub(super) use reply::reply;

use serde_json::{Value, json};

use super::conversation::{Conversation, Marked, mark_of, signed};
use super::openai::{reasoning, result_block};
use super::{DEFAULT_MAX_OUTPUT, Inbound, WireError, list_of, text_of, tokens_of};
use crate::assemble::tool_block;
use crate::types::{Block, CachePlace, ChatRequest, Image, Options, Role, ToolChoice, ToolSpec};

/// Put before a signature that goes out as encrypted reasoning: what comes back without it is another's.
pub(crate) const PROOF: &str = "thinking:";

/// What needs a memory, and what to do instead.
const REFUSED: [(&str, &str); 5] = [
    ("previous_response_id", "responses are not stored here: send the whole conversation as `input`"),
    ("conversation", "conversations are not stored here: send the whole conversation as `input`"),
    ("background", "a response is made while its client waits: leave `background` out"),
    ("prompt", "prompts are not stored here: send `instructions` and `input`"),
    ("context_management", "conversations are not compacted here: leave `context_management` out"),
];

/// Refuses what needs a memory, of a request that says what is asked about.
pub(crate) fn refuse_memory(says: impl Fn(&str) -> bool) -> Result<(), WireError> {
    match REFUSED.into_iter().find(|(name, _)| says(name)) {
        Some((name, instead)) => Err(WireError::new(format!("`{name}` is not supported: {instead}"))),
        None => Ok(()),
    }
}

/// Refuses items of before that are only named.
pub(crate) fn refuse_references(body: &Value) -> Result<(), WireError> {
    let mut items = body.get("input").and_then(Value::as_array).into_iter().flatten();
    if items.any(|item| item["type"] == "item_reference") { Err(no_reference()) } else { Ok(()) }
}

fn no_reference() -> WireError {
    WireError::new("items are not stored here: send the item instead of an `item_reference`")
}

pub(crate) fn parse(body: &Value) -> Result<Inbound, WireError> {
    let is_said = |value: &Value| !matches!(value, Value::Null | Value::Bool(false));
    refuse_memory(|name| body.get(name).is_some_and(is_said))?;
    let mut said = Conversation::default();
    let tools = parse_tools(body, &mut said)?;
    if let Some(instructions) = body.get("instructions").filter(|value| !value.is_null()) {
        let text = instructions.as_str();
        said.instruct_apart(text.ok_or_else(|| WireError::new("`instructions` is no string"))?, None);
    }
    parse_input(body, &mut said)?;
    let max = tokens_of(body, "max_output_tokens")?;
    let Conversation { system, messages, marks } = said;
    Ok(Inbound {
        model: text_of(body, "model")?.to_owned(),
        stream: body.get("stream").and_then(Value::as_bool).unwrap_or(false),
        include_usage: true,
        request: ChatRequest {
            system,
            messages,
            tools,
            max_output_tokens: max.unwrap_or(DEFAULT_MAX_OUTPUT),
            temperature: body.get("temperature").and_then(Value::as_f64),
            stop: Vec::new(),
            options: Options { cache: marks, ..parse_options(body)? },
        },
    })
}

fn parse_options(body: &Value) -> Result<Options, WireError> {
    let text = |name: &str| body.get(name).and_then(Value::as_str);
    let strict = list_of(body, "tools")?.iter().filter(|tool| tool["strict"] == true);
    Ok(Options {
        top_p: body.get("top_p").and_then(Value::as_f64),
        tool_choice: parse_choice(body)?,
        parallel_tool_calls: body.get("parallel_tool_calls").and_then(Value::as_bool).filter(|many| !many),
        output_schema: body.pointer("/text/format/schema").cloned(),
        json_object: body.pointer("/text/format/type").is_some_and(|kind| kind == "json_object"),
        user: text("safety_identifier").or_else(|| text("user")).map(str::to_owned),
        reasoning: body.pointer("/reasoning/effort").and_then(Value::as_str).and_then(reasoning),
        strict_tools: strict.filter_map(|tool| Some(tool.get("name")?.as_str()?.to_owned())).collect(),
        cache: Vec::new(),
    })
}

fn parse_choice(body: &Value) -> Result<Option<ToolChoice>, WireError> {
    let Some(choice) = body.get("tool_choice").filter(|choice| !choice.is_null()) else { return Ok(None) };
    let kind = choice.as_str().or_else(|| choice.get("type")?.as_str()).unwrap_or_default();
    Ok(Some(match kind {
        "auto" => ToolChoice::Auto,
        "none" => ToolChoice::None,
        "required" => ToolChoice::Any,
        "function" => ToolChoice::Tool(text_of(choice, "name")?.to_owned()),
        other => return Err(WireError::new(format!("the `tool_choice` `{other}` is not supported"))),
    }))
}

fn parse_tools(body: &Value, said: &mut Conversation) -> Result<Vec<ToolSpec>, WireError> {
    let mut tools = Vec::new();
    for tool in list_of(body, "tools")? {
        let kind = text_of(tool, "type")?;
        if kind != "function" {
            let message =
                format!("the tool `{kind}` runs at OpenAI only: offer it as a `function` of your own");
            return Err(WireError::new(message));
        }
        let parameters = tool.get("parameters").filter(|schema| schema.is_object());
        let spec = ToolSpec {
            name: text_of(tool, "name")?.to_owned(),
            description: tool.get("description").and_then(Value::as_str).unwrap_or_default().to_owned(),
            input_schema: parameters.cloned().unwrap_or_else(|| json!({"type": "object"})),
        };
        said.mark(CachePlace::Tool(spec.name.clone()), mark_of(tool));
        tools.push(spec);
    }
    Ok(tools)
}

fn parse_input(body: &Value, said: &mut Conversation) -> Result<(), WireError> {
    match body.get("input") {
        Some(Value::String(text)) => said.say(Role::User, vec![(Block::text(text), None)]),
        Some(Value::Array(items)) => {
            for item in items {
                parse_item(item, said)?;
            }
        }
        _ => return Err(WireError::new("`input` is neither a string nor a list")),
    }
    if said.messages.is_empty() {
        return Err(WireError::new("`input` says nothing: it has no message"));
    }
    Ok(())
}

fn parse_item(item: &Value, said: &mut Conversation) -> Result<(), WireError> {
    // The short form of a message has no type.
    match item.get("type").and_then(Value::as_str).unwrap_or("message") {
        "message" => parse_message(item, said)?,
        "function_call" => {
            let text = |key| text_of(item, key).map(str::to_owned);
            let call = tool_block(text("call_id")?, text("name")?, text("arguments")?);
            said.say(Role::Assistant, vec![(call, None)]);
        }
        "function_call_output" => {
            let (text, images) = parse_output(item.get("output").unwrap_or(&Value::Null))?;
            said.say(
                Role::User,
                vec![(result_block(text_of(item, "call_id")?, &text, images), mark_of(item))],
            );
        }
        "reasoning" => {
            let thought = parse_reasoning(item).map(|thought| (thought, None));
            said.say_if(Role::Assistant, thought);
        }
        "item_reference" => return Err(no_reference()),
        other => return Err(WireError::new(format!("an item of type `{other}` is not supported"))),
    }
    Ok(())
}

fn parse_message(item: &Value, said: &mut Conversation) -> Result<(), WireError> {
    let role = text_of(item, "role")?;
    let blocks: Vec<Marked> = match item.get("content") {
        Some(Value::String(text)) => vec![(Block::text(text), mark_of(item))],
        Some(Value::Array(parts)) => parts
            .iter()
            .map(|part| Ok((parse_part(part)?, mark_of(part))))
            .collect::<Result<_, WireError>>()?,
        _ => return Err(WireError::new("`content` is neither a string nor a list")),
    };
    match role {
        "system" | "developer" => {
            for (block, mark) in blocks {
                let Block::Text { text } = block else {
                    return Err(WireError::new(format!("a message of the role `{role}` has text only")));
                };
                said.instruct_apart(&text, mark);
            }
        }
        "user" => said.say(Role::User, blocks),
        "assistant" => said.say(Role::Assistant, blocks),
        other => return Err(WireError::new(format!("the role `{other}` is not supported"))),
    }
    Ok(())
}

fn parse_part(part: &Value) -> Result<Block, WireError> {
    Ok(match text_of(part, "type")? {
        "input_text" | "output_text" | "text" => Block::text(text_of(part, "text")?),
        "refusal" => Block::text(text_of(part, "refusal")?),
        "input_image" => Block::Image { image: parse_image(part)? },
        other => return Err(WireError::new(format!("content of type `{other}` is not supported here"))),
    })
}

fn parse_image(part: &Value) -> Result<Image, WireError> {
    let url = part.get("image_url").and_then(Value::as_str);
    let url =
        url.ok_or_else(|| WireError::new("files are not stored here: send a picture as `image_url`"))?;
    super::openai::image_of(url)
}

/// Text and pictures of what a function gave.
fn parse_output(output: &Value) -> Result<(String, Vec<Image>), WireError> {
    let Value::Array(parts) = output else {
        let text =
            output.as_str().ok_or_else(|| WireError::new("`output` is neither a string nor a list"))?;
        return Ok((text.to_owned(), Vec::new()));
    };
    let (mut text, mut images) = (String::new(), Vec::new());
    for part in parts {
        match parse_part(part)? {
            Block::Image { image } => images.push(image),
            Block::Text { text: more } => text.push_str(&more),
            _ => {}
        }
    }
    Ok((text, images))
}

/// Thoughts that this gateway gave with their model's signature; others' cannot be read.
pub(super) fn parse_reasoning(item: &Value) -> Option<Block> {
    let signature = item.get("encrypted_content")?.as_str()?.strip_prefix(PROOF)?;
    let summary = item.get("summary").and_then(Value::as_array).into_iter().flatten();
    let text: String = summary.filter_map(|part| part.get("text")?.as_str()).collect();
    signed(&text, signature)
}
