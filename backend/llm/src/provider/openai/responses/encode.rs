//! The request, as responses take it.

use serde_json::{Value, json};

use super::{SEALED_THOUGHTS, seal};
use crate::provider::Deployment;
use crate::provider::fit::{Thought, fit};
use crate::provider::openai::encode::encode_choice;
use crate::provider::openai::{INVALID_ARGUMENTS, SCHEMA_NAME, TOOL_ERROR_MARK};
use crate::types::{Block, ChatRequest, Image, Options, Role, ToolSpec};

/// What cannot be said. Of the clients whose requests are translated, only Anthropic's name strings to stop at.
pub(crate) fn unsaid(request: &ChatRequest) -> Vec<String> {
    let stop = (!request.stop.is_empty()).then(|| "stop_sequences".to_owned());
    stop.into_iter().collect()
}

/// The request's body.
pub(crate) fn encode(deployment: &Deployment, request: &ChatRequest, max_output: u32) -> Value {
    let seal = seal(deployment);
    let mut input = Vec::new();
    for message in &request.messages {
        match message.role {
            Role::User => encode_user(&message.content, &mut input),
            Role::Assistant => encode_assistant(&message.content, &seal, &mut input),
        }
    }
    let mut body = json!({
        "model": deployment.model,
        "input": input,
        "max_output_tokens": max_output,
        "stream": true,
        "store": false,
        "include": [SEALED_THOUGHTS],
    });
    if !request.system.is_empty() {
        body["instructions"] = json!(request.system);
    }
    if !request.tools.is_empty() {
        body["tools"] = request.tools.iter().map(|spec| tool(spec, &request.options)).collect();
    }
    encode_options(&request.options, !request.tools.is_empty(), &mut body);
    // A model that is asked here takes no temperature. Summaries of thoughts are not asked for: an account that is not
    // verified is refused over the wish.
    match fit(deployment, request, max_output).thought {
        Some(Thought::Off) => body["reasoning"] = json!({"effort": "none"}),
        Some(Thought::Effort(effort) | Thought::Adaptive(effort)) => {
            body["reasoning"] = json!({"effort": effort.as_str()});
        }
        Some(Thought::Budget(_)) | None => {}
    }
    body
}

fn tool(spec: &ToolSpec, options: &Options) -> Value {
    // Where nothing is said, this API takes every schema for a strict one.
    json!({
        "type": "function",
        "name": spec.name,
        "description": spec.description,
        "parameters": spec.input_schema,
        "strict": options.strict_tools.contains(&spec.name),
    })
}

fn encode_options(options: &Options, has_tools: bool, body: &mut Value) {
    if let Some(schema) = &options.output_schema {
        let format = json!({"type": "json_schema", "name": SCHEMA_NAME, "schema": schema, "strict": true});
        body["text"] = json!({"format": format});
    } else if options.json_object {
        body["text"] = json!({"format": {"type": "json_object"}});
    }
    if let Some(user) = &options.user {
        body["safety_identifier"] = json!(user);
    }
    encode_choice(options, has_tools, |name| json!({"type": "function", "name": name}), body);
}

/// Results stand before what else is said: they must follow the calls they answer.
fn encode_user(content: &[Block], out: &mut Vec<Value>) {
    let mut parts = Vec::new();
    for block in content {
        match block {
            Block::Text { text } if !text.is_empty() => parts.push(input_text(text)),
            Block::Image { image: picture } => parts.push(image(picture)),
            Block::ToolResult { tool_use_id, content, is_error, images } => {
                let mark = if *is_error { TOOL_ERROR_MARK } else { "" };
                let output = output(&format!("{mark}{content}"), images);
                out.push(json!({"type": "function_call_output", "call_id": tool_use_id, "output": output}));
            }
            _ => {}
        }
    }
    if !parts.is_empty() {
        out.push(json!({"role": "user", "content": parts}));
    }
}

fn output(text: &str, images: &[Image]) -> Value {
    if images.is_empty() {
        return json!(text);
    }
    let text = (!text.is_empty()).then(|| input_text(text));
    text.into_iter().chain(images.iter().map(image)).collect()
}

/// In the order in which the model said it: thoughts belong to what follows them. Those that nothing follows, of an answer that
/// was cut, are refused by the API.
fn encode_assistant(content: &[Block], seal: &str, out: &mut Vec<Value>) {
    let start = out.len();
    out.extend(content.iter().filter_map(|block| said(block, seal)));
    while out.len() > start && out.last().is_some_and(|item| item["type"] == "reasoning") {
        out.pop();
    }
    name_phases(&mut out[start..]);
}

/// Says of what the model said whether it was its answer or stood before calls, as the API did: it wants that sent back, since a
/// model that is not told may take the one for the other and stop early.
fn name_phases(items: &mut [Value]) {
    let has_calls = items.iter().any(|item| item["type"] == "function_call");
    let phase = if has_calls { "commentary" } else { "final_answer" };
    for item in items.iter_mut().filter(|item| item["role"] == "assistant") {
        item["phase"] = json!(phase);
    }
}

fn said(block: &Block, seal: &str) -> Option<Value> {
    Some(match block {
        Block::Text { text } if text.is_empty() => return None,
        Block::Text { text } => json!({"role": "assistant", "content": text}),
        Block::ToolUse { id, name, input } => call(id, name, input),
        Block::InvalidToolUse { id, name, raw, .. } => call(id, name, &json!({INVALID_ARGUMENTS: raw})),
        Block::Thinking { text, signature, .. } => {
            let sealed = signature.as_deref()?.strip_prefix(seal)?;
            let summary = (!text.is_empty()).then(|| json!({"type": "summary_text", "text": text}));
            let summary: Vec<Value> = summary.into_iter().collect();
            json!({"type": "reasoning", "summary": summary, "encrypted_content": sealed})
        }
        // No model says these.
        Block::Image { .. } | Block::ToolResult { .. } => return None,
    })
}

fn call(id: &str, name: &str, input: &Value) -> Value {
    json!({"type": "function_call", "call_id": id, "name": name, "arguments": input.to_string()})
}

fn input_text(text: &str) -> Value {
    json!({"type": "input_text", "text": text})
}

fn image(image: &Image) -> Value {
    let url = match image {
        Image::Data { media_type, data } => format!("data:{media_type};base64,{data}"),
        Image::Url { url } => url.clone(),
    };
    json!({"type": "input_image", "image_url": url, "detail": "auto"})
}
