//! The in-process fan-out.

use std::sync::Arc;
use serde_json::Value;
use syndarix_domain::{envelope::Envelope, ids::ProjectId};
use tokio::sync::broadcast;

/// Hints kept for a slow listener before it is sent back to the log.
const RING: usize = 1024;

/// Carries committed events to whoever listens. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Hub {
    sender: broadcast::Sender<Arc<Envelope>>,
}

impl Default for Hub {
    fn default() -> Self {
        Self { sender: broadcast::Sender::new(RING) }
    }
}

impl Hub {
    /// Tells what was just committed. Never waits.
    pub fn committed(&self, events: &[Envelope]) {
        for event in events {
            // Nobody listening is not an error.
            let _ = self.sender.send(Arc::new(event.clone()));
        }
    }

    /// Tells something that is not kept: tokens as they come. Lost without harm.
    pub fn ephemeral(&self, project: ProjectId, kind: &str, data: &Value) {
        tracing::trace!(%project, kind, %data, "ephemeral");
    }

    /// Hears what is committed from now on.
    pub fn listen(&self) -> broadcast::Receiver<Arc<Envelope>> {
        self.sender.subscribe()
    }
}
