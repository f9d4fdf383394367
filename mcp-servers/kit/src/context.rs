//! What a tool gets to know about its call.

use std::sync::{Arc, atomic::AtomicU32};

use rmcp::{
    Peer, RoleServer,
    model::{ProgressNotificationParam, ProgressToken},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    backend::BackendClient,
    failure::{FailureCode, ToolFailure},
    host::Host,
    token::{Bearer, Claims},
    worktree::Worktree,
};

/// The `_meta` key under which the backend sends the step that causes the call.
pub const STEP_META_KEY: &str = "syndarix/step";

/// One call of one tool: whose it is and what it may touch. Cheap to clone.
///
/// There is no other way to a project's files or data than through here, and everything here is bound
/// to the verified token, never to an argument.
#[derive(Clone)]
pub struct ProjectCtx {
    pub(crate) claims: Arc<Claims>,
    pub(crate) bearer: Bearer,
    pub(crate) step_key: Option<Arc<str>>,
    pub(crate) writes: Arc<AtomicU32>,
    pub(crate) cancel: CancellationToken,
    pub(crate) host: Host,
    pub(crate) progress: Option<(Peer<RoleServer>, ProgressToken)>,
}

impl std::fmt::Debug for ProjectCtx {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProjectCtx").field("claims", &self.claims).finish_non_exhaustive()
    }
}

impl ProjectCtx {
    /// The verified claims of the caller's token.
    pub fn claims(&self) -> &Claims {
        &self.claims
    }

    /// The project the call acts in.
    pub fn project(&self) -> Uuid {
        self.claims.project
    }

    /// The agent instance that acts.
    pub fn agent(&self) -> Uuid {
        self.claims.sub
    }

    /// The run the call belongs to.
    pub fn run(&self) -> Uuid {
        self.claims.run
    }

    /// The branch that the run may make and move, if it may move one.
    pub fn branch(&self) -> Option<&str> {
        self.claims.branch.as_deref()
    }

    /// The idempotency key of the call: the id of the backend's step, the same when it is tried again.
    pub fn step_key(&self) -> Option<&str> {
        self.step_key.as_deref()
    }

    /// Fires when the caller has gone, the time is up, or the server stops.
    pub fn cancel(&self) -> &CancellationToken {
        &self.cancel
    }

    /// Fails once the call is cancelled; for loops in blocking work.
    pub fn check_cancelled(&self) -> Result<(), ToolFailure> {
        if self.cancel.is_cancelled() {
            return Err(ToolFailure::new(FailureCode::Cancelled, "The call was cancelled."));
        }
        Ok(())
    }

    /// Opens the run's worktree, `<workspaces>/<project>/<run>`.
    pub fn worktree(&self) -> Result<Worktree, ToolFailure> {
        self.host.worktree(self.project(), self.run())
    }

    /// The backend's REST API, called with the caller's own token.
    pub fn backend(&self) -> Result<BackendClient, ToolFailure> {
        let client = self.host.backend(self.bearer.clone())?;
        Ok(client.with_step(self.step_key.clone(), Arc::clone(&self.writes)))
    }

    /// Runs blocking work (files, libgit2) off the async threads, with a clone of this context.
    pub async fn blocking<T, F>(&self, work: F) -> Result<T, ToolFailure>
    where
        T: Send + 'static,
        F: FnOnce(&ProjectCtx) -> Result<T, ToolFailure> + Send + 'static,
    {
        let ctx = self.clone();
        match tokio::task::spawn_blocking(move || work(&ctx)).await {
            Ok(result) => result,
            Err(fault) => Err(ToolFailure::internal(&fault)),
        }
    }

    /// Tells the caller how far the work is, if it asked to be told. Loss is harmless.
    pub async fn progress(&self, done: f64, total: Option<f64>, message: impl Into<String>) {
        let Some((peer, token)) = &self.progress else { return };
        let mut note = ProgressNotificationParam::new(token.clone(), done).with_message(message.into());
        note.total = total;
        if let Err(fault) = peer.notify_progress(note).await {
            tracing::debug!(%fault, "progress not delivered");
        }
    }
}
