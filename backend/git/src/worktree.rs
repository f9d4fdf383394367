//! A worktree linked to a bare repository, found without reading anything inside the worktree.
//!
//! The link in the worktree (`.git`) can be rewritten by whoever may write there, for instance by a test command of
//! an agent. So the administrative directory is looked up in the bare repository, which agents cannot write, and given
//! to git by name.

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::guard::check_config;
use crate::{BranchName, FileLock, Git, GitError, ObjectId, Place, Repository};

/// Longest wait for a worktree's lock: a commit of many files holds it for seconds.
const LOCK_LIMIT: Duration = Duration::from_secs(60);

/// A worktree of a bare repository; as a [`Repository`] it reads with the worktree's own `HEAD` and index.
#[derive(Debug, Clone)]
pub struct Worktree {
    repository: Repository,
    admin: PathBuf,
    path: PathBuf,
}

impl Deref for Worktree {
    type Target = Repository;
    fn deref(&self) -> &Repository {
        &self.repository
    }
}

impl Worktree {
    /// Opens the worktree at `path`. Refused when `path` is a symbolic link or not a worktree of this repository.
    pub fn open(git: &Git, bare: &Path, path: &Path) -> Result<Self, GitError> {
        let bare = bare.canonicalize().map_err(|_| GitError::NotFound("the repository".into()))?;
        check_config(&bare)?;
        let path = real_directory(path)?;
        let admin = find_admin(&bare, &path)?
            .ok_or_else(|| GitError::NotFound("the worktree's entry in its repository".into()))?;
        let place = Place::worktree(&admin, &path);
        Ok(Self { repository: Repository { git: git.clone(), bare, place }, admin, path })
    }

    /// The directory of the files.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The administrative directory inside the bare repository.
    pub fn admin_dir(&self) -> &Path {
        &self.admin
    }

    /// The same worktree, seen through another index file.
    #[must_use]
    pub fn with_index(&self, file: &Path) -> Self {
        let mut other = self.clone();
        other.repository.place.index = Some(file.to_owned());
        other
    }

    /// Takes the lock under which the index and the files are changed, and removes lock files that a killed git left.
    pub async fn lock_files(&self) -> Result<FileLock, GitError> {
        let lock = FileLock::acquire(&self.admin.join("syndarix.lock"), LOCK_LIMIT).await?;
        for name in ["index.lock", "HEAD.lock"] {
            if std::fs::remove_file(self.admin.join(name)).is_ok() {
                tracing::warn!(file = name, "removed a lock file left by a killed git");
            }
        }
        Ok(lock)
    }

    /// The commit the worktree is at.
    pub async fn head(&self) -> Result<ObjectId, GitError> {
        self.rev_parse("HEAD^{commit}")
            .await?
            .ok_or_else(|| GitError::NotFound("the worktree's commit".into()))
    }

    /// The branch the worktree is on, or `None` when it is on a commit without a branch.
    pub async fn current_branch(&self) -> Result<Option<BranchName>, GitError> {
        let text = tokio::fs::read_to_string(self.admin.join("HEAD"))
            .await
            .map_err(GitError::io("reading the worktree's branch"))?;
        text.trim().strip_prefix("ref: refs/heads/").map(BranchName::new).transpose()
    }
}

/// The canonical form of a directory that is not itself a symbolic link.
fn real_directory(path: &Path) -> Result<PathBuf, GitError> {
    let not_there = |_| GitError::NotFound("the worktree's directory".into());
    let kind = std::fs::symlink_metadata(path).map_err(not_there)?;
    if !kind.is_dir() {
        return Err(GitError::Invalid(
            "the worktree's directory is not a directory but a link or a file".into(),
        ));
    }
    path.canonicalize().map_err(not_there)
}

/// The entry in `<bare>/worktrees` that belongs to `path`.
pub(crate) fn find_admin(bare: &Path, path: &Path) -> Result<Option<PathBuf>, GitError> {
    let wanted = path.join(".git");
    let entries = match std::fs::read_dir(bare.join("worktrees")) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(GitError::io("listing the worktrees")(error)),
    };
    for entry in entries {
        let admin = entry.map_err(GitError::io("listing the worktrees"))?.path();
        let belongs =
            std::fs::read_to_string(admin.join("gitdir")).is_ok_and(|to| Path::new(to.trim_end()) == wanted);
        if belongs {
            return Ok(Some(admin));
        }
    }
    Ok(None)
}
