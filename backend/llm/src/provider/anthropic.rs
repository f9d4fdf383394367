//! Anthropic messages.
//!
//! Reasoning goes back only with its signature and only to the model that made it. System prompt and the end of
//! the conversation are marked for the provider's cache: an agent sends the same beginning with every step.

mod encode;

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::openai::MAX_CALLS;
use super::transport::{Decoder, Exchange, neutral, stream_error, written};
use super::{Deployment, Http, PieceStream, Provider};
use crate::ask::{Ask, Native};
use crate::error::ProviderError;
use crate::gateway::Grant;
use crate::sse::SseEvent;
use crate::types::{Delta, StopReason, Usage};

pub(crate) use encode::encode;

const VERSION: &str = "2023-06-01";
/// Marks the signature that stands for a block whose reasoning the provider encrypted.
pub(crate) const REDACTED: &str = "redacted_thinking:";

/// The adapter.
#[derive(Debug)]
pub(crate) struct Anthropic {
    http: Http,
}

impl Anthropic {
    pub(crate) fn new(http: Http) -> Self {
        Self { http }
    }
}

#[async_trait]
impl Provider for Anthropic {
    async fn send(
        &self,
        deployment: &Deployment,
        ask: Ask<'_>,
        grant: &Grant,
        cancel: &CancellationToken,
    ) -> Result<PieceStream, ProviderError> {
        let native = ask.native(deployment);
        let mut http = self
            .http
            .of(deployment)?
            .post(deployment.endpoint("messages"))
            .header("anthropic-version", VERSION);
        if let Some(key) = &deployment.api_key {
            http = http.header("x-api-key", key.expose());
        }
        if let Some(beta) = native.and_then(Native::beta) {
            http = http.header("anthropic-beta", beta);
        }
        let http = match native {
            Some(native) => written(http, native.body_for(deployment, grant.max_output_tokens)),
            None => http.json(&encode(deployment, neutral(ask)?, grant.max_output_tokens)),
        };
        let exchange = Exchange { deployment, grant, cancel, raw: native.is_some() };
        match native {
            Some(native) if !native.is_streamed() => {
                exchange.run_whole(http, grant.max_output_tokens, |body| Ok((whole(&body)?, body))).await
            }
            _ => exchange.run(http, AnthropicDecoder::default()).await,
        }
    }
}

/// An answer that is not streamed.
#[derive(Debug, Deserialize)]
struct Whole {
    #[serde(default)]
    model: String,
    #[serde(default)]
    content: Vec<BlockStart>,
    #[serde(default)]
    usage: Option<WireUsage>,
    #[serde(default)]
    stop_reason: Option<String>,
    #[serde(default)]
    error: Option<Value>,
}

