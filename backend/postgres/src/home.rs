//! The home of the server: one folder with `pgdata`, the logs and the lock.
//!
//! The home belongs to the caller and the server's user may only walk through it: root opens logs and the lock in
//! it, which must not be links that a less trusted user put there. `pgdata` belongs to the server's user.

use crate::Error;
use crate::account::Account;
use std::fs::{self, File, TryLockError};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown};
use std::path::{Path, PathBuf};

pub(crate) fn pgdata(data_dir: &Path) -> PathBuf {
    data_dir.join("pgdata")
}

/// The major version that wrote the data, `None` when there is no data.
pub(crate) fn major_version(pgdata: &Path) -> Option<u32> {
    fs::read_to_string(pgdata.join("PG_VERSION")).ok()?.trim().parse().ok()
}

/// The home, held exclusively until dropped.
#[derive(Debug)]
pub(crate) struct Home {
    dir: PathBuf,
    _lock: Lock,
}

impl Home {
    /// Creates the home when missing and takes its lock.
    pub(crate) fn open(data_dir: &Path) -> Result<Self, Error> {
        create(data_dir)?;
        // Links resolved: the same data reached on two ways must look the same in the process list.
        let dir = data_dir.canonicalize().map_err(Error::io("find", data_dir))?;
        let lock = lock(&dir)?;
        Ok(Self { dir, _lock: lock })
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn pgdata(&self) -> PathBuf {
        pgdata(&self.dir)
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.dir.join("postgres.log")
    }

    /// A short name for this home, the same at every start: device and inode.
    pub(crate) fn id(&self) -> Result<String, Error> {
        let meta = fs::metadata(&self.dir).map_err(Error::io("look at", &self.dir))?;
        Ok(format!("{:x}-{:x}", meta.dev(), meta.ino()))
    }

    /// Makes sure that the server's user can get at the data and owns it.
    pub(crate) fn check_access(&self, account: &Account) -> Result<(), Error> {
        if let Some(blocked) = account.blocked_at(&self.dir) {
            return Err(Error::Unreachable { path: self.dir.clone(), blocked, user: account.name.clone() });
        }
        let pgdata = self.pgdata();
        let Ok(meta) = fs::symlink_metadata(&pgdata) else { return Ok(()) };
        if meta.uid() == account.uid {
            return Ok(());
        }
        if account.step_down {
            return hand_over(&pgdata, account).map_err(Error::io("hand over", pgdata));
        }
        Err(Error::Owner { path: pgdata, owner: meta.uid(), uid: account.uid })
    }
}

/// Gives a tree (restored by root, say) to the server's user.
pub(crate) fn hand_over(path: &Path, account: &Account) -> std::io::Result<()> {
    lchown(path, Some(account.uid), Some(account.gid))?;
    if fs::symlink_metadata(path)?.is_dir() {
        for entry in fs::read_dir(path)? {
            hand_over(&entry?.path(), account)?;
        }
    }
    Ok(())
}

fn create(data_dir: &Path) -> Result<(), Error> {
    // Only what we make ourselves gets its mode from us.
    let missing: Vec<&Path> = data_dir.ancestors().take_while(|path| !path.exists()).collect();
    let mode = if rustix::process::geteuid().is_root() { 0o711 } else { 0o700 };
    for path in missing.into_iter().rev() {
        match fs::create_dir(path) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => continue,
            result => result.map_err(Error::io("create", path))?,
        }
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(Error::io("open up", path))?;
    }
    Ok(())
}

/// A home's lock. It is given back in so many words: a child that another thread is just starting has the descriptor
/// until it becomes another program, and would hold the lock for as long.
#[derive(Debug)]
struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing gives it back as well, if later.
        let _ = self.0.unlock();
    }
}

fn lock(dir: &Path) -> Result<Lock, Error> {
    let path = dir.join("lock");
    let mut file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(Error::io("open", &path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let pid = file.read_to_string(&mut holder).ok().map(|_| holder.trim().to_owned());
            let pid = pid.filter(|pid| !pid.is_empty()).unwrap_or_else(|| "(unknown)".into());
            return Err(Error::InUse { data_dir: dir.to_owned(), pid });
        }
        Err(TryLockError::Error(error)) => return Err(Error::io("lock", path)(error)),
    }
    file.set_len(0)
        .and_then(|()| writeln!(file, "{}", std::process::id()))
        .map_err(Error::io("write our process number to", path))?;
    Ok(Lock(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_home_is_held_by_one_at_a_time_and_says_by_whom() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::open(&dir.path().join("a/b")).unwrap();
        let message = Home::open(&dir.path().join("a/b")).unwrap_err().to_string();
        assert!(message.starts_with(&format!("process {} already runs", std::process::id())), "{message}");
        drop(home);
        Home::open(&dir.path().join("a/b")).unwrap();
    }
}
