//! Making and removing worktrees, so that either can be repeated after a kill at any point.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::worktree::find_admin;
use crate::{BranchName, FileLock, GitError, ObjectId, Repository, Worktree};

/// Longest checkout of a worktree's files.
const CHECKOUT_LIMIT: Duration = Duration::from_secs(5 * 60);

/// What a new worktree shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckedOut {
    /// A branch; commits move it.
    Branch(BranchName),
    /// A commit without a branch, for looking only.
    Commit(ObjectId),
}

impl Repository {
    /// Makes the worktree at `path` (its parents too), or finds it as it is: work in an existing one is kept. What a
    /// kill left half-made is removed first, and so is any other directory at `path`. True when it was made now.
    pub async fn add_worktree(
        &self,
        path: &Path,
        shows: &CheckedOut,
        lock: &FileLock,
    ) -> Result<(Worktree, bool), GitError> {
        let path = canonical_target(path)?;
        if let Some(admin) = find_admin(&self.bare, &path)?
            && is_complete(&admin, &path)
        {
            return Ok((Worktree::open(&self.git, &self.bare, &path)?, false));
        }
        self.remove_worktree(&path, lock).await?;
        let call = self.call("worktree").flags(&["add", "--quiet"]);
        let (call, seen) = match shows {
            CheckedOut::Branch(branch) => (call.operand(&path), branch.as_str()),
            CheckedOut::Commit(id) => (call.flags(&["--detach"]).operand(&path), id.as_str()),
        };
        let call = call.operand(seen).timeout(CHECKOUT_LIMIT).input(lock.handed_on()?);
        if let Err(error) = self.git.run(call).await {
            // git removes what it began when it fails, but not when it is killed by the time-out.
            self.remove_worktree(&path, lock).await?;
            return Err(branch_in_use(error, seen));
        }
        Ok((Worktree::open(&self.git, &self.bare, &path)?, true))
    }

    /// Removes the worktree at `path` with its uncommitted work; nothing there is a success. It goes on when its caller
    /// goes away, and keeps the lock until it ends.
    pub async fn remove_worktree(&self, path: &Path, lock: &FileLock) -> Result<(), GitError> {
        let (bare, path, held) = (self.bare.clone(), canonical_target(path)?, lock.shared()?);
        let work = move || {
            let _held = held;
            remove_tree(&path).map_err(GitError::io("removing the worktree's files"))?;
            // `git worktree prune` would also drop the entries of worktrees whose `.git` file an agent deleted.
            while let Some(admin) = find_admin(&bare, &path)? {
                remove_tree(&admin).map_err(GitError::io("removing the worktree's entry"))?;
            }
            remove_unfinished_entries(&bare.join("worktrees"));
            Ok(())
        };
        tokio::task::spawn_blocking(work)
            .await
            .map_err(|e| GitError::io("removing the worktree")(io::Error::other(e)))?
    }
}

/// The path with its parents made and resolved; the last part may not exist.
fn canonical_target(path: &Path) -> Result<PathBuf, GitError> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(GitError::Invalid("a worktree has a name and a parent directory".into()));
    };
    let failed = || GitError::io("making the directory of the worktrees");
    std::fs::create_dir_all(parent).map_err(failed())?;
    Ok(parent.canonicalize().map_err(failed())?.join(name))
}

/// git holds the mark `locked` while it makes a worktree, and writes `index` when all files are there.
fn is_complete(admin: &Path, path: &Path) -> bool {
    !admin.join("locked").exists()
        && admin.join("HEAD").is_file()
        && admin.join("index").is_file()
        && std::fs::symlink_metadata(path).is_ok_and(|kind| kind.is_dir())
}

/// Entries that a killed git left before it wrote where they belong.
fn remove_unfinished_entries(worktrees: &Path) {
    let Ok(entries) = std::fs::read_dir(worktrees) else { return };
    for entry in entries.flatten() {
        if !entry.path().join("gitdir").exists() {
            let _ = remove_tree(&entry.path());
        }
    }
}

/// Removes a file, a link (not what it points to) or a directory; directories without permissions are opened first.
fn remove_tree(path: &Path) -> io::Result<()> {
    let kind = match std::fs::symlink_metadata(path) {
        Ok(kind) => kind,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !kind.is_dir() {
        return std::fs::remove_file(path);
    }
    if std::fs::remove_dir_all(path).is_ok() {
        return Ok(());
    }
    open_directories(path)?;
    std::fs::remove_dir_all(path)
}

fn open_directories(dir: &Path) -> io::Result<()> {
    let mut waiting = vec![dir.to_owned()];
    while let Some(dir) = waiting.pop() {
        std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o700))?;
        for entry in std::fs::read_dir(&dir)? {
            let entry = entry?;
            // `file_type` does not follow links.
            if entry.file_type()?.is_dir() {
                waiting.push(entry.path());
            }
        }
    }
    Ok(())
}

fn branch_in_use(error: GitError, branch: &str) -> GitError {
    match error {
        GitError::Failed { stderr, .. }
            if stderr.contains("already used by worktree") || stderr.contains("already checked out") =>
        {
            GitError::BranchInUse(branch.to_owned())
        }
        GitError::Failed { stderr, .. } if stderr.contains("invalid reference") => {
            GitError::NotFound(format!("the branch or commit {branch}"))
        }
        other => other,
    }
}
