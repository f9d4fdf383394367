//! Where clients ask.

use crate::provider::Wire;

/// What clients ask at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// OpenAI's `chat/completions`.
    ChatCompletions,
    /// OpenAI's `responses`, without a memory.
    Responses,
    /// OpenAI's `embeddings`.
    Embeddings,
    /// Anthropic's `messages`.
    Messages,
}

impl Endpoint {
    /// The format in which providers are asked the same; none: it is always translated.
    pub(super) fn wire(self) -> Option<Wire> {
        match self {
            Self::ChatCompletions | Self::Embeddings => Some(Wire::OpenAi),
            Self::Messages => Some(Wire::Anthropic),
            Self::Responses => None,
        }
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
