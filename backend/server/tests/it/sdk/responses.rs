//! Responses as OpenAI writes them for a model that thinks unasked: every answer begins with an item of what was thought, sealed
//! where the request includes that, and summed up where it asks for it.

use super::answers::{Said, arguments, pieces};
use serde_json::{Value, json};
use std::iter;

/// What was thought, as only OpenAI can read it.
pub(super) const SEALED: &str = "gAAAAA-sealed";

/// An event's name and its data, without its type and its number.
type Event = (&'static str, Value);

pub(super) fn whole(said: &Said, asked: &Value) -> Value {
    let (status, cut) = match said.stop {
        "refuse" => ("incomplete", json!({"reason": "content_filter"})),
        "long" => ("incomplete", json!({"reason": "max_output_tokens"})),
        _ => ("completed", Value::Null),
    };
    let mut response = begun(asked);
    response["status"] = json!(status);
    response["incomplete_details"] = cut;
    response["output"] = json!(items(said, asked));
    response["usage"] = json!({"input_tokens": 1_112, "output_tokens": 40, "total_tokens": 1_152,
        "input_tokens_details": {"cached_tokens": 1_000, "cache_write_tokens": 100},
        "output_tokens_details": {"reasoning_tokens": 9}});
    response
}

/// A response before anything is in it: it repeats its request.
fn begun(asked: &Value) -> Value {
    let mut response = json!({"id": "resp_u", "object": "response", "created_at": 1, "status": "in_progress",
        "background": false, "error": null, "incomplete_details": null, "model": "gpt-6-sol-2026-09-01",
        "output": [], "previous_response_id": null, "temperature": 1.0, "top_p": 1.0, "truncation": "disabled",
        "usage": null, "metadata": {}});
    for (name, otherwise) in [
        ("instructions", Value::Null),
        ("max_output_tokens", Value::Null),
        ("parallel_tool_calls", json!(true)),
        ("reasoning", json!({"effort": "medium", "summary": null})),
        ("store", json!(true)),
        ("text", json!({"format": {"type": "text"}})),
        ("tool_choice", json!("auto")),
        ("tools", json!([])),
    ] {
        response[name] = asked.get(name).filter(|said| !said.is_null()).cloned().unwrap_or(otherwise);
    }
    response
}

/// In the order in which they are made.
fn items(said: &Said, asked: &Value) -> Vec<Value> {
    let mut items = Vec::new();
    if asked["reasoning"]["effort"] != "none" {
        items.push(reasoning(&said.thought, asked));
    }
    let status = if said.stop == "end" { "completed" } else { "incomplete" };
    let phase = if said.calls.is_empty() { "final_answer" } else { "commentary" };
    let message = json!({"id": "msg_u", "type": "message", "role": "assistant", "status": status, "phase": phase,
        "content": [output_text(&said.text)]});
    items.push(message);
    items.extend(said.calls.iter().enumerate().map(|(number, city)| {
        json!({"id": format!("fc_{number}"), "type": "function_call", "status": "completed",
            "call_id": format!("call_{number}"), "name": "weather", "arguments": arguments(city)})
    }));
    items
}

fn reasoning(thought: &str, asked: &Value) -> Value {
    let is_shown = !thought.is_empty() && !asked["reasoning"]["summary"].is_null();
    let summary = if is_shown { vec![summary_text(thought)] } else { Vec::new() };
    let mut item = json!({"id": "rs_u", "type": "reasoning", "summary": summary});
    let mut included = asked["include"].as_array().into_iter().flatten();
    if included.any(|name| name == "reasoning.encrypted_content") {
        item["encrypted_content"] = json!(SEALED);
    }
    item
}

fn summary_text(text: &str) -> Value {
    json!({"type": "summary_text", "text": text})
}

fn output_text(text: &str) -> Value {
    json!({"type": "output_text", "text": text, "annotations": [], "logprobs": []})
}

pub(super) fn streamed(said: &Said, asked: &Value, slow: bool) -> Vec<String> {
    let (begun, whole) = (begun(asked), whole(said, asked));
    let end = if whole["status"] == "completed" { "response.completed" } else { "response.incomplete" };
    let mut events = vec![
        ("response.created", json!({"response": begun})),
        ("response.in_progress", json!({"response": begun})),
    ];
    for (index, item) in items(said, asked).iter().enumerate() {
        events.extend(with("output_index", &json!(index), events_of(item, slow)));
    }
    events.push((end, json!({"response": whole})));
    let numbered = events.into_iter().enumerate().map(|(number, (name, mut data))| {
        data["type"] = json!(name);
        data["sequence_number"] = json!(number);
        format!("event: {name}\ndata: {data}\n\n")
    });
    numbered.collect()
}

/// The same events with one more field.
fn with(field: &str, value: &Value, mut events: Vec<Event>) -> Vec<Event> {
    for (_, data) in &mut events {
        data[field] = value.clone();
    }
    events
}

/// How an item is added, filled and done.
fn events_of(item: &Value, slow: bool) -> Vec<Event> {
    let (empty, filling) = in_pieces(item, slow);
    let added = ("response.output_item.added", json!({"item": empty}));
    let done = ("response.output_item.done", json!({"item": item}));
    iter::once(added).chain(with("item_id", &item["id"], filling)).chain([done]).collect()
}

/// An item before anything is in it, and what fills it.
fn in_pieces(item: &Value, slow: bool) -> (Value, Vec<Event>) {
    let mut empty = item.clone();
    match item["type"].as_str().unwrap_or_default() {
        "reasoning" => {
            empty["summary"] = json!([]);
            // What is sealed is whole only when the item is done.
            if empty.get("encrypted_content").is_some() {
                empty["encrypted_content"] = json!("gAAAAA-part");
            }
            (empty, summed_up(item))
        }
        "function_call" => {
            empty["status"] = json!("in_progress");
            empty["arguments"] = json!("");
            (empty, called(item))
        }
        _ => {
            empty["status"] = json!("in_progress");
            empty["content"] = json!([]);
            (empty, spoken(item, slow))
        }
    }
}

fn summed_up(item: &Value) -> Vec<Event> {
    let Some(text) = item["summary"][0]["text"].as_str() else { return Vec::new() };
    let begins = ("response.reasoning_summary_part.added", json!({"part": summary_text("")}));
    let piece = |piece: String| ("response.reasoning_summary_text.delta", json!({"delta": piece}));
    let ends = [
        ("response.reasoning_summary_text.done", json!({"text": text})),
        ("response.reasoning_summary_part.done", json!({"part": summary_text(text)})),
    ];
    let pieces = pieces(text, false).into_iter().map(piece);
    with("summary_index", &json!(0), iter::once(begins).chain(pieces).chain(ends).collect())
}

fn spoken(item: &Value, slow: bool) -> Vec<Event> {
    let text = item["content"][0]["text"].as_str().unwrap_or_default();
    let begins = ("response.content_part.added", json!({"part": output_text("")}));
    let piece = |piece: String| ("response.output_text.delta", json!({"delta": piece, "logprobs": []}));
    let ends = [
        ("response.output_text.done", json!({"text": text, "logprobs": []})),
        ("response.content_part.done", json!({"part": output_text(text)})),
    ];
    let pieces = pieces(text, slow).into_iter().map(piece);
    with("content_index", &json!(0), iter::once(begins).chain(pieces).chain(ends).collect())
}

fn called(item: &Value) -> Vec<Event> {
    let arguments = item["arguments"].as_str().unwrap_or_default();
    let (head, tail) = arguments.split_at(arguments.len() / 2);
    let piece = |piece: &str| ("response.function_call_arguments.delta", json!({"delta": piece}));
    vec![piece(head), piece(tail), ("response.function_call_arguments.done", json!({"arguments": arguments}))]
}
