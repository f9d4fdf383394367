//! OpenAI chat completions, as OpenAI and many others serve it, and OpenAI's responses for the models that need them.
//!
//! What chat completions cannot say is handled so: reasoning is not sent back (the format has no place for it); a
//! failed tool result is marked in its text; the arguments of an invalid call go back as an object that quotes
//! them, since servers refuse a history that does not parse.

mod encode;
mod responses;

use async_trait::async_trait;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::fit::answers_as_responses;
use super::transport::{Decoder, Exchange, neutral, stream_error, written};
use super::{Deployment, Http, PieceStream, Provider, ProviderKind};
use crate::ask::{Ask, Endpoint, Native};
use crate::error::ProviderError;
use crate::gateway::Grant;
use crate::sse::SseEvent;
use crate::types::{ChatRequest, Delta, StopReason, Usage};

pub(crate) use encode::encode;
pub(crate) use responses::{ResponsesDecoder, SEAL, SEALED_THOUGHTS, seal};

/// Put before the text of a failed tool result.
pub(crate) const TOOL_ERROR_MARK: &str = "[tool error] ";
/// The key under which unparsable arguments go back to the model.
pub(crate) const INVALID_ARGUMENTS: &str = "invalid_arguments";

/// A schema has a name in this format and none in the other.
const SCHEMA_NAME: &str = "answer";

/// Blocks are numbered so that reasoning comes first, then text, then calls in the provider's order.
const THINKING: u32 = 0;
const TEXT: u32 = 1;
const FIRST_CALL: u32 = 2;

/// Most tool calls in one answer; a model that makes more is in a loop.
pub(crate) const MAX_CALLS: u32 = 512;

/// The adapter.
#[derive(Debug)]
pub(crate) struct OpenAi {
    http: Http,
}

impl OpenAi {
    pub(crate) fn new(http: Http) -> Self {
        Self { http }
    }
}

#[async_trait]
impl Provider for OpenAi {
    async fn send(
        &self,
        deployment: &Deployment,
        ask: Ask<'_>,
        grant: &Grant,
        cancel: &CancellationToken,
    ) -> Result<PieceStream, ProviderError> {
        let native = ask.native(deployment);
        let endpoint = native.map_or_else(|| asked_at(deployment), Native::endpoint);
        let mut http = self.http.of(deployment)?.post(deployment.endpoint(endpoint.path()));
        if let Some(key) = &deployment.api_key {
            http = match deployment.provider {
                ProviderKind::AzureOpenAi => http.header("api-key", key.expose()),
                _ => http.bearer_auth(key.expose()),
            };
        }
        let http = match native {
            Some(native) => written(http, native.body_for(deployment, grant.max_output_tokens)),
            None => http.json(&body_of(deployment, neutral(ask)?, grant.max_output_tokens)),
        };
        let exchange = Exchange { deployment, grant, cancel, raw: native.is_some() };
        let is_whole = native.is_some_and(|native| !native.is_streamed());
        let limit = grant.max_output_tokens;
        match (endpoint, is_whole) {
            (Endpoint::Responses, true) => {
                let decoder = ResponsesDecoder::of(deployment);
                exchange.run_whole(http, limit, |body| Ok((responses::whole(&body, decoder)?, body))).await
            }
            (Endpoint::Responses, false) => exchange.run(http, ResponsesDecoder::of(deployment)).await,
            (_, true) => exchange.run_whole(http, limit, |body| Ok((whole(&body)?, body))).await,
            (_, false) => exchange.run(http, OpenAiDecoder::default()).await,
        }
    }
}

/// Where a request is sent that is not the client's own words.
fn asked_at(deployment: &Deployment) -> Endpoint {
    if answers_as_responses(deployment) { Endpoint::Responses } else { Endpoint::ChatCompletions }
}

/// The body of a request that is not the client's own words.
pub(super) fn body_of(deployment: &Deployment, request: &ChatRequest, max_output: u32) -> Value {
    match asked_at(deployment) {
        Endpoint::Responses => responses::encode(deployment, request, max_output),
        _ => encode(deployment, request, max_output),
    }
}

/// What cannot be said.
pub(super) fn unsaid(deployment: &Deployment, request: &ChatRequest) -> Vec<String> {
    match asked_at(deployment) {
        Endpoint::Responses => responses::unsaid(request),
        _ => Vec::new(),
    }
}

/// The meaning of an answer that is not streamed: one chunk that holds everything. An answer with embeddings has its
/// usage only.
pub(super) fn whole(body: &[u8]) -> Result<Vec<Delta>, ProviderError> {
    let text = std::str::from_utf8(body).map_err(|error| ProviderError::malformed(error.to_string()))?;
    let mut decoder = OpenAiDecoder::default();
    let mut deltas = decoder.chunk(text)?;
    if !decoder.finished {
        if !text.contains("\"embedding\"") {
            return Err(ProviderError::malformed("the answer has no finish reason"));
        }
        deltas.push(Delta::Finished { stop: StopReason::EndTurn });
    }
    Ok(deltas)
}

