//! Replaces the chunks of sources: what stayed the same keeps its row, and with it its embedding.

use super::queries::{self, NewChunk, StoredChunk};
use crate::db::{Error, Uow};
use std::collections::HashMap;
use syndarix_domain::ids::ProjectId;
use syndarix_mcp_knowledge::chunk::{Chunk, identifiers};

/// Changes whenever files are cut or their words are taken in another way: everything is then indexed again.
const VERSION: u32 = 1;

/// Longest word that is indexed, in bytes: longer ones are data, and nobody asks for them.
const MAX_WORD: usize = 100;

/// What a source's chunks were made from.
pub(super) fn content_hash(content: &str) -> String {
    format!("v{VERSION}:{content}")
}

/// The words of a text as both sides of a search see them: lower case, names split, the whole name kept.
pub(super) fn words(text: &str) -> String {
    // PostgreSQL's parser would split at the underscore and lose the whole name.
    let names = identifiers(text).replace('_', "");
    let words: Vec<&str> = names.split(' ').filter(|word| word.len() <= MAX_WORD).collect();
    words.join(" ")
}

/// Where chunks come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// A file of the repository.
    Repository,
    /// A document that somebody stored.
    Document,
}

impl Origin {
    /// As stored and as the API names it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Repository => "repository",
            Self::Document => "document",
        }
    }
}

/// Replaces the chunks of these sources by the given ones.
pub(super) async fn replace(
    uow: &mut Uow,
    project: ProjectId,
    origin: Origin,
    paths: &[String],
    chunks: Vec<Chunk>,
) -> Result<(), Error> {
    let stored = queries::chunks_of(uow, project, origin, paths).await?;
    let change = compare(stored, chunks);
    queries::remove_chunks(uow, project, &change.remove).await?;
    queries::move_chunks(uow, project, &change.keep).await?;
    queries::add_chunks(uow, project, origin, &change.add).await
}

/// What has to be written.
#[derive(Debug, Default)]
struct Change {
    /// Chunks that stay, with the lines they are at now, if those changed.
    keep: Vec<(i64, i32, i32)>,
    remove: Vec<i64>,
    add: Vec<NewChunk>,
}

fn compare(stored: Vec<StoredChunk>, chunks: Vec<Chunk>) -> Change {
    let mut change = Change::default();
    let mut by_text: HashMap<(String, String, String), Vec<StoredChunk>> = HashMap::new();
    for row in stored {
        let key = (row.path.clone(), row.breadcrumb.clone(), row.content_hash.clone());
        by_text.entry(key).or_default().push(row);
    }
    for chunk in chunks {
        let key = (chunk.path.clone(), chunk.breadcrumb.clone(), chunk.hash.clone());
        let (start, end) = (line(chunk.start_line), line(chunk.end_line));
        match by_text.get_mut(&key).and_then(Vec::pop) {
            Some(same) if (same.start_line, same.end_line) == (start, end) => {}
            Some(same) => change.keep.push((same.id, start, end)),
            None => change.add.push(new_chunk(chunk, start, end)),
        }
    }
    change.remove = by_text.into_values().flatten().map(|row| row.id).collect();
    change.remove.sort_unstable();
    change
}

fn new_chunk(chunk: Chunk, start_line: i32, end_line: i32) -> NewChunk {
    NewChunk {
        words: words(&format!("{}\n{}", chunk.breadcrumb, chunk.text)),
        path: chunk.path,
        kind: chunk.kind.as_str(),
        language: chunk.language,
        breadcrumb: chunk.breadcrumb,
        start_line,
        end_line,
        body: chunk.text,
        content_hash: chunk.hash,
    }
}

fn line(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use syndarix_mcp_knowledge::chunk::chunk;

    fn stored(chunks: Vec<Chunk>) -> Vec<StoredChunk> {
        let rows = chunks.into_iter().enumerate().map(|(at, chunk)| StoredChunk {
            id: i64::try_from(at).unwrap(),
            path: chunk.path,
            breadcrumb: chunk.breadcrumb,
            content_hash: chunk.hash,
            start_line: line(chunk.start_line),
            end_line: line(chunk.end_line),
        });
        rows.collect()
    }

    #[test]
    fn names_are_searched_whole_and_in_parts() {
        assert_eq!(words("parseHeader(parse_header)"), "parseheader parse header parseheader parse header");
        assert_eq!(words(&format!("a {} b", "x".repeat(MAX_WORD + 1))), "a b", "data is no word");
    }

    #[test]
    fn a_function_that_only_moved_keeps_its_row() {
        let before = "fn a() {}\n\nfn b() {}\n";
        let after = "fn new() {}\n\nfn a() {}\n\nfn b() {}\n";
        let change = compare(stored(chunk("x.rs", before)), chunk("x.rs", after));
        assert_eq!(change.add.len(), 1);
        assert!(change.remove.is_empty(), "{change:?}");
        assert_eq!(change.keep.len(), chunk("x.rs", before).len());
    }

    proptest! {
        #[test]
        fn what_is_kept_and_added_is_exactly_what_is_wanted(
            before in proptest::collection::vec("[ab\n]{0,12}", 0..6),
            after in proptest::collection::vec("[ab\n]{0,12}", 0..6),
        ) {
            let cut = |texts: &[String]| chunk("notes.md", &texts.join("\n# head\n"));
            let (old, new) = (stored(cut(&before)), cut(&after));
            let change = compare(old.clone(), new.clone());
            let left = old.len() - change.remove.len();
            prop_assert_eq!(left + change.add.len(), new.len());
            prop_assert!(change.keep.iter().all(|(id, ..)| !change.remove.contains(id)));
        }
    }
}
