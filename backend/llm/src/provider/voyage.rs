//! Voyage AI: embeddings, in a dialect of OpenAI's.

use async_trait::async_trait;
use bytes::Bytes;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::transport::{Exchange, Whole};
use super::{Deployment, Http, PieceStream, Provider, embeddings};
use crate::ask::Ask;
use crate::error::{ErrorKind, ProviderError};
use crate::gateway::Grant;

/// The adapter.
#[derive(Debug)]
pub(super) struct Voyage {
    http: Http,
}

impl Voyage {
    pub(super) fn new(http: Http) -> Self {
        Self { http }
    }
}

#[async_trait]
impl Provider for Voyage {
    async fn send(
        &self,
        deployment: &Deployment,
        ask: Ask<'_>,
        grant: &Grant,
        cancel: &CancellationToken,
    ) -> Result<PieceStream, ProviderError> {
        let Ask::Native(native) = ask else {
            return Err(ProviderError::new(ErrorKind::BadRequest, "this provider makes embeddings only"));
        };
        let mut http = self.http.of(deployment)?.post(deployment.endpoint("embeddings"));
        if let Some(key) = &deployment.api_key {
            http = http.bearer_auth(key.expose());
        }
        let http = http.json(&embeddings::request(deployment, native)?);
        Exchange { deployment, grant, cancel, raw: true }.run_whole(http, 0, |body| embedded(&body)).await
    }
}

/// The answer differs from OpenAI's in its usage only, which has no prompt.
fn embedded(body: &[u8]) -> Result<Whole, ProviderError> {
    let mut answer: Value = serde_json::from_slice(body)
        .map_err(|error| ProviderError::malformed(format!("the answer is not as it should be: {error}")))?;
    if !answer.get("data").is_some_and(Value::is_array) {
        return Err(ProviderError::malformed("the answer has no embeddings"));
    }
    let total = answer.pointer("/usage/total_tokens").and_then(Value::as_u64).unwrap_or_default();
    answer["usage"] = serde_json::json!({"prompt_tokens": total, "total_tokens": total});
    let model = answer.get("model").and_then(Value::as_str).unwrap_or_default();
    let deltas = embeddings::meaning(model, u32::try_from(total).unwrap_or(u32::MAX));
    Ok((deltas, Bytes::from(answer.to_string())))
}
