//! Providers that do what a word in brackets in the request asks for, such as `[tools]`. They check that what they are
//! sent is as their format wants it, and answer with what they were shown.

use super::{
    answers::{Course, Dialect, Said, respond},
    responses::SEALED,
};
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

/// One of OpenAI's models that think before they call tools over responses only.
pub(super) const NEWEST: &str = "gpt-6-sol";

pub(super) fn router() -> Router {
    let asked: Arc<Mutex<HashMap<String, u32>>> = Arc::default();
    let answering = |dialect: Dialect| {
        let asked = Arc::clone(&asked);
        post(move |Json(body): Json<Value>| async move { answer(dialect, &body, &asked) })
    };
    Router::new()
        .route("/v1/chat/completions", answering(Dialect::Chat))
        .route("/v1/responses", answering(Dialect::Responses))
        .route("/v1/messages", answering(Dialect::Messages))
        .route("/v1/embeddings", post(embed))
}

fn answer(dialect: Dialect, body: &Value, asked: &Mutex<HashMap<String, u32>>) -> Response {
    let tag = tag_of(dialect, body);
    if tag.starts_with("busy") {
        let mut asked = asked.lock().unwrap_or_else(PoisonError::into_inner);
        let times = asked.entry(tag.clone()).or_default();
        *times += 1;
        if *times <= BUSY {
            return refuse(dialect, StatusCode::TOO_MANY_REQUESTS, "rate_limit_error", "slow down");
        }
    }
    match fits(dialect, body).and_then(|()| said(dialect, &tag, body)) {
        Ok(said) => respond(dialect, body, Course::of(&tag), &said),
        Err(complaint) => refuse(dialect, StatusCode::BAD_REQUEST, "invalid_request_error", &complaint),
    }
}

