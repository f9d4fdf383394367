//! Keeps `.git` out of a command's hands where neither mounts nor another user do.
//!
//! Landlock grants a directory with everything below it, so an exception inside the worktree is not
//! possible. The entry is put beside the worktree while the command runs, where the command cannot
//! reach it, and put back afterwards, whatever the command has made in its place.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Puts `.git` back when dropped.
#[derive(Debug)]
pub(super) struct GitAside {
    place: PathBuf,
    aside: PathBuf,
}

impl GitAside {
    /// Takes `.git` away. Also mends what a crash in between has left.
    pub(super) fn take(worktree: &Path) -> io::Result<Option<Self>> {
        let (Some(parent), Some(name)) = (worktree.parent(), worktree.file_name()) else {
            return Err(io::Error::other("the worktree has no parent directory"));
        };
        let aside = parent.join(format!(".{}.git-aside", name.to_string_lossy()));
        let guard = Self { place: worktree.join(".git"), aside };
        if exists(&guard.aside) {
            guard.restore()?;
        }
        if !exists(&guard.place) {
            return Ok(None);
        }
        fs::rename(&guard.place, &guard.aside)?;
        Ok(Some(guard))
    }

    fn restore(&self) -> io::Result<()> {
        match fs::symlink_metadata(&self.place) {
            // Made by a command: not to be trusted with being a repository.
            Ok(planted) if planted.is_dir() => fs::remove_dir_all(&self.place)?,
            Ok(_) => fs::remove_file(&self.place)?,
            Err(_) => {}
        }
        fs::rename(&self.aside, &self.place)
    }
}

impl Drop for GitAside {
    fn drop(&mut self) {
        if let Err(fault) = self.restore() {
            tracing::error!(path = %self.aside.display(), %fault, "cannot put .git back into the worktree");
        }
    }
}

fn exists(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_planted_meanwhile_is_replaced_by_the_real_one() {
        let root = tempfile::tempdir().unwrap();
        let worktree = root.path().join("run");
        fs::create_dir_all(&worktree).unwrap();
        fs::write(worktree.join(".git"), "gitdir: real").unwrap();
        let guard = GitAside::take(&worktree).unwrap();
        assert!(!exists(&worktree.join(".git")));
        fs::create_dir_all(worktree.join(".git/hooks")).unwrap();
        drop(guard);
        assert_eq!(fs::read_to_string(worktree.join(".git")).unwrap(), "gitdir: real");
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_crash_in_between_is_mended_by_the_next_command() {
        let root = tempfile::tempdir().unwrap();
        let worktree = root.path().join("run");
        fs::create_dir_all(&worktree).unwrap();
        fs::write(worktree.join(".git"), "gitdir: real").unwrap();
        std::mem::forget(GitAside::take(&worktree).unwrap());
        fs::write(worktree.join(".git"), "gitdir: planted").unwrap();
        drop(GitAside::take(&worktree).unwrap());
        assert_eq!(fs::read_to_string(worktree.join(".git")).unwrap(), "gitdir: real");
    }

    #[test]
    fn a_worktree_without_git_is_left_as_it_is() {
        let root = tempfile::tempdir().unwrap();
        assert!(GitAside::take(root.path()).unwrap().is_none());
    }
}
