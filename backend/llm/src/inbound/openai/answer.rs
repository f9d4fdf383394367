//! Answers of a chat completion: whole, and in chunks.

use serde_json::{Value, json};

use crate::inbound::Reply;
use crate::provider::anthropic::REDACTED;
use crate::types::{Block, Delta, StopReason, Usage};

pub(in crate::inbound) fn reply(reply: &Reply) -> Value {
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
    let mut said = json!({
        "prompt_tokens": usage.prompt(),
        "completion_tokens": usage.output,
        "total_tokens": usage.prompt().saturating_add(usage.output),
        "prompt_tokens_details": {"cached_tokens": usage.cache_read, "cache_write_tokens": usage.cache_write},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
    });
    for (of, name, tokens) in [
        ("prompt_tokens_details", "image_tokens", usage.image),
        ("prompt_tokens_details", "audio_tokens", usage.audio),
        ("completion_tokens_details", "audio_tokens", usage.audio_output),
    ] {
        if tokens > 0 {
            said[of][name] = json!(tokens);
        }
    }
    said
}

fn finish_reason(stop: &StopReason) -> &str {
    match stop {
        // `Other` is what this format has no word for, such as a pause: the client may go on from there.
        StopReason::EndTurn | StopReason::StopSequence | StopReason::Other(_) => "stop",
        StopReason::ToolUse => "tool_calls",
        StopReason::MaxTokens => "length",
        StopReason::Refusal => "content_filter",
    }
}

/// Writes chunks.
#[derive(Debug)]
pub(in crate::inbound) struct Encoder {
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
    pub(in crate::inbound) fn new(head: &Reply, include_usage: bool) -> Self {
        let (id, model, created, usage) = (head.id.clone(), head.model.clone(), head.created, head.usage);
        Self { id, model, created, usage, include_usage, calls: Vec::new(), thought: None }
    }

    pub(in crate::inbound) fn start(&self) -> String {
        self.chunk(&json!({"role": "assistant", "content": ""}), None)
    }

    pub(in crate::inbound) fn delta(&mut self, delta: &Delta) -> String {
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

    pub(in crate::inbound) fn finish(&mut self) -> String {
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
