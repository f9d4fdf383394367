//! Whole text files: reading them within limits, their hash, and replacing them in one step.

use std::{
    ffi::OsString,
    io::{Read, Write},
    sync::atomic::{AtomicU64, Ordering},
};

use cap_fs_ext::{FollowSymlinks, OpenOptionsFollowExt};
use cap_std::fs::{Dir, File, OpenOptions, Permissions};
use sha2::{Digest, Sha256};
use syndarix_mcp_kit::{Place, RelPath, ToolFailure, Worktree, path_failure};

/// Largest file that is read or written, in bytes: no source file comes near it.
pub(crate) const MAX_FILE_BYTES: u64 = 2 * 1024 * 1024;
/// Characters of a hash: 64 bits, against mistakes, not against forgery.
const HASH_CHARS: usize = 16;
/// What `expected_hash` says for "there must be no such file yet".
pub(crate) const NO_FILE: &str = "none";

static NEXT_TEMPORARY: AtomicU64 = AtomicU64::new(0);

/// The hash by which an edit says what it has seen.
pub(crate) fn hash(bytes: &[u8]) -> String {
    let mut text = hex::encode(Sha256::digest(bytes));
    text.truncate(HASH_CHARS);
    text
}

/// Reads a whole file, as bytes.
pub(crate) fn read_bytes(worktree: &Worktree, path: &RelPath) -> Result<(Vec<u8>, Permissions), ToolFailure> {
    let (file, metadata) = worktree.open_file(path)?;
    let bytes = read_bounded(file, path)?;
    Ok((bytes, metadata.permissions()))
}

/// Reads an open file to its end, which may be further than its size said when it was opened.
pub(crate) fn read_bounded(file: File, path: &RelPath) -> Result<Vec<u8>, ToolFailure> {
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(|e| path_failure(&e, path))?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(ToolFailure::too_large(format!("`{path}` is larger than {MAX_FILE_BYTES} bytes.")));
    }
    Ok(bytes)
}

/// Reads a whole file as UTF-8.
pub(crate) fn read_text(worktree: &Worktree, path: &RelPath) -> Result<(String, Permissions), ToolFailure> {
    let (bytes, permissions) = read_bytes(worktree, path)?;
    let size = bytes.len();
    if bytes.contains(&0) {
        return Err(ToolFailure::invalid(format!(
            "`{path}` is a binary file of {size} bytes; it has no text."
        )));
    }
    let text = String::from_utf8(bytes)
        .map_err(|_| ToolFailure::invalid(format!("`{path}` ({size} bytes) is not UTF-8 text.")))?;
    Ok((text, permissions))
}

/// Compares what the caller has seen with what is there now.
pub(crate) fn check_expected(
    expected: Option<&str>,
    now: Option<&str>,
    path: &RelPath,
) -> Result<(), ToolFailure> {
    let Some(expected) = expected else { return Ok(()) };
    if expected == now.unwrap_or(NO_FILE) {
        return Ok(());
    }
    let sentence = match now {
        Some(_) if expected == NO_FILE => format!("`{path}` exists already; read it, then decide."),
        Some(_) => format!("`{path}` has changed since you read it; read it again, then redo your change."),
        None => format!("`{path}` does not exist any more; expect \"{NO_FILE}\" to create it."),
    };
    Err(ToolFailure::conflict(sentence))
}

/// Puts `bytes` in the place of whatever file was there: a reader sees the old or the new, never half.
pub(crate) fn replace(
    place: &Place,
    path: &RelPath,
    bytes: &[u8],
    permissions: Option<Permissions>,
) -> Result<(), ToolFailure> {
    let temporary = temporary_name();
    let written = write_new(&place.parent, &temporary, bytes, permissions)
        .and_then(|()| place.parent.rename(&temporary, &place.parent, &place.name));
    written.map_err(|fault| {
        // Best effort: the name is ours alone, and a left-over is a nuisance, not a danger.
        let _ = place.parent.remove_file(&temporary);
        path_failure(&fault, path)
    })
}

fn write_new(
    dir: &Dir,
    name: &OsString,
    bytes: &[u8],
    permissions: Option<Permissions>,
) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).follow(FollowSymlinks::No);
    let mut file = dir.open_with(name, &options)?;
    file.write_all(bytes)?;
    if let Some(permissions) = permissions {
        file.set_permissions(permissions)?;
    }
    // On the disk before the name points to it, or a crash could leave an empty file.
    file.sync_data()
}

fn temporary_name() -> OsString {
    let n = NEXT_TEMPORARY.fetch_add(1, Ordering::Relaxed);
    format!(".syndarix-{}-{n}.tmp", std::process::id()).into()
}
