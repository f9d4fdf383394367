//! In-process wake-ups: a hint that a queue has work, given after the commit that put it there.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Wakes the fetch loops of this process. Cheap to clone; all clones are one.
///
/// A lost or missing poke costs at most one poll interval, never a job.
#[derive(Clone, Debug, Default)]
pub struct Wake {
    queues: Arc<Mutex<HashMap<String, Arc<Notify>>>>,
}

impl Wake {
    /// A handle nobody listens to yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Says that `queue` may have ready jobs. Call it after the commit: before it there is nothing to see.
    pub fn poke(&self, queue: &str) {
        if let Some(listener) = self.lock().get(queue) {
            listener.notify_one();
        }
    }

    pub(crate) fn listen(&self, queue: &str) -> Arc<Notify> {
        Arc::clone(self.lock().entry(queue.to_owned()).or_default())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<Notify>>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
