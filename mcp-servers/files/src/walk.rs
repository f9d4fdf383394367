//! A walk through a worktree by handles: no symlink is followed, `.git` is left out, and what git
//! ignores is, too.

use std::{
    ffi::OsString,
    io::Read,
    path::{Path, PathBuf},
};

use cap_fs_ext::DirExt;
use cap_std::fs::{Dir, FileType};
use ignore::gitignore::{Gitignore, GitignoreBuilder};
use syndarix_mcp_kit::{MAX_PATH_DEPTH, ProjectCtx, ToolFailure, is_git_name, open_nofollow};

/// Most entries of one directory that are looked at.
const MAX_DIR_ENTRIES: usize = 20_000;
/// Largest `.gitignore` that is read, in bytes.
const MAX_IGNORE_BYTES: u64 = 64 * 1024;

/// One entry on the way.
pub(crate) struct Entry<'a> {
    /// The directory that holds it.
    pub(crate) dir: &'a Dir,
    pub(crate) name: &'a OsString,
    /// From the top of the worktree.
    pub(crate) path: &'a Path,
    pub(crate) kind: FileType,
    /// 0 directly under the start.
    pub(crate) depth: usize,
}

/// What to do after an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Go on, into the entry if it is a directory.
    Into,
    /// Go on, but not into it.
    Over,
    /// End the walk.
    Stop,
}

/// How to walk.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    /// Leave out what `.gitignore` files on the way say.
    pub(crate) honour_ignore: bool,
}

/// Walks everything under `start` (at `path` in the worktree) in the order of names, and asks `visit`.
pub(crate) fn walk(
    ctx: &ProjectCtx,
    start: &Dir,
    path: &Path,
    rules: Rules,
    visit: &mut dyn FnMut(Entry<'_>) -> Result<Step, ToolFailure>,
) -> Result<(), ToolFailure> {
    let mut walker = Walker { ctx, rules, ignores: Vec::new(), visit };
    if rules.honour_ignore {
        walker.enter_ancestors(path)?;
    }
    walker.directory(start, path, 0)?;
    Ok(())
}

/// The entries of a directory by name; `.git` is not one of them.
pub(crate) fn sorted_entries(dir: &Dir) -> std::io::Result<Vec<(OsString, FileType)>> {
    let mut entries = Vec::new();
    for entry in dir.entries()?.take(MAX_DIR_ENTRIES) {
        let entry = entry?;
        let name = entry.file_name();
        if !is_git_name(&name) {
            entries.push((name, entry.file_type()?));
        }
    }
    entries.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(entries)
}

struct Walker<'a, 'v> {
    ctx: &'a ProjectCtx,
    rules: Rules,
    ignores: Vec<Gitignore>,
    visit: &'v mut dyn FnMut(Entry<'_>) -> Result<Step, ToolFailure>,
}

impl Walker<'_, '_> {
    /// A `.gitignore` at the top counts for a walk that begins further down.
    fn enter_ancestors(&mut self, path: &Path) -> Result<(), ToolFailure> {
        let mut dir = self.ctx.worktree()?.dir().try_clone().map_err(|e| ToolFailure::internal(&e))?;
        let mut at = PathBuf::new();
        for name in path {
            self.ignores.extend(read_ignore(&dir, &at));
            let Ok(next) = dir.open_dir_nofollow(name) else { return Ok(()) };
            dir = next;
            at.push(name);
        }
        Ok(())
    }

    /// False once the walk is to end.
    fn directory(&mut self, dir: &Dir, path: &Path, depth: usize) -> Result<bool, ToolFailure> {
        self.ctx.check_cancelled()?;
        let own = if self.rules.honour_ignore { read_ignore(dir, path) } else { None };
        let entered = usize::from(own.is_some());
        self.ignores.extend(own);
        let entries = sorted_entries(dir).map_err(|e| ToolFailure::internal(&e))?;
        let mut go_on = true;
        for (name, kind) in entries {
            let at = path.join(&name);
            if self.rules.honour_ignore && self.ignored(&at, kind.is_dir()) {
                continue;
            }
            let step = (self.visit)(Entry { dir, name: &name, path: &at, kind, depth })?;
            go_on = match step {
                Step::Stop => false,
                Step::Into if kind.is_dir() && depth < MAX_PATH_DEPTH => match dir.open_dir_nofollow(&name) {
                    Ok(inner) => self.directory(&inner, &at, depth + 1)?,
                    // Gone or swapped in the meantime: somebody else's change, not a fault.
                    Err(_) => true,
                },
                Step::Into | Step::Over => true,
            };
            if !go_on {
                break;
            }
        }
        self.ignores.truncate(self.ignores.len() - entered);
        Ok(go_on)
    }

    /// The innermost `.gitignore` that says anything decides.
    fn ignored(&self, path: &Path, is_dir: bool) -> bool {
        let verdict =
            self.ignores.iter().rev().map(|rules| rules.matched(path, is_dir)).find(|m| !m.is_none());
        verdict.is_some_and(|m| m.is_ignore())
    }
}

fn read_ignore(dir: &Dir, at: &Path) -> Option<Gitignore> {
    let file = open_nofollow(dir, ".gitignore").ok()?;
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut text = String::new();
    file.take(MAX_IGNORE_BYTES).read_to_string(&mut text).ok()?;
    let mut rules = GitignoreBuilder::new(at);
    for line in text.lines() {
        // A line that is no pattern to git is none to us.
        let _ = rules.add_line(None, line);
    }
    rules.build().ok()
}