fn refuse(dialect: Dialect, status: StatusCode, kind: &str, message: &str) -> Response {
    let body = match dialect {
        Dialect::Chat | Dialect::Responses => {
            json!({"error": {"message": message, "type": kind, "param": null, "code": null}})
        }
        Dialect::Messages => json!({"type": "error", "error": {"type": kind, "message": message}}),
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

fn conversation(dialect: Dialect, body: &Value) -> &Value {
    match dialect {
        Dialect::Chat | Dialect::Messages => &body["messages"],
        Dialect::Responses => &body["input"],
    }
}

/// The word in brackets; the conversation's first.
fn tag_of(dialect: Dialect, body: &Value) -> String {
    let text = conversation(dialect, body).to_string();
    let tag = text.split_once("#[").and_then(|(_, rest)| rest.split_once(']'));
    tag.map_or_else(|| "plain".to_owned(), |(tag, _)| tag.to_owned())
}

/// Whether the request is one that OpenAI's newest models take, and is as the gateway promises it: nothing is stored there, and
/// what was thought goes back.
fn fits(dialect: Dialect, body: &Value) -> Result<(), String> {
    let thinks = body["reasoning_effort"] != "none";
    match dialect {
        Dialect::Chat if body["model"] == NEWEST && body["tools"].is_array() && thinks => {
            Err("this model takes tools over /v1/responses, or with the `reasoning_effort` none".into())
        }
        Dialect::Responses if body["store"] != false => {
            Err("`store` must be false: nothing is to be kept here".into())
        }
        Dialect::Responses if !keeps_thoughts(&body["input"]) => {
            Err("a call comes without what was thought before it".into())
        }
        Dialect::Responses if !names_phases(&body["input"]) => {
            Err("what was said comes back without its `phase`".into())
        }
        _ => Ok(()),
    }
}

/// Whether what was thought before the first call stands there, as it was sealed.
fn keeps_thoughts(input: &Value) -> bool {
    let items: Vec<&Value> = input.as_array().into_iter().flatten().collect();
    let thought = items.iter().position(|item| item["encrypted_content"] == SEALED);
    let call = items.iter().position(|item| item["type"] == "function_call");
    call.is_none_or(|call| thought.is_some_and(|thought| thought < call))
}

/// Whether everything that the model said is marked as an answer or as what it said before it called a tool.
fn names_phases(input: &Value) -> bool {
    let mut said = input.as_array().into_iter().flatten().filter(|item| item["role"] == "assistant");
    said.all(|item| item["phase"].is_string())
}

fn said(dialect: Dialect, tag: &str, body: &Value) -> Result<Said, String> {
    let results = results_of(dialect, body);
    Ok(match tag.split(':').next().unwrap_or_default() {
        "bad" => return Err("the model does not like this".into()),
        "tools" | "parallel" if !results.is_empty() => Said::text(&results.join(" and ")),
        "tools" => calls(dialect, body, &["Rome"])?,
        "parallel" => calls(dialect, body, &["Rome", "Oslo"])?,
        "schema" => {
            let schema = body.pointer(match dialect {
                Dialect::Chat => "/response_format/json_schema/schema",
                Dialect::Messages => "/output_config/format/schema",
                Dialect::Responses => "/text/format/schema",
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

fn calls(dialect: Dialect, body: &Value, cities: &[&str]) -> Result<Said, String> {
    let tool = body.pointer("/tools/0").ok_or("there is no tool")?;
    let name = match dialect {
        Dialect::Chat => tool.pointer("/function/name"),
        Dialect::Messages | Dialect::Responses => tool.get("name"),
    };
    let name = name.and_then(Value::as_str);
    if name != Some("weather") {
        return Err(format!("the tool is {name:?}"));
    }
    Ok(Said { calls: cities.iter().map(|city| (*city).to_owned()).collect(), ..Said::text("I look.") })
}

/// What tools answered, in the order in which they were called.
fn results_of(dialect: Dialect, body: &Value) -> Vec<String> {
    let said = conversation(dialect, body).as_array().into_iter().flatten();
    let text = |value: &Value| value.as_str().map(str::to_owned);
    match dialect {
        Dialect::Chat => said
            .filter(|message| message["role"] == "tool")
            .filter_map(|message| text(&message["content"]))
            .collect(),
        Dialect::Responses => said
            .filter(|item| item["type"] == "function_call_output")
            .filter_map(|item| text(&item["output"]))
            .collect(),
        Dialect::Messages => {
            let blocks = said.filter_map(|message| message["content"].as_array()).flatten();
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
    let parts = conversation(dialect, body).pointer("/0/content").and_then(Value::as_array);
    let parts = parts.ok_or("there are no parts")?;
    let picture = |part: &Value| match dialect {
        Dialect::Chat => Some(part.pointer("/image_url/url")?.as_str()?.to_owned()),
        Dialect::Responses => Some(part.get("image_url")?.as_str()?.to_owned()),
        Dialect::Messages => {
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
    let conversation = conversation(dialect, body);
    let says = |proof: &str| conversation.to_string().contains(proof);
    let (wanted, is_back) = match dialect {
        Dialect::Chat => (body["reasoning_effort"] == "high", false),
        Dialect::Messages => {
            let wanted = body["thinking"]["type"] == "adaptive" && body["output_config"]["effort"] == "high";
            (wanted, says(r#""signature":"signed-1""#))
        }
        Dialect::Responses => {
            let sealed = format!(r#""encrypted_content":"{SEALED}""#);
            (body["reasoning"]["effort"] == "high", says(&sealed))
        }
    };
    if !wanted {
        return Err("nobody asked for thoughts".into());
    }
    // A response's first question may be a text alone.
    let is_first = conversation.as_array().is_none_or(|said| said.len() == 1);
    Ok(match (is_first, is_back) {
        (true, _) => Said { thought: "Let me see.".into(), ..Said::text("Seen.") },
        (false, true) => Said::text("remembered"),
        (false, false) => Said::text("forgotten"),
    })
}