/// Some compatible servers write `null` where others leave a field out.
fn null_is_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(from: D) -> Result<T, D::Error> {
    Option::<T>::deserialize(from).map(Option::unwrap_or_default)
}

#[derive(Debug, Deserialize)]
struct Chunk {
    #[serde(default)]
    model: Option<String>,
    #[serde(default, deserialize_with = "null_is_default")]
    choices: Vec<Choice>,
    #[serde(default)]
    usage: Option<WireUsage>,
    #[serde(default)]
    error: Option<Value>,
}

#[derive(Debug, Deserialize)]
struct Choice {
    #[serde(default, deserialize_with = "null_is_default")]
    index: u32,
    // An answer that is not streamed says `message`.
    #[serde(default, alias = "message")]
    delta: Option<Piece>,
    #[serde(default)]
    finish_reason: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Piece {
    #[serde(default)]
    content: Option<String>,
    #[serde(default)]
    refusal: Option<String>,
    // DeepSeek and vLLM say `reasoning_content`, Ollama and OpenRouter `reasoning`.
    #[serde(default)]
    reasoning_content: Option<String>,
    #[serde(default)]
    reasoning: Option<String>,
    #[serde(default)]
    tool_calls: Option<Vec<CallPiece>>,
}

#[derive(Debug, Deserialize)]
struct CallPiece {
    #[serde(default)]
    index: Option<u32>,
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    function: Option<FunctionPiece>,
}

#[derive(Debug, Deserialize)]
struct FunctionPiece {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    arguments: Option<Value>,
}

#[derive(Debug, Deserialize)]
struct WireUsage {
    #[serde(default, deserialize_with = "null_is_default")]
    prompt_tokens: u64,
    #[serde(default, deserialize_with = "null_is_default")]
    completion_tokens: u64,
    #[serde(default)]
    prompt_tokens_details: Option<Details>,
    #[serde(default)]
    completion_tokens_details: Option<Details>,
}

#[derive(Debug, Default, Deserialize)]
struct Details {
    #[serde(default, rename = "cached_tokens")]
    cached: Option<u64>,
    /// As routers report what their providers keep.
    #[serde(default, rename = "cache_write_tokens")]
    cache_write: Option<u64>,
    #[serde(default, rename = "image_tokens")]
    image: Option<u64>,
    #[serde(default, rename = "audio_tokens")]
    audio: Option<u64>,
    #[serde(default, rename = "reasoning_tokens")]
    reasoning: Option<u64>,
}

impl From<WireUsage> for Usage {
    fn from(wire: WireUsage) -> Self {
        let fit = |tokens: u64| u32::try_from(tokens).unwrap_or(u32::MAX);
        let prompt = wire.prompt_tokens_details.unwrap_or_default();
        let answer = wire.completion_tokens_details.unwrap_or_default();
        // This format's prompt tokens include the cached ones; ours do not.
        let cached = prompt.cached.unwrap_or(0).min(wire.prompt_tokens);
        let fresh = wire.prompt_tokens - cached;
        let written = prompt.cache_write.unwrap_or(0).min(fresh);
        Self {
            input: fit(fresh - written),
            output: fit(wire.completion_tokens),
            cache_read: fit(cached),
            cache_write: fit(written),
            image: fit(prompt.image.unwrap_or(0)),
            audio: fit(prompt.audio.unwrap_or(0)),
            audio_output: fit(answer.audio.unwrap_or(0)),
            reasoning: fit(answer.reasoning.unwrap_or(0)),
            ..Self::default()
        }
    }
}

/// Reads the stream.
#[derive(Debug, Default)]
pub(crate) struct OpenAiDecoder {
    model: Option<String>,
    /// The server's number and id of every call, in the order in which they began: the place is our number.
    calls: Vec<(u32, Option<String>)>,
    refused: bool,
    finished: bool,
    done: bool,
}

impl Decoder for OpenAiDecoder {
    fn event(&mut self, event: &SseEvent) -> Result<Vec<Delta>, ProviderError> {
        let data = event.data.trim();
        if data == "[DONE]" {
            self.done = self.finished;
            return if self.finished {
                Ok(Vec::new())
            } else {
                Err(ProviderError::malformed("[DONE] before a finish reason"))
            };
        }
        if data.is_empty() {
            return Ok(Vec::new());
        }
        self.chunk(data)
    }

    fn is_done(&self) -> bool {
        self.done
    }

