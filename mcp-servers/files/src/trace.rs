//! Whether a call that was interrupted took effect, read off the files themselves: every change here is one rename or one
//! removal, so it is there whole or not at all, and a run's worktree has no other writer than the run.

use syndarix_mcp_kit::{FailureCode, ProjectCtx, RelPath, ToolFailure, Trace, Worktree};

use crate::{
    edit::{EditFile, Edited},
    locks::Locks,
    manage::{DeletePath, Deleted, MovePath, Moved},
    text,
    write::{WriteFile, Written},
};

/// The file holds what was to be written, or it does not.
pub(crate) async fn trace_write(
    locks: Locks,
    ctx: ProjectCtx,
    args: WriteFile,
) -> Result<Trace<Written>, ToolFailure> {
    let path = RelPath::parse(&args.path)?;
    ctx.blocking(move |ctx| {
        let worktree = ctx.worktree()?;
        let _writer = locks.of(ctx.run());
        let wanted = text::hash(args.content.as_bytes());
        let there = content_of(&worktree, &path)?.is_some_and(|bytes| text::hash(&bytes) == wanted);
        if !there {
            return Ok(Trace::NotFound);
        }
        let created = args.expected_hash.as_deref() == Some("none");
        Ok(Trace::Found(Written { path: path.to_string(), created, hash: wanted }))
    })
    .await
}

/// The old text is gone and the new one there, or the other way round.
pub(crate) async fn trace_edit(
    locks: Locks,
    ctx: ProjectCtx,
    args: EditFile,
) -> Result<Trace<Edited>, ToolFailure> {
    let path = RelPath::parse(&args.path)?;
    ctx.blocking(move |ctx| {
        let worktree = ctx.worktree()?;
        let _writer = locks.of(ctx.run());
        let Some(bytes) = content_of(&worktree, &path)? else {
            return Ok(Trace::Unclear(format!("`{path}` is not there any more.")));
        };
        let hash = text::hash(&bytes);
        if args.expected_hash.as_deref() == Some(&hash) {
            return Ok(Trace::NotFound);
        }
        let content = String::from_utf8_lossy(&bytes);
        Ok(match edited(&content, &args.old_text, &args.new_text) {
            Some(true) => {
                let at = content.find(&args.new_text).unwrap_or_default();
                let line = content[..at].matches('\n').count() + 1;
                let replacements = content.matches(&args.new_text).count().max(1);
                Trace::Found(Edited { path: path.to_string(), replacements, line, hash })
            }
            Some(false) => Trace::NotFound,
            None => Trace::Unclear(format!(
                "What is in `{path}` fits both before and after the edit, or neither."
            )),
        })
    })
    .await
}

/// Whether the edit is in the text; none when the text does not say.
fn edited(text: &str, old: &str, new: &str) -> Option<bool> {
    if old.is_empty() || new.contains(old) {
        // An insertion leaves the old text in place: only the new one says anything.
        return (!old.is_empty()).then(|| text.contains(new));
    }
    // What is deleted leaves nothing to look for. What is a part of the old text is there before and after.
    let new_says = !new.is_empty() && !old.contains(new);
    match (text.contains(old), new_says.then(|| text.contains(new))) {
        (true, None | Some(false)) => Some(false),
        (false, None | Some(true)) => Some(true),
        (true, Some(true)) | (false, Some(false)) => None,
    }
}

/// Moving is one rename: the source is there, or the target.
pub(crate) async fn trace_move(
    locks: Locks,
    ctx: ProjectCtx,
    args: MovePath,
) -> Result<Trace<Moved>, ToolFailure> {
    let (from, to) = (RelPath::parse(&args.from)?, RelPath::parse(&args.to)?);
    ctx.blocking(move |ctx| {
        let worktree = ctx.worktree()?;
        let _writer = locks.of(ctx.run());
        Ok(match (exists(&worktree, &from)?, exists(&worktree, &to)?) {
            (true, _) => Trace::NotFound,
            (false, true) => Trace::Found(Moved { from: from.to_string(), to: to.to_string() }),
            (false, false) => Trace::Unclear(format!("Neither `{from}` nor `{to}` is there.")),
        })
    })
    .await
}

/// A deletion that was broken off in the middle is not one yet: called again, it takes the rest.
pub(crate) async fn trace_delete(
    locks: Locks,
    ctx: ProjectCtx,
    args: DeletePath,
) -> Result<Trace<Deleted>, ToolFailure> {
    let path = RelPath::parse(&args.path)?;
    ctx.blocking(move |ctx| {
        let worktree = ctx.worktree()?;
        let _writer = locks.of(ctx.run());
        if exists(&worktree, &path)? {
            return Ok(Trace::NotFound);
        }
        Ok(Trace::Found(Deleted { path: path.to_string(), entries: 1 }))
    })
    .await
}

fn content_of(worktree: &Worktree, path: &RelPath) -> Result<Option<Vec<u8>>, ToolFailure> {
    match text::read_bytes(worktree, path) {
        Ok((bytes, _)) => Ok(Some(bytes)),
        Err(fault) if fault.code() == FailureCode::NotFound => Ok(None),
        Err(fault) => Err(fault),
    }
}

fn exists(worktree: &Worktree, path: &RelPath) -> Result<bool, ToolFailure> {
    match worktree.place(path, false) {
        Ok(place) => Ok(place.parent.symlink_metadata(&place.name).is_ok()),
        Err(fault) if fault.code() == FailureCode::NotFound => Ok(false),
        Err(fault) => Err(fault),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_edit_is_there_or_not_or_cannot_be_told() {
        assert_eq!(edited("a", "a", "b"), Some(false));
        assert_eq!(edited("b", "a", "b"), Some(true));
        assert_eq!(edited("a b", "a", "b"), None, "b was there before, or another a is left");
        assert_eq!(edited("c", "a", "b"), None);
        assert_eq!(edited("fn a", "fn a", "fn a\nfn b"), Some(false));
        assert_eq!(edited("fn a\nfn b", "fn a", "fn a\nfn b"), Some(true));
        assert_eq!((edited("x a", "a", ""), edited("x ", "a", "")), (Some(false), Some(true)));
        assert_eq!((edited("abc", "abc", "b"), edited("b", "abc", "b")), (Some(false), Some(true)));
    }

    proptest! {
        #[test]
        fn of_one_edit_it_is_never_told_wrongly_whether_it_was_made(
            before in "[a-c]{0,6}", old in "[x-z]{1,3}", after in "[a-c]{0,6}", new in "[u-w]{0,3}",
        ) {
            let text = format!("{before}{old}{after}");
            prop_assert_ne!(edited(&text, &old, &new), Some(true));
            prop_assert_ne!(edited(&text.replace(&old, &new), &old, &new), Some(false));
        }
    }
}
