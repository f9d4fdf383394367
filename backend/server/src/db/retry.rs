//! Optimistic concurrency: on a conflict, decide again.

use super::Error;
use std::{future::Future, time::Duration};

/// How often a command is decided again before the caller is told to try later.
const ATTEMPTS: u32 = 8;
/// The longest pause before deciding again, in milliseconds, doubled each time.
const FIRST_PAUSE_MS: u64 = 4;

/// Runs a whole unit of work, again when another transaction came first.
pub async fn retry_conflicts<T, E, F, Fut>(work: F) -> Result<T, E>
where
    F: Fn() -> Fut,
    Fut: Future<Output = Result<T, E>>,
    E: AsConflict,
{
    let mut attempt = 0;
    loop {
        match work().await {
            Err(error) if error.is_conflict() && attempt < ATTEMPTS => {
                let ceiling = FIRST_PAUSE_MS << attempt;
                tokio::time::sleep(Duration::from_millis(rand::random_range(0..=ceiling))).await;
                attempt += 1;
            }
            outcome => return outcome,
        }
    }
}

/// Errors that may be a conflict.
pub trait AsConflict {
    /// Deciding again may help.
    fn is_conflict(&self) -> bool;
}

impl AsConflict for Error {
    fn is_conflict(&self) -> bool {
        matches!(self, Self::Conflict | Self::InProgress)
    }
}
