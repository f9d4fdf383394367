//! Making, importing and deleting a project's repository.

use std::path::{Path, PathBuf};

use syndarix_git::{
    BranchName, Expected, FileLock, GitError, NewFiles, RemoteSource, Repository, compose_message,
};
use uuid::Uuid;

use super::LocalForge;
use crate::{ForgeError, InitialCommit, RepositoryInfo};

/// Default branch of a repository made from nothing, and the first guess for one that names none.
const MAIN: &str = "main";

impl LocalForge {
    pub(super) async fn create(
        &self,
        project: Uuid,
        commits: &[InitialCommit],
    ) -> Result<RepositoryInfo, ForgeError> {
        if let Ok(repository) = self.open(project) {
            return self.info_of(&repository).await;
        }
        let building = self.building_site(project).await?;
        let branch = BranchName::new(MAIN)?;
        let repository = Repository::init(&self.git, &building.path, &branch).await?;
        write_commits(&repository, &branch, commits, &building.path.join("scratch-index")).await?;
        self.publish(project, building).await
    }

    pub(super) async fn import(
        &self,
        project: Uuid,
        source: &RemoteSource,
    ) -> Result<RepositoryInfo, ForgeError> {
        if let Ok(repository) = self.open(project) {
            return self.info_of(&repository).await;
        }
        let building = self.building_site(project).await?;
        let repository = Repository::init(&self.git, &building.path, &BranchName::new(MAIN)?).await?;
        let named = repository.fetch_all(source).await.map_err(|error| unreadable(source, error))?;
        let default = pick_default(&repository, named).await?;
        let default = default.ok_or_else(|| ForgeError::EmptySource(source.to_string()))?;
        let lock = repository.lock().await?;
        repository.set_default_branch(&default, &lock).await?;
        self.publish(project, building).await
    }

    pub(super) async fn delete(&self, project: Uuid) -> Result<(), ForgeError> {
        let aside = self.repositories.join(format!(".old-{project}"));
        if let Ok(repository) = self.open(project) {
            let lock = self.lock(project, &repository).await?;
            remove_dir(&aside).await?;
            // Gone at once for everyone; a kill while the files are removed leaves no half repository.
            tokio::fs::rename(repository.dir(), &aside)
                .await
                .map_err(GitError::io("putting the old repository aside"))?;
            drop(lock);
        }
        // A repository that cannot be opened, for instance because of its configuration, is removed as it is.
        for dir in [self.workspaces.join(project.to_string()), aside, self.repository_path(project)] {
            remove_dir(&dir).await?;
        }
        self.forget_queue(project);
        Ok(())
    }

    /// A directory beside the repositories in which one is made; what an earlier, killed attempt left is removed.
    async fn building_site(&self, project: Uuid) -> Result<Building, ForgeError> {
        let path = self.repositories.join(format!(".new-{project}"));
        let lock_path = self.repositories.join(format!(".new-{project}.lock"));
        let lock = FileLock::acquire(&lock_path, std::time::Duration::from_secs(1)).await?;
        remove_dir(&path).await?;
        Ok(Building { path, _lock: lock })
    }

    /// Gives the finished repository its name.
    async fn publish(&self, project: Uuid, building: Building) -> Result<RepositoryInfo, ForgeError> {
        tokio::fs::rename(&building.path, self.repository_path(project))
            .await
            .map_err(GitError::io("putting the new repository in place"))?;
        let _ = tokio::fs::remove_file(self.repositories.join(format!(".new-{project}.lock"))).await;
        self.info_of(&self.open(project)?).await
    }
}

struct Building {
    path: PathBuf,
    _lock: FileLock,
}

async fn remove_dir(dir: &Path) -> Result<(), ForgeError> {
    match tokio::fs::remove_dir_all(dir).await {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(GitError::io("removing a repository's files")(error).into())
        }
        _ => Ok(()),
    }
}

async fn write_commits(
    repository: &Repository,
    branch: &BranchName,
    commits: &[InitialCommit],
    scratch_index: &Path,
) -> Result<(), ForgeError> {
    if commits.is_empty() {
        return Err(GitError::Invalid("a new repository starts with at least one commit".into()).into());
    }
    let mut head = None;
    for commit in commits {
        let (subject, body) = commit.message.split_once('\n').unwrap_or((&commit.message, ""));
        let files = NewFiles {
            parent: head.as_ref(),
            files: &commit.files,
            message: &compose_message(subject, body, &[]),
            author: &commit.author,
            at: commit.at,
        };
        head = Some(repository.write_commit_of_files(&files, scratch_index).await?);
    }
    let _ = tokio::fs::remove_file(scratch_index).await;
    if let Some(head) = head {
        let lock = repository.lock().await?;
        repository.update_branch(branch, &head, &Expected::Missing, &lock).await?;
    }
    Ok(())
}

/// The branch the source calls its default, else `main`, `master`, or the first by name; `None` without branches.
async fn pick_default(
    repository: &Repository,
    named: Option<BranchName>,
) -> Result<Option<BranchName>, ForgeError> {
    let branches = repository.branches().await?;
    let has = |name: &str| branches.iter().find(|b| b.name.as_str() == name).map(|b| b.name.clone());
    Ok(named
        .and_then(|name| has(name.as_str()))
        .or_else(|| has(MAIN))
        .or_else(|| has("master"))
        .or_else(|| branches.first().map(|b| b.name.clone())))
}

fn unreadable(source: &RemoteSource, error: GitError) -> ForgeError {
    match error {
        GitError::Failed { stderr, .. } => {
            ForgeError::SourceUnreadable { address: source.to_string(), said: stderr }
        }
        other => other.into(),
    }
}
