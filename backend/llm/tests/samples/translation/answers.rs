//! What becomes of an answer in the other format, shown by reading it as its provider writes it and writing it as its client
//! reads it.

mod cases;
mod ends;

use std::fmt::Write as _;

use serde_json::{Value, json};
use syndarix_llm::{Assembler, Completion, Endpoint, Native, Wire, inbound};

use super::{escaped, field};

const HEAD: &str = "## Answers

Every row is an answer that was really read as its provider writes it, and really written as its client reads it. Kept: each
value that the provider gives is given to the client, under whatever name. Changed: something else stands for it. Lost:
nothing does. Added: the client's format has it, and the provider says nothing of it.

Where client and provider speak one format the provider's own bytes are passed on. A response is always translated.

";

const COLUMNS: &str = "| the model says | its provider writes | the client is given | so it is |
|---|---|---|---|";

/// What becomes of what a provider says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Kept,
    Changed,
    Lost,
    Added,
}

impl Fate {
    fn word(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Changed => "changed",
            Self::Lost => "lost",
            Self::Added => "added",
        }
    }
}

/// An answer, and what of it, before and after, the case is about.
pub(crate) struct Case {
    pub(crate) says: &'static str,
    pub(crate) by: Wire,
    pub(crate) body: Value,
    pub(crate) said: &'static [&'static str],
    pub(crate) to: Endpoint,
    pub(crate) shown: &'static [&'static str],
}

impl Case {
    /// The client's answer.
    fn given(&self) -> Value {
        given(self.to, self.by, &self.body)
    }

    pub(crate) fn fate(&self) -> Fate {
        let given = self.given();
        let (said, shown) = (leaves_at(&self.body, self.said), leaves_at(&given, self.shown));
        let anywhere = leaves(&given);
        if said.is_empty() {
            Fate::Added
        } else if said.iter().all(|value| shown.contains(value)) {
            Fate::Kept
        } else if shown.is_empty() && !said.iter().any(|value| anywhere.contains(value)) {
            Fate::Lost
        } else {
            Fate::Changed
        }
    }

    fn row(&self) -> String {
        let (said, given) = (at(&self.body, self.said), at(&self.given(), self.shown));
        format!("| {} | {said} | {given} | {} |", escaped(self.says), self.fate().word())
    }
}

/// Every case, by who answers whom.
pub(crate) fn directions() -> Vec<(&'static str, Vec<Case>)> {
    vec![
        ("A model of Anthropic's, an OpenAI client", cases::anthropic_to_chat()),
        ("A model of OpenAI's, an Anthropic client", cases::openai_to_messages()),
        ("A model of Anthropic's, a client of responses", cases::anthropic_to_responses()),
        ("A model of OpenAI's, a client of responses", cases::openai_to_responses()),
    ]
}

/// The page's part on answers.
pub(super) fn section() -> String {
    let mut section = HEAD.to_owned();
    for (title, cases) in directions() {
        let _ = writeln!(section, "### {title}\n\n{COLUMNS}");
        for case in cases {
            let _ = writeln!(section, "{}", case.row());
        }
        section.push('\n');
    }
    section + &ends::streams() + "\n" + &ends::stops()
}

/// A provider's answer as a client is given it.
fn given(to: Endpoint, by: Wire, body: &Value) -> Value {
    inbound::whole(&asked(to, false), "1", 0, &completion(by, body))
}

/// What a client asks, which says nothing of the answer but its format.
fn asked(at: Endpoint, stream: bool) -> Native {
    let body = json!({
        "model": "m", "stream": stream, "stream_options": {"include_usage": true}, "max_tokens": 900,
        "messages": [{"role": "user", "content": "go"}], "input": "go",
    });
    Native::parse(at, body.to_string().into()).unwrap()
}

/// An answer as the gateway has it.
fn completion(by: Wire, body: &Value) -> Completion {
    let mut answer = Assembler::default();
    for delta in by.read(body.to_string().as_bytes()).unwrap() {
        answer.push(&delta);
    }
    let (usage, model) = (answer.usage(0), answer.model().to_owned());
    let (blocks, stop) = answer.finish();
    Completion {
        blocks,
        stop,
        usage,
        deployment: "d".into(),
        provider: "p".into(),
        model,
        simulated: false,
        latency_ms: 0,
        cost_micro_usd: 0,
        price_unknown: false,
        before: Vec::new(),
    }
}

fn at(document: &Value, places: &[&'static str]) -> String {
    let value = |place: &str| document.pointer(place).cloned().unwrap_or(Value::Null);
    places.iter().map(|place| field(&(*place, value(place)))).collect::<Vec<_>>().join(", ")
}

fn leaves_at(document: &Value, places: &[&str]) -> Vec<Value> {
    places.iter().filter_map(|place| document.pointer(place)).flat_map(leaves).collect()
}

/// The values within, but for the names of shapes, which each format has its own of.
fn leaves(value: &Value) -> Vec<Value> {
    match value {
        Value::Null => Vec::new(),
        Value::Array(items) => items.iter().flat_map(leaves).collect(),
        Value::Object(fields) => {
            let named = fields.iter().filter(|(name, _)| name.as_str() != "type");
            named.flat_map(|(_, value)| leaves(value)).collect()
        }
        // Arguments are an object in one format and its text in the other.
        Value::String(text) => match serde_json::from_str::<Value>(text) {
            Ok(object @ Value::Object(_)) => leaves(&object),
            _ => vec![value.clone()],
        },
        Value::Bool(_) | Value::Number(_) => vec![value.clone()],
    }
}
