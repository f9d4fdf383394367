//! Embeddings of Gemini: `models/{model}:batchEmbedContents`, one request for each text.

use serde::Deserialize;
use serde_json::Value;

use crate::ask::Native;
use crate::error::ProviderError;
use crate::provider::embeddings::{self, Numbers};
use crate::provider::transport::Whole;
use crate::provider::{Deployment, encoded};
use crate::tokens::estimate_text;
use crate::types::Delta;

/// Where embeddings are asked for, below the base URL.
pub(super) fn path(deployment: &Deployment) -> String {
    format!("models/{}:batchEmbedContents", encoded(&deployment.model))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Embedded {
    embeddings: Vec<Embedding>,
    #[serde(default)]
    usage_metadata: Option<WireUsage>,
}

#[derive(Debug, Deserialize)]
struct Embedding {
    values: Vec<f64>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireUsage {
    #[serde(default)]
    prompt_token_count: Option<u64>,
}

/// The answer in OpenAI's shape. It names no model; and not every model says how many tokens it has read.
pub(super) fn embedded(
    body: &[u8],
    deployment: &Deployment,
    native: &Native,
) -> Result<Whole, ProviderError> {
    let answer: Embedded = serde_json::from_slice(body)
        .map_err(|error| ProviderError::malformed(format!("the answer is not as it should be: {error}")))?;
    let texts = embeddings::texts(native);
    if answer.embeddings.len() != texts.len() {
        let (vectors, texts) = (answer.embeddings.len(), texts.len());
        return Err(ProviderError::malformed(format!("there are {vectors} vectors for {texts} texts")));
    }
    let said = answer.usage_metadata.and_then(|usage| usage.prompt_token_count);
    let counted = || texts.iter().fold(0, |sum: u32, text| sum.saturating_add(estimate_text(text)));
    let tokens = said.map_or_else(counted, |tokens| u32::try_from(tokens).unwrap_or(u32::MAX));
    let format = Numbers::of(native);
    let vectors: Vec<Value> = answer.embeddings.iter().map(|one| format.write(&one.values)).collect();
    let (mut meaning, whole) = embeddings::answer(&deployment.model, vectors, tokens);
    for delta in &mut meaning {
        if let Delta::Usage { usage } = delta {
            usage.estimated = said.is_none();
        }
    }
    Ok((meaning, whole))
}
