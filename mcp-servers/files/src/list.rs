//! `list_directory`: what is in a directory.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use syndarix_mcp_kit::{ProjectCtx, RelPath, ToolFailure, path_failure};

use crate::{locks::Locks, walk::sorted_entries};

/// Entries in one answer.
const PAGE: usize = 300;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListDirectory {
    /// Default: the top.
    path: Option<String>,
    /// Entries to leave out, to go on.
    offset: Option<usize>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Listing {
    /// Directories end in `/`, links in `@`.
    entries: Vec<String>,
    total: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_offset: Option<usize>,
}

pub(crate) async fn list_directory(
    _: Locks,
    ctx: ProjectCtx,
    args: ListDirectory,
) -> Result<Listing, ToolFailure> {
    let path = RelPath::parse(args.path.as_deref().unwrap_or("."))?;
    let offset = args.offset.unwrap_or(0);
    ctx.blocking(move |ctx| {
        let dir = ctx.worktree()?.open_dir(&path)?;
        let all = sorted_entries(&dir).map_err(|e| path_failure(&e, &path))?;
        let total = all.len();
        let page = all.iter().skip(offset).take(PAGE);
        let entries: Vec<String> = page
            .map(|(name, kind)| {
                let mark = if kind.is_dir() {
                    "/"
                } else if kind.is_symlink() {
                    "@"
                } else {
                    ""
                };
                format!("{}{mark}", name.to_string_lossy())
            })
            .collect();
        let next = offset.saturating_add(entries.len());
        Ok(Listing { total, next_offset: (next < total).then_some(next), entries })
    })
    .await
}
