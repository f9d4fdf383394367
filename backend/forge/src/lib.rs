//! syndarix-forge: where a project's code lives, behind one provider-neutral trait.
//!
//! [`Forge`] is what the application asks of a code host: a repository per project, branches, worktrees for runs,
//! diffs and contents to show and to index, and the merge of a pull request. [`LocalForge`] is the built-in one: a bare
//! repository per project on this machine. Pull requests themselves (state, reviews, comments) are machines of the
//! application and not of the forge.
//!
//! Invariants:
//! - a merge happens once per key, whatever is killed when: the key is a trailer of the merge commit, looked for before
//!   merging, and the base branch moves by compare-and-set only;
//! - a merge is of exactly the head commit that was approved;
//! - what git says reaches the caller without credentials.

mod error;
mod local;
mod types;

use async_trait::async_trait;
use uuid::Uuid;

pub use error::ForgeError;
pub use local::LocalForge;
pub use syndarix_git::{
    Branch, BranchName, ChangeStatus, Diff, DiffLimits, EntryKind, FileChange, FileContent, Git, GitError,
    Identity, Key, LogEntry, LogQuery, ObjectId, RemoteSource, RepoPath, Revision, TreeEntry,
};
pub use types::{
    BranchCreated, InitialCommit, MergeOutcome, MergePreview, MergeRequest, RepositoryInfo, WorktreeInfo,
    WorktreeTarget,
};

/// A code host. `project` names the project's repository; every operation may be repeated after a crash.
#[async_trait]
pub trait Forge: Send + Sync + std::fmt::Debug {
    /// Makes the project's repository from these commits, on the default branch `main`. When the project has a
    /// repository already, gives that.
    async fn create_repository(
        &self,
        project: Uuid,
        commits: &[InitialCommit],
    ) -> Result<RepositoryInfo, ForgeError>;

    /// Copies all branches and tags of `source` into the project's repository. When the project has a repository
    /// already, gives that.
    async fn import_repository(
        &self,
        project: Uuid,
        source: &RemoteSource,
    ) -> Result<RepositoryInfo, ForgeError>;

    /// Removes the project's repository and its worktrees; nothing there is a success.
    async fn delete_repository(&self, project: Uuid) -> Result<(), ForgeError>;

    /// The default branch and its newest commit.
    async fn info(&self, project: Uuid) -> Result<RepositoryInfo, ForgeError>;

    /// The newest commit of a branch, or `None` when there is no such branch.
    async fn head(&self, project: Uuid, branch: &BranchName) -> Result<Option<ObjectId>, ForgeError>;

    /// The commit a revision names.
    async fn resolve(&self, project: Uuid, revision: &Revision) -> Result<ObjectId, ForgeError>;

    /// The branches by name.
    async fn branches(&self, project: Uuid) -> Result<Vec<Branch>, ForgeError>;

    /// Makes a branch at a commit. A branch of that name that holds the commit is a success and keeps its place;
    /// another one is [`ForgeError::BranchExists`].
    async fn create_branch(
        &self,
        project: Uuid,
        name: &BranchName,
        at: &ObjectId,
    ) -> Result<BranchCreated, ForgeError>;

    /// Makes the worktree of a run, or finds it with the work in it.
    async fn add_worktree(
        &self,
        project: Uuid,
        run: Uuid,
        target: &WorktreeTarget,
    ) -> Result<WorktreeInfo, ForgeError>;

    /// Removes the worktree of a run with its uncommitted work; nothing there is a success.
    async fn remove_worktree(&self, project: Uuid, run: Uuid) -> Result<(), ForgeError>;

    /// What `head` changed since it left `base`.
    async fn diff(
        &self,
        project: Uuid,
        base: &ObjectId,
        head: &ObjectId,
        limits: &DiffLimits,
    ) -> Result<Diff, ForgeError>;

    /// The files that differ between two commits, in either direction of history; true when the list was cut. For
    /// bringing an index from one commit to another.
    async fn changed_files(
        &self,
        project: Uuid,
        old: &ObjectId,
        new: &ObjectId,
    ) -> Result<(Vec<FileChange>, bool), ForgeError>;

    /// The commits behind a commit, newest first.
    async fn log(
        &self,
        project: Uuid,
        from: &ObjectId,
        query: &LogQuery,
    ) -> Result<Vec<LogEntry>, ForgeError>;

    /// All files of a commit.
    async fn tree(&self, project: Uuid, commit: &ObjectId) -> Result<Vec<TreeEntry>, ForgeError>;

    /// The content of a file at a commit, at most `max_bytes` of it.
    async fn file(
        &self,
        project: Uuid,
        commit: &ObjectId,
        path: &RepoPath,
        max_bytes: usize,
    ) -> Result<FileContent, ForgeError>;

    /// The contents of several files by the ids of [`Forge::tree`], in the order asked; together at most 64 MiB.
    async fn blobs(&self, project: Uuid, ids: &[ObjectId]) -> Result<Vec<Vec<u8>>, ForgeError>;

    /// What merging `head` into `base` would give; nothing is changed.
    async fn merge_preview(
        &self,
        project: Uuid,
        base: &ObjectId,
        head: &ObjectId,
    ) -> Result<MergePreview, ForgeError>;

    /// The merge that was made for this request's key, if the base branch holds it. Waits for no lock.
    async fn merged(&self, project: Uuid, request: &MergeRequest) -> Result<Option<ObjectId>, ForgeError>;

    /// Merges an approved head commit into its base branch, once per key.
    async fn merge(&self, project: Uuid, request: &MergeRequest) -> Result<MergeOutcome, ForgeError>;
}