/// The meaning of an answer that is not streamed.
pub(super) fn whole(body: &[u8]) -> Result<Vec<Delta>, ProviderError> {
    let answer: Whole = serde_json::from_slice(body)
        .map_err(|error| ProviderError::malformed(format!("the answer is not as it should be: {error}")))?;
    // Some gateways report a failure with status 200.
    if let Some(error) = &answer.error {
        return Err(stream_error(error));
    }
    let mut decoder = AnthropicDecoder::default();
    let simulated = answer.model.starts_with(crate::scripted::MODEL_PREFIX);
    let mut deltas = vec![Delta::Started { model: answer.model, simulated }];
    for (index, block) in (0..).zip(answer.content) {
        deltas.extend(start(bounded(index)?, block));
    }
    deltas.extend(answer.usage.map(|usage| decoder.usage(usage)));
    let reason =
        answer.stop_reason.ok_or_else(|| ProviderError::malformed("the answer has no stop reason"))?;
    deltas.push(Delta::Finished { stop: stop_reason(reason) });
    Ok(deltas)
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Event {
    MessageStart {
        message: Start,
    },
    ContentBlockStart {
        index: u32,
        content_block: BlockStart,
    },
    ContentBlockDelta {
        index: u32,
        delta: Piece,
    },
    ContentBlockStop {},
    MessageDelta {
        delta: Stop,
        #[serde(default)]
        usage: Option<WireUsage>,
    },
    MessageStop {},
    Ping {},
    Error {
        error: Value,
    },
    #[serde(other)]
    Unknown,
}

#[derive(Debug, Deserialize)]
struct Start {
    #[serde(default)]
    model: String,
    #[serde(default)]
    usage: Option<WireUsage>,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum BlockStart {
    Text {
        #[serde(default)]
        text: String,
    },
    Thinking {
        #[serde(default)]
        thinking: String,
        #[serde(default)]
        signature: String,
    },
    RedactedThinking {
        data: String,
    },
    ToolUse {
        id: String,
        name: String,
        #[serde(default)]
        input: Value,
    },
    #[serde(other)]
    Unknown,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Piece {
    TextDelta {
        text: String,
    },
    InputJsonDelta {
        partial_json: String,
    },
    ThinkingDelta {
        thinking: String,
    },
    SignatureDelta {
        signature: String,
    },
    #[serde(other)]
    Unknown,
}

#[derive(Debug, Deserialize)]
struct Stop {
    #[serde(default)]
    stop_reason: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
struct WireUsage {
    #[serde(default, rename = "input_tokens")]
    input: Option<u64>,
    #[serde(default, rename = "output_tokens")]
    output: Option<u64>,
    #[serde(default, rename = "cache_read_input_tokens")]
    cache_read: Option<u64>,
    #[serde(default, rename = "cache_creation_input_tokens")]
    cache_write: Option<u64>,
    #[serde(default, rename = "cache_creation")]
    kept: Option<Kept>,
    #[serde(default, rename = "output_tokens_details")]
    details: Option<OutputDetails>,
}

/// What was written to the cache, by how long it is kept.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
struct Kept {
    #[serde(default, rename = "ephemeral_5m_input_tokens")]
    five_minutes: Option<u64>,
    #[serde(default, rename = "ephemeral_1h_input_tokens")]
    hour: Option<u64>,
}

impl Kept {
    fn all(self) -> u64 {
        self.five_minutes.unwrap_or(0).saturating_add(self.hour.unwrap_or(0))
    }
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
struct OutputDetails {
    #[serde(default)]
    thinking_tokens: Option<u64>,
}

impl WireUsage {
    /// The later figures are cumulative and replace the earlier ones; adding them up would count twice.
    fn update(&mut self, later: Self) {
        self.input = later.input.or(self.input);
        self.output = later.output.or(self.output);
        self.cache_read = later.cache_read.or(self.cache_read);
        self.cache_write = later.cache_write.or(self.cache_write);
        self.kept = later.kept.or(self.kept);
        self.details = later.details.or(self.details);
    }

    fn usage(self) -> Usage {
        let fit = |tokens: Option<u64>| u32::try_from(tokens.unwrap_or(0)).unwrap_or(u32::MAX);
        Usage {
            input: fit(self.input),
            output: fit(self.output),
            cache_read: fit(self.cache_read),
            cache_write: fit(self.cache_write.or(self.kept.map(Kept::all))),
            cache_write_1h: fit(self.kept.and_then(|kept| kept.hour)),
            reasoning: fit(self.details.and_then(|details| details.thinking_tokens)),
            ..Usage::default()
        }
    }
}

/// Reads the stream.
#[derive(Debug, Default)]
pub(crate) struct AnthropicDecoder {
    usage: WireUsage,
    stopped: bool,
    done: bool,
}

impl Decoder for AnthropicDecoder {
    fn event(&mut self, event: &SseEvent) -> Result<Vec<Delta>, ProviderError> {
        if event.data.trim().is_empty() {
            return Ok(Vec::new());
        }
        let event: Event = serde_json::from_str(&event.data)
            .map_err(|error| ProviderError::malformed(format!("an event is not as it should be: {error}")))?;
        Ok(match event {
            Event::MessageStart { message } => {
                let simulated = message.model.starts_with(crate::scripted::MODEL_PREFIX);
                let mut deltas = vec![Delta::Started { model: message.model, simulated }];
                deltas.extend(message.usage.map(|usage| self.usage(usage)));
                deltas
            }
            Event::ContentBlockStart { index, content_block } => start(bounded(index)?, content_block),
            Event::ContentBlockDelta { index, delta } => piece(bounded(index)?, delta).into_iter().collect(),
            Event::MessageDelta { delta, usage } => {
                let mut deltas: Vec<Delta> = usage.map(|usage| self.usage(usage)).into_iter().collect();
                if let Some(reason) = delta.stop_reason.filter(|_| !self.stopped) {
                    self.stopped = true;
                    deltas.push(Delta::Finished { stop: stop_reason(reason) });
                }
                deltas
            }
            Event::MessageStop {} if self.stopped => {
                self.done = true;
                Vec::new()
            }
            Event::MessageStop {} => {
                return Err(ProviderError::malformed("the message stops without a reason"));
            }
            Event::Error { error } => return Err(stream_error(&error)),
            Event::ContentBlockStop {} | Event::Ping {} | Event::Unknown => Vec::new(),
        })
    }

    fn is_done(&self) -> bool {
        self.done
    }

    fn may_end(&self) -> bool {
        self.stopped
    }
}

impl AnthropicDecoder {
    fn usage(&mut self, later: WireUsage) -> Delta {
        self.usage.update(later);
        Delta::Usage { usage: self.usage.usage() }
    }
}

fn bounded(index: u32) -> Result<u32, ProviderError> {
    if index < MAX_CALLS {
        Ok(index)
    } else {
        Err(ProviderError::malformed(format!("block {index} is beyond {MAX_CALLS}")))
    }
}

fn start(index: u32, block: BlockStart) -> Vec<Delta> {
    match block {
        BlockStart::Text { text } if text.is_empty() => Vec::new(),
        BlockStart::Text { text } => vec![Delta::Text { index, text }],
        BlockStart::Thinking { thinking, signature } => {
            let mut deltas = vec![Delta::Thinking { index, text: thinking }];
            // Empty in a stream, where it comes last; whole in an answer that is not streamed.
            if !signature.is_empty() {
                deltas.push(Delta::Signature { index, signature });
            }
            deltas
        }
        BlockStart::RedactedThinking { data } => {
            vec![Delta::Signature { index, signature: format!("{REDACTED}{data}") }]
        }
        BlockStart::ToolUse { id, name, input } => {
            let mut deltas = vec![Delta::ToolUse { index, id, name }];
            // Usually an empty object that the fragments fill; some compatible servers send it whole.
            if input.as_object().is_some_and(|input| !input.is_empty()) {
                deltas.push(Delta::ToolInput { index, json: input.to_string() });
            }
            deltas
        }
        BlockStart::Unknown => Vec::new(),
    }
}

fn piece(index: u32, piece: Piece) -> Option<Delta> {
    Some(match piece {
        Piece::TextDelta { text } => Delta::Text { index, text },
        Piece::InputJsonDelta { partial_json } if partial_json.is_empty() => return None,
        Piece::InputJsonDelta { partial_json } => Delta::ToolInput { index, json: partial_json },
        Piece::ThinkingDelta { thinking } => Delta::Thinking { index, text: thinking },
        Piece::SignatureDelta { signature } => Delta::Signature { index, signature },
        Piece::Unknown => return None,
    })
}

fn stop_reason(reason: String) -> StopReason {
    match reason.as_str() {
        "end_turn" => StopReason::EndTurn,
        "tool_use" => StopReason::ToolUse,
        "max_tokens" | "model_context_window_exceeded" => StopReason::MaxTokens,
        "stop_sequence" => StopReason::StopSequence,
        "refusal" => StopReason::Refusal,
        _ => StopReason::Other(reason),
    }
}
