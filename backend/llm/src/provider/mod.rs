//! Adapters: one per wire format, behind one trait.
//!
//! Invariants: every adapter streams; usage comes from the provider or is left out (never invented here);
//! cancelling or dropping the stream closes the connection, which stops the provider.

pub(crate) mod anthropic;
#[cfg(test)]
mod crosswise;
#[cfg(test)]
mod cuts;
pub(crate) mod embeddings;
pub(crate) mod fit;
mod gemini;
mod ollama;
pub(crate) mod openai;
mod read;
#[cfg(test)]
mod round_trip;
mod transport;
mod voyage;

use std::fmt;
use std::hash::{Hash, Hasher};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::ask::Ask;
use crate::error::ProviderError;
use crate::gateway::Grant;
use crate::inbound::WireError;
use crate::price::Rates;
use crate::secret::Secret;
use crate::sse::SseEvent;
use crate::types::{ChatRequest, Delta};

pub use transport::{ClientError, Http, http_client, leads_inside};
pub(crate) use transport::{LEFT_OVER, SIMULATED_HEADER, names_private};

/// Who is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProviderKind {
    /// OpenAI itself.
    #[serde(rename = "openai")]
    OpenAi,
    /// Anthropic, or a server of its wire format.
    Anthropic,
    /// OpenAI's models at Azure.
    #[serde(rename = "azure_openai")]
    AzureOpenAi,
    /// Google Gemini, over its own API.
    Gemini,
    /// An Ollama server, over its own API.
    Ollama,
    /// Voyage AI: embeddings only.
    Voyage,
    /// Any other server of the OpenAI chat completions format: vLLM, Groq, OpenRouter, ...
    #[serde(rename = "openai_compatible")]
    OpenAiCompatible,
    /// The scripted endpoint of this crate; its answers are simulated whatever its headers say.
    Scripted,
}

/// A format that clients write and some providers speak, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Wire {
    /// `POST {base_url}/chat/completions`; some models of OpenAI's are asked at `{base_url}/responses`.
    OpenAi,
    /// `POST {base_url}/messages`.
    Anthropic,
}

impl Wire {
    /// Every one of them.
    pub const ALL: [Self; 2] = [Self::OpenAi, Self::Anthropic];
}

/// How a provider is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    OpenAi,
    Anthropic,
    Gemini,
    Ollama,
    Voyage,
}

impl ProviderKind {
    /// The clients' format that it speaks: what is written in it needs no translation.
    pub fn wire(self) -> Option<Wire> {
        match self.format() {
            Format::OpenAi => Some(Wire::OpenAi),
            Format::Anthropic => Some(Wire::Anthropic),
            Format::Gemini | Format::Ollama | Format::Voyage => None,
        }
    }

    pub(crate) fn format(self) -> Format {
        match self {
            Self::Anthropic => Format::Anthropic,
            Self::OpenAi | Self::AzureOpenAi | Self::OpenAiCompatible | Self::Scripted => Format::OpenAi,
            Self::Gemini => Format::Gemini,
            Self::Ollama => Format::Ollama,
            Self::Voyage => Format::Voyage,
        }
    }

    /// Whether it is OpenAI's own service, which refuses the old name of the answer's limit. Most compatible servers
    /// know only that one.
    pub(crate) fn is_openais_own(self) -> bool {
        matches!(self, Self::OpenAi | Self::AzureOpenAi)
    }

    /// The name in usage rows and in the price table.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Anthropic => "anthropic",
            Self::AzureOpenAi => "azure_openai",
            Self::Gemini => "gemini",
            Self::Ollama => "ollama",
            Self::Voyage => "voyage",
            Self::OpenAiCompatible => "openai_compatible",
            Self::Scripted => "scripted",
        }
    }
}

impl fmt::Display for ProviderKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where a deployment's address may lead.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndpointAccess {
    /// To the internet only: an address of this machine, of a private network, or of a cloud's metadata is refused.
    #[default]
    Public,
    /// Anywhere, also to this machine and its networks.
    PrivateNetwork,
}

/// What a breaker's state belongs to: one model at one provider under one credential, whatever deployments of it are
/// called and whichever groups they are in. A digest, from which no key can be read back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Circuit(pub u64);

