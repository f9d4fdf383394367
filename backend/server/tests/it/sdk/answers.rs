//! Answers as providers write them, whole and streamed: chat completions and messages here, responses in a file of their own.

use super::responses;
use axum::{
    Json,
    body::{Body, Bytes},
    http::header,
    response::{IntoResponse, Response},
};
use futures::stream;
use serde_json::{Value, json};
use std::{io, time::Duration};

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Dialect {
    Chat,
    Messages,
    Responses,
}

/// How a stream goes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Course {
    Whole,
    /// It would take a minute; nobody waits for its end.
    Slow,
    /// After the first words the provider says that it failed.
    Broken,
    /// After the first words the connection is gone.
    Cut,
}

impl Course {
    pub(super) fn of(tag: &str) -> Self {
        match tag {
            "slow" => Self::Slow,
            "broken" => Self::Broken,
            "cut" => Self::Cut,
            _ => Self::Whole,
        }
    }
}

/// What is answered.
pub(super) struct Said {
    pub(super) thought: String,
    pub(super) text: String,
    /// The cities whose weather is asked for.
    pub(super) calls: Vec<String>,
    pub(super) stop: &'static str,
}

impl Said {
    pub(super) fn text(text: &str) -> Self {
        Self { thought: String::new(), text: text.into(), calls: Vec::new(), stop: "end" }
    }

    fn finish_reason(&self) -> &'static str {
        match (self.stop, self.calls.is_empty()) {
            ("refuse", _) => "content_filter",
            ("long", _) => "length",
            (_, false) => "tool_calls",
            (_, true) => "stop",
        }
    }

    fn stop_reason(&self) -> &'static str {
        match (self.stop, self.calls.is_empty()) {
            ("refuse", _) => "refusal",
            ("long", _) => "max_tokens",
            (_, false) => "tool_use",
            (_, true) => "end_turn",
        }
    }
}

pub(super) fn respond(dialect: Dialect, asked: &Value, course: Course, said: &Said) -> Response {
    let slow = course == Course::Slow;
    let mut frames = match (dialect, asked["stream"] == true) {
        (Dialect::Chat, false) => return Json(chat(said)).into_response(),
        (Dialect::Messages, false) => return Json(message(said)).into_response(),
        (Dialect::Responses, false) => return Json(responses::whole(said, asked)).into_response(),
        (Dialect::Chat, true) => chunks(said, slow),
        (Dialect::Messages, true) => typed(said, slow),
        (Dialect::Responses, true) => responses::streamed(said, asked, slow),
    };
    if matches!(course, Course::Broken | Course::Cut) {
        frames.truncate(begun(&frames, said));
    }
    if course == Course::Broken {
        frames.push(failure(dialect, frames.len()));
    }
    events(frames, course)
}

/// How many frames there are up to the first words of the text.
fn begun(frames: &[String], said: &Said) -> usize {
    let first = json!(pieces(&said.text, false)[0]).to_string();
    frames.iter().position(|frame| frame.contains(&first)).unwrap() + 1
}

/// How a provider says that it failed in the middle of a stream, of which this is the frame of that number.
fn failure(dialect: Dialect, number: usize) -> String {
    let words = "the model went away";
    match dialect {
        Dialect::Chat => {
            let error = json!({"message": words, "type": "server_error", "param": null, "code": null});
            format!("data: {}\n\n", json!({ "error": error }))
        }
        Dialect::Messages => {
            let error = json!({"type": "overloaded_error", "message": words});
            format!("event: error\ndata: {}\n\n", json!({"type": "error", "error": error}))
        }
        Dialect::Responses => {
            let error = json!({"type": "error", "code": "server_error", "message": words, "param": null,
                "sequence_number": number});
            format!("event: error\ndata: {error}\n\n")
        }
    }
}

fn events(frames: Vec<String>, course: Course) -> Response {
    let pause = Duration::from_millis(if course == Course::Slow { 100 } else { 0 });
    let mut frames: Vec<io::Result<Bytes>> = frames.into_iter().map(|frame| Ok(Bytes::from(frame))).collect();
    if course == Course::Cut {
        frames.push(Err(io::Error::other("cut on purpose")));
    }
    let frames = stream::unfold(frames.into_iter(), move |mut frames| async move {
        let frame = frames.next()?;
        // Meanwhile the server writes what it has: of a body that fails, the rest would be lost.
        tokio::task::yield_now().await;
        tokio::time::sleep(pause).await;
        Some((frame, frames))
    });
    ([(header::CONTENT_TYPE, "text/event-stream")], Body::from_stream(frames)).into_response()
}

/// A text in pieces; a slow one is long.
pub(super) fn pieces(text: &str, slow: bool) -> Vec<String> {
    if slow {
        return (0..600).map(|number| format!("word {number} ")).collect();
    }
    text.split_inclusive(' ').map(str::to_owned).collect()
}

pub(super) fn arguments(city: &str) -> String {
    json!({ "city": city }).to_string()
}

fn chat_usage() -> Value {
    json!({"prompt_tokens": 1_112, "completion_tokens": 40, "total_tokens": 1_152,
        "prompt_tokens_details": {"cached_tokens": 1_000}, "completion_tokens_details": {"reasoning_tokens": 9}})
}

