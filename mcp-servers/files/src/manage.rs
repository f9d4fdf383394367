//! `move_path`, `delete_path`, `stat`.

use std::time::UNIX_EPOCH;

use cap_fs_ext::DirExt;
use cap_std::fs::Metadata;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use syndarix_mcp_kit::{Place, ProjectCtx, RelPath, ToolFailure, is_git_name, path_failure};

use crate::{
    locks::Locks,
    text::{self, MAX_FILE_BYTES, check_expected},
};

/// Most entries that go with one recursive deletion or move; more is more likely a mistake.
const MAX_ENTRIES: usize = 20_000;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct MovePath {
    pub(crate) from: String,
    pub(crate) to: String,
    /// Replace a file that is there.
    pub(crate) overwrite: Option<bool>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Moved {
    pub(crate) from: String,
    pub(crate) to: String,
}

pub(crate) async fn move_path(locks: Locks, ctx: ProjectCtx, args: MovePath) -> Result<Moved, ToolFailure> {
    let (from, to) = (RelPath::parse(&args.from)?, RelPath::parse(&args.to)?);
    let overwrite = args.overwrite.unwrap_or(false);
    ctx.blocking(move |ctx| {
        let worktree = ctx.worktree()?;
        let _writer = locks.of(ctx.run());
        let source = worktree.place(&from, false)?;
        let metadata = source.parent.symlink_metadata(&source.name).map_err(|e| path_failure(&e, &from))?;
        if metadata.is_dir() {
            if to.as_path().starts_with(from.as_path()) {
                return Err(ToolFailure::invalid("A directory cannot be moved into itself."));
            }
            refuse_repository(ctx, &source, &from)?;
        }
        if let Some(parent) = to.parent() {
            worktree.create_dirs(&parent)?;
        }
        let target = worktree.place(&to, false)?;
        if !overwrite && target.parent.symlink_metadata(&target.name).is_ok() {
            return Err(ToolFailure::conflict(format!(
                "`{to}` exists already; set overwrite to replace it."
            )));
        }
        ctx.check_cancelled()?;
        let moved = source.parent.rename(&source.name, &target.parent, &target.name);
        moved.map_err(|e| path_failure(&e, &to))?;
        Ok(Moved { from: from.to_string(), to: to.to_string() })
    })
    .await
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeletePath {
    pub(crate) path: String,
    /// Delete a directory with all that is in it.
    pub(crate) recursive: Option<bool>,
    /// Hash from read_file; files only.
    pub(crate) expected_hash: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Deleted {
    pub(crate) path: String,
    pub(crate) entries: usize,
}

pub(crate) async fn delete_path(
    locks: Locks,
    ctx: ProjectCtx,
    args: DeletePath,
) -> Result<Deleted, ToolFailure> {
    let path = RelPath::parse(&args.path)?;
    ctx.blocking(move |ctx| {
        let worktree = ctx.worktree()?;
        let _writer = locks.of(ctx.run());
        let place = worktree.place(&path, false)?;
        let metadata = place.parent.symlink_metadata(&place.name).map_err(|e| path_failure(&e, &path))?;
        if let Some(expected) = args.expected_hash.as_deref() {
            let (bytes, _) = text::read_bytes(&worktree, &path)?;
            check_expected(Some(expected), Some(&text::hash(&bytes)), &path)?;
        }
        let fail = |e: std::io::Error| path_failure(&e, &path);
        let mut entries = 1;
        if !metadata.is_dir() {
            place.parent.remove_file(&place.name).map_err(fail)?;
        } else if args.recursive.unwrap_or(false) {
            entries += refuse_repository(ctx, &place, &path)?;
            ctx.check_cancelled()?;
            place.parent.remove_dir_all(&place.name).map_err(fail)?;
        } else {
            place.parent.remove_dir(&place.name).map_err(fail)?;
        }
        Ok(Deleted { path: path.to_string(), entries })
    })
    .await
}

/// Counts what is under a directory, and refuses one that holds a repository's own files.
fn refuse_repository(ctx: &ProjectCtx, place: &Place, path: &RelPath) -> Result<usize, ToolFailure> {
    let fail = |e: std::io::Error| path_failure(&e, path);
    let mut open = vec![place.parent.open_dir_nofollow(&place.name).map_err(fail)?];
    let mut count = 0;
    while let Some(dir) = open.pop() {
        ctx.check_cancelled()?;
        for entry in dir.entries().map_err(fail)? {
            let entry = entry.map_err(fail)?;
            count += 1;
            if is_git_name(&entry.file_name()) {
                return Err(ToolFailure::forbidden(format!(
                    "`{path}` holds a `.git`, which is out of reach of this tool."
                )));
            }
            if count > MAX_ENTRIES {
                return Err(ToolFailure::too_large(format!(
                    "`{path}` holds more than {MAX_ENTRIES} entries; go in parts."
                )));
            }
            if entry.file_type().map_err(fail)?.is_dir() {
                open.push(dir.open_dir_nofollow(entry.file_name()).map_err(fail)?);
            }
        }
    }
    Ok(count)
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Stat {
    path: String,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Status {
    /// file, directory, symlink or other.
    kind: &'static str,
    bytes: u64,
    /// Unix seconds.
    modified: u64,
    executable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    hash: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    link_target: Option<String>,
}

pub(crate) async fn stat(_: Locks, ctx: ProjectCtx, args: Stat) -> Result<Status, ToolFailure> {
    let path = RelPath::parse(&args.path)?;
    ctx.blocking(move |ctx| {
        let worktree = ctx.worktree()?;
        if path.is_root() {
            let metadata = worktree.dir().dir_metadata().map_err(|e| path_failure(&e, &path))?;
            return Ok(status(&metadata));
        }
        let place = worktree.place(&path, false)?;
        let metadata = place.parent.symlink_metadata(&place.name).map_err(|e| path_failure(&e, &path))?;
        let mut status = status(&metadata);
        if metadata.is_symlink() {
            let target = place.parent.read_link_contents(&place.name).map_err(|e| path_failure(&e, &path))?;
            status.link_target = Some(target.to_string_lossy().into_owned());
        } else if metadata.is_file() && metadata.len() <= MAX_FILE_BYTES {
            let (bytes, _) = text::read_bytes(&worktree, &path)?;
            status.hash = Some(text::hash(&bytes));
        }
        Ok(status)
    })
    .await
}

fn status(metadata: &Metadata) -> Status {
    let kind = if metadata.is_dir() {
        "directory"
    } else if metadata.is_symlink() {
        "symlink"
    } else if metadata.is_file() {
        "file"
    } else {
        "other"
    };
    let modified = metadata.modified().ok().and_then(|at| at.into_std().duration_since(UNIX_EPOCH).ok());
    Status {
        kind,
        bytes: metadata.len(),
        modified: modified.map_or(0, |age| age.as_secs()),
        executable: metadata.is_file() && executable(metadata),
        hash: None,
        link_target: None,
    }
}

#[cfg(unix)]
fn executable(metadata: &Metadata) -> bool {
    use cap_std::fs::PermissionsExt;
    metadata.permissions().mode() & 0o111 != 0
}

#[cfg(not(unix))]
fn executable(_: &Metadata) -> bool {
    false
}
