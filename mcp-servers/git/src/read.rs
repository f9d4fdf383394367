//! `read_file`: a text file as it was at a revision.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use syndarix_git::{ObjectId, RepoPath};
use syndarix_mcp_kit::{ProjectCtx, ToolFailure, take_text};

use crate::state::{GitTools, commit_of, failure};

/// Largest file that can be paged through, in bytes.
const MAX_FILE_BYTES: usize = 4 * 1024 * 1024;
/// Bytes of text in one answer: JSON escapes still fit the kit's result budget.
const MAX_BYTES: usize = 48 * 1024;
/// Bytes looked at to tell text from binary, as git does.
const BINARY_PROBE: usize = 8000;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReadFile {
    path: String,
    revision: Option<String>,
    #[schemars(with = "Option<i64>")]
    offset: Option<usize>,
}

#[derive(Debug, Serialize)]
pub(crate) struct FileText {
    commit: ObjectId,
    text: String,
    total_bytes: usize,
    truncated: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_offset: Option<usize>,
}

pub(crate) async fn read_file(
    tools: GitTools,
    ctx: ProjectCtx,
    args: ReadFile,
) -> Result<FileText, ToolFailure> {
    let worktree = tools.worktree(&ctx)?;
    let path = RepoPath::new(args.path).map_err(failure)?;
    let commit = commit_of(&worktree, args.revision.as_deref()).await?;
    let file = worktree.file(&commit, &path, MAX_FILE_BYTES).await.map_err(failure)?;
    if file.truncated {
        return Err(ToolFailure::too_large(format!("{path} is larger than 4 MiB; it cannot be read here.")));
    }
    if file.bytes.iter().take(BINARY_PROBE).any(|byte| *byte == 0) {
        return Err(ToolFailure::invalid(format!("{path} is a binary file of {} bytes.", file.bytes.len())));
    }
    let text = String::from_utf8_lossy(&file.bytes);
    let piece = take_text(&text, args.offset.unwrap_or(0), MAX_BYTES);
    Ok(FileText {
        commit,
        text: piece.text,
        total_bytes: piece.total_bytes,
        truncated: piece.truncated,
        next_offset: piece.next_offset,
    })
}
