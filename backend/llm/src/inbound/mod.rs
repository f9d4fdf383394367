//! The server's side of both wire formats: requests in, answers and streams out.
//!
//! Invariant: what a format can say and the neutral types cannot is an error, never silently dropped, except for
//! hints that do not change the answer's meaning; those are named (see `dropped`).

mod anthropic;
mod conversation;
pub(crate) mod dropped;
mod fault;
mod openai;
mod relay;
mod replay;
pub(crate) mod responses;

pub use fault::Fault;
pub use relay::{KEEP_ALIVE, Relay, whole};
pub use replay::replay;

use serde_json::{Value, json};
use thiserror::Error;

use crate::provider::Wire;
use crate::types::{Block, ChatRequest, Delta, StopReason, Usage};

/// Answer limit when a request names none: as much as the deployment gives.
const DEFAULT_MAX_OUTPUT: u32 = u32::MAX;

/// A request that this side cannot take.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct WireError(pub String);

impl WireError {
    fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

/// A request as it came in.
#[derive(Debug, Clone, PartialEq)]
pub struct Inbound {
    /// The model asked for.
    pub model: String,
    /// Whether the answer is to be streamed.
    pub stream: bool,
    /// Whether a stream is to carry usage (OpenAI only; Anthropic's always does).
    pub include_usage: bool,
    /// What is asked. Neighbouring messages of one role are one message.
    pub request: ChatRequest,
}

/// A whole answer on its way out.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// Unique id of the answer.
    pub id: String,
    /// The model's name to show.
    pub model: String,
    /// Unix time in seconds.
    pub created: u64,
    /// What the model said.
    pub blocks: Vec<Block>,
    /// Why it stopped.
    pub stop: StopReason,
    /// What it used.
    pub usage: Usage,
}

/// Reads a request body.
pub fn parse(wire: Wire, body: &Value) -> Result<Inbound, WireError> {
    match wire {
        Wire::OpenAi => openai::parse(body),
        Wire::Anthropic => anthropic::parse(body),
    }
}

/// Writes a whole answer.
pub fn reply(wire: Wire, reply: &Reply) -> Value {
    match wire {
        Wire::OpenAi => openai::reply(reply),
        Wire::Anthropic => anthropic::reply(reply),
    }
}

/// Writes an error; `kind` is the dialect's own word, such as `invalid_request_error`.
pub fn error(wire: Wire, kind: &str, message: &str) -> Value {
    match wire {
        Wire::OpenAi => json!({"error": {"message": message, "type": kind, "param": null, "code": null}}),
        Wire::Anthropic => json!({"type": "error", "error": {"type": kind, "message": message}}),
    }
}

/// Writes a stream, piece by piece.
#[derive(Debug)]
pub struct Encoder(Dialect);

#[derive(Debug)]
enum Dialect {
    /// Chat completion chunks.
    OpenAi(openai::Encoder),
    /// Message events.
    Anthropic(anthropic::Encoder),
    /// Typed events of a response.
    Responses(Box<responses::Encoder>),
}

impl Encoder {
    /// An encoder for the answer to `inbound`. `usage` is what is known of the prompt when the stream begins.
    pub fn new(wire: Wire, head: &Reply, include_usage: bool) -> Self {
        Self(match wire {
            Wire::OpenAi => Dialect::OpenAi(openai::Encoder::new(head, include_usage)),
            Wire::Anthropic => Dialect::Anthropic(anthropic::Encoder::new(head)),
        })
    }

    /// An encoder of a response, which repeats what was asked.
    fn of_response(head: &Reply, asked: &Value) -> Self {
        Self(Dialect::Responses(Box::new(responses::Encoder::new(head, asked))))
    }

    /// The frames that open the stream.
    pub fn start(&mut self) -> String {
        match &mut self.0 {
            Dialect::OpenAi(encoder) => encoder.start(),
            Dialect::Anthropic(encoder) => encoder.start(),
            Dialect::Responses(encoder) => encoder.start(),
        }
    }

    /// The frames of one piece; may be none.
    pub fn delta(&mut self, delta: &Delta) -> String {
        match &mut self.0 {
            Dialect::OpenAi(encoder) => encoder.delta(delta),
            Dialect::Anthropic(encoder) => encoder.delta(delta),
            Dialect::Responses(encoder) => encoder.delta(delta),
        }
    }

    /// The frames that end a whole answer. After an error there are none, so that nobody takes a part for the
    /// whole.
    pub fn finish(&mut self) -> String {
        match &mut self.0 {
            Dialect::OpenAi(encoder) => encoder.finish(),
            Dialect::Anthropic(encoder) => encoder.finish(),
            Dialect::Responses(encoder) => encoder.finish(),
        }
    }

    /// The frame of a failure, where it is one of the stream's own numbered events.
    fn fail(&self, fault: &Fault) -> Option<String> {
        match &self.0 {
            Dialect::Responses(encoder) => Some(encoder.fail(fault)),
            Dialect::OpenAi(_) | Dialect::Anthropic(_) => None,
        }
    }
}

fn text_of<'a>(value: &'a Value, key: &str) -> Result<&'a str, WireError> {
    value
        .get(key)
        .and_then(Value::as_str)
        .ok_or_else(|| WireError::new(format!("`{key}` is missing or no string")))
}

fn list_of<'a>(value: &'a Value, key: &str) -> Result<&'a [Value], WireError> {
    match value.get(key) {
        None | Some(Value::Null) => Ok(&[]),
        Some(Value::Array(items)) => Ok(items),
        Some(_) => Err(WireError::new(format!("`{key}` is no list"))),
    }
}

/// The conversation, which every request has.
fn messages_of(body: &Value) -> Result<&[Value], WireError> {
    match list_of(body, "messages")? {
        [] => Err(WireError::new("`messages` is missing or empty")),
        messages => Ok(messages),
    }
}

/// A string, or a list of text parts, joined.
fn plain_text(value: &Value) -> Result<String, WireError> {
    match value {
        Value::Null => Ok(String::new()),
        Value::String(text) => Ok(text.clone()),
        Value::Array(parts) => {
            let texts: Result<Vec<&str>, WireError> = parts
                .iter()
                .map(|part| match part.get("type").and_then(Value::as_str) {
                    Some("text") => text_of(part, "text"),
                    Some(other) => {
                        Err(WireError::new(format!("content of type `{other}` is not supported here")))
                    }
                    None => Err(WireError::new("a part of `content` has no `type`")),
                })
                .collect();
            Ok(texts?.concat())
        }
        _ => Err(WireError::new("content is neither a string nor a list")),
    }
}

fn tokens_of(value: &Value, key: &str) -> Result<Option<u32>, WireError> {
    match value.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(number) => number
            .as_u64()
            .and_then(|tokens| u32::try_from(tokens).ok())
            .map(Some)
            .ok_or_else(|| WireError::new(format!("`{key}` is no token count"))),
    }
}

fn strings_of(value: Option<&Value>) -> Result<Vec<String>, WireError> {
    match value {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::String(one)) => Ok(vec![one.clone()]),
        Some(Value::Array(many)) => many
            .iter()
            .map(|item| {
                item.as_str().map(str::to_owned).ok_or_else(|| WireError::new("a stop sequence is no string"))
            })
            .collect(),
        Some(_) => Err(WireError::new("stop sequences are neither a string nor a list")),
    }
}
