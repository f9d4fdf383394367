//! Where master keys come from.

use super::{MasterKey, VaultError};
use crate::config::Config;
use std::{
    fmt, fs,
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};
use syndarix_llm::Secret;

/// The file in the data directory.
const FILE: &str = "master-key";
/// Nobody but the process's own user.
const MODE: u32 = 0o600;
/// The permissions of others.
const OTHERS: u32 = 0o077;

pub(super) enum Source {
    /// `SYNDARIX_MASTER_KEY`.
    Environment(Secret),
    /// `SYNDARIX_MASTER_KEY_FILE`: the operator's.
    File(PathBuf),
    /// A file of our own, made when it is needed.
    DataDirectory(PathBuf),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment(_) => f.write_str("SYNDARIX_MASTER_KEY"),
            Self::File(path) | Self::DataDirectory(path) => write!(f, "the file {}", path.display()),
        }
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Source {
    pub(super) fn of(config: &Config) -> Self {
        match (&config.master_key, &config.master_key_file) {
            (Some(key), _) => Self::Environment(key.clone()),
            (None, Some(path)) => Self::File(path.clone()),
            (None, None) => Self::DataDirectory(config.data_dir.join(FILE)),
        }
    }

    /// The keys that there are now, the newest first.
    pub(super) fn read(&self) -> Result<Vec<MasterKey>, VaultError> {
        let text = match self {
            Self::Environment(keys) => keys.expose().to_owned(),
            Self::File(path) => read(path)?,
            Self::DataDirectory(path) if path.exists() => read(path)?,
            Self::DataDirectory(_) => return Ok(Vec::new()),
        };
        let words = text.split(|c: char| c == ',' || c.is_whitespace()).filter(|word| !word.is_empty());
        let keys: Option<Vec<MasterKey>> = words.map(MasterKey::of).collect();
        keys.filter(|keys| !keys.is_empty()).ok_or_else(|| VaultError::NoKey { from: self.to_string() })
    }

    /// Whether it may say something else by now.
    pub(super) fn may_change(&self) -> bool {
        !matches!(self, Self::Environment(_))
    }

    /// Makes the first key, where the file is ours. Whoever comes second has the key of the first.
    pub(super) fn make(&self) -> Result<Vec<MasterKey>, VaultError> {
        if let Self::DataDirectory(path) = self
            && !path.exists()
        {
            let made: Vec<MasterKey> = MasterKey::make().into_iter().collect();
            let fresh = fresh(path, &made).map_err(|source| refused(path, source))?;
            let linked = fs::hard_link(&fresh, path);
            let _removed = fs::remove_file(&fresh);
            linked
                .or_else(|error| if path.exists() { Ok(()) } else { Err(error) })
                .and_then(|()| settled(path))
                .map_err(|source| refused(path, source))?;
        }
        self.read()
    }

    /// Puts a new key before those that are in use, where the file is ours; otherwise the operator does.
    pub(super) fn prepend(&self) -> Result<(), VaultError> {
        let mut keys: Vec<MasterKey> = MasterKey::make().into_iter().collect();
        keys.extend(self.read()?);
        self.replace(&keys)
    }

    /// Writes what the file of ours holds from now on: the old or the new, whenever it is cut short.
    pub(super) fn replace(&self, keys: &[MasterKey]) -> Result<(), VaultError> {
        let Self::DataDirectory(path) = self else { return Ok(()) };
        let replaced =
            fresh(path, keys).and_then(|fresh| fs::rename(fresh, path)).and_then(|()| settled(path));
        replaced.map_err(|source| refused(path, source))
    }

    pub(super) fn is_ours(&self) -> bool {
        matches!(self, Self::DataDirectory(_))
    }
}

fn read(path: &Path) -> Result<String, VaultError> {
    let others = fs::metadata(path).map(|found| found.permissions().mode() & OTHERS);
    let text = fs::read_to_string(path).map_err(|source| refused(path, source))?;
    if others.is_ok_and(|others| others != 0) {
        tracing::warn!(path = %path.display(), "others on this machine may read the master key: chmod 600");
    }
    Ok(text)
}

/// A file beside the one that is meant, written to the disk.
fn fresh(path: &Path, keys: &[MasterKey]) -> io::Result<PathBuf> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    let fresh = path.with_extension(hex::encode(rand::random::<[u8; 8]>()));
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(MODE).open(&fresh)?;
    for key in keys {
        writeln!(file, "{}", key.text())?;
    }
    file.sync_all()?;
    Ok(fresh)
}

/// The directory's entry is on the disk, too: what is sealed from here on needs the key.
fn settled(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |directory| fs::File::open(directory)?.sync_all())
}

fn refused(path: &Path, source: io::Error) -> VaultError {
    VaultError::File { path: path.into(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(keys: &[MasterKey]) -> Vec<&str> {
        keys.iter().map(|key| &*key.id).collect()
    }

    #[test]
    fn a_key_is_made_once_for_its_owner_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("data").join(FILE);
        let source = Source::DataDirectory(path.clone());
        assert!(source.read().unwrap().is_empty() && !path.exists(), "not before it is needed");
        let made = source.make().unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, MODE);
        assert_eq!(ids(&made), ids(&source.make().unwrap()));
        source.prepend().unwrap();
        let both = source.read().unwrap();
        assert_eq!((both.len(), &*both[1].id), (2, &*made[0].id));
        source.replace(&both[..1]).unwrap();
        assert_eq!(ids(&source.read().unwrap()), ids(&both[..1]));
        let left: Vec<_> = fs::read_dir(path.parent().unwrap()).unwrap().collect();
        assert_eq!(left.len(), 1, "nothing else lies about: {left:?}");
    }

    #[test]
    fn several_keys_are_read_in_their_order_and_what_is_none_is_not_repeated() {
        let (one, two) = ("11".repeat(32), "22".repeat(32));
        let read = |text: &str| Source::Environment(Secret::new(text)).read();
        assert_eq!(read(&format!("{one},{two}\n")).unwrap().len(), 2);
        let error = read("hunter2").err().unwrap().to_string();
        assert!(error.contains("openssl rand") && !error.contains("hunter2"), "{error}");
    }
}
