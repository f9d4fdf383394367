//! What can go wrong when running git, in sentences that name no credentials.

use std::time::Duration;

/// A failure of a git run or of the values given to it.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// A name, revision, path, identity or address was refused before git saw it.
    #[error("{0}")]
    Invalid(String),
    /// The named branch, revision, path or repository does not exist.
    #[error("{0} was not found")]
    NotFound(String),
    /// The branch is checked out in another worktree, and only one may move it.
    #[error("the branch {0} is in use by another worktree")]
    BranchInUse(String),
    /// git could not be started or its pipes failed.
    #[error("git {verb} could not be run")]
    Spawn {
        /// The git subcommand.
        verb: &'static str,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// git did not end in time; its process group was killed.
    #[error("git {verb} did not finish within {} seconds and was stopped", limit.as_secs())]
    TimedOut {
        /// The git subcommand.
        verb: &'static str,
        /// The limit that was in force.
        limit: Duration,
    },
    /// git ended with an exit code the caller does not accept.
    #[error("git {verb} failed (exit code {code}): {stderr}")]
    Failed {
        /// The git subcommand.
        verb: &'static str,
        /// The exit code; -1 when a signal ended it.
        code: i32,
        /// What git said, bounded, with credentials in addresses replaced.
        stderr: String,
    },
    /// git wrote more than the limit of this call.
    #[error("git {verb} wrote more than {limit} bytes")]
    TooMuchOutput {
        /// The git subcommand.
        verb: &'static str,
        /// The limit in bytes.
        limit: usize,
    },
    /// git's answer had another form than documented.
    #[error("git {verb} answered in an unexpected form: {detail}")]
    Unexpected {
        /// The git subcommand.
        verb: &'static str,
        /// What was unexpected.
        detail: String,
    },
    /// The repository's own configuration could start a program, or is not understood.
    #[error("the repository's configuration is not accepted: {0}")]
    UntrustedConfig(String),
    /// The two commits share no history.
    #[error("the two branches have no common history and cannot be merged")]
    UnrelatedHistories,
    /// Another process held the lock for longer than the limit.
    #[error("the lock {path} was not free within {} seconds", limit.as_secs())]
    LockBusy {
        /// The lock file.
        path: String,
        /// The limit that was in force.
        limit: Duration,
    },
    /// A file operation of ours failed.
    #[error("{what} failed")]
    Io {
        /// What was being done.
        what: String,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
}

impl GitError {
    /// Wraps an error of the file system with what was being done.
    pub fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }

    pub(crate) fn unexpected(verb: &'static str, detail: impl Into<String>) -> Self {
        Self::Unexpected { verb, detail: detail.into() }
    }
}
