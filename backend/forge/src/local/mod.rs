//! The built-in code host: one bare repository per project under one directory, one worktree per run under another.
//!
//! Invariants:
//! - paths are made of the project's and the run's ids only, never of a name from outside;
//! - a repository appears under its final name complete or not at all (made aside, then renamed);
//! - refs move and worktrees are made only under the repository's lock, which other processes honour too.

mod create;
mod merge;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use syndarix_git::{
    Branch, BranchName, CheckedOut, Diff, DiffLimits, Expected, FileChange, FileContent, FileLock, Git,
    GitError, LogEntry, LogQuery, MergeTree, ObjectId, RefUpdate, RemoteSource, RepoPath, Repository,
    Revision, TreeEntry, Worktree,
};
use tokio::sync::OwnedMutexGuard;
use uuid::Uuid;

use crate::{
    BranchCreated, Forge, ForgeError, InitialCommit, MergeOutcome, MergePreview, MergeRequest,
    RepositoryInfo, WorktreeInfo, WorktreeTarget,
};

/// Bare repositories at `<repositories>/<project>.git`, worktrees at `<workspaces>/<project>/<run>`.
#[derive(Debug)]
pub struct LocalForge {
    git: Git,
    repositories: PathBuf,
    workspaces: PathBuf,
    /// One queue per repository for the tasks of this process; the lock file is for other processes.
    queues: Mutex<HashMap<Uuid, Arc<tokio::sync::Mutex<()>>>>,
}

/// Held while refs of a repository are moved.
struct WriteLock {
    file: FileLock,
    _queue: OwnedMutexGuard<()>,
}

impl LocalForge {
    /// Keeps repositories and worktrees in these directories, which are made if missing.
    pub fn new(git: Git, repositories: &Path, workspaces: &Path) -> Result<Self, ForgeError> {
        let ready = |dir: &Path| {
            std::fs::create_dir_all(dir)?;
            dir.canonicalize()
        };
        let failed = || GitError::io("making the directories of the repositories");
        Ok(Self {
            git,
            repositories: ready(repositories).map_err(failed())?,
            workspaces: ready(workspaces).map_err(failed())?,
            queues: Mutex::default(),
        })
    }

    /// Where the project's bare repository is, whether or not it exists.
    pub fn repository_path(&self, project: Uuid) -> PathBuf {
        self.repositories.join(format!("{project}.git"))
    }

    /// Where the worktree of a run is, whether or not it exists.
    pub fn worktree_path(&self, project: Uuid, run: Uuid) -> PathBuf {
        self.workspaces.join(project.to_string()).join(run.to_string())
    }

    /// Opens the project's repository for what the trait does not offer.
    pub fn open(&self, project: Uuid) -> Result<Repository, ForgeError> {
        match Repository::open(&self.git, &self.repository_path(project)) {
            Err(GitError::NotFound(_)) => Err(ForgeError::NoRepository),
            other => Ok(other?),
        }
    }

    async fn lock(&self, project: Uuid, repository: &Repository) -> Result<WriteLock, ForgeError> {
        let queue = {
            // A panic elsewhere cannot leave the map half-changed: each entry is whole.
            let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(queues.entry(project).or_default())
        };
        let queue = queue.lock_owned().await;
        Ok(WriteLock { file: repository.lock().await?, _queue: queue })
    }

    fn forget_queue(&self, project: Uuid) {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner).remove(&project);
    }

    async fn info_of(&self, repository: &Repository) -> Result<RepositoryInfo, ForgeError> {
        let default_branch = repository.default_branch().await?;
        let head = repository.branch_head(&default_branch).await?;
        let head = head.ok_or_else(|| ForgeError::NoBranch(default_branch.to_string()))?;
        Ok(RepositoryInfo { default_branch, head })
    }
}

#[async_trait]
impl Forge for LocalForge {
    async fn create_repository(
        &self,
        project: Uuid,
        commits: &[InitialCommit],
    ) -> Result<RepositoryInfo, ForgeError> {
        self.create(project, commits).await
    }

    async fn import_repository(
        &self,
        project: Uuid,
        source: &RemoteSource,
    ) -> Result<RepositoryInfo, ForgeError> {
        self.import(project, source).await
    }

    async fn delete_repository(&self, project: Uuid) -> Result<(), ForgeError> {
        self.delete(project).await
    }

    async fn info(&self, project: Uuid) -> Result<RepositoryInfo, ForgeError> {
        self.info_of(&self.open(project)?).await
    }

    async fn head(&self, project: Uuid, branch: &BranchName) -> Result<Option<ObjectId>, ForgeError> {
        Ok(self.open(project)?.branch_head(branch).await?)
    }

