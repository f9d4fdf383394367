//! Lines, and how too many of them are cut.

use super::{MAX_CHUNK_BYTES, MAX_CHUNK_LINES, Segment};

/// A text by lines.
#[derive(Debug)]
pub(super) struct Lines<'a> {
    text: &'a str,
    /// Where each line starts, and where the text ends.
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        let mut starts = vec![0];
        let mut at = 0;
        for line in text.split_inclusive('\n') {
            at += line.len();
            starts.push(at);
        }
        Self { text, starts }
    }

    pub(super) fn count(&self) -> usize {
        self.starts.len() - 1
    }

    /// The lines `[start, end)` with their line ends.
    pub(super) fn text(&self, start: usize, end: usize) -> &'a str {
        &self.text[self.starts[start]..self.starts[end.max(start)]]
    }

    pub(super) fn line(&self, at: usize) -> &'a str {
        self.text(at, at + 1)
    }

    pub(super) fn bytes(&self, start: usize, end: usize) -> usize {
        self.text(start, end).len()
    }

    pub(super) fn is_blank(&self, at: usize) -> bool {
        self.line(at).trim().is_empty()
    }

    pub(super) fn are_blank(&self, start: usize, end: usize) -> bool {
        self.text(start, end).trim().is_empty()
    }
}

/// Cuts a segment into windows within the limits, after a blank line where there is one in the second half.
pub(super) fn split(segment: &Segment, lines: &Lines<'_>) -> Vec<Segment> {
    let mut windows = Vec::new();
    let mut start = segment.start;
    while start < segment.end {
        let mut end = start + 1;
        while end < segment.end
            && end - start < MAX_CHUNK_LINES
            && lines.bytes(start, end + 1) <= MAX_CHUNK_BYTES
        {
            end += 1;
        }
        if end < segment.end {
            let half = start + (end - start) / 2;
            let after_blank = (half + 1..=end).rev().find(|at| lines.is_blank(at - 1));
            end = after_blank.unwrap_or(end);
        }
        windows.push(Segment { start, end, crumbs: segment.crumbs.clone() });
        start = end;
    }
    windows
}
