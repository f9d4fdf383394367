//! From a rule to the pieces of a body, in either wire format.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use super::MODEL_PREFIX;
use super::faults::Fault;
use super::matching::View;
use super::scenario::{AnswerSource, Rule, Script};
use super::template::Values;
use crate::assemble::Assembler;
use crate::inbound::{self, Encoder, Inbound, Reply};
use crate::provider::Wire;
use crate::tokens::{estimate_request, estimate_text};
use crate::types::{Delta, StopReason, Usage};

/// Streamed text and arguments come in pieces of so many characters: small enough that every client has to put
/// them together.
const PIECE: usize = 12;

/// What will be said.
pub(super) struct Answer {
    id: String,
    model: String,
    deltas: Vec<Delta>,
    usage: Usage,
    stop: StopReason,
}

impl Answer {
    /// Fills in a rule's answer. Errors: a placeholder without a value.
    pub(super) fn of(
        script: &Script,
        rule: &Rule,
        inbound: &Inbound,
        fault: Option<&Fault>,
    ) -> Result<Self, String> {
        let Some(source) = &rule.answer else { return Err("it has no answer".to_owned()) };
        let view = View::of(&inbound.request);
        let values = Values::of(rule, &view)?;
        let id = fingerprint(script, inbound);
        let malform = matches!(fault, Some(Fault::MalformedToolCall));
        let deltas = deltas(source, &values, &id, malform)?;
        let stop = if source.tools.is_empty() { StopReason::EndTurn } else { StopReason::ToolUse };
        let usage = usage(source, inbound, &deltas);
        Ok(Self { model: model(&inbound.model), id, deltas, usage, stop })
    }

    /// The body in pieces: events of a stream, or one piece of JSON.
    pub(super) fn pieces(self, wire: Wire, inbound: &Inbound) -> Vec<String> {
        let prefix = if wire == Wire::OpenAi { "chatcmpl" } else { "msg" };
        let mut head = Reply {
            id: format!("{prefix}-scripted-{}", self.id),
            model: self.model,
            // The answer must not depend on the clock.
            created: 0,
            blocks: Vec::new(),
            stop: self.stop.clone(),
            usage: self.usage,
        };
        if !inbound.stream {
            let mut whole = Assembler::default();
            self.deltas.iter().for_each(|delta| whole.push(delta));
            head.blocks = whole.finish().0;
            return vec![inbound::reply(wire, &head).to_string()];
        }
        let mut encoder = Encoder::new(wire, &head, inbound.include_usage);
        let mut pieces = vec![encoder.start()];
        let end = [Delta::Usage { usage: self.usage }, Delta::Finished { stop: self.stop }];
        pieces.extend(self.deltas.iter().chain(&end).map(|delta| encoder.delta(delta)));
        pieces.push(encoder.finish());
        pieces.retain(|piece| !piece.is_empty());
        pieces
    }
}

/// The model name to show: the one asked for, made unmistakable.
fn model(asked: &str) -> String {
    if asked.starts_with(MODEL_PREFIX) { asked.to_owned() } else { format!("{MODEL_PREFIX}{asked}") }
}

/// The same for the same script and conversation, different for any other.
fn fingerprint(script: &Script, inbound: &Inbound) -> String {
    let mut hasher = DefaultHasher::new();
    script.name().hash(&mut hasher);
    inbound.request.system.hash(&mut hasher);
    serde_json::to_string(&inbound.request.messages).unwrap_or_default().hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

fn deltas(source: &AnswerSource, values: &Values<'_>, id: &str, malform: bool) -> Result<Vec<Delta>, String> {
    let mut deltas = Vec::new();
    for text in chunks(&values.text(&source.thinking)?) {
        deltas.push(Delta::Thinking { index: 0, text });
    }
    if !source.thinking.is_empty() {
        deltas.push(Delta::Signature { index: 0, signature: format!("scripted-{id}") });
    }
    for text in chunks(&values.text(&source.text)?) {
        deltas.push(Delta::Text { index: 1, text });
    }
    for (index, (number, call)) in (2..).zip(source.tools.iter().enumerate()) {
        deltas.push(Delta::ToolUse {
            index,
            id: format!("call_scripted_{id}_{number}"),
            name: values.text(&call.name)?,
        });
        let filled = values.json(&call.arguments)?;
        let mut json = if filled.is_null() { "{}".to_owned() } else { filled.to_string() };
        if malform {
            // Without its last brace, and with a comma that promises more: what a cut or confused model writes.
            json.pop();
            json.push(',');
        }
        deltas.extend(chunks(&json).into_iter().map(|json| Delta::ToolInput { index, json }));
    }
    Ok(deltas)
}

fn chunks(text: &str) -> Vec<String> {
    let characters: Vec<char> = text.chars().collect();
    characters.chunks(PIECE).map(|piece| piece.iter().collect()).collect()
}

/// The script's figures, or counted ones.
fn usage(source: &AnswerSource, inbound: &Inbound, deltas: &[Delta]) -> Usage {
    if let Some(given) = source.usage {
        return Usage {
            input: given.input,
            output: given.output,
            cache_read: given.cache_read,
            cache_write: given.cache_write,
            cache_write_1h: given.cache_write_1h,
            image: given.image,
            audio: given.audio,
            reasoning: given.reasoning,
            ..Usage::default()
        };
    }
    let said: String = deltas
        .iter()
        .filter_map(|delta| match delta {
            Delta::Text { text, .. } | Delta::Thinking { text, .. } => Some(text.as_str()),
            Delta::ToolUse { name, .. } => Some(name),
            Delta::ToolInput { json, .. } => Some(json),
            _ => None,
        })
        .collect();
    Usage {
        input: estimate_request(&inbound.request),
        output: estimate_text(&said).max(1),
        ..Usage::default()
    }
}
