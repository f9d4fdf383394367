//! Answers read without a network.

use super::{Wire, anthropic, openai};
use crate::error::ProviderError;
use crate::types::Delta;

impl Wire {
    /// What an answer of this format says that is not streamed, for whoever wants to see it.
    ///
    /// Errors: it is not as the format has it.
    pub fn read(self, answer: &[u8]) -> Result<Vec<Delta>, ProviderError> {
        match self {
            Self::OpenAi => openai::whole(answer),
            Self::Anthropic => anthropic::whole(answer),
        }
    }
}
