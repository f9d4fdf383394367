//! Google Gemini's own API: `models/{model}:streamGenerateContent`, and `batchEmbedContents` for embeddings.
//!
//! What this format cannot say is handled so: a picture by its address is refused; a wish for one call at a time and
//! the user's name are left out. A model's signature belongs to the call it made: it travels as a block of reasoning
//! before that call, and goes back only to the model that gave it.

mod embed;
mod encode;

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::openai::MAX_CALLS;
use super::transport::{Decoder, Exchange, neutral, stream_error};
use super::{Deployment, Http, PieceStream, Provider, embeddings, encoded};
use crate::ask::{Ask, Endpoint};
use crate::error::ProviderError;
use crate::gateway::Grant;
use crate::sse::SseEvent;
use crate::types::{Delta, StopReason, Usage};

pub(super) use encode::{encode, unsaid};

/// The adapter.
#[derive(Debug)]
pub(super) struct Gemini {
    http: Http,
}

impl Gemini {
    pub(super) fn new(http: Http) -> Self {
        Self { http }
    }
}

#[async_trait]
impl Provider for Gemini {
    async fn send(
        &self,
        deployment: &Deployment,
        ask: Ask<'_>,
        grant: &Grant,
        cancel: &CancellationToken,
    ) -> Result<PieceStream, ProviderError> {
        let post = |path: &str| {
            let http = self.http.of(deployment)?.post(deployment.endpoint(path));
            Ok::<_, ProviderError>(match &deployment.api_key {
                Some(key) => http.header("x-goog-api-key", key.expose()),
                None => http,
            })
        };
        if let Ask::Native(native) = ask
            && native.endpoint() == Endpoint::Embeddings
        {
            let http = post(&embed::path(deployment))?.json(&embeddings::request(deployment, native)?);
            let exchange = Exchange { deployment, grant, cancel, raw: true };
            return exchange.run_whole(http, 0, |body| embed::embedded(&body, deployment, native)).await;
        }
        let path = format!("models/{}:streamGenerateContent?alt=sse", encoded(&deployment.model));
        let http = post(&path)?.json(&encode(deployment, neutral(ask)?, grant.max_output_tokens));
        Exchange { deployment, grant, cancel, raw: false }.run(http, GeminiDecoder::default()).await
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Chunk {
    #[serde(default)]
    candidates: Vec<Candidate>,
    #[serde(default)]
    prompt_feedback: Option<Feedback>,
    #[serde(default)]
    usage_metadata: Option<WireUsage>,
    #[serde(default)]
    model_version: Option<String>,
    #[serde(default)]
    response_id: Option<String>,
    #[serde(default)]
    error: Option<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Candidate {
    #[serde(default)]
    index: u32,
    #[serde(default)]
    content: Option<Content>,
    #[serde(default)]
    finish_reason: Option<String>,
    #[serde(default)]
    finish_message: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Content {
    #[serde(default)]
    parts: Vec<Part>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Part {
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    thought: bool,
    #[serde(default)]
    thought_signature: Option<String>,
    #[serde(default)]
    function_call: Option<FunctionCall>,
}

#[derive(Debug, Deserialize)]
struct FunctionCall {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    name: String,
    #[serde(default)]
    args: Option<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Feedback {
    #[serde(default)]
    block_reason: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct WireUsage {
    #[serde(rename = "promptTokenCount")]
    prompt: u64,
    #[serde(rename = "candidatesTokenCount")]
    candidates: u64,
    #[serde(rename = "thoughtsTokenCount")]
    thoughts: u64,
    #[serde(rename = "cachedContentTokenCount")]
    cached_content: u64,
    #[serde(rename = "toolUsePromptTokenCount")]
    tool_use_prompt: u64,
    #[serde(rename = "promptTokensDetails")]
    prompt_parts: Vec<Counted>,
    #[serde(rename = "candidatesTokensDetails")]
    candidate_parts: Vec<Counted>,
}

/// Tokens of one kind of content.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Counted {
    modality: String,
    #[serde(rename = "tokenCount")]
    tokens: u64,
}

fn counted(parts: &[Counted], modality: &str) -> u64 {
    parts.iter().filter(|part| part.modality == modality).map(|part| part.tokens).fold(0, u64::saturating_add)
}

impl From<WireUsage> for Usage {
    fn from(wire: WireUsage) -> Self {
        let fit = |tokens: u64| u32::try_from(tokens).unwrap_or(u32::MAX);
        // The prompt includes what is cached and not what tools added; the candidates do not include thoughts.
        let cached = wire.cached_content.min(wire.prompt);
        let fresh = wire.prompt.saturating_sub(cached);
        Self {
            input: fit(fresh.saturating_add(wire.tool_use_prompt)),
            output: fit(wire.candidates.saturating_add(wire.thoughts)),
            cache_read: fit(cached),
            image: fit(counted(&wire.prompt_parts, "IMAGE")),
            audio: fit(counted(&wire.prompt_parts, "AUDIO")),
            audio_output: fit(counted(&wire.candidate_parts, "AUDIO")),
            reasoning: fit(wire.thoughts),
            ..Self::default()
        }
    }
}

/// What the newest block is made of.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Open {
    Nothing,
    Text,
    Thinking,
    Call,
}

/// Reads the stream.
#[derive(Debug)]
pub(super) struct GeminiDecoder {
    started: bool,
    open: Open,
    /// The number of the newest block; none before the first.
    block: Option<u32>,
    calls: u32,
    /// What makes the ids unique that are made up here: the answer's own id, or a number.
    unique: String,
    finished: bool,
}

impl Default for GeminiDecoder {
    fn default() -> Self {
        let unique = format!("{:016x}", rand::random::<u64>());
        Self { started: false, open: Open::Nothing, block: None, calls: 0, unique, finished: false }
    }
}

impl Decoder for GeminiDecoder {
    fn event(&mut self, event: &SseEvent) -> Result<Vec<Delta>, ProviderError> {
        if event.data.trim().is_empty() {
            return Ok(Vec::new());
        }
        let chunk: Chunk = serde_json::from_str(&event.data)
            .map_err(|error| ProviderError::malformed(format!("a chunk is not as it should be: {error}")))?;
        self.chunk(chunk)
    }

    /// The stream has no end of its own: usage may follow the reason.
    fn is_done(&self) -> bool {
        false
    }

    fn may_end(&self) -> bool {
        self.finished
    }
}

impl GeminiDecoder {
    fn chunk(&mut self, chunk: Chunk) -> Result<Vec<Delta>, ProviderError> {
        if let Some(error) = &chunk.error {
            return Err(stream_error(error));
        }
        let mut deltas = Vec::new();
        if let Some(id) = chunk.response_id.filter(|id| !id.is_empty() && !self.started) {
            self.unique = id;
        }
        if let Some(model) = chunk.model_version.filter(|model| !model.is_empty() && !self.started) {
            self.started = true;
            let simulated = model.starts_with(crate::scripted::MODEL_PREFIX);
            deltas.push(Delta::Started { model, simulated });
        }
        let usage = chunk.usage_metadata.map(Usage::from);
        for candidate in chunk.candidates.into_iter().filter(|candidate| candidate.index == 0) {
            for part in candidate.content.map(|content| content.parts).unwrap_or_default() {
                self.part(part, &mut deltas)?;
            }
            if let Some(reason) = candidate.finish_reason.filter(|_| !self.finished) {
                let finished = self.finish(reason, candidate.finish_message);
                deltas.push(finished.map_err(|error| error.with_usage(usage))?);
            }
        }
        deltas.extend(usage.map(|usage| Delta::Usage { usage }));
        let blocked = chunk.prompt_feedback.and_then(|feedback| feedback.block_reason);
        if blocked.is_some() && !self.finished {
            self.finished = true;
            deltas.push(Delta::Finished { stop: StopReason::Refusal });
        }
        Ok(deltas)
    }

    fn part(&mut self, part: Part, deltas: &mut Vec<Delta>) -> Result<(), ProviderError> {
        if let Some(call) = part.function_call {
            return self.call(call, part.thought_signature, deltas);
        }
        // A signature without a call is not needed again: the API checks those of calls only.
        let Some(text) = part.text.filter(|text| !text.is_empty()) else { return Ok(()) };
        if part.thought {
            let index = self.goes_on(Open::Thinking);
            deltas.push(Delta::Thinking { index, text });
        } else {
            let index = self.goes_on(Open::Text);
            deltas.push(Delta::Text { index, text });
        }
        Ok(())
    }

    /// A call comes whole.
    fn call(
        &mut self,
        call: FunctionCall,
        signature: Option<String>,
        deltas: &mut Vec<Delta>,
    ) -> Result<(), ProviderError> {
        if self.calls >= MAX_CALLS {
            return Err(ProviderError::malformed(format!("there are more than {MAX_CALLS} tool calls")));
        }
        if call.name.is_empty() {
            return Err(ProviderError::malformed("a tool call has no name"));
        }
        if let Some(signature) = signature.filter(|signature| !signature.is_empty()) {
            let index = self.goes_on(Open::Thinking);
            deltas.push(Delta::Signature { index, signature });
        }
        self.open = Open::Nothing;
        let index = self.goes_on(Open::Call);
        let made = format!("call_{}_{}", self.unique, self.calls);
        self.calls += 1;
        let id = call.id.filter(|id| !id.is_empty()).unwrap_or(made);
        deltas.push(Delta::ToolUse { index, id, name: call.name });
        let json = call.args.filter(|args| !args.is_null()).map(|args| args.to_string());
        deltas.extend(json.map(|json| Delta::ToolInput { index, json }));
        Ok(())
    }

    /// The number of the block that this belongs to.
    fn goes_on(&mut self, with: Open) -> u32 {
        let index = match self.block {
            Some(block) if self.open == with => block,
            Some(block) => block.saturating_add(1),
            None => 0,
        };
        self.open = with;
        self.block = Some(index);
        index
    }

    fn finish(&mut self, reason: String, message: Option<String>) -> Result<Delta, ProviderError> {
        let stop = match reason.as_str() {
            "STOP" => StopReason::EndTurn,
            "MAX_TOKENS" => StopReason::MaxTokens,
            "SAFETY"
            | "RECITATION"
            | "BLOCKLIST"
            | "PROHIBITED_CONTENT"
            | "SPII"
            | "IMAGE_SAFETY"
            | "IMAGE_PROHIBITED_CONTENT"
            | "IMAGE_RECITATION"
            | "MODEL_ARMOR" => StopReason::Refusal,
            // The answer is none: the model is asked again.
            "MALFORMED_FUNCTION_CALL"
            | "UNEXPECTED_TOOL_CALL"
            | "TOO_MANY_TOOL_CALLS"
            | "MISSING_THOUGHT_SIGNATURE"
            | "MALFORMED_RESPONSE" => {
                let words = message.unwrap_or_default();
                return Err(ProviderError::malformed(format!(
                    "the model's answer is none: {reason} {words}"
                )));
            }
            _ => StopReason::Other(reason),
        };
        self.finished = true;
        Ok(Delta::Finished { stop })
    }
}

#[cfg(test)]
mod tests;