    fn may_end(&self) -> bool {
        self.finished
    }
}

impl OpenAiDecoder {
    fn chunk(&mut self, data: &str) -> Result<Vec<Delta>, ProviderError> {
        let chunk: Chunk = serde_json::from_str(data)
            .map_err(|error| ProviderError::malformed(format!("a chunk is not as it should be: {error}")))?;
        if let Some(error) = &chunk.error {
            return Err(stream_error(error));
        }
        let mut deltas = Vec::new();
        self.model(chunk.model, &mut deltas);
        for choice in chunk.choices.into_iter().filter(|choice| choice.index == 0) {
            if let Some(piece) = choice.delta {
                self.piece(piece, &mut deltas)?;
            }
            if let Some(reason) = choice.finish_reason.filter(|reason| !self.finished && !reason.is_empty()) {
                self.finished = true;
                let stop = stop_reason(reason);
                // A refusal stops as any other answer does.
                let is_refusal = self.refused && stop == StopReason::EndTurn;
                deltas.push(Delta::Finished { stop: if is_refusal { StopReason::Refusal } else { stop } });
            }
        }
        deltas.extend(chunk.usage.map(|usage| Delta::Usage { usage: usage.into() }));
        Ok(deltas)
    }

    fn model(&mut self, model: Option<String>, deltas: &mut Vec<Delta>) {
        if let Some(model) = model.filter(|model| self.model.is_none() && !model.is_empty()) {
            let simulated = model.starts_with(crate::scripted::MODEL_PREFIX);
            self.model = Some(model.clone());
            deltas.push(Delta::Started { model, simulated });
        }
    }

    fn piece(&mut self, piece: Piece, deltas: &mut Vec<Delta>) -> Result<(), ProviderError> {
        let some = |text: Option<String>| text.filter(|text| !text.is_empty());
        if let Some(text) = some(piece.reasoning_content).or_else(|| some(piece.reasoning)) {
            deltas.push(Delta::Thinking { index: THINKING, text });
        }
        if let Some(text) = some(piece.content) {
            deltas.push(Delta::Text { index: TEXT, text });
        }
        if let Some(text) = some(piece.refusal) {
            self.refused = true;
            deltas.push(Delta::Text { index: TEXT, text });
        }
        for (place, call) in piece.tool_calls.into_iter().flatten().enumerate() {
            self.call(place, call, deltas)?;
        }
        Ok(())
    }

    fn call(&mut self, place: usize, call: CallPiece, deltas: &mut Vec<Delta>) -> Result<(), ProviderError> {
        let place = u32::try_from(place).unwrap_or(u32::MAX);
        let number = call.index.unwrap_or(place);
        let id = call.id.filter(|id| !id.is_empty());
        let (name, arguments) = call.function.map_or((None, None), |f| (f.name, f.arguments));
        let name = name.filter(|name| !name.is_empty());
        let index = match self.begun(number, id.as_deref(), name.is_some()) {
            Some(index) => index,
            None => self.begin(number, id, name, deltas)?,
        };
        // The format says a string; some compatible servers send the object itself.
        let json = match arguments {
            Some(Value::String(text)) => text,
            None | Some(Value::Null) => String::new(),
            Some(object) => object.to_string(),
        };
        if !json.is_empty() {
            deltas.push(Delta::ToolInput { index, json });
        }
        Ok(())
    }
}

impl OpenAiDecoder {
    /// The call that a piece goes on with. Some servers number every call 0: another id with a name is another call.
    fn begun(&self, number: u32, id: Option<&str>, is_named: bool) -> Option<u32> {
        let place = self.calls.iter().rposition(|(known, _)| *known == number)?;
        let is_another = is_named && id.is_some() && self.calls[place].1.as_deref() != id;
        (!is_another).then(|| index_of(place))
    }

    fn begin(
        &mut self,
        number: u32,
        id: Option<String>,
        name: Option<String>,
        deltas: &mut Vec<Delta>,
    ) -> Result<u32, ProviderError> {
        let place = self.calls.len();
        let index = index_of(place);
        if number >= MAX_CALLS || index >= FIRST_CALL + MAX_CALLS {
            return Err(ProviderError::malformed(format!("a tool call is beyond number {MAX_CALLS}")));
        }
        let Some(name) = name else {
            return Err(ProviderError::malformed("a tool call begins without a name"));
        };
        self.calls.push((number, id.clone()));
        // Some compatible servers give no id; the result needs one to refer to.
        let id = id.unwrap_or_else(|| format!("call_{place}"));
        deltas.push(Delta::ToolUse { index, id, name });
        Ok(index)
    }
}

/// Where the call of this place stands among the blocks.
fn index_of(place: usize) -> u32 {
    u32::try_from(place).unwrap_or(u32::MAX).saturating_add(FIRST_CALL)
}

fn stop_reason(reason: String) -> StopReason {
    match reason.as_str() {
        "stop" => StopReason::EndTurn,
        "length" => StopReason::MaxTokens,
        "tool_calls" | "function_call" => StopReason::ToolUse,
        "content_filter" => StopReason::Refusal,
        _ => StopReason::Other(reason),
    }
}
