//! `tree`: the shape of a project at a glance.

use std::fmt::Write as _;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use syndarix_mcp_kit::{ProjectCtx, RelPath, ToolFailure};

use crate::{
    locks::Locks,
    walk::{Rules, Step, walk},
};

/// Lines in one answer.
const MAX_LINES: usize = 800;
/// Bytes in one answer.
const MAX_BYTES: usize = 40 * 1024;
/// Levels that are shown unless the caller asks for another depth.
const DEFAULT_DEPTH: usize = 4;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tree {
    /// Default: the top.
    path: Option<String>,
    /// Levels; default 4.
    depth: Option<usize>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Drawn {
    tree: String,
    /// True: give a path further down, or less depth.
    truncated: bool,
}

pub(crate) async fn tree(_: Locks, ctx: ProjectCtx, args: Tree) -> Result<Drawn, ToolFailure> {
    let path = RelPath::parse(args.path.as_deref().unwrap_or("."))?;
    let levels = args.depth.unwrap_or(DEFAULT_DEPTH).max(1);
    ctx.blocking(move |ctx| {
        let dir = ctx.worktree()?.open_dir(&path)?;
        let (mut drawn, mut lines, mut truncated) = (String::new(), 0, false);
        walk(ctx, &dir, path.as_path(), Rules { honour_ignore: true }, &mut |entry| {
            if lines == MAX_LINES || drawn.len() > MAX_BYTES {
                truncated = true;
                return Ok(Step::Stop);
            }
            lines += 1;
            let mark = if entry.kind.is_dir() {
                "/"
            } else if entry.kind.is_symlink() {
                "@"
            } else {
                ""
            };
            let (indent, name) = ("  ".repeat(entry.depth), entry.name.to_string_lossy());
            // Writing to a String cannot fail.
            let _ = writeln!(drawn, "{indent}{name}{mark}");
            Ok(if entry.depth + 1 < levels { Step::Into } else { Step::Over })
        })?;
        Ok(Drawn { tree: drawn, truncated })
    })
    .await
}
