//! The part of a chunk that shows why it was found.

use super::store::words;

/// Lines of a snippet, at most.
const MAX_LINES: usize = 16;
/// Text of a snippet, in bytes, at most: below what the knowledge MCP server passes on.
const MAX_BYTES: usize = 1_200;

/// A part of a chunk.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Snippet {
    /// The text, whole lines where they fit.
    pub(super) text: String,
    /// Its first line, counted from 0 within the chunk.
    pub(super) offset: usize,
}

/// The window of lines with the most different words of the query; the first one of those with the same number.
pub(super) fn snippet(body: &str, query_words: &str) -> Snippet {
    let lines: Vec<&str> = body.lines().collect();
    let wanted: Vec<&str> = query_words.split(' ').filter(|word| !word.is_empty()).collect();
    let hits: Vec<Vec<bool>> = lines.iter().map(|line| hits(line, &wanted)).collect();
    let mut best = (0, 0, lines.len().min(1));
    for start in 0..lines.len() {
        let end = fitting(&lines, start);
        let found = (0..wanted.len()).filter(|word| hits[start..end].iter().any(|line| line[*word])).count();
        if start == 0 || found > best.0 {
            best = (found, start, end);
        }
        if end == lines.len() {
            break;
        }
    }
    let mut text = lines[best.1..best.2].join("\n");
    let mut end = text.len().min(MAX_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    Snippet { text, offset: best.1 }
}

/// The end of the longest window that begins here; at least one line.
fn fitting(lines: &[&str], start: usize) -> usize {
    let mut bytes = 0;
    let fits = |line: &&&str| {
        bytes += line.len() + 1;
        bytes <= MAX_BYTES
    };
    let count = lines[start..].iter().take(MAX_LINES).take_while(fits).count().max(1);
    start + count
}

fn hits(line: &str, wanted: &[&str]) -> Vec<bool> {
    let line = words(line);
    let present: Vec<&str> = line.split(' ').collect();
    wanted.iter().map(|word| present.iter().any(|other| alike(word, other))).collect()
}

/// Forms of one word: the database's stems are not at hand here, and a snippet needs no more than this.
fn alike(a: &str, b: &str) -> bool {
    let shared = a.chars().zip(b.chars()).take_while(|(a, b)| a == b).count();
    let longest = a.chars().count().max(b.chars().count());
    a == b || (shared >= 4 && shared + 3 >= longest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_window_with_the_most_words_is_shown() {
        let mut lines: Vec<String> = (0..60).map(|n| format!("line {n}")).collect();
        lines[40] = "fn renew_lease() {".into();
        lines[42] = "    // the heartbeat renews it".into();
        let found = snippet(&lines.join("\n"), "lease heartbeat renewing");
        assert!(found.text.contains("renew_lease") && found.text.contains("heartbeat"), "{found:?}");
        assert!(found.text.lines().count() <= MAX_LINES);
        assert_eq!(found.text.lines().next(), lines.get(found.offset).map(String::as_str));
    }

    #[test]
    fn a_short_chunk_is_shown_whole_and_an_empty_one_is_nothing() {
        assert_eq!(snippet("a\nb", "nothing").text, "a\nb");
        assert_eq!(snippet("", "nothing").text, "");
    }

    proptest! {
        #[test]
        fn a_snippet_is_bounded_and_comes_from_the_chunk(body in "(\\PC{0,300}\n){0,40}", query in "[a-z ]{0,20}") {
            let found = snippet(&body, &query);
            prop_assert!(found.text.len() <= MAX_BYTES);
            let lines: Vec<&str> = body.lines().skip(found.offset).collect();
            prop_assert!(lines.join("\n").starts_with(&found.text));
        }
    }
}
