//! `status`: branch and changed files.

use std::collections::BTreeSet;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use syndarix_git::{Call, GitError, ObjectId, Worktree};
use syndarix_mcp_kit::{ProjectCtx, ToolFailure};

use crate::state::{GitTools, default_branch, failure};

/// Most changed files in one answer.
const MAX_FILES: usize = 500;
/// A temporary file that is older belongs to no write that is still under way.
const LONGEST_WRITE: Duration = Duration::from_secs(10 * 60);
/// Most bytes of git's list; a worktree with more changes has files that should be ignored.
const MAX_LIST_BYTES: usize = 4 * 1024 * 1024;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NoArguments {}

#[derive(Debug, Serialize)]
pub(crate) struct Status {
    branch: Option<String>,
    head: ObjectId,
    default_branch: String,
    ahead: u64,
    behind: u64,
    merging: bool,
    conflicts: Vec<String>,
    changes: Vec<Change>,
    truncated: bool,
}

/// A file that differs from HEAD.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Change {
    pub(crate) path: String,
    pub(crate) kind: ChangeKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ChangeKind {
    New,
    Modified,
    Deleted,
    Conflict,
    /// A directory with a repository of its own.
    NestedRepository,
}

pub(crate) async fn status(tools: GitTools, ctx: ProjectCtx, _: NoArguments) -> Result<Status, ToolFailure> {
    let worktree = tools.worktree(&ctx)?;
    let default = default_branch(&worktree).await?;
    let head = worktree.head().await.map_err(failure)?;
    let (behind, ahead) = worktree.distance(&default.head, &head).await.map_err(failure)?;
    let mut changes = changes(&worktree).await.map_err(failure)?;
    let conflicts: BTreeSet<String> =
        changes.iter().filter(|c| c.kind == ChangeKind::Conflict).map(|c| c.path.clone()).collect();
    let truncated = changes.len() > MAX_FILES;
    changes.truncate(MAX_FILES);
    Ok(Status {
        branch: worktree.current_branch().await.map_err(failure)?.map(String::from),
        head,
        default_branch: default.branch.to_string(),
        ahead,
        behind,
        merging: worktree.admin_dir().join("MERGE_HEAD").exists(),
        conflicts: conflicts.into_iter().collect(),
        changes,
        truncated,
    })
}

/// The files that differ from HEAD, new ones included, ignored ones not.
pub(crate) async fn changes(worktree: &Worktree) -> Result<Vec<Change>, GitError> {
    let call = Call::new("status", worktree.place())
        .flags(&[
            "--porcelain=v2",
            "-z",
            "--no-ahead-behind",
            "--no-renames",
            "--untracked-files=all",
            "--ignore-submodules=all",
        ])
        .timeout(crate::SLOW)
        .max_output(MAX_LIST_BYTES);
    let output = worktree.run(call).await?;
    let mut changes = output.fields().map(|entry| parse(&entry)).collect::<Result<Vec<_>, _>>()?;
    changes.retain(|change| {
        let temporary = change.kind == ChangeKind::New && is_temporary(&change.path);
        if temporary {
            remove_if_old(&worktree.path().join(&change.path));
        }
        !temporary
    });
    Ok(changes)
}

/// What a write of the file server leaves when its process is killed: `.syndarix-<process>-<number>.tmp`.
fn is_temporary(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let middle = name.strip_prefix(".syndarix-").and_then(|rest| rest.strip_suffix(".tmp"));
    middle.and_then(|middle| middle.split_once('-')).is_some_and(|(process, number)| {
        [process, number]
            .iter()
            .all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
    })
}

/// A younger one may be about to become a file.
fn remove_if_old(path: &std::path::Path) {
    let age = std::fs::symlink_metadata(path).and_then(|file| file.modified()).ok();
    if age.and_then(|at| at.elapsed().ok()).is_some_and(|age| age > LONGEST_WRITE) {
        // It is passed over again otherwise.
        let _ = std::fs::remove_file(path);
    }
}

/// One entry of `--porcelain=v2`, see git-status(1).
fn parse(entry: &str) -> Result<Change, GitError> {
    let bad = || GitError::Unexpected { verb: "status", detail: "an entry cannot be read".into() };
    let (kind, path) = match entry.split_at_checked(2).ok_or_else(bad)? {
        ("? ", path) if path.ends_with('/') => (ChangeKind::NestedRepository, path),
        ("? ", path) => (ChangeKind::New, path),
        ("1 ", rest) => {
            let path = rest.splitn(8, ' ').nth(7).ok_or_else(bad)?;
            let kind = match rest.as_bytes() {
                [_, b'D', ..] | [b'D', b'.', ..] => ChangeKind::Deleted,
                [b'A', ..] => ChangeKind::New,
                _ => ChangeKind::Modified,
            };
            (kind, path)
        }
        ("u ", rest) => (ChangeKind::Conflict, rest.splitn(10, ' ').nth(9).ok_or_else(bad)?),
        _ => return Err(bad()),
    };
    Ok(Change { path: path.to_owned(), kind })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_write_left_is_known_by_its_name() {
        for left in [".syndarix-1-2.tmp", "src/.syndarix-4711-0.tmp"] {
            assert!(is_temporary(left), "{left}");
        }
        for other in [
            ".syndarix-.tmp",
            ".syndarix-1.tmp",
            ".syndarix-a-1.tmp",
            "x.syndarix-1-2.tmp",
            ".syndarix-1-2.tmp/x",
        ] {
            assert!(!is_temporary(other), "{other}");
        }
    }

    #[test]
    fn entries_are_read_with_spaces_in_their_paths() {
        let change = |entry| parse(entry).map(|c| (c.kind, c.path)).unwrap();
        assert_eq!(change("? a b"), (ChangeKind::New, "a b".into()));
        assert_eq!(change("? sub/"), (ChangeKind::NestedRepository, "sub/".into()));
        assert_eq!(change("1 .M N... 100644 100644 100644 a b x y"), (ChangeKind::Modified, "x y".into()));
        assert_eq!(change("1 .D N... 100644 100644 000000 a b x"), (ChangeKind::Deleted, "x".into()));
        let conflict = "u UU N... 100644 100644 100644 100644 a b c x y";
        assert_eq!(change(conflict), (ChangeKind::Conflict, "x y".into()));
        assert!(parse("").is_err() && parse("1 .M").is_err());
    }
}
