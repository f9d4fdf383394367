//! The request, as Gemini takes it.

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::inbound::WireError;
use crate::provider::fit::{Fitted, Thought, fit};
use crate::provider::{Deployment, openai::INVALID_ARGUMENTS};
use crate::types::{Block, ChatRequest, Effort, Image, Message, Options, Role, ToolChoice};

/// Stands in the place of a signature for calls that the model did not make itself, as Google documents it. From the
/// third generation on the first call of a turn is refused without one.
const NO_SIGNATURE: &str = "skip_thought_signature_validator";
/// Generations that ask for no signature.
const WITHOUT_SIGNATURES: [&str; 2] = ["gemini-1", "gemini-2"];

/// What cannot be said; a picture by its address makes the request one that cannot be asked.
pub(crate) fn unsaid(request: &ChatRequest) -> Result<Vec<String>, WireError> {
    if request.images().any(|image| matches!(image, Image::Url { .. })) {
        return Err(WireError("Gemini takes no picture by its address: send it as data".into()));
    }
    let mut unsaid = Vec::new();
    if request.options.parallel_tool_calls == Some(false) {
        unsaid.push("parallel_tool_calls".into());
    }
    if request.options.user.is_some() {
        unsaid.push("user".into());
    }
    if !request.options.strict_tools.is_empty() {
        unsaid.push("tools.strict".into());
    }
    Ok(unsaid)
}

/// The request's body.
pub(crate) fn encode(deployment: &Deployment, request: &ChatRequest, max_output: u32) -> Value {
    let names = request.call_names();
    let contents: Vec<Value> =
        request.messages.iter().filter_map(|message| content(message, &names, &deployment.model)).collect();
    let mut body = json!({"contents": contents, "generationConfig": {"maxOutputTokens": max_output}});
    if !request.system.is_empty() {
        body["systemInstruction"] = json!({"parts": [{"text": request.system}]});
    }
    if !request.tools.is_empty() {
        let declarations: Vec<Value> = request
            .tools
            .iter()
            .map(|tool| {
                json!({"name": tool.name, "description": tool.description, "parametersJsonSchema": tool.input_schema})
            })
            .collect();
        body["tools"] = json!([{"functionDeclarations": declarations}]);
    }
    encode_fitted(&fit(deployment, request, max_output), &mut body["generationConfig"]);
    if !request.stop.is_empty() {
        body["generationConfig"]["stopSequences"] = json!(request.stop);
    }
    encode_options(&request.options, !request.tools.is_empty(), &mut body);
    body
}

fn encode_fitted(fitted: &Fitted, config: &mut Value) {
    if let Some(temperature) = fitted.temperature {
        config["temperature"] = json!(temperature);
    }
    if let Some(top_p) = fitted.top_p {
        config["topP"] = json!(top_p);
    }
    match fitted.thought {
        Some(Thought::Off) => config["thinkingConfig"] = json!({"thinkingBudget": 0}),
        Some(Thought::Budget(tokens)) => config["thinkingConfig"] = json!({"thinkingBudget": tokens}),
        Some(Thought::Effort(effort) | Thought::Adaptive(effort)) => {
            // The words that all of its models know.
            let level = match effort {
                Effort::Minimal | Effort::Low => "low",
                Effort::Medium => "medium",
                Effort::High | Effort::XHigh | Effort::Max => "high",
            };
            config["thinkingConfig"] = json!({"thinkingLevel": level});
        }
        None => {}
    }
}

fn encode_options(options: &Options, has_tools: bool, body: &mut Value) {
    let config = &mut body["generationConfig"];
    if let Some(schema) = &options.output_schema {
        config["responseMimeType"] = json!("application/json");
        config["responseJsonSchema"] = schema.clone();
    } else if options.json_object {
        config["responseMimeType"] = json!("application/json");
    }
    if let Some(choice) = options.tool_choice.as_ref().filter(|_| has_tools) {
        let calling = match choice {
            ToolChoice::Auto => json!({"mode": "AUTO"}),
            ToolChoice::None => json!({"mode": "NONE"}),
            ToolChoice::Any => json!({"mode": "ANY"}),
            ToolChoice::Tool(name) => json!({"mode": "ANY", "allowedFunctionNames": [name]}),
        };
        body["toolConfig"] = json!({"functionCallingConfig": calling});
    }
}

/// A message; none is left of reasoning alone.
fn content(message: &Message, names: &HashMap<&str, &str>, model: &str) -> Option<Value> {
    let mut parts = Vec::new();
    let mut signature: Option<&str> = None;
    let mut is_first_call = true;
    for block in &message.content {
        let said = match block {
            Block::Text { text } if text.is_empty() => continue,
            Block::Text { text } => json!({"text": text}),
            Block::Image { image } => picture(image),
            Block::Thinking { signature: given, model: origin, .. } => {
                signature = given.as_deref().filter(|_| origin.as_deref() == Some(model));
                continue;
            }
            Block::ToolUse { id, name, input } => call(id, name, input),
            Block::InvalidToolUse { id, name, raw, .. } => call(id, name, &json!({INVALID_ARGUMENTS: raw})),
            Block::ToolResult { tool_use_id, content, is_error, images } => {
                let name = names.get(tool_use_id.as_str()).copied().unwrap_or("unknown");
                let response = if *is_error { json!({"error": content}) } else { json!({"output": content}) };
                parts.push(
                    json!({"functionResponse": {"id": tool_use_id, "name": name, "response": response}}),
                );
                parts.extend(images.iter().map(picture));
                continue;
            }
        };
        parts.push(said);
        let Some(part) = parts.last_mut().filter(|part| part.get("functionCall").is_some()) else { continue };
        let needed = std::mem::take(&mut is_first_call) && asks_for_signatures(model);
        if let Some(signature) = signature.take().or(needed.then_some(NO_SIGNATURE)) {
            part["thoughtSignature"] = json!(signature);
        }
    }
    let role = match message.role {
        Role::User => "user",
        Role::Assistant => "model",
    };
    (!parts.is_empty()).then(|| json!({"role": role, "parts": parts}))
}

fn asks_for_signatures(model: &str) -> bool {
    model.starts_with("gemini") && !WITHOUT_SIGNATURES.iter().any(|generation| model.starts_with(generation))
}

fn call(id: &str, name: &str, input: &Value) -> Value {
    json!({"functionCall": {"id": id, "name": name, "args": input}})
}

fn picture(image: &Image) -> Value {
    match image {
        Image::Data { media_type, data } => json!({"inlineData": {"mimeType": media_type, "data": data}}),
        // Refused before it comes here.
        Image::Url { url } => json!({"text": url}),
    }
}
