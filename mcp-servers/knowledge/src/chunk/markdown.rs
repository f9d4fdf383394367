//! Cuts Markdown at its headings.

use super::{Segment, window::Lines};

/// One segment per heading, with the headings above it as crumbs. A heading without text of its own goes
/// with the section below it.
pub(super) fn segments(lines: &Lines<'_>) -> Vec<Segment> {
    let mut segments: Vec<Segment> = Vec::new();
    let mut open: Vec<(usize, String)> = Vec::new();
    let mut fence: Option<&str> = None;
    let mut start = 0;
    let mut only_headings = true;
    for at in 0..lines.count() {
        let line = lines.line(at);
        if let Some(mark) = fence_mark(line) {
            match fence {
                None => fence = Some(mark),
                Some(open) if mark.starts_with(open) && line.trim() == mark => fence = None,
                Some(_) => {}
            }
        }
        let Some((level, title)) = heading(line).filter(|_| fence.is_none()) else {
            only_headings &= line.trim().is_empty();
            continue;
        };
        let deeper = open.last().is_none_or(|(above, _)| level > *above);
        if at > start && !(only_headings && deeper) {
            segments.push(Segment { start, end: at, crumbs: titles(&open) });
            start = at;
        }
        open.retain(|(above, _)| *above < level);
        open.push((level, title.to_owned()));
        only_headings = true;
    }
    if start < lines.count() {
        segments.push(Segment { start, end: lines.count(), crumbs: titles(&open) });
    }
    segments
}

fn titles(open: &[(usize, String)]) -> Vec<String> {
    open.iter().map(|(_, title)| title.clone()).filter(|title| !title.is_empty()).collect()
}

/// The run of backticks or tildes that opens or closes a block of code.
fn fence_mark(line: &str) -> Option<&str> {
    let text = line.trim_start_matches(' ');
    if line.len() - text.len() > 3 {
        return None;
    }
    let mark = text.chars().next().filter(|c| matches!(c, '`' | '~'))?;
    let run = text.len() - text.trim_start_matches(mark).len();
    (run >= 3).then(|| &text[..run])
}

/// Level and title of a heading line.
fn heading(line: &str) -> Option<(usize, &str)> {
    let text = line.trim_start_matches(' ');
    if line.len() - text.len() > 3 {
        return None;
    }
    let rest = text.trim_start_matches('#');
    let level = text.len() - rest.len();
    let marked = (1..=6).contains(&level) && (rest.trim().is_empty() || rest.starts_with([' ', '\t']));
    marked.then(|| (level, rest.trim().trim_end_matches('#').trim_end()))
}
