//! What goes into and comes out of a [`crate::Forge`].

use std::path::PathBuf;

use syndarix_git::{BranchName, Identity, Key, ObjectId, RepoPath};

/// A repository's default branch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepositoryInfo {
    /// The branch new work starts from and is merged into.
    pub default_branch: BranchName,
    /// Its newest commit.
    pub head: ObjectId,
}

/// A commit of a new repository; each one builds on the one before.
#[derive(Debug, Clone)]
pub struct InitialCommit {
    /// Subject, empty line, body.
    pub message: String,
    /// Who wrote it.
    pub author: Identity,
    /// When, in seconds since 1970 (UTC).
    pub at: i64,
    /// Files to add or replace, with their contents.
    pub files: Vec<(RepoPath, Vec<u8>)>,
}

/// What [`crate::Forge::create_branch`] gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BranchCreated {
    /// The branch's newest commit.
    pub head: ObjectId,
    /// False when the branch was there already.
    pub created: bool,
}

/// What the worktree of a run shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WorktreeTarget {
    /// A branch, to work on. Only one worktree may show it.
    Branch(BranchName),
    /// A commit, to look at: reviews and test runs.
    Commit(ObjectId),
}

/// The worktree of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorktreeInfo {
    /// Its directory.
    pub path: PathBuf,
    /// The commit it is at.
    pub head: ObjectId,
    /// The branch it is on, if any.
    pub branch: Option<BranchName>,
    /// False when it was there already; its uncommitted work was kept.
    pub created: bool,
}

/// What a merge would give.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MergePreview {
    /// No conflict.
    Clean,
    /// These paths conflict.
    Conflicts(Vec<String>),
}

/// A pull request's merge.
#[derive(Debug, Clone)]
pub struct MergeRequest {
    /// The branch to merge into.
    pub base_branch: BranchName,
    /// The branch to merge.
    pub head_branch: BranchName,
    /// The approved commit; the head branch must still be at it.
    pub expected_head: ObjectId,
    /// First line of the merge commit's message.
    pub title: String,
    /// The rest of its message.
    pub body: String,
    /// Written as the trailer `Story`.
    pub story: Option<Key>,
    /// Written as the trailer `Pull-Request`.
    pub pull_request: Option<Key>,
    /// Who wrote the change.
    pub author: Identity,
    /// Who merges it.
    pub committer: Identity,
    /// When, in seconds since 1970 (UTC). A repeated attempt must bring the same value.
    pub at: i64,
    /// Identifies this merge; written as the trailer `Syndarix-Key`, and looked for before merging.
    pub key: Key,
}

/// How a merge ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MergeOutcome {
    /// Merged now, by this commit.
    Merged {
        /// The merge commit.
        commit: ObjectId,
    },
    /// Merged before, by this commit: by an earlier attempt with the same key, or by hand.
    AlreadyMerged {
        /// The commit of the base branch that brought the head in.
        commit: ObjectId,
    },
    /// Not merged: these paths conflict with the base branch as it is now.
    Conflict {
        /// The conflicting paths.
        paths: Vec<String>,
    },
    /// Not merged: the head branch is not at the approved commit.
    HeadMoved {
        /// Where it is, or `None` when the branch is gone.
        actual: Option<ObjectId>,
    },
}
