//! A lock between processes that a git child can inherit.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::{GitError, Input};

/// Wait between two tries for a lock: short against the milliseconds of a ref update.
const RETRY: Duration = Duration::from_millis(10);

/// An exclusive lock on a file, free again when this value, and every git child and thread that shares it, are gone.
///
/// The kernel keeps it per opened file, so it excludes other tasks of this process as well as other processes, and
/// a killed process leaves nothing to clean up.
#[derive(Debug)]
pub struct FileLock {
    file: File,
    path: PathBuf,
}

impl FileLock {
    /// Waits for the lock, at most for `limit`. The file is made if missing and stays.
    pub async fn acquire(path: &Path, limit: Duration) -> Result<Self, GitError> {
        let failed = || GitError::io(format!("locking {}", path.display()));
        let file = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(path)
            .map_err(failed())?;
        let start = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self { file, path: path.to_owned() }),
                Err(TryLockError::WouldBlock) if start.elapsed() < limit => tokio::time::sleep(RETRY).await,
                Err(TryLockError::WouldBlock) => {
                    return Err(GitError::LockBusy { path: path.display().to_string(), limit });
                }
                Err(TryLockError::Error(error)) => return Err(failed()(error)),
            }
        }
    }

    /// The standard input by which a git child inherits the lock.
    pub fn handed_on(&self) -> Result<Input, GitError> {
        self.shared().map(Input::Lock)
    }

    /// Holds the lock as well, for work that may go on when this value is gone.
    pub(crate) fn shared(&self) -> Result<File, GitError> {
        self.file.try_clone().map_err(GitError::io(format!("sharing the lock {}", self.path.display())))
    }
}
