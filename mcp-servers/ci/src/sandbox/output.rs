//! Keeps the head and the tail of a stream of any length in bounded memory.
//!
//! The head says what was run, the tail how it ended; what lies between is counted and dropped.

use std::collections::VecDeque;

/// What was kept of a command's output (stdout and stderr in the order they were written).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Head and tail; between them, if something was left out, a line that says how much.
    pub text: String,
    /// Whether something was left out.
    pub truncated: bool,
    /// Bytes the command wrote in all.
    pub total_bytes: u64,
}

/// Collects a stream. Never holds more than `limit` bytes.
#[derive(Debug)]
pub(super) struct Capture {
    head: Vec<u8>,
    tail: VecDeque<u8>,
    head_limit: usize,
    tail_limit: usize,
    total: u64,
}

impl Capture {
    pub(super) fn new(limit: usize) -> Self {
        let head_limit = limit / 4;
        Self { head: Vec::new(), tail: VecDeque::new(), head_limit, tail_limit: limit - head_limit, total: 0 }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.total = self.total.saturating_add(bytes.len() as u64);
        let room = (self.head_limit - self.head.len()).min(bytes.len());
        let (head, rest) = bytes.split_at(room);
        self.head.extend_from_slice(head);
        // Only the end of a piece that is larger than the tail can survive.
        let rest = &rest[rest.len().saturating_sub(self.tail_limit)..];
        let excess = (self.tail.len() + rest.len()).saturating_sub(self.tail_limit);
        self.tail.drain(..excess);
        self.tail.extend(rest);
    }

    pub(super) fn finish(mut self) -> Output {
        let kept = (self.head.len() + self.tail.len()) as u64;
        let left_out = self.total - kept;
        let mut bytes = self.head;
        if left_out > 0 {
            bytes.extend_from_slice(format!("\n[... {left_out} bytes left out ...]\n").as_bytes());
        }
        bytes.extend_from_slice(self.tail.make_contiguous());
        // PostgreSQL keeps no NUL characters.
        let text = String::from_utf8_lossy(&bytes).replace('\0', "\u{FFFD}");
        Output { text, truncated: left_out > 0, total_bytes: self.total }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_short_output_is_kept_whole() {
        let mut capture = Capture::new(64);
        capture.push(b"one\n");
        capture.push(b"two\n");
        let expected = Output { text: "one\ntwo\n".to_owned(), truncated: false, total_bytes: 8 };
        assert_eq!(capture.finish(), expected);
    }

    #[test]
    fn bytes_that_no_database_keeps_are_replaced() {
        let mut capture = Capture::new(64);
        capture.push(b"a\0b\xff");
        assert_eq!(capture.finish().text, "a\u{FFFD}b\u{FFFD}");
    }

    proptest! {
        #[test]
        fn head_and_tail_are_those_of_the_whole_stream(
            pieces in prop::collection::vec("[a-z]{0,40}", 0..20), limit in 0_usize..80,
        ) {
            let whole = pieces.concat();
            let mut capture = Capture::new(limit);
            for piece in &pieces {
                capture.push(piece.as_bytes());
                prop_assert!(capture.head.len() + capture.tail.len() <= limit);
            }
            let output = capture.finish();
            prop_assert_eq!(output.total_bytes, whole.len() as u64);
            prop_assert_eq!(output.truncated, whole.len() > limit);
            if output.truncated {
                prop_assert!(output.text.starts_with(&whole[..limit / 4]));
                prop_assert!(output.text.ends_with(&whole[whole.len() - (limit - limit / 4)..]));
            } else {
                prop_assert_eq!(output.text, whole);
            }
        }
    }
}