    async fn resolve(&self, project: Uuid, revision: &Revision) -> Result<ObjectId, ForgeError> {
        Ok(self.open(project)?.resolve(revision).await?)
    }

    async fn branches(&self, project: Uuid) -> Result<Vec<Branch>, ForgeError> {
        Ok(self.open(project)?.branches().await?)
    }

    async fn create_branch(
        &self,
        project: Uuid,
        name: &BranchName,
        at: &ObjectId,
    ) -> Result<BranchCreated, ForgeError> {
        let repository = self.open(project)?;
        let lock = self.lock(project, &repository).await?;
        match repository.update_branch(name, at, &Expected::Missing, &lock.file).await? {
            RefUpdate::Done => Ok(BranchCreated { head: at.clone(), created: true }),
            RefUpdate::Moved(Some(head)) if repository.is_ancestor(at, &head).await? => {
                Ok(BranchCreated { head, created: false })
            }
            RefUpdate::Moved(Some(head)) => Err(ForgeError::BranchExists { name: name.to_string(), head }),
            RefUpdate::Moved(None) => Err(ForgeError::NoBranch(name.to_string())),
        }
    }

    async fn add_worktree(
        &self,
        project: Uuid,
        run: Uuid,
        target: &WorktreeTarget,
    ) -> Result<WorktreeInfo, ForgeError> {
        let repository = self.open(project)?;
        let lock = self.lock(project, &repository).await?;
        let shows = match target {
            WorktreeTarget::Branch(branch) => CheckedOut::Branch(branch.clone()),
            WorktreeTarget::Commit(commit) => CheckedOut::Commit(commit.clone()),
        };
        let path = self.worktree_path(project, run);
        let (worktree, created) = repository.add_worktree(&path, &shows, &lock.file).await?;
        worktree_info(&worktree, created).await
    }

    async fn remove_worktree(&self, project: Uuid, run: Uuid) -> Result<(), ForgeError> {
        let repository = self.open(project)?;
        let lock = self.lock(project, &repository).await?;
        Ok(repository.remove_worktree(&self.worktree_path(project, run), &lock.file).await?)
    }

    async fn diff(
        &self,
        project: Uuid,
        base: &ObjectId,
        head: &ObjectId,
        limits: &DiffLimits,
    ) -> Result<Diff, ForgeError> {
        Ok(self.open(project)?.diff_since_merge_base(base, head, limits).await?)
    }

    async fn changed_files(
        &self,
        project: Uuid,
        old: &ObjectId,
        new: &ObjectId,
    ) -> Result<(Vec<FileChange>, bool), ForgeError> {
        Ok(self.open(project)?.changed_files(old, Some(new), &[]).await?)
    }

    async fn log(
        &self,
        project: Uuid,
        from: &ObjectId,
        query: &LogQuery,
    ) -> Result<Vec<LogEntry>, ForgeError> {
        Ok(self.open(project)?.log(from, query).await?)
    }

    async fn tree(&self, project: Uuid, commit: &ObjectId) -> Result<Vec<TreeEntry>, ForgeError> {
        Ok(self.open(project)?.tree(commit).await?)
    }

    async fn file(
        &self,
        project: Uuid,
        commit: &ObjectId,
        path: &RepoPath,
        max_bytes: usize,
    ) -> Result<FileContent, ForgeError> {
        Ok(self.open(project)?.file(commit, path, max_bytes).await?)
    }

    async fn blobs(&self, project: Uuid, ids: &[ObjectId]) -> Result<Vec<Vec<u8>>, ForgeError> {
        Ok(self.open(project)?.blobs(ids).await?)
    }

    async fn merge_preview(
        &self,
        project: Uuid,
        base: &ObjectId,
        head: &ObjectId,
    ) -> Result<MergePreview, ForgeError> {
        Ok(match self.open(project)?.merge_tree(base, head).await? {
            MergeTree::Clean(_) => MergePreview::Clean,
            MergeTree::Conflicts(paths) => MergePreview::Conflicts(paths),
        })
    }

    async fn merged(&self, project: Uuid, request: &MergeRequest) -> Result<Option<ObjectId>, ForgeError> {
        merge::find(&self.open(project)?, request).await
    }

    async fn merge(&self, project: Uuid, request: &MergeRequest) -> Result<MergeOutcome, ForgeError> {
        let repository = self.open(project)?;
        let lock = self.lock(project, &repository).await?;
        merge::merge(&repository, request, &lock.file).await
    }
}

async fn worktree_info(worktree: &Worktree, created: bool) -> Result<WorktreeInfo, ForgeError> {
    Ok(WorktreeInfo {
        path: worktree.path().to_owned(),
        head: worktree.head().await?,
        branch: worktree.current_branch().await?,
        created,
    })
}