fn chat(said: &Said) -> Value {
    let call = |(number, city): (usize, &String)| {
        json!({"id": format!("call_{number}"), "type": "function",
            "function": {"name": "weather", "arguments": arguments(city)}})
    };
    let mut message = json!({"role": "assistant", "content": said.text, "refusal": null});
    if !said.calls.is_empty() {
        message["tool_calls"] = said.calls.iter().enumerate().map(call).collect();
    }
    if !said.thought.is_empty() {
        message["reasoning_content"] = json!(said.thought);
    }
    json!({"id": "chatcmpl-u", "object": "chat.completion", "created": 1, "model": "gpt-5.5",
        "choices": [{"index": 0, "message": message, "finish_reason": said.finish_reason()}],
        "usage": chat_usage()})
}

fn chunks(said: &Said, slow: bool) -> Vec<String> {
    let chunk = |choices: Value, usage: Value| {
        let chunk = json!({"id": "chatcmpl-u", "object": "chat.completion.chunk", "created": 1, "model": "gpt-5.5",
            "choices": choices, "usage": usage});
        format!("data: {chunk}\n\n")
    };
    let delta =
        |delta: Value| chunk(json!([{"index": 0, "delta": delta, "finish_reason": null}]), Value::Null);
    let mut frames = vec![delta(json!({"role": "assistant", "content": ""}))];
    if !said.thought.is_empty() {
        frames.extend(
            pieces(&said.thought, false).iter().map(|text| delta(json!({"reasoning_content": text}))),
        );
    }
    frames.extend(pieces(&said.text, slow).iter().map(|text| delta(json!({"content": text}))));
    for (number, city) in said.calls.iter().enumerate() {
        let function = json!({"name": "weather", "arguments": ""});
        let begins = json!({"index": number, "id": format!("call_{number}"), "type": "function", "function": function});
        frames.push(delta(json!({"tool_calls": [begins]})));
        let json = arguments(city);
        let (head, tail) = json.split_at(json.len() / 2);
        for part in [head, tail] {
            frames.push(delta(json!({"tool_calls": [{"index": number, "function": {"arguments": part}}]})));
        }
    }
    let stop = said.finish_reason();
    frames.push(chunk(json!([{"index": 0, "delta": {}, "finish_reason": stop}]), Value::Null));
    frames.push(chunk(json!([]), chat_usage()));
    frames.push("data: [DONE]\n\n".into());
    frames
}

fn message_usage(output: u32) -> Value {
    json!({"input_tokens": 12, "cache_creation_input_tokens": 100, "cache_read_input_tokens": 1_000,
        "output_tokens": output, "output_tokens_details": {"thinking_tokens": if output > 9 { 9 } else { 0 }}})
}

fn blocks(said: &Said) -> Vec<Value> {
    let mut blocks = Vec::new();
    if !said.thought.is_empty() {
        blocks.push(json!({"type": "thinking", "thinking": said.thought, "signature": "signed-1"}));
    }
    blocks.push(json!({"type": "text", "text": said.text}));
    blocks.extend(said.calls.iter().enumerate().map(|(number, city)| {
        json!({"type": "tool_use", "id": format!("toolu_{number}"), "name": "weather", "input": {"city": city}})
    }));
    blocks
}

fn message(said: &Said) -> Value {
    json!({"id": "msg_u", "type": "message", "role": "assistant", "model": "claude-sonnet-5", "content": blocks(said),
        "stop_reason": said.stop_reason(), "stop_sequence": null, "usage": message_usage(40)})
}

fn typed(said: &Said, slow: bool) -> Vec<String> {
    let event = |name: &str, mut data: Value| {
        data["type"] = json!(name);
        format!("event: {name}\ndata: {data}\n\n")
    };
    let mut begun = message(said);
    begun["content"] = json!([]);
    begun["stop_reason"] = Value::Null;
    begun["usage"] = message_usage(1);
    let mut frames = vec![event("message_start", json!({"message": begun})), event("ping", json!({}))];
    for (index, block) in blocks(said).into_iter().enumerate() {
        let (empty, deltas) = in_pieces(&block, slow);
        frames.push(event("content_block_start", json!({"index": index, "content_block": empty})));
        frames.extend(
            deltas
                .into_iter()
                .map(|delta| event("content_block_delta", json!({"index": index, "delta": delta}))),
        );
        frames.push(event("content_block_stop", json!({"index": index})));
    }
    let stop = json!({"stop_reason": said.stop_reason(), "stop_sequence": null});
    frames.push(event("message_delta", json!({"delta": stop, "usage": message_usage(40)})));
    frames.push(event("message_stop", json!({})));
    frames
}

/// A block before anything is in it, and what fills it.
fn in_pieces(block: &Value, slow: bool) -> (Value, Vec<Value>) {
    let text = |name: &str| block[name].as_str().unwrap_or_default();
    match text("type") {
        "thinking" => {
            let shown = pieces(text("thinking"), false).into_iter();
            let shown = shown.map(|text| json!({"type": "thinking_delta", "thinking": text}));
            let proof = json!({"type": "signature_delta", "signature": block["signature"]});
            (json!({"type": "thinking", "thinking": "", "signature": ""}), shown.chain([proof]).collect())
        }
        "tool_use" => {
            let json = block["input"].to_string();
            let (head, tail) = json.split_at(json.len() / 2);
            let part = |part: &str| json!({"type": "input_json_delta", "partial_json": part});
            let empty = json!({"type": "tool_use", "id": block["id"], "name": block["name"], "input": {}});
            (empty, vec![part(""), part(head), part(tail)])
        }
        _ => {
            let said = pieces(text("text"), slow).into_iter();
            (
                json!({"type": "text", "text": ""}),
                said.map(|text| json!({"type": "text_delta", "text": text})).collect(),
            )
        }
    }
}
