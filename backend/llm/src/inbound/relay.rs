//! From the gateway's events to the bytes of a client's stream.
//!
//! Invariant: only an answer that is whole and recorded ends as its format says (`[DONE]`, `message_stop`,
//! `response.completed`); any other ends with an error and nothing after it.

use serde_json::Value;

use super::{Encoder, Fault, Reply};
use crate::ask::{Endpoint, Native};
use crate::error::CallError;
use crate::gateway::Head;
use crate::provider::{Piece, Raw, Wire};
use crate::sse::SseEvent;
use crate::types::{Completion, Delta, StopReason, Usage};

/// Says nothing to anybody, so that no proxy takes a silent stream for a dead one.
pub const KEEP_ALIVE: &str = ": keep-alive\n\n";

/// Writes one answer's stream.
#[derive(Debug)]
pub struct Relay {
    endpoint: Endpoint,
    /// The request, where the answer repeats it.
    asked: Value,
    include_usage: bool,
    id: String,
    created: u64,
    /// Writes what the provider said in another format; none while the provider's own bytes are passed on.
    encoder: Option<Encoder>,
    /// How many events of the provider's own were passed on.
    passed: u64,
    /// The provider's own event that ends the stream.
    last: Option<SseEvent>,
}

impl Relay {
    /// For the answer to this request. `id` is unique, `created` Unix time in seconds.
    pub fn new(native: &Native, id: String, created: u64) -> Self {
        let (endpoint, include_usage) = (native.endpoint(), native.includes_usage());
        Self {
            endpoint,
            asked: asked(native),
            include_usage,
            id,
            created,
            encoder: None,
            passed: 0,
            last: None,
        }
    }

    /// The frames that open the stream, once it is known who answers.
    pub fn head(&mut self, head: &Head) -> String {
        if head.native {
            return String::new();
        }
        let reply = Reply {
            id: id(self.endpoint, &self.id),
            model: head.model.clone(),
            created: self.created,
            blocks: Vec::new(),
            stop: StopReason::EndTurn,
            usage: Usage { input: head.prompt_tokens, ..Usage::default() },
        };
        let encoder = match self.endpoint {
            Endpoint::Responses => Encoder::of_response(&reply, &self.asked),
            endpoint => Encoder::new(wire(endpoint), &reply, self.include_usage),
        };
        self.encoder.insert(encoder).start()
    }

    /// The frames of one piece; may be none.
    pub fn piece(&mut self, piece: &Piece) -> String {
        if let Some(encoder) = &mut self.encoder {
            return piece.deltas.iter().map(|delta| encoder.delta(delta)).collect();
        }
        match &piece.raw {
            // The gateway asks for usage whether the client did or not.
            Some(Raw::Event(_)) if !self.include_usage && is_usage_alone(&piece.deltas) => String::new(),
            Some(Raw::Event(event)) => {
                self.passed += 1;
                frame(event)
            }
            Some(Raw::End(event)) => {
                self.last = Some(event.clone());
                String::new()
            }
            Some(Raw::Whole(_)) | None => String::new(),
        }
    }

    /// The frames that end the stream.
    pub fn end(&mut self, result: &Result<Completion, CallError>) -> String {
        match (result, &mut self.encoder) {
            (Err(error), _) => self.fail(&Fault::from(error)),
            (Ok(_), Some(encoder)) => encoder.finish(),
            (Ok(_), None) => match self.endpoint {
                Endpoint::Messages => "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n".to_owned(),
                Endpoint::Responses => self.last.as_ref().map(frame).unwrap_or_default(),
                Endpoint::ChatCompletions | Endpoint::Embeddings => "data: [DONE]\n\n".to_owned(),
            },
        }
    }
}

impl Relay {
    /// The frames that end a stream for a reason that is no answer's.
    pub fn fail(&self, fault: &Fault) -> String {
        let numbered = match &self.encoder {
            Some(encoder) => encoder.fail(fault),
            None => (self.endpoint == Endpoint::Responses).then(|| fault.event(self.passed)),
        };
        numbered.unwrap_or_else(|| fault.frame(self.endpoint))
    }
}

/// The request, for an answer that repeats parts of it.
fn asked(native: &Native) -> Value {
    match native.endpoint() {
        Endpoint::Responses => native.document().unwrap_or(Value::Null),
        Endpoint::ChatCompletions | Endpoint::Messages | Endpoint::Embeddings => Value::Null,
    }
}

/// The format that an endpoint's answers are written in.
fn wire(endpoint: Endpoint) -> Wire {
    match endpoint {
        Endpoint::Messages => Wire::Anthropic,
        Endpoint::ChatCompletions | Endpoint::Responses | Endpoint::Embeddings => Wire::OpenAi,
    }
}

/// An answer's id as its format has it.
pub(super) fn id(endpoint: Endpoint, unique: &str) -> String {
    let prefix = match endpoint {
        Endpoint::Messages => "msg_",
        Endpoint::Responses => "resp_",
        Endpoint::ChatCompletions | Endpoint::Embeddings => "chatcmpl-",
    };
    format!("{prefix}{unique}")
}

fn is_usage_alone(deltas: &[Delta]) -> bool {
    let is_usage = |delta: &Delta| matches!(delta, Delta::Usage { .. });
    deltas.iter().any(is_usage)
        && deltas.iter().all(|delta| is_usage(delta) || matches!(delta, Delta::Started { .. }))
}

fn frame(event: &SseEvent) -> String {
    let mut frame = String::with_capacity(event.data.len() + event.event.len() + 20);
    if !event.event.is_empty() {
        frame.extend(["event: ", &event.event, "\n"]);
    }
    for line in event.data.split('\n') {
        frame.extend(["data: ", line, "\n"]);
    }
    frame.push('\n');
    frame
}

/// A whole answer in the client's format, where the provider gave it in another one or in pieces.
pub fn whole(native: &Native, unique: &str, created: u64, completion: &Completion) -> Value {
    let reply = Reply {
        id: id(native.endpoint(), unique),
        model: completion.model.clone(),
        created,
        blocks: completion.blocks.clone(),
        stop: completion.stop.clone(),
        usage: completion.usage,
    };
    match native.endpoint() {
        Endpoint::Responses => super::responses::reply(&reply, &asked(native)),
        endpoint => super::reply(wire(endpoint), &reply),
    }
}
