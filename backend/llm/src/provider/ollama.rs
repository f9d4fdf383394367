//! Ollama's own API: `api/chat` and `api/embed`. Unlike its compatible endpoint it takes the size of the window, without
//! which a conversation is cut to a few thousand tokens and nobody is told.
//!
//! What this format cannot say is handled so: a picture by its address is refused; a choice of tools, a wish for one call
//! at a time and the user's name are left out. Calls have no ids of their own: they are made up here, and a result names
//! its tool.

mod encode;

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::openai::MAX_CALLS;
use super::transport::{Decoder, Exchange, Framing, neutral, stream_error};
use super::{Deployment, Http, PieceStream, Provider, embeddings};
use crate::ask::{Ask, Endpoint};
use crate::error::ProviderError;
use crate::gateway::Grant;
use crate::sse::SseEvent;
use crate::types::{Delta, StopReason, Usage};

pub(super) use encode::{encode, unsaid};

const THINKING: u32 = 0;
const TEXT: u32 = 1;
const FIRST_CALL: u32 = 2;

/// The adapter.
#[derive(Debug)]
pub(super) struct Ollama {
    http: Http,
}

impl Ollama {
    pub(super) fn new(http: Http) -> Self {
        Self { http }
    }
}

#[async_trait]
impl Provider for Ollama {
    async fn send(
        &self,
        deployment: &Deployment,
        ask: Ask<'_>,
        grant: &Grant,
        cancel: &CancellationToken,
    ) -> Result<PieceStream, ProviderError> {
        let exchange = Exchange { deployment, grant, cancel, raw: false };
        let post = |path: &str| -> Result<_, ProviderError> {
            let http = self.http.of(deployment)?.post(endpoint(deployment, path));
            let key = deployment.api_key.as_ref();
            Ok(match key {
                Some(key) => http.bearer_auth(key.expose()),
                None => http,
            })
        };
        if let Ask::Native(native) = ask
            && native.endpoint() == Endpoint::Embeddings
        {
            let request = embeddings::request(deployment, native)?;
            let format = embeddings::Numbers::of(native);
            return exchange
                .run_whole(post("api/embed")?.json(&request), 0, |body| embedded(&body, format))
                .await;
        }
        let request = post("api/chat")?.json(&encode(deployment, neutral(ask)?, grant.max_output_tokens));
        exchange.run(request, OllamaDecoder::default()).await
    }
}

/// Addresses of the compatible endpoint are often configured already: its own API stands beside that.
fn endpoint(deployment: &Deployment, path: &str) -> String {
    let base = deployment.base_url.as_str().trim_end_matches('/');
    format!("{}/{path}", base.strip_suffix("/v1").unwrap_or(base))
}

#[derive(Debug, Deserialize)]
struct Embedded {
    #[serde(default)]
    model: String,
    embeddings: Vec<Vec<f64>>,
    #[serde(default)]
    prompt_eval_count: u64,
}

/// The answer of `api/embed` in OpenAI's shape.
fn embedded(body: &[u8], format: embeddings::Numbers) -> Result<super::transport::Whole, ProviderError> {
    let answer: Embedded = serde_json::from_slice(body)
        .map_err(|error| ProviderError::malformed(format!("the answer is not as it should be: {error}")))?;
    let tokens = u32::try_from(answer.prompt_eval_count).unwrap_or(u32::MAX);
    let vectors = answer.embeddings.iter().map(|vector| format.write(vector)).collect();
    Ok(embeddings::answer(&answer.model, vectors, tokens))
}

#[derive(Debug, Deserialize)]
struct Chunk {
    #[serde(default)]
    model: String,
    #[serde(default)]
    message: Option<Said>,
    #[serde(default)]
    done: bool,
    #[serde(default)]
    done_reason: Option<String>,
    #[serde(default)]
    prompt_eval_count: Option<u32>,
    #[serde(default)]
    eval_count: Option<u32>,
    #[serde(default)]
    error: Option<Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Said {
    content: String,
    thinking: Option<String>,
    tool_calls: Option<Vec<Call>>,
}

#[derive(Debug, Deserialize)]
struct Call {
    #[serde(default)]
    id: Option<String>,
    function: Function,
}

#[derive(Debug, Deserialize)]
struct Function {
    name: String,
    #[serde(default)]
    arguments: Option<Value>,
}

/// Reads the stream.
#[derive(Debug)]
pub(super) struct OllamaDecoder {
    started: bool,
    calls: u32,
    unique: u64,
    done: bool,
}

impl Default for OllamaDecoder {
    fn default() -> Self {
        Self { started: false, calls: 0, unique: rand::random(), done: false }
    }
}

impl Decoder for OllamaDecoder {
    fn event(&mut self, event: &SseEvent) -> Result<Vec<Delta>, ProviderError> {
        let chunk: Chunk = serde_json::from_str(&event.data)
            .map_err(|error| ProviderError::malformed(format!("a line is not as it should be: {error}")))?;
        if let Some(error) = &chunk.error {
            return Err(stream_error(error));
        }
        let mut deltas = Vec::new();
        if !self.started && !chunk.model.is_empty() {
            self.started = true;
            let simulated = chunk.model.starts_with(crate::scripted::MODEL_PREFIX);
            deltas.push(Delta::Started { model: chunk.model, simulated });
        }
        let said = chunk.message.unwrap_or_default();
        let thinking = said.thinking.filter(|text| !text.is_empty());
        deltas.extend(thinking.map(|text| Delta::Thinking { index: THINKING, text }));
        if !said.content.is_empty() {
            deltas.push(Delta::Text { index: TEXT, text: said.content });
        }
        for call in said.tool_calls.into_iter().flatten() {
            self.call(call, &mut deltas)?;
        }
        if chunk.done {
            self.done = true;
            let (input, output) =
                (chunk.prompt_eval_count.unwrap_or_default(), chunk.eval_count.unwrap_or_default());
            deltas.push(Delta::Usage { usage: Usage { input, output, ..Usage::default() } });
            deltas.push(Delta::Finished { stop: stop_reason(chunk.done_reason) });
        }
        Ok(deltas)
    }

    fn framing(&self) -> Framing {
        Framing::Lines
    }

    fn is_done(&self) -> bool {
        self.done
    }

    fn may_end(&self) -> bool {
        self.done
    }
}

impl OllamaDecoder {
    /// A call comes whole.
    fn call(&mut self, call: Call, deltas: &mut Vec<Delta>) -> Result<(), ProviderError> {
        if self.calls >= MAX_CALLS {
            return Err(ProviderError::malformed(format!("there are more than {MAX_CALLS} tool calls")));
        }
        let index = FIRST_CALL + self.calls;
        let made = format!("call_{:016x}_{}", self.unique, self.calls);
        self.calls += 1;
        let id = call.id.filter(|id| !id.is_empty()).unwrap_or(made);
        deltas.push(Delta::ToolUse { index, id, name: call.function.name });
        let json = match call.function.arguments {
            None | Some(Value::Null) => return Ok(()),
            Some(Value::String(text)) => text,
            Some(object) => object.to_string(),
        };
        deltas.push(Delta::ToolInput { index, json });
        Ok(())
    }
}

fn stop_reason(reason: Option<String>) -> StopReason {
    match reason {
        None => StopReason::EndTurn,
        Some(reason) => match reason.as_str() {
            "stop" => StopReason::EndTurn,
            "length" => StopReason::MaxTokens,
            _ => StopReason::Other(reason),
        },
    }
}