/// One model at one provider.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deployment {
    /// Unique name.
    pub name: String,
    /// Who is called.
    pub provider: ProviderKind,
    /// The vendor's name for usage rows and prices where the kind does not say it, such as `groq`.
    #[serde(default)]
    pub vendor: Option<String>,
    /// Up to and including the version, such as `https://api.openai.com/v1`.
    pub base_url: Url,
    /// The model's name at the provider.
    pub model: String,
    /// The key; none for servers that want none.
    #[serde(default)]
    pub api_key: Option<Secret>,
    /// Prices that override the table's. Zeros say that the model costs nothing per token.
    #[serde(default)]
    pub prices: Option<Rates>,
    /// Tokens that prompt and answer may have together.
    pub context_window: u32,
    /// Tokens that the answer may have.
    pub max_output: u32,
    /// Whether the model takes a temperature. Reasoning models refuse the whole request over one, so that it is
    /// left out unless this says otherwise.
    #[serde(default)]
    pub accepts_temperature: bool,
    /// Its share of the calls of a `weighted` group, against the others' weights. 0: only when others fail.
    #[serde(default = "one")]
    pub weight: u32,
    /// Whether its address may be one of a private network.
    #[serde(default)]
    pub endpoint_access: EndpointAccess,
    /// Azure's `api-version`, with which the deployment's name goes into the path. Without it the address is one of
    /// Azure's versioned ones, such as `https://NAME.openai.azure.com/openai/v1`.
    #[serde(default)]
    pub api_version: Option<String>,
    /// Whose it is, where it is not the operator's: nobody else's calls say anything about its health, and its calls say
    /// nothing about anybody else's.
    #[serde(skip)]
    pub owner: Option<String>,
    /// Waits and sizes.
    #[serde(default)]
    pub limits: Limits,
}

fn one() -> u32 {
    1
}

impl Deployment {
    /// A deployment with the windows of a usual model and everything else at its default.
    pub fn new(name: impl Into<String>, provider: ProviderKind, base_url: Url) -> Self {
        Self {
            name: name.into(),
            provider,
            vendor: None,
            base_url,
            model: String::new(),
            api_key: None,
            prices: None,
            context_window: 128_000,
            max_output: 8_192,
            accepts_temperature: false,
            weight: one(),
            endpoint_access: EndpointAccess::default(),
            api_version: None,
            owner: None,
            limits: Limits::default(),
        }
    }

    /// What its breaker belongs to.
    pub fn circuit(&self) -> Circuit {
        // Without a random key, so that processes of one version agree on it.
        let mut hasher = std::hash::DefaultHasher::new();
        let key = self.api_key.as_ref().map(Secret::expose);
        (self.vendor(), self.base_url.as_str(), &self.model, key, &self.api_version, &self.owner)
            .hash(&mut hasher);
        Circuit(hasher.finish())
    }

    /// The vendor's name in usage rows and in the price table.
    pub fn vendor(&self) -> &str {
        self.vendor.as_deref().unwrap_or(self.provider.as_str())
    }

    /// The answer limit that is sent: the request's, capped by the model's, and no less than its API takes.
    pub fn max_output_for(&self, request: &ChatRequest) -> u32 {
        request.max_output_tokens.max(fit::least_output(self)).min(self.max_output)
    }

    pub(crate) fn endpoint(&self, path: &str) -> String {
        let base = self.base_url.as_str().trim_end_matches('/');
        match (self.provider, &self.api_version) {
            (ProviderKind::AzureOpenAi, Some(version)) => {
                let (model, version) = (encoded(&self.model), encoded(version));
                format!("{base}/openai/deployments/{model}/{path}?api-version={version}")
            }
            _ => format!("{base}/{path}"),
        }
    }
}

/// A name as a part of an address.
pub(crate) fn encoded(name: &str) -> String {
    url::form_urlencoded::byte_serialize(name.as_bytes()).collect()
}

/// How long to wait and how much to read, per attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Until there is a connection, in milliseconds: a few round trips. A host that needs longer is down.
    pub connect_ms: u64,
    /// From sending the request to the first byte of the answer's body, connecting included, in milliseconds.
    /// Reasoning models think for minutes before the first token, so that this is generous.
    pub first_byte_ms: u64,
    /// From sending the request to the first content of a stream, reasoning included, in milliseconds: what comes
    /// before it, such as pings, does not count as an answer.
    pub first_token_ms: u64,
    /// The slowest pace that an answer is made at, in tokens a second. An answer that is not streamed says nothing before its
    /// last token, so that it is waited for as long as the first content of a stream and the making of as many tokens as were
    /// asked for may take: one of 500 tokens half a minute more, not a quarter of an hour.
    pub tokens_per_second: u32,
    /// Between two chunks, in milliseconds. Providers send pings well within this.
    pub idle_ms: u64,
    /// The whole attempt, in milliseconds.
    pub total_ms: u64,
    /// The whole body, in bytes. The largest answers, 128k tokens as event stream, stay below 30 MB.
    pub max_body_bytes: usize,
    /// One event, in bytes: a whole tool call with a file in it may come as one.
    pub max_event_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect_ms: 10_000,
            first_byte_ms: 120_000,
            first_token_ms: 300_000,
            tokens_per_second: 20,
            idle_ms: 60_000,
            total_ms: 900_000,
            max_body_bytes: 64 << 20,
            max_event_bytes: 8 << 20,
        }
    }
}

impl Limits {
    pub(crate) fn connect(&self) -> Duration {
        Duration::from_millis(self.connect_ms)
    }

    pub(crate) fn first_token(&self) -> Duration {
        Duration::from_millis(self.first_token_ms)
    }

