//! What can go wrong at a code host.

use syndarix_git::{GitError, ObjectId};

/// A failure of an operation of [`crate::Forge`].
#[derive(Debug, thiserror::Error)]
pub enum ForgeError {
    /// The project has no repository.
    #[error("the project has no repository")]
    NoRepository,
    /// The repository to import has no commits.
    #[error("the repository at {0} has no commits: push a first commit to it, then import it")]
    EmptySource(String),
    /// The repository to import could not be read; the text is what git said, without credentials.
    #[error("the repository at {address} could not be read: {said}")]
    SourceUnreadable {
        /// The address, without credentials.
        address: String,
        /// What git said.
        said: String,
    },
    /// A branch of that name is at a commit that does not hold the one asked for.
    #[error("a branch {name} exists already, at commit {head}")]
    BranchExists {
        /// The branch.
        name: String,
        /// Where it is.
        head: ObjectId,
    },
    /// The named branch does not exist.
    #[error("the branch {0} does not exist")]
    NoBranch(String),
    /// The base branch kept moving while merging.
    #[error("the branch {0} kept moving while the merge was prepared; try again")]
    BaseBusy(String),
    /// git failed.
    #[error(transparent)]
    Git(#[from] GitError),
}

impl ForgeError {
    /// Whether trying again later, unchanged, may succeed.
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::BaseBusy(_)
                | Self::Git(GitError::LockBusy { .. } | GitError::TimedOut { .. } | GitError::Spawn { .. })
        )
    }
}
