//! One writer at a time per worktree, so that "compare the hash, then replace" is one step.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use uuid::Uuid;

/// Stripes: two runs share one by chance in 64 and then wait for milliseconds.
const STRIPES: usize = 64;

/// The writers' locks. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Locks(Arc<[Mutex<()>]>);

impl Default for Locks {
    fn default() -> Self {
        Self((0..STRIPES).map(|_| Mutex::new(())).collect())
    }
}

impl Locks {
    /// Waits for the worktree of `run`; for blocking code only.
    pub(crate) fn of(&self, run: Uuid) -> MutexGuard<'_, ()> {
        let mut hasher = DefaultHasher::new();
        run.hash(&mut hasher);
        let stripe = usize::try_from(hasher.finish() % STRIPES as u64).unwrap_or(0);
        // Nothing is kept under the lock, so a panic of another holder leaves nothing half done.
        self.0[stripe].lock().unwrap_or_else(PoisonError::into_inner)
    }
}