    /// Until an answer of at most so many tokens has begun that is not streamed. One without tokens, of embeddings, needs no
    /// thought.
    pub(crate) fn whole(&self, max_output: u32) -> Duration {
        if max_output == 0 {
            return self.first_byte().min(self.total());
        }
        let making = Duration::from_secs(u64::from(max_output / self.tokens_per_second.max(1)));
        (self.first_token() + making).min(self.total())
    }

    pub(crate) fn first_byte(&self) -> Duration {
        Duration::from_millis(self.first_byte_ms)
    }

    pub(crate) fn idle(&self) -> Duration {
        Duration::from_millis(self.idle_ms)
    }

    pub(crate) fn total(&self) -> Duration {
        Duration::from_millis(self.total_ms)
    }
}

#[cfg(test)]
mod waits {
    use super::*;

    #[test]
    fn an_answer_that_is_not_streamed_is_waited_for_as_long_as_it_can_take_and_no_longer() {
        let limits = Limits::default();
        let waits = [0, 1, 500, 8_192, 128_000].map(|tokens| limits.whole(tokens).as_secs());
        assert_eq!(waits, [120, 300, 325, 709, 900]);
        assert_eq!(Limits { tokens_per_second: 0, ..limits }.whole(500).as_secs(), 800);
    }
}

/// A piece of an answer: what it means, and where it is wanted how the provider put it.
#[derive(Debug, Clone)]
pub struct Piece {
    /// Its meaning; empty for what has none, such as a ping.
    pub deltas: Vec<Delta>,
    /// Its own bytes. The event that ends a stream has none, unless it is more than an end.
    pub raw: Option<Raw>,
}

/// An answer's own bytes.
#[derive(Debug, Clone)]
pub enum Raw {
    /// One event of a stream.
    Event(SseEvent),
    /// The event that ends a stream and says more than that: it is given out once the answer is recorded.
    End(SseEvent),
    /// The whole document of an answer that is not streamed.
    Whole(Bytes),
}

impl Piece {
    pub(crate) fn of(delta: Delta) -> Self {
        Self { deltas: vec![delta], raw: None }
    }
}

/// The pieces of an answer. It ends after [`Delta::Finished`] and the last usage, or with one error.
pub type PieceStream = BoxStream<'static, Result<Piece, ProviderError>>;

/// A wire format.
#[async_trait]
pub trait Provider: Send + Sync {
    /// Asks the model; the answer comes in pieces. What was written in this very format is sent as it was written,
    /// and answered with the provider's own bytes. `grant` says which answer limit is sent,
    /// and which trace the request is part of.
    ///
    /// Errors: everything up to the response's headers. What happens later is an item of the stream.
    async fn send(
        &self,
        deployment: &Deployment,
        ask: Ask<'_>,
        grant: &Grant,
        cancel: &CancellationToken,
    ) -> Result<PieceStream, ProviderError>;
}

/// What of a request a provider cannot be told, beyond what its translation from the client's format left out.
///
/// Errors: it cannot be asked this at all.
pub(crate) fn unsaid(deployment: &Deployment, request: &ChatRequest) -> Result<Vec<String>, WireError> {
    match deployment.provider.format() {
        Format::OpenAi => Ok(openai::unsaid(deployment, request)),
        Format::Anthropic => Ok(Vec::new()),
        Format::Gemini => gemini::unsaid(request),
        Format::Ollama => ollama::unsaid(request),
        Format::Voyage => Err(WireError("this provider makes embeddings only".into())),
    }
}

/// The body that a provider is sent for a request in the neutral vocabulary.
pub(crate) fn encode(
    deployment: &Deployment,
    request: &ChatRequest,
    max_output: u32,
) -> Result<Value, WireError> {
    unsaid(deployment, request)?;
    Ok(match deployment.provider.format() {
        Format::OpenAi => openai::body_of(deployment, request, max_output),
        Format::Anthropic => anthropic::encode(deployment, request, max_output),
        Format::Gemini => gemini::encode(deployment, request, max_output),
        Format::Ollama => ollama::encode(deployment, request, max_output),
        Format::Voyage => Value::Null,
    })
}

/// Every adapter.
pub(crate) struct Adapters {
    openai: openai::OpenAi,
    anthropic: anthropic::Anthropic,
    gemini: gemini::Gemini,
    ollama: ollama::Ollama,
    voyage: voyage::Voyage,
}

impl Adapters {
    pub(crate) fn new(http: Http) -> Self {
        Self {
            openai: openai::OpenAi::new(http.clone()),
            anthropic: anthropic::Anthropic::new(http.clone()),
            gemini: gemini::Gemini::new(http.clone()),
            ollama: ollama::Ollama::new(http.clone()),
            voyage: voyage::Voyage::new(http),
        }
    }

    /// The one that a kind of provider is spoken to with.
    pub(crate) fn of(&self, kind: ProviderKind) -> &dyn Provider {
        match kind.format() {
            Format::OpenAi => &self.openai,
            Format::Anthropic => &self.anthropic,
            Format::Gemini => &self.gemini,
            Format::Ollama => &self.ollama,
            Format::Voyage => &self.voyage,
        }
    }
}
