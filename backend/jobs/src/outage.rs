//! Living through a database that is away: every call has a limit, nothing gives up, and the log stays quiet.

use std::time::Duration;

use crate::Backoff;

/// Longest a worker waits for one of its own statements: they are all short, so this is a dead connection.
pub(crate) const STATEMENT_LIMIT: Duration = Duration::from_secs(5);

/// When the server breaks off a statement by itself: before its worker stops waiting, so that one is told from the other.
pub(crate) const SERVER_LIMIT: Duration = Duration::from_secs(4);

/// How long a worker's statement waits for a row that somebody else holds.
pub(crate) const LOCK_LIMIT: Duration = Duration::from_secs(1);

/// Says an outage once, aloud, and waits longer with every failure.
#[derive(Debug)]
pub(crate) struct Outage {
    what: &'static str,
    failures: u32,
}

impl Outage {
    const WAITS: Backoff = Backoff { base: Duration::from_millis(200), cap: Duration::from_secs(5) };

    pub(crate) fn new(what: &'static str) -> Self {
        Self { what, failures: 0 }
    }

    /// How long to wait before the next try.
    pub(crate) fn failed(&mut self, error: &(dyn std::error::Error + 'static)) -> Duration {
        self.failures = self.failures.saturating_add(1);
        if self.failures == 1 {
            tracing::warn!(what = self.what, error, "the job database does not answer; trying on");
        } else {
            tracing::debug!(
                what = self.what,
                failures = self.failures,
                error,
                "the job database still does not answer"
            );
        }
        let limit = Self::WAITS.limit(self.failures);
        limit / 2 + (limit / 2).mul_f64(rand::random::<f64>())
    }

    pub(crate) fn over(&mut self) {
        if self.failures > 0 {
            tracing::info!(what = self.what, failures = self.failures, "the job database answers again");
            self.failures = 0;
        }
    }
}

/// A database call that took too long or went wrong.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    #[error("no answer from the database in time")]
    TimedOut(#[from] tokio::time::error::Elapsed),
    #[error("the database refused")]
    Database(#[from] sqlx::Error),
}

impl CallError {
    /// The server broke the statement off because it took too long: it is there, and would do so again.
    pub(crate) fn is_statement_timeout(&self) -> bool {
        self.has_code("57014")
    }

    /// A row that it needs stayed locked.
    pub(crate) fn is_lock_timeout(&self) -> bool {
        self.has_code("55P03")
    }

    fn has_code(&self, expected: &str) -> bool {
        let Self::Database(error) = self else { return false };
        let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
        code.is_some_and(|code| code == expected)
    }
}

/// The database understood and said no (data or constraint): the same statement will never pass.
pub(crate) fn is_refusal(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    code.is_some_and(|code| code.starts_with("22") || code.starts_with("23"))
}
