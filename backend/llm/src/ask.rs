//! What is asked of a model: in the neutral vocabulary, or as a client of a wire format wrote it.
//!
//! Invariant: what goes to a provider of the client's own format is what the client wrote, unknown fields included,
//! but for the model's name, the answer's limit, the usage that every stream must carry, and that no response is stored.
//! Only where the formats differ is a request translated, and then at most once.

mod dear;
mod files;
mod foreign;
mod memory;
mod native;
mod question;
mod top;

use serde_json::Value;

pub(crate) use files::Files;
pub use native::Native;
pub use question::Question;

use crate::inbound::WireError;
use crate::price::Extras;
use crate::provider::fit::{answers_as_responses, least_output};
use crate::provider::{self, Deployment, Wire, embeddings};
use crate::tokens::{bound_files, bound_native, bound_request, estimate_files, estimate_request};
use crate::types::{CacheTime, ChatRequest};

/// What is asked, in one form or the other.
#[derive(Debug, Clone, Copy)]
pub enum Ask<'a> {
    /// In the neutral vocabulary: calls of agents.
    Neutral(&'a ChatRequest),
    /// As a client wrote it.
    Native(&'a Native),
}

impl<'a> Ask<'a> {
    /// Upper bound of the prompt at this deployment, in tokens.
    pub fn bound(self, deployment: &Deployment) -> u32 {
        self.bound_text().saturating_add(bound_files(self.files(), deployment))
    }

    /// The same without what is more than its bytes.
    pub(crate) fn bound_text(self) -> u32 {
        match self {
            Self::Neutral(request) => bound_request(request),
            Self::Native(native) => {
                let has_tools = native.raw("tools").is_some_and(|tools| tools != b"null");
                bound_native(&native.body, (has_tools, native.vendors_tools))
                    .saturating_sub(native.files().packed)
            }
        }
    }

    fn files(self) -> Files {
        match self {
            Self::Neutral(request) => Files::of(request),
            Self::Native(native) => native.files(),
        }
    }

    /// The prompt's tokens, rather too many than too few.
    pub fn estimate(self) -> u32 {
        match self.neutral() {
            Ok(request) => estimate_request(request),
            // Only a provider of the client's own format can read it. Three bytes a token is more than prose has.
            Err(_) => (self.bound_text() / 3).saturating_add(estimate_files(self.files())),
        }
    }

    /// The answer limit that is sent to this deployment, in tokens.
    pub fn max_output(self, deployment: &Deployment) -> u32 {
        match self {
            Self::Neutral(request) => deployment.max_output_for(request),
            Self::Native(native) if native.endpoint == Endpoint::Embeddings => 0,
            Self::Native(native) => {
                let said = native.max_output.unwrap_or(u32::MAX);
                let is_own = native.is_for(deployment).is_some();
                let said = if is_own { said } else { said.max(least_output(deployment)) };
                said.min(deployment.max_output)
            }
        }
    }

    /// Whether its caller says how long the answer may be.
    pub fn is_limited(self) -> bool {
        !matches!(self, Self::Native(native) if native.max_output.is_none())
    }

    /// How many answers are asked for in one.
    pub fn choices(self, deployment: &Deployment) -> u32 {
        self.native(deployment).map_or(1, Native::choices)
    }

    /// Whether nothing is seen of the answer before it is whole.
    pub(crate) fn is_blind(self) -> bool {
        matches!(self, Self::Native(native) if !native.stream)
    }

    /// Which of these extras this deployment may count in it.
    pub fn extras(self, deployment: &Deployment, dear: Extras) -> Extras {
        // Anthropic counts pictures as any other part of a prompt, and keeps what it is told to.
        let anthropic = deployment.provider.wire() == Some(Wire::Anthropic);
        let (hour, image) = (dear.hour && anthropic, dear.image && !anthropic);
        match self {
            Self::Neutral(request) => Extras {
                hour: hour && request.options.cache.iter().any(|mark| mark.time == Some(CacheTime::Long)),
                image: image && request.images().next().is_some(),
                audio: false,
            },
            Self::Native(native) if native.endpoint == Endpoint::Embeddings => Extras::default(),
            // Words between quotes: in a text those would be escaped.
            Self::Native(native) => Extras {
                hour: hour && native.says(br#""1h""#),
                image: image && native.files() != Files::default(),
                audio: dear.audio && (native.raw("modalities").is_some() || native.says(br#""input_audio""#)),
            },
        }
    }

    /// Whether the answer goes to somebody who reads it while it is made.
    pub fn streams(self) -> bool {
        matches!(self, Self::Native(native) if native.stream)
    }

    /// What of it cannot be said to this deployment, in the client's words, each once.
    ///
    /// Errors: it cannot be asked there at all, or the client wants to have all of it said.
    pub fn dropped(self, deployment: &Deployment) -> Result<Vec<String>, WireError> {
        let kind = deployment.provider;
        let native = match self {
            Self::Neutral(request) => return provider::unsaid(deployment, request).map(|_| Vec::new()),
            Self::Native(native) => native,
        };
        let mut lost: Vec<String> = if native.is_for(deployment).is_some() {
            native.refuse_memory()?;
            let foreign = native.foreign(deployment).iter().flat_map(|clean| &clean.lost).copied();
            foreign.chain(native.unstored()).map(str::to_owned).collect()
        } else if native.endpoint == Endpoint::Embeddings {
            embeddings::unsaid(kind, native)?
        } else {
            native.lost(deployment, self.max_output(deployment))?
        };
        lost.sort_unstable();
        lost.dedup();
        if native.strict && !lost.is_empty() {
            let lost = lost.join(", ");
            let message = format!(
                "this deployment cannot be told {lost}, and x-syndarix-strict forbids to leave it out"
            );
            return Err(WireError(message));
        }
        Ok(lost)
    }

    /// The request in the neutral vocabulary.
    pub fn neutral(self) -> Result<&'a ChatRequest, WireError> {
        match self {
            Self::Neutral(request) => Ok(request),
            Self::Native(native) => native.translated().map(|translated| &translated.request),
        }
    }

    /// What a deployment is sent, for whoever wants to see it.
    ///
    /// Errors: it cannot be asked there at all.
    pub fn sent_to(self, deployment: &Deployment) -> Result<Value, WireError> {
        self.dropped(deployment)?;
        let limit = self.max_output(deployment);
        if let Some(native) = self.native(deployment) {
            let body = native.body_for(deployment, limit);
            return serde_json::from_slice(&body).map_err(|error| WireError(error.to_string()));
        }
        if let Self::Native(native) = self
            && native.endpoint == Endpoint::Embeddings
        {
            return embeddings::encode(deployment, native);
        }
        provider::encode(deployment, self.neutral()?, limit)
    }

    /// The client's own words, where this deployment is asked in them.
    pub(crate) fn native(self, deployment: &Deployment) -> Option<&'a Native> {
        match self {
            Self::Neutral(_) => None,
            Self::Native(native) => native.is_for(deployment),
        }
    }
}

/// What clients ask at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// OpenAI's `chat/completions`.
    ChatCompletions,
    /// OpenAI's `responses`, without a memory: nothing is stored, here or at OpenAI.
    Responses,
    /// OpenAI's `embeddings`.
    Embeddings,
    /// Anthropic's `messages`.
    Messages,
}

impl Endpoint {
    /// Whether a deployment is asked the same; what is asked of any other is translated. Servers of OpenAI's format need not
    /// know responses, so that only those models are asked in them that need it.
    fn is_of(self, deployment: &Deployment) -> bool {
        let wire = match self {
            Self::ChatCompletions | Self::Embeddings => Wire::OpenAi,
            Self::Messages => Wire::Anthropic,
            Self::Responses => return answers_as_responses(deployment),
        };
        deployment.provider.wire() == Some(wire)
    }

    /// Below the provider's base URL.
    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::ChatCompletions => "chat/completions",
            Self::Responses => "responses",
            Self::Embeddings => "embeddings",
            Self::Messages => "messages",
        }
    }
}
