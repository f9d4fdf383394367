//! What can go wrong below the features.

use syndarix_domain::machine::Rejection;

/// A failed unit of work. Nothing of it was written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another transaction was quicker: decide again.
    #[error("another change came first")]
    Conflict,
    /// Another command with the same idempotency key is at work: it commits or is gone in a moment.
    #[error("the first request with this key is still being worked on")]
    InProgress,
    /// A command with the same idempotency key has taken effect: its answer counts.
    #[error("the first request with this key was done already")]
    Repeated,
    /// Not there, or not in this project.
    #[error("there is no {0} with this id here")]
    NotFound(&'static str),
    /// The machine refused the command.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// The job was taken over by another worker: whatever this one has is stale.
    #[error("the job's lease was lost to another worker")]
    LeaseLost,
    /// A stored row does not read as what it should be.
    #[error("a stored {what} does not read: {source}")]
    Corrupt {
        /// What was read.
        what: &'static str,
        /// Why it does not read.
        source: serde_json::Error,
    },
    /// What lies outside the database, such as a repository, could not be read.
    #[error("{0}")]
    Outside(String),
    /// Events of two projects in one unit: each has its own numbers, and its own order of commits.
    #[error("one unit of work moves two projects")]
    TwoProjects,
    /// The queue refused.
    #[error("the job queue failed")]
    Jobs(#[from] syndarix_jobs::EnqueueError),
    /// The database failed.
    #[error("the database failed")]
    Database(#[source] sqlx::Error),
}

/// Deadlock detected: PostgreSQL chose this transaction as the victim.
const DEADLOCK: &str = "40P01";
/// A snapshot could not be kept.
const SERIALIZATION: &str = "40001";
/// A lock was waited for as long as the session waits for one.
const LOCKED: &str = "55P03";
/// Two transactions inserted the same stream or version.
const UNIQUE: &str = "23505";

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        let conflict = error.as_database_error().is_some_and(|db| {
            let stream = db.constraint() == Some("event_stream_version_key");
            match db.code().as_deref() {
                Some(DEADLOCK | SERIALIZATION) => true,
                Some(UNIQUE) => stream,
                _ => false,
            }
        });
        if conflict { Self::Conflict } else { Self::Database(error) }
    }
}

impl Error {
    /// The name of the constraint that refused a row, if one did.
    pub fn constraint(&self) -> Option<&str> {
        match self {
            Self::Database(error) => {
                error.as_database_error().and_then(sqlx::error::DatabaseError::constraint)
            }
            _ => None,
        }
    }
}

impl Error {
    /// Somebody else's lock was not let go in time. Nothing was written.
    pub(super) fn is_lock_timeout(&self) -> bool {
        matches!(self, Self::Database(error) if is_lock_timeout(error))
    }

    /// The same failure, for another who asked together with the first.
    pub(crate) fn again(&self) -> Self {
        match self {
            Self::Database(error) => Self::Database(again(error)),
            other => Self::Database(sqlx::Error::Protocol(other.to_string())),
        }
    }
}

/// Somebody else's lock was not let go in time.
pub(super) fn is_lock_timeout(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    code.is_some_and(|code| code == LOCKED)
}

/// What callers tell apart stays what it is; of the rest the sentence.
fn again(error: &sqlx::Error) -> sqlx::Error {
    match error {
        sqlx::Error::PoolTimedOut => sqlx::Error::PoolTimedOut,
        sqlx::Error::PoolClosed => sqlx::Error::PoolClosed,
        sqlx::Error::Io(io) => sqlx::Error::Io(std::io::Error::new(io.kind(), io.to_string())),
        other => sqlx::Error::Protocol(other.to_string()),
    }
}
