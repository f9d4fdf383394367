//! Embeddings for clients of OpenAI's format, from providers that have a format of their own.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Value, json};

use super::transport::Whole;
use super::{Deployment, Format, ProviderKind};
use crate::ask::Native;
use crate::error::{ErrorKind, ProviderError};
use crate::inbound::WireError;
use crate::types::{Delta, StopReason, Usage};

/// Fields that are carried to Voyage as they are: its own, which clients may send beside OpenAI's.
const VOYAGES: [&str; 4] = ["input", "input_type", "truncation", "output_dtype"];
/// Fields that are carried to Ollama as they are.
const OLLAMAS: [&str; 4] = ["input", "dimensions", "truncate", "keep_alive"];
/// Fields that are carried to Gemini, its own under their names as Python clients write them.
const GEMINIS: [&str; 3] = ["input", "task_type", "title"];
/// Fields that are carried under another name, or that are meant for us.
const OURS: [&str; 4] = ["model", "encoding_format", "dimensions", "output_dimension"];

/// What of the request is left out there.
///
/// Errors: that provider makes no embeddings, or not of this.
pub(crate) fn unsaid(kind: ProviderKind, native: &Native) -> Result<Vec<String>, WireError> {
    let carried = carried(kind)?;
    let is_texts = |input: Value| match input {
        Value::String(_) => true,
        Value::Array(list) => !list.is_empty() && list.iter().all(Value::is_string),
        _ => false,
    };
    if !native.value::<Value>("input")?.is_some_and(is_texts) {
        return Err(WireError(
            "`input` must be a text or a list of texts: this provider takes no tokens".into(),
        ));
    }
    let is_lost = |name: &&str| !carried.contains(name) && !OURS.contains(name);
    Ok(native.names().filter(is_lost).map(str::to_owned).collect())
}

fn carried(kind: ProviderKind) -> Result<&'static [&'static str], WireError> {
    match kind.format() {
        Format::Voyage => Ok(&VOYAGES),
        Format::Ollama => Ok(&OLLAMAS),
        Format::Gemini => Ok(&GEMINIS),
        Format::OpenAi | Format::Anthropic => {
            Err(WireError("this provider cannot be asked for embeddings here".into()))
        }
    }
}

/// The body that the provider is sent.
pub(crate) fn encode(deployment: &Deployment, native: &Native) -> Result<Value, WireError> {
    if deployment.provider.format() == Format::Gemini {
        return geminis(deployment, native);
    }
    let mut body = json!({"model": deployment.model});
    for name in carried(deployment.provider)? {
        if let Some(value) = native.value::<Value>(name)? {
            body[*name] = value;
        }
    }
    if deployment.provider.format() == Format::Voyage {
        if let Some(dimensions) = dimensions(native)? {
            body["output_dimension"] = dimensions;
        }
        // Numbers are its default, which it has no word for.
        if Numbers::of(native) == Numbers::Base64 {
            body["encoding_format"] = json!("base64");
        }
    }
    Ok(body)
}

/// One request for each text: it takes no list.
fn geminis(deployment: &Deployment, native: &Native) -> Result<Value, WireError> {
    let mut common = json!({"model": format!("models/{}", deployment.model)});
    for (field, value) in [
        ("taskType", native.value::<Value>("task_type")?),
        ("title", native.value("title")?),
        ("outputDimensionality", dimensions(native)?),
    ] {
        if let Some(value) = value {
            common[field] = value;
        }
    }
    let request = |text: String| {
        let mut request = common.clone();
        request["content"] = json!({"parts": [{"text": text}]});
        request
    };
    Ok(json!({"requests": texts(native).into_iter().map(request).collect::<Vec<_>>()}))
}

fn dimensions(native: &Native) -> Result<Option<Value>, WireError> {
    Ok(native.value::<Value>("output_dimension")?.or(native.value("dimensions")?))
}

/// The texts of a request, of which [`unsaid`] knows that they are texts.
pub(super) fn texts(native: &Native) -> Vec<String> {
    match native.value::<Value>("input") {
        Ok(Some(Value::String(text))) => vec![text],
        Ok(Some(Value::Array(list))) => {
            list.into_iter().filter_map(|one| one.as_str().map(str::to_owned)).collect()
        }
        _ => Vec::new(),
    }
}

/// The same, for an adapter.
pub(super) fn request(deployment: &Deployment, native: &Native) -> Result<Value, ProviderError> {
    encode(deployment, native).map_err(|error| ProviderError::new(ErrorKind::BadRequest, error.to_string()))
}

/// How a client wants its numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Numbers {
    Floats,
    Base64,
}

impl Numbers {
    pub(super) fn of(native: &Native) -> Self {
        match native.value::<String>("encoding_format") {
            Ok(Some(format)) if format == "base64" => Self::Base64,
            _ => Self::Floats,
        }
    }

    /// Numbers as the provider wrote them: as single ones they would get digits that nobody has said.
    #[expect(clippy::cast_possible_truncation, reason = "single precision is what this form is")]
    pub(super) fn write(self, vector: &[f64]) -> Value {
        match self {
            Self::Floats => json!(vector),
            Self::Base64 => {
                let bytes: Vec<u8> =
                    vector.iter().flat_map(|number| (*number as f32).to_le_bytes()).collect();
                json!(STANDARD.encode(bytes))
            }
        }
    }
}

/// An answer in OpenAI's shape.
pub(super) fn answer(model: &str, vectors: Vec<Value>, tokens: u32) -> Whole {
    let data: Vec<Value> = (0..)
        .zip(vectors)
        .map(|(index, embedding): (u32, Value)| {
            json!({"object": "embedding", "index": index, "embedding": embedding})
        })
        .collect();
    let usage = json!({"prompt_tokens": tokens, "total_tokens": tokens});
    let body = json!({"object": "list", "data": data, "model": model, "usage": usage});
    (meaning(model, tokens), Bytes::from(body.to_string()))
}

/// What an answer with embeddings means: its usage.
pub(super) fn meaning(model: &str, tokens: u32) -> Vec<Delta> {
    let simulated = model.starts_with(crate::scripted::MODEL_PREFIX);
    vec![
        Delta::Started { model: model.to_owned(), simulated },
        Delta::Usage { usage: Usage { input: tokens, ..Usage::default() } },
        Delta::Finished { stop: StopReason::EndTurn },
    ]
}
