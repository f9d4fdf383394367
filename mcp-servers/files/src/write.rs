//! `write_file`: a whole file at once.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use syndarix_mcp_kit::{FailureCode, ProjectCtx, RelPath, ToolFailure, Worktree};

use crate::{
    locks::Locks,
    text::{self, MAX_FILE_BYTES, check_expected},
};

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct WriteFile {
    pub(crate) path: String,
    pub(crate) content: String,
    /// Hash from read_file, or "none" when the file must be new.
    pub(crate) expected_hash: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Written {
    pub(crate) path: String,
    pub(crate) created: bool,
    pub(crate) hash: String,
}

pub(crate) async fn write_file(
    locks: Locks,
    ctx: ProjectCtx,
    args: WriteFile,
) -> Result<Written, ToolFailure> {
    let path = RelPath::parse(&args.path)?;
    if args.content.len() as u64 > MAX_FILE_BYTES {
        return Err(ToolFailure::too_large(format!("The content is larger than {MAX_FILE_BYTES} bytes.")));
    }
    ctx.blocking(move |ctx| {
        let worktree = ctx.worktree()?;
        let _writer = locks.of(ctx.run());
        ctx.check_cancelled()?;
        write(&worktree, &path, args.content.as_bytes(), args.expected_hash.as_deref())
    })
    .await
}

fn write(
    worktree: &Worktree,
    path: &RelPath,
    content: &[u8],
    expected: Option<&str>,
) -> Result<Written, ToolFailure> {
    let old = match text::read_bytes(worktree, path) {
        Ok(old) => Some(old),
        Err(fault) if fault.code() == FailureCode::NotFound => None,
        Err(fault) => return Err(fault),
    };
    let seen = old.as_ref().map(|(bytes, _)| text::hash(bytes));
    check_expected(expected, seen.as_deref(), path)?;
    if let Some(parent) = path.parent() {
        worktree.create_dirs(&parent)?;
    }
    let place = worktree.place(path, true)?;
    let created = old.is_none();
    text::replace(&place, path, content, old.map(|(_, permissions)| permissions))?;
    Ok(Written { path: path.to_string(), created, hash: text::hash(content) })
}
