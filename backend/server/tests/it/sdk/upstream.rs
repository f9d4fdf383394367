//! Two providers that do what a word in brackets in the request asks for, such as `[tools]`. They check that what they are
//! sent is as their format wants it, and answer with what they were shown.

use super::answers::{Dialect, Said, respond};
use axum::{
    Json, Router,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

/// How often somebody who is busy says so: as often as the gateway asks by itself.
const BUSY: u32 = 3;

pub(super) fn router() -> Router {
    let asked: Arc<Mutex<HashMap<String, u32>>> = Arc::default();
    let answering = |dialect: Dialect| {
        let asked = Arc::clone(&asked);
        post(move |Json(body): Json<Value>| async move { answer(dialect, &body, &asked) })
    };
    Router::new()
        .route("/v1/chat/completions", answering(Dialect::OpenAi))
        .route("/v1/messages", answering(Dialect::Anthropic))
        .route("/v1/embeddings", post(embed))
}

fn answer(dialect: Dialect, body: &Value, asked: &Mutex<HashMap<String, u32>>) -> Response {
    let tag = tag_of(body);
    if tag.starts_with("busy") {
        let mut asked = asked.lock().unwrap_or_else(PoisonError::into_inner);
        let times = asked.entry(tag.clone()).or_default();
        *times += 1;
        if *times <= BUSY {
            return refuse(dialect, StatusCode::TOO_MANY_REQUESTS, "rate_limit_error", "slow down");
        }
    }
    match said(dialect, &tag, body) {
        Ok(said) => respond(dialect, body["stream"] == true, tag == "slow", &said),
        Err(complaint) => refuse(dialect, StatusCode::BAD_REQUEST, "invalid_request_error", &complaint),
    }
}

fn refuse(dialect: Dialect, status: StatusCode, kind: &str, message: &str) -> Response {
    let body = match dialect {
        Dialect::OpenAi => json!({"error": {"message": message, "type": kind, "param": null, "code": null}}),
        Dialect::Anthropic => json!({"type": "error", "error": {"type": kind, "message": message}}),
    };
    (status, [(header::RETRY_AFTER, "0")], Json(body)).into_response()
}

async fn embed(Json(body): Json<Value>) -> Json<Value> {
    // Base64, as the SDKs ask for it: 1, 2, 3 as little-endian floats.
    let embedding = |index| json!({"object": "embedding", "index": index, "embedding": "AACAPwAAAEAAAEBA"});
    let count = body["input"].as_array().map_or(1, Vec::len);
    Json(
        json!({"object": "list", "model": body["model"], "data": (0..count).map(embedding).collect::<Vec<_>>(),
        "usage": {"prompt_tokens": 4, "total_tokens": 4}}),
    )
}

/// The word in brackets; the conversation's first.
fn tag_of(body: &Value) -> String {
    let text = body["messages"].to_string();
    let tag = text.split_once("#[").and_then(|(_, rest)| rest.split_once(']'));
    tag.map_or_else(|| "plain".to_owned(), |(tag, _)| tag.to_owned())
}

fn said(dialect: Dialect, tag: &str, body: &Value) -> Result<Said, String> {
    let results = results_of(dialect, body);
    Ok(match tag.split(':').next().unwrap_or_default() {
        "bad" => return Err("the model does not like this".into()),
        "tools" | "parallel" if !results.is_empty() => Said::text(&results.join(" and ")),
        "tools" => calls(body, &["Rome"])?,
        "parallel" => calls(body, &["Rome", "Oslo"])?,
        "schema" => {
            let schema = body.pointer(match dialect {
                Dialect::OpenAi => "/response_format/json_schema/schema",
                Dialect::Anthropic => "/output_config/format/schema",
            });
            let property = schema.and_then(|schema| schema.pointer("/properties/answer"));
            property.ok_or("there is no schema with an `answer`")?;
            Said::text("{\"answer\":42}")
        }
        "vision" => Said::text(&seen(dialect, body)?),
        "think" => thought(dialect, body)?,
        "refuse" => Said { stop: "refuse", ..Said::text("I cannot do that.") },
        "long" => Said { stop: "long", ..Said::text("It goes on and") },
        _ => Said::text("Hello from upstream."),
    })
}

fn calls(body: &Value, cities: &[&str]) -> Result<Said, String> {
    let tool = body.pointer("/tools/0").ok_or("there is no tool")?;
    let name = tool.pointer("/function/name").or_else(|| tool.get("name")).and_then(Value::as_str);
    if name != Some("weather") {
        return Err(format!("the tool is {name:?}"));
    }
    Ok(Said { calls: cities.iter().map(|city| (*city).to_owned()).collect(), ..Said::text("I look.") })
}

/// What tools answered, in the order in which they were called.
fn results_of(dialect: Dialect, body: &Value) -> Vec<String> {
    let messages = body["messages"].as_array().into_iter().flatten();
    let text = |value: &Value| value.as_str().map(str::to_owned);
    match dialect {
        Dialect::OpenAi => messages
            .filter(|message| message["role"] == "tool")
            .filter_map(|message| text(&message["content"]))
            .collect(),
        Dialect::Anthropic => {
            let blocks = messages.filter_map(|message| message["content"].as_array()).flatten();
            let results = blocks.filter(|block| block["type"] == "tool_result");
            results
                .filter_map(|block| {
                    text(&block["content"]).or_else(|| text(block.pointer("/content/0/text")?))
                })
                .collect()
        }
    }
}

fn seen(dialect: Dialect, body: &Value) -> Result<String, String> {
    let parts = body.pointer("/messages/0/content").and_then(Value::as_array).ok_or("there are no parts")?;
    let picture = |part: &Value| match dialect {
        Dialect::OpenAi => Some(part.pointer("/image_url/url")?.as_str()?.to_owned()),
        Dialect::Anthropic => {
            let source = part.get("source")?;
            let word = |name: &str| source[name].as_str().unwrap_or_default();
            Some(match word("type") {
                "url" => word("url").to_owned(),
                _ => format!("data:{};base64,{}", word("media_type"), word("data")),
            })
        }
    };
    parts
        .iter()
        .find_map(picture)
        .map(|url| format!("seen {url}"))
        .ok_or_else(|| "there is no picture".into())
}

/// Asked for the first time it thinks; after that it says whether it was given its thoughts back.
fn thought(dialect: Dialect, body: &Value) -> Result<Said, String> {
    let (wanted, signed) = match dialect {
        Dialect::OpenAi => (body["reasoning_effort"] == "high", false),
        Dialect::Anthropic => {
            let wanted = body["thinking"]["type"] == "adaptive" && body["output_config"]["effort"] == "high";
            let signed = body["messages"].to_string().contains(r#""signature":"signed-1""#);
            (wanted, signed)
        }
    };
    if !wanted {
        return Err("nobody asked for thoughts".into());
    }
    let is_first = body["messages"].as_array().is_some_and(|messages| messages.len() == 1);
    Ok(match (is_first, signed) {
        (true, _) => Said { thought: "Let me see.".into(), ..Said::text("Seen.") },
        (false, true) => Said::text("remembered"),
        (false, false) => Said::text("forgotten"),
    })
}
