//! The model gateway: any client of OpenAI's or Anthropic's format may point at it, with a virtual key of a project.
//!
//! Invariants: a virtual key is kept as a hash only and shown once; a key that is revoked, has run out or belongs to
//! another project asks nothing (at once in this process, within `keys::TTL` in others); every call is recorded with
//! its project and key, also when nobody waits for the answer any more; a client is told of failures in its own format.
//!
//! `keys` are managed under `/api/v1`; `calls` are answered under `/v1`, where SDKs look for them.

mod calls;
mod keys;

use crate::state::App;
use keys::Keyring;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use utoipa_axum::router::OpenApiRouter;

/// What one process keeps of the gateway.
#[derive(Debug, Default)]
pub struct Front {
    keyring: Keyring,
    /// Calls under way. They go on when their client leaves, until they are recorded.
    calls: TaskTracker,
    /// Cancelled when calls must come to an end.
    ending: CancellationToken,
}

impl Front {
    /// Ends what is still streamed, and waits until every call is recorded.
    pub async fn close(&self) {
        self.ending.cancel();
        self.calls.close();
        self.calls.wait().await;
    }
}

/// The operations on keys.
pub fn routes() -> OpenApiRouter<App> {
    keys::routes()
}

/// What clients of models ask, outside the API.
pub fn public_routes() -> axum::Router<App> {
    calls::routes()
}
