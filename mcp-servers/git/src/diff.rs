//! `diff`: what the worktree changed, with the files that git does not know yet.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use syndarix_git::{DiffLimits, FileChange, GitError, ObjectId, RepoPath, Worktree};
use syndarix_mcp_kit::{ProjectCtx, ToolFailure, take_text};

use crate::stage::ScratchIndex;
use crate::state::{GitTools, default_branch, failure};

/// Bytes of text in one answer: JSON escapes still fit the kit's result budget.
pub(crate) const MAX_PATCH_BYTES: usize = 40 * 1024;
/// Most bytes of text that can be paged through.
const MAX_WHOLE_PATCH: usize = 4 * 1024 * 1024;
/// Most files listed: with long paths they still fit the result beside the text.
const MAX_FILES: usize = 100;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DiffArguments {
    #[schemars(with = "Option<String>")]
    since: Option<Since>,
    paths: Option<Vec<String>>,
    #[schemars(with = "Option<i64>")]
    offset: Option<usize>,
}

/// A plain text in the published schema: the description names both.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Since {
    Head,
    DefaultBranch,
}

/// A diff in an answer.
#[derive(Debug, Serialize)]
pub(crate) struct DiffPage {
    from: ObjectId,
    files: Vec<FileChange>,
    files_truncated: bool,
    patch: String,
    truncated: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_offset: Option<usize>,
}

pub(crate) async fn diff(
    tools: GitTools,
    ctx: ProjectCtx,
    args: DiffArguments,
) -> Result<DiffPage, ToolFailure> {
    let worktree = tools.worktree(&ctx)?;
    let paths = parse_paths(args.paths.as_deref())?;
    let head = worktree.head().await.map_err(failure)?;
    let from = match args.since.unwrap_or(Since::Head) {
        Since::Head => head,
        Since::DefaultBranch => {
            let default = default_branch(&worktree).await?;
            let base = worktree.merge_base(&default.head, &head).await.map_err(failure)?;
            base.ok_or_else(|| failure(GitError::UnrelatedHistories))?
        }
    };
    // An index of its own, in which new files are announced: git's diff leaves them out otherwise.
    let scratch = ScratchIndex::copy_of(&worktree)?;
    scratch.announce_new_files().await?;
    page(scratch.worktree(), &from, None, args.offset, &paths).await
}

/// One page of the diff from `from` to `to`, or to the worktree's files.
pub(crate) async fn page(
    worktree: &Worktree,
    from: &ObjectId,
    to: Option<&ObjectId>,
    offset: Option<usize>,
    paths: &[RepoPath],
) -> Result<DiffPage, ToolFailure> {
    let limits =
        DiffLimits { max_patch_bytes: MAX_WHOLE_PATCH, max_files: MAX_FILES, ..DiffLimits::default() };
    let diff = worktree.diff(from, to, &limits, paths).await.map_err(failure)?;
    let piece = take_text(&diff.patch, offset.unwrap_or(0), MAX_PATCH_BYTES);
    Ok(DiffPage {
        from: from.clone(),
        files: diff.files,
        files_truncated: diff.files_truncated,
        truncated: piece.truncated || diff.patch_truncated,
        next_offset: piece.next_offset,
        patch: piece.text,
    })
}

/// The checked form of paths from a caller.
pub(crate) fn parse_paths(paths: Option<&[String]>) -> Result<Vec<RepoPath>, ToolFailure> {
    let all = || paths.unwrap_or_default().iter();
    // The whole worktree, said in the ways models say it, is no restriction.
    if all().any(|path| matches!(path.as_str(), "." | "./" | "")) {
        return Ok(Vec::new());
    }
    all().map(|path| RepoPath::new(path.as_str()).map_err(failure)).collect()
}
