//! `edit_file`: exact replacement, never a guess.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use syndarix_mcp_kit::{ProjectCtx, RelPath, ToolFailure, Worktree};

use crate::{
    locks::Locks,
    text::{self, MAX_FILE_BYTES, check_expected},
};

/// Most places that are named when the text occurs more than once.
const MAX_NAMED_LINES: usize = 8;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EditFile {
    pub(crate) path: String,
    pub(crate) old_text: String,
    pub(crate) new_text: String,
    pub(crate) replace_all: Option<bool>,
    /// Hash from read_file.
    pub(crate) expected_hash: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Edited {
    pub(crate) path: String,
    pub(crate) replacements: usize,
    /// Line of the first replacement.
    pub(crate) line: usize,
    pub(crate) hash: String,
}

pub(crate) async fn edit_file(locks: Locks, ctx: ProjectCtx, args: EditFile) -> Result<Edited, ToolFailure> {
    let path = RelPath::parse(&args.path)?;
    ctx.blocking(move |ctx| {
        let worktree = ctx.worktree()?;
        let _writer = locks.of(ctx.run());
        ctx.check_cancelled()?;
        edit(&worktree, &path, &args)
    })
    .await
}

fn edit(worktree: &Worktree, path: &RelPath, args: &EditFile) -> Result<Edited, ToolFailure> {
    let (old, permissions) = text::read_text(worktree, path)?;
    check_expected(args.expected_hash.as_deref(), Some(&text::hash(old.as_bytes())), path)?;
    let change = change(&old, &args.old_text, &args.new_text, args.replace_all.unwrap_or(false))?;
    if change.text.len() as u64 > MAX_FILE_BYTES {
        return Err(ToolFailure::too_large(format!("The file would be larger than {MAX_FILE_BYTES} bytes.")));
    }
    let place = worktree.place(path, true)?;
    text::replace(&place, path, change.text.as_bytes(), Some(permissions))?;
    let hash = text::hash(change.text.as_bytes());
    Ok(Edited { path: path.to_string(), replacements: change.count, line: change.line, hash })
}

struct Change {
    text: String,
    count: usize,
    line: usize,
}

fn change(text: &str, old: &str, new: &str, all: bool) -> Result<Change, ToolFailure> {
    if old.is_empty() {
        return Err(ToolFailure::invalid("old_text is empty; use write_file to fill a file."));
    }
    if old == new {
        return Err(ToolFailure::invalid("old_text and new_text are the same; nothing would change."));
    }
    let places: Vec<usize> = text.match_indices(old).map(|(at, _)| at).collect();
    let Some(first) = places.first() else { return Err(absent(text, old)) };
    if places.len() > 1 && !all {
        let lines: Vec<String> =
            places.iter().take(MAX_NAMED_LINES).map(|at| line_of(text, *at).to_string()).collect();
        return Err(ToolFailure::conflict(format!(
            "old_text occurs {} times (lines {}{}); add the text around the one you mean, or set replace_all.",
            places.len(),
            lines.join(", "),
            if places.len() > MAX_NAMED_LINES { ", ..." } else { "" },
        )));
    }
    Ok(Change { line: line_of(text, *first), count: places.len(), text: text.replace(old, new) })
}

fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

/// Says why the text is not there, when white space is the reason: the usual one.
fn absent(text: &str, old: &str) -> ToolFailure {
    if text.contains("\r\n") && text.replace("\r\n", "\n").contains(&old.replace("\r\n", "\n")) {
        return ToolFailure::not_found(
            "old_text is there, but the file's lines end with \\r\\n; write them so.",
        );
    }
    let wanted: Vec<&str> = old.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let lines: Vec<(usize, &str)> =
        text.lines().map(str::trim).enumerate().filter(|(_, line)| !line.is_empty()).collect();
    let similar = (!wanted.is_empty())
        .then(|| {
            lines.windows(wanted.len()).find(|w| w.iter().map(|(_, line)| *line).eq(wanted.iter().copied()))
        })
        .flatten();
    match similar.and_then(|window| window.first()) {
        Some((line, _)) => ToolFailure::not_found(format!(
            "old_text is not in the file; line {} differs in white space only. Copy it exactly as read.",
            line + 1
        )),
        None => {
            ToolFailure::not_found("old_text is not in the file; read the file again and copy it exactly.")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sentence(text: &str, old: &str) -> String {
        change(text, old, "new", false).err().unwrap().message().to_owned()
    }

    #[test]
    fn text_that_occurs_twice_is_not_guessed() {
        assert!(sentence("a\nb\na\n", "a").contains("2 times (lines 1, 3)"));
        let all = change("a\nb\na\n", "a", "x", true).unwrap();
        assert_eq!((all.text.as_str(), all.count, all.line), ("x\nb\nx\n", 2, 1));
    }

    #[test]
    fn a_difference_in_white_space_is_named() {
        assert!(
            sentence("fn a() {\n\tbody();\n}\n", "fn a() {\n    body();\n}")
                .contains("line 1 differs in white space")
        );
        assert!(sentence("a\r\nb\r\n", "a\nb").contains("\\r\\n"));
        assert!(sentence("a\n", "zzz").contains("read the file again"));
    }

    proptest! {
        #[test]
        fn a_single_occurrence_is_replaced_and_nothing_else(before in "[a-y\n]{0,40}", after in "[a-y\n]{0,40}", new in "\\PC{0,20}") {
            let text = format!("{before}ZZ{after}");
            let change = change(&text, "ZZ", &new, false).unwrap();
            prop_assert_eq!(change.text, format!("{before}{new}{after}"));
        }
    }
}
