//! Optimistic concurrency: on a conflict, decide again.

use super::Error;
use std::{cell::Cell, future::Future, time::Duration};

/// How often a command is decided again before the caller is told to try later.
const ATTEMPTS: u32 = 8;
/// The longest pause before deciding again, in milliseconds, doubled each time.
const FIRST_PAUSE_MS: u64 = 4;

tokio::task_local! {
    static ATTEMPT: Attempt;
}

/// One attempt at a unit of work.
struct Attempt {
    /// The first may be decided on guesses, for there is a second.
    is_first: bool,
    /// A guess was used, and no commit has compared it yet: whatever comes of it is a guess as well.
    has_guessed: Cell<bool>,
}

/// What is decided now is decided again when it was outdated: it may be decided on a guess.
pub(super) fn may_guess() -> bool {
    ATTEMPT.try_with(|attempt| attempt.is_first).unwrap_or(false)
}

/// A decision is based on a guess.
pub(super) fn guessed() {
    note_guess(true);
}

/// A commit is about to compare what was guessed: from here on its answer counts.
pub(super) fn compared() {
    note_guess(false);
}

fn note_guess(has_guessed: bool) {
    // Outside of a repeated unit nothing is guessed.
    let _ = ATTEMPT.try_with(|attempt| attempt.has_guessed.set(has_guessed));
}

/// Runs a whole unit of work, again when another transaction came first.
pub async fn retry_conflicts<T, E, F, Fut>(work: F) -> Result<T, E>
where
    F: Fn() -> Fut,
    Fut: Future<Output = Result<T, E>>,
    E: AsConflict,
{
    let mut attempt = 0;
    loop {
        let (outcome, is_guess) = attempt_at(&work, attempt == 0).await;
        match outcome {
            // An answer, good or bad, that no commit has confirmed: what is stored may say something else.
            _ if is_guess => attempt += 1,
            Err(error) if error.is_conflict() && attempt < ATTEMPTS => {
                let ceiling = FIRST_PAUSE_MS << attempt;
                tokio::time::sleep(Duration::from_millis(rand::random_range(0..=ceiling))).await;
                attempt += 1;
            }
            outcome => return outcome,
        }
    }
}

/// What comes of one attempt, and whether that rests on a guess.
async fn attempt_at<T, F, Fut>(work: &F, is_first: bool) -> (T, bool)
where
    F: Fn() -> Fut,
    Fut: Future<Output = T>,
{
    let attempt = Attempt { is_first, has_guessed: Cell::new(false) };
    let judged = async {
        let outcome = work().await;
        (outcome, ATTEMPT.with(|attempt| attempt.has_guessed.get()))
    };
    ATTEMPT.scope(attempt, judged).await
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
