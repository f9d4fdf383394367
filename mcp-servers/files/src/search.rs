//! `search_files`: lines that match, in files that git does not ignore.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use ignore::gitignore::{Gitignore, GitignoreBuilder};
use regex::bytes::{Regex, RegexBuilder};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use syndarix_mcp_kit::{FailureCode, ProjectCtx, RelPath, ToolFailure, floor_boundary, open_nofollow};

use crate::{
    locks::Locks,
    text,
    walk::{Entry, Rules, Step, walk},
};

/// Matches in one answer unless the caller asks for fewer or more.
const DEFAULT_MATCHES: usize = 100;
/// Most matches in one answer.
const MAX_MATCHES: usize = 500;
/// Longest line that is shown, in bytes: minified files must not fill the answer.
const MAX_LINE_BYTES: usize = 300;
/// Bytes of matching lines in one answer.
const MAX_ANSWER_BYTES: usize = 40 * 1024;
/// Memory of a compiled pattern, in bytes.
const MAX_PATTERN_BYTES: usize = 1024 * 1024;
/// How long a search may look; what was found until then is answered.
const TIME_LIMIT: Duration = Duration::from_secs(10);

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SearchFiles {
    /// Regular expression, matched line by line.
    pattern: String,
    /// Directory or file; default: the top.
    path: Option<String>,
    /// E.g. "*.rs" or "src/**".
    glob: Option<String>,
    /// The pattern is plain text.
    literal: Option<bool>,
    ignore_case: Option<bool>,
    max_matches: Option<usize>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Found {
    /// "path:line:text".
    matches: Vec<String>,
    files_searched: usize,
    /// True: narrow the search.
    truncated: bool,
}

pub(crate) async fn search_files(_: Locks, ctx: ProjectCtx, args: SearchFiles) -> Result<Found, ToolFailure> {
    let path = RelPath::parse(args.path.as_deref().unwrap_or("."))?;
    let mut search = Search::new(&args)?;
    ctx.blocking(move |ctx| {
        let worktree = ctx.worktree()?;
        match worktree.open_dir(&path) {
            Ok(dir) => walk(ctx, &dir, path.as_path(), Rules { honour_ignore: true }, &mut |entry| {
                ctx.check_cancelled()?;
                Ok(search.visit(&entry))
            })?,
            Err(fault) if fault.code() == FailureCode::InvalidArgument => {
                let (bytes, _) = text::read_bytes(&worktree, &path)?;
                search.file(path.as_path(), &bytes);
            }
            Err(fault) => return Err(fault),
        }
        Ok(search.found)
    })
    .await
}

struct Search {
    pattern: Regex,
    glob: Option<Gitignore>,
    max_matches: usize,
    room: usize,
    deadline: Instant,
    found: Found,
}

impl Search {
    fn new(args: &SearchFiles) -> Result<Self, ToolFailure> {
        let source =
            if args.literal.unwrap_or(false) { regex::escape(&args.pattern) } else { args.pattern.clone() };
        let pattern = RegexBuilder::new(&source)
            .case_insensitive(args.ignore_case.unwrap_or(false))
            .size_limit(MAX_PATTERN_BYTES)
            .dfa_size_limit(MAX_PATTERN_BYTES)
            .build()
            .map_err(|fault| {
                ToolFailure::invalid(format!("The pattern is wrong (set literal for plain text): {fault}"))
            })?;
        let glob = args.glob.as_deref().map(compile_glob).transpose()?;
        Ok(Self {
            pattern,
            glob,
            max_matches: args.max_matches.unwrap_or(DEFAULT_MATCHES).clamp(1, MAX_MATCHES),
            room: MAX_ANSWER_BYTES,
            deadline: Instant::now() + TIME_LIMIT,
            found: Found { matches: Vec::new(), files_searched: 0, truncated: false },
        })
    }

    fn visit(&mut self, entry: &Entry<'_>) -> Step {
        if Instant::now() > self.deadline {
            self.found.truncated = true;
            return Step::Stop;
        }
        if !entry.kind.is_file() {
            return Step::Into;
        }
        if self
            .glob
            .as_ref()
            .is_some_and(|glob| !glob.matched_path_or_any_parents(entry.path, false).is_ignore())
        {
            return Step::Over;
        }
        // What cannot be read, has gone, or is too large is left out, as ripgrep does.
        let Ok(file) = open_nofollow(entry.dir, entry.name) else { return Step::Over };
        let Ok(name) = RelPath::parse(&entry.path.to_string_lossy()) else { return Step::Over };
        if let Ok(bytes) = text::read_bounded(file, &name) {
            self.file(entry.path, &bytes);
        }
        if self.found.truncated { Step::Stop } else { Step::Over }
    }

    fn file(&mut self, path: &Path, bytes: &[u8]) {
        if bytes.contains(&0) {
            return;
        }
        self.found.files_searched += 1;
        for (index, line) in bytes.split(|b| *b == b'\n').enumerate() {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let Some(hit) = self.pattern.find(line) else { continue };
            if self.found.matches.len() == self.max_matches {
                self.found.truncated = true;
                return;
            }
            let shown = format!("{}:{}:{}", path.display(), index + 1, show(line, hit.start()));
            let Some(room) = self.room.checked_sub(shown.len()) else {
                self.found.truncated = true;
                return;
            };
            self.room = room;
            self.found.matches.push(shown);
        }
    }
}

fn compile_glob(glob: &str) -> Result<Gitignore, ToolFailure> {
    let mut builder = GitignoreBuilder::new("");
    let built = builder.add_line(None, glob).and_then(|builder| builder.build());
    built.map_err(|fault| ToolFailure::invalid(format!("The glob is wrong: {fault}")))
}

/// The line, or the part of it around the match.
fn show(line: &[u8], hit: usize) -> String {
    let text = String::from_utf8_lossy(line);
    if text.len() <= MAX_LINE_BYTES {
        return text.into_owned();
    }
    let start = floor_boundary(&text, hit.saturating_sub(MAX_LINE_BYTES / 3));
    let end = floor_boundary(&text, start + MAX_LINE_BYTES);
    format!("...{}...", &text[start..end])
}
