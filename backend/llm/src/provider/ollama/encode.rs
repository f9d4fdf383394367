//! The request, as Ollama takes it.

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::inbound::WireError;
use crate::provider::Deployment;
use crate::provider::fit::{Thought, fit};
use crate::provider::openai::{INVALID_ARGUMENTS, TOOL_ERROR_MARK};
use crate::types::{Block, ChatRequest, Image, Message, Role, ToolChoice};

/// What cannot be said; a picture by its address makes the request one that cannot be asked.
pub(crate) fn unsaid(request: &ChatRequest) -> Result<Vec<String>, WireError> {
    if request.images().any(|image| matches!(image, Image::Url { .. })) {
        return Err(WireError("Ollama takes no picture by its address: send it as data".into()));
    }
    let options = &request.options;
    let chosen = matches!(options.tool_choice, Some(ToolChoice::Any | ToolChoice::Tool(_)));
    let lost = [
        ("tool_choice", chosen),
        ("parallel_tool_calls", options.parallel_tool_calls == Some(false)),
        ("user", options.user.is_some()),
        ("tools.strict", !options.strict_tools.is_empty()),
    ];
    Ok(lost.into_iter().filter(|(_, is_said)| *is_said).map(|(name, _)| name.to_owned()).collect())
}

/// The request's body.
pub(crate) fn encode(deployment: &Deployment, request: &ChatRequest, max_output: u32) -> Value {
    let names = request.call_names();
    let mut messages = Vec::new();
    if !request.system.is_empty() {
        messages.push(json!({"role": "system", "content": request.system}));
    }
    for message in &request.messages {
        encode_message(message, &names, &mut messages);
    }
    let mut options = json!({"num_predict": max_output, "num_ctx": deployment.context_window});
    let fitted = fit(deployment, request, max_output);
    if let Some(temperature) = fitted.temperature {
        options["temperature"] = json!(temperature);
    }
    if let Some(top_p) = fitted.top_p {
        options["top_p"] = json!(top_p);
    }
    if !request.stop.is_empty() {
        options["stop"] = json!(request.stop);
    }
    let mut body =
        json!({"model": deployment.model, "messages": messages, "stream": true, "options": options});
    if fitted.thought == Some(Thought::Off) {
        body["think"] = json!(false);
    }
    // The only choice that it takes: without tools none is called.
    if !request.tools.is_empty() && request.options.tool_choice != Some(ToolChoice::None) {
        body["tools"] = request
            .tools
            .iter()
            .map(|tool| {
                json!({"type": "function", "function": {
                    "name": tool.name, "description": tool.description, "parameters": tool.input_schema}})
            })
            .collect();
    }
    if let Some(schema) = &request.options.output_schema {
        body["format"] = schema.clone();
    } else if request.options.json_object {
        body["format"] = json!("json");
    }
    body
}

fn encode_message(message: &Message, names: &HashMap<&str, &str>, out: &mut Vec<Value>) {
    let (mut text, mut images, mut calls) = (String::new(), Vec::new(), Vec::new());
    for block in &message.content {
        match block {
            Block::Text { text: more } => {
                // Texts of the user's are paragraphs; what a model said in pieces is one text.
                if message.role == Role::User && !text.is_empty() && !more.is_empty() {
                    text.push_str("\n\n");
                }
                text.push_str(more);
            }
            Block::Image { image } => images.extend(data(image)),
            Block::ToolUse { name, input, .. } => calls.push(call(name, input)),
            Block::InvalidToolUse { name, raw, .. } => {
                calls.push(call(name, &json!({INVALID_ARGUMENTS: raw})));
            }
            // Results stand before any text of the same message: they must follow the calls they answer.
            Block::ToolResult { tool_use_id, content, is_error, images: shown } => {
                let mark = if *is_error { TOOL_ERROR_MARK } else { "" };
                let name = names.get(tool_use_id.as_str()).copied().unwrap_or_default();
                out.push(json!({"role": "tool", "tool_name": name, "content": format!("{mark}{content}")}));
                images.extend(shown.iter().filter_map(data));
            }
            Block::Thinking { .. } => {}
        }
    }
    let role = match message.role {
        Role::User => "user",
        Role::Assistant => "assistant",
    };
    if text.is_empty() && images.is_empty() && calls.is_empty() {
        return;
    }
    let mut said = json!({"role": role, "content": text});
    if !images.is_empty() {
        said["images"] = json!(images);
    }
    if !calls.is_empty() {
        said["tool_calls"] = json!(calls);
    }
    out.push(said);
}

fn call(name: &str, input: &Value) -> Value {
    json!({"function": {"name": name, "arguments": input}})
}

fn data(image: &Image) -> Option<&str> {
    match image {
        Image::Data { data, .. } => Some(data),
        // Refused before it comes here.
        Image::Url { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::ProviderKind;
    use crate::provider::round_trip::deployment;
    use crate::types::Options;

    #[test]
    fn two_texts_of_the_users_are_two_paragraphs_and_two_of_a_models_are_one_text() {
        let said = |role| Message { role, content: vec![Block::text("A"), Block::text("B")] };
        let request = ChatRequest {
            system: String::new(),
            messages: vec![said(Role::User), said(Role::Assistant)],
            tools: Vec::new(),
            max_output_tokens: 9,
            temperature: None,
            stop: Vec::new(),
            options: Options::default(),
        };
        let body = encode(&deployment(ProviderKind::Ollama), &request, 9);
        let expected = json!([{"role": "user", "content": "A\n\nB"}, {"role": "assistant", "content": "AB"}]);
        assert_eq!(body["messages"], expected);
    }
}
