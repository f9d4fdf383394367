//! A copy of the worktree's index to prepare something in, so that the real one changes at once or not at all.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use syndarix_git::{Call, FileLock, GitError, Input, ObjectId, Worktree};
use syndarix_mcp_kit::ToolFailure;

use crate::state::{failure, refusal};

/// Makes the names of the copies of this process different.
static COUNTER: AtomicU64 = AtomicU64::new(0);

/// A copied index; removed when dropped.
pub(crate) struct ScratchIndex {
    worktree: Worktree,
    file: PathBuf,
}

impl ScratchIndex {
    /// Copies the index of `worktree`.
    pub(crate) fn copy_of(worktree: &Worktree) -> Result<Self, ToolFailure> {
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let name = format!("syndarix-index-{}-{number}", std::process::id());
        let file = worktree.admin_dir().join(name);
        let scratch = Self { worktree: worktree.with_index(&file), file };
        match copy_with_time(&worktree.admin_dir().join("index"), &scratch.file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(failure(GitError::io("copying the index")(error)))
            }
            _ => Ok(scratch),
        }
    }

    /// The worktree, seen through the copied index.
    pub(crate) fn worktree(&self) -> &Worktree {
        &self.worktree
    }

    /// Sets the copy to what `commit` holds, keeping what it knows of unchanged files.
    pub(crate) async fn reset_to(&self, commit: &ObjectId) -> Result<(), ToolFailure> {
        self.run(self.call("read-tree").flags(&["--reset"]).operand(commit.as_str())).await.map(drop)
    }

    /// Lets git know of new files without storing their contents.
    pub(crate) async fn announce_new_files(&self) -> Result<(), ToolFailure> {
        let list = self.call("ls-files").flags(&["--others", "--exclude-standard", "-z"]);
        let mut names = self.worktree.run(list).await.map_err(failure)?.stdout;
        // A name with a slash at its end is a repository inside the worktree.
        names = names
            .split_inclusive(|b| *b == 0)
            .filter(|name| !name.ends_with(b"/\0"))
            .flatten()
            .copied()
            .collect();
        if names.is_empty() {
            return Ok(());
        }
        let add = self
            .call("add")
            .flags(&["--intent-to-add", "--ignore-errors", "--pathspec-from-file=-", "--pathspec-file-nul"])
            // 1: a file went away or cannot be read; the others were added.
            .accept(&[0, 1])
            .input(Input::Bytes(names));
        self.run(add).await.map(drop)
    }

    /// Takes the files as they are now into the copy; those that are gone are removed from it.
    pub(crate) async fn stage(&self, paths: impl IntoIterator<Item = &str>) -> Result<(), ToolFailure> {
        let list: Vec<u8> = paths.into_iter().flat_map(|path| path.bytes().chain([0])).collect();
        // `git add --all` would look into submodules by running git there, with their own configuration.
        let call = self
            .call("update-index")
            .flags(&["-z", "--add", "--remove", "--replace", "--stdin"])
            .input(Input::Bytes(list));
        self.run(call).await.map(drop)
    }

    /// The tree of the copy.
    pub(crate) async fn write_tree(&self) -> Result<ObjectId, ToolFailure> {
        ObjectId::new(self.run(self.call("write-tree")).await?.trim()).map_err(failure)
    }

    /// Makes the copy the worktree's index.
    pub(crate) fn install(&self, _held: &FileLock) -> Result<(), ToolFailure> {
        std::fs::rename(&self.file, self.worktree.admin_dir().join("index"))
            .map_err(|error| failure(GitError::io("replacing the index")(error)))
    }

    /// A command line that works on the copy.
    pub(crate) fn call(&self, verb: &'static str) -> Call {
        Call::new(verb, self.worktree.place()).timeout(crate::SLOW)
    }

    /// Runs it; git's refusals are for the model.
    pub(crate) async fn run(&self, call: Call) -> Result<String, ToolFailure> {
        let output = self.worktree.run(call).await.map_err(|error| refusal(error, &self.worktree))?;
        Ok(output.text())
    }
}

impl Drop for ScratchIndex {
    fn drop(&mut self) {
        remove(&self.file);
        let mut lock = self.file.clone().into_os_string();
        lock.push(".lock");
        remove(Path::new(&lock));
    }
}

/// With the time of the original: git takes a file for unchanged when its time and size are as the index has them and
/// the time is before the index's own; a newer copy would hide changes made in the same instant as the original.
fn copy_with_time(from: &Path, to: &Path) -> std::io::Result<()> {
    let time = std::fs::metadata(from)?.modified()?;
    std::fs::copy(from, to)?;
    std::fs::File::options().write(true).open(to)?.set_modified(time)
}

fn remove(file: &Path) {
    // After `install`, and without a killed git, there is nothing to remove.
    let _ = std::fs::remove_file(file);
}
