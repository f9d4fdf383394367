//! One command at a time in a worktree, in all processes of Syndarix, living and dead.
//!
//! Two files lie beside the worktree while a command runs, where no command can get: one that the server holds
//! locked, so that nobody else starts another; and one that every process of the command has open, so that whoever
//! gets the lock after a server that was killed finds what that one has left, and ends it first.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Write as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use super::{SandboxError, leftover};

/// A worktree that is ours for one command.
#[derive(Debug)]
pub(super) struct Claim {
    lock_path: PathBuf,
    mark_path: PathBuf,
    _lock: File,
}

impl Claim {
    /// Takes the worktree, unless a command runs in it.
    pub(super) fn take(worktree: &Path) -> Result<Self, SandboxError> {
        let (Some(parent), Some(name)) = (worktree.parent(), worktree.file_name()) else {
            return Err(io::Error::other("the worktree has no parent directory").into());
        };
        let beside = |kind: &str| parent.join(format!(".{}.{kind}", name.to_string_lossy()));
        let lock_path = beside("lock");
        loop {
            let lock = open(&lock_path)?;
            match lock.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(SandboxError::Busy),
                Err(TryLockError::Error(fault)) => return Err(fault.into()),
            }
            // Its last owner may have removed it between our opening and locking it.
            if fs::metadata(&lock_path).is_ok_and(|now| is_same(&now, &lock)) {
                return Ok(Self { lock_path, mark_path: beside("command"), _lock: lock });
            }
        }
    }

    /// Ends what a server that was killed has left in this worktree, then marks it for the next command, whose
    /// private directory is `scratch`. The file is for all of the command's processes to have open.
    pub(super) fn mark(&self, scratch: &Path) -> io::Result<File> {
        match fs::read_to_string(&self.mark_path) {
            Ok(left) => leftover::end(left.trim(), Some(&self.mark_path)),
            Err(fault) if fault.kind() == io::ErrorKind::NotFound => {}
            Err(fault) => return Err(fault),
        }
        let mut mark = open(&self.mark_path)?;
        mark.set_len(0)?;
        writeln!(mark, "{}", leftover::variable(scratch))?;
        // Commands get one that cannot be written through.
        File::open(&self.mark_path)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        for path in [&self.mark_path, &self.lock_path] {
            if let Err(fault) = fs::remove_file(path)
                && fault.kind() != io::ErrorKind::NotFound
            {
                tracing::warn!(path = %path.display(), %fault, "cannot remove the mark of a command");
            }
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    File::options().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

fn is_same(meta: &fs::Metadata, file: &File) -> bool {
    file.metadata().is_ok_and(|own| (own.dev(), own.ino()) == (meta.dev(), meta.ino()))
}
