//! Cuts a file into the pieces that are embedded and found: pure, without I/O.
//!
//! Code is cut by its syntax tree (function, class, method), prose by headings, everything else by windows of
//! lines that end at a blank line where they can. Invariants, for any path and any text: every line is in
//! exactly one chunk, in order; no chunk has more than [`MAX_CHUNK_LINES`] lines or [`MAX_CHUNK_BYTES`] bytes
//! of text; the same text gives the same chunks; nothing panics.

mod identifiers;
mod language;
mod markdown;
mod syntax;
mod window;

use sha2::{Digest as _, Sha256};

pub use self::identifiers::identifiers;
use self::{
    language::{Grammar, Language},
    window::Lines,
};

/// Most text in one chunk, in bytes: about a thousand tokens, which every embedding model takes.
pub const MAX_CHUNK_BYTES: usize = 4_000;
/// Most lines in one chunk: what a person would call one place.
pub const MAX_CHUNK_LINES: usize = 120;
/// Largest file that is parsed, in bytes; larger ones are generated, and are cut by lines.
const MAX_PARSED_BYTES: usize = 1024 * 1024;
/// Deepest nesting that a breadcrumb names.
const MAX_DEPTH: usize = 12;
/// Longest name in a breadcrumb, in characters.
const MAX_NAME_CHARS: usize = 80;

/// Code or prose: they are searched with different weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChunkKind {
    /// Source code, configuration, data.
    Code,
    /// Text for people.
    Doc,
}

impl ChunkKind {
    /// The name used in the API and the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Code => "code",
            Self::Doc => "doc",
        }
    }
}

/// A piece of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// The file, as it was given.
    pub path: String,
    /// Code or prose.
    pub kind: ChunkKind,
    /// Name of the language, lower case; `text` when unknown.
    pub language: &'static str,
    /// Where in the file: `src/a.rs > impl Store > open`.
    pub breadcrumb: String,
    /// First line, from 1.
    pub start_line: usize,
    /// Last line, included.
    pub end_line: usize,
    /// The lines, without NUL (which PostgreSQL cannot store); cut short if a single line is too long.
    pub text: String,
    /// SHA-256 of `text`, hex: the same text needs no second embedding.
    pub hash: String,
}

/// A stretch of lines that belong together: `[start, end)`, counted from 0.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Segment {
    start: usize,
    end: usize,
    crumbs: Vec<String>,
}

/// Cuts a file. An empty text has no chunks.
pub fn chunk(path: &str, text: &str) -> Vec<Chunk> {
    let language = Language::of(path);
    let lines = Lines::new(text);
    let segments = match language.grammar {
        _ if text.len() > MAX_PARSED_BYTES => None,
        Grammar::None => None,
        Grammar::Markdown => Some(markdown::segments(&lines)),
        Grammar::Tree(tree) => syntax::segments(tree, text, &lines),
    };
    let whole = || vec![Segment { start: 0, end: lines.count(), crumbs: Vec::new() }];
    let segments = segments.unwrap_or_else(whole);
    let windows = segments.iter().flat_map(|segment| window::split(segment, &lines));
    windows.map(|window| make(path, &language, &lines, &window)).collect()
}

/// Cuts a file of any bytes; a binary file has no chunks.
pub fn chunk_bytes(path: &str, bytes: &[u8]) -> Vec<Chunk> {
    if is_binary(bytes) { Vec::new() } else { chunk(path, &String::from_utf8_lossy(bytes)) }
}

/// Whether git would call it binary: a NUL among the first bytes.
fn is_binary(bytes: &[u8]) -> bool {
    bytes[..bytes.len().min(8_000)].contains(&0)
}

fn make(path: &str, language: &Language, lines: &Lines<'_>, window: &Segment) -> Chunk {
    let mut text = lines.text(window.start, window.end).replace('\0', "\u{fffd}");
    let mut end = text.len().min(MAX_CHUNK_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    let crumbs = window.crumbs.iter().take(MAX_DEPTH);
    let breadcrumb = crumbs.fold(path.to_owned(), |crumb, name| {
        let name: String = name.chars().filter(|c| *c != '\0').take(MAX_NAME_CHARS).collect();
        format!("{crumb} > {name}")
    });
    Chunk {
        path: path.to_owned(),
        kind: language.kind,
        language: language.name,
        breadcrumb,
        start_line: window.start + 1,
        end_line: window.end,
        hash: hex::encode(Sha256::digest(text.as_bytes())),
        text,
    }
}

#[cfg(test)]
mod tests;
