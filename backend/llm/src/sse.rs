//! Server-sent events out of bytes that arrive in any portions.
//!
//! Invariant: the events depend on the bytes only, never on where they were cut. A line or event larger than
//! the limit is an error, so that a provider cannot fill the memory.

use thiserror::Error;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SseEvent {
    /// The `event:` field; empty when absent.
    pub event: String,
    /// The `data:` lines joined with line feeds.
    pub data: String,
}

/// A single event is larger than the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a single event is larger than {limit} bytes")]
pub struct SseTooLong {
    /// The limit in bytes.
    pub limit: usize,
}

/// Collects bytes and gives out whole events.
#[derive(Debug)]
pub struct SseDecoder {
    line: Vec<u8>,
    after_cr: bool,
    event: String,
    data: Option<String>,
    at_start: bool,
    /// Every line is an event's data.
    lines: bool,
    limit: usize,
}

impl SseDecoder {
    /// A decoder that refuses events of more than `limit` bytes.
    pub fn new(limit: usize) -> Self {
        let (line, event) = (Vec::new(), String::new());
        Self { line, after_cr: false, event, data: None, at_start: true, lines: false, limit }
    }

    /// The same for streams in which every line is one event's data, without fields.
    pub fn of_lines(limit: usize) -> Self {
        Self { lines: true, ..Self::new(limit) }
    }

    /// Takes more bytes; gives out the events they complete. An event that the stream ends within is dropped,
    /// as the standard says.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<SseEvent>, SseTooLong> {
        let mut events = Vec::new();
        for &byte in bytes {
            let skip = self.after_cr && byte == b'\n';
            self.after_cr = byte == b'\r';
            if skip {
                continue;
            }
            if byte == b'\n' || byte == b'\r' {
                events.extend(self.end_line());
            } else {
                self.line.push(byte);
                if self.line.len() + self.data.as_ref().map_or(0, String::len) > self.limit {
                    return Err(SseTooLong { limit: self.limit });
                }
            }
        }
        Ok(events)
    }

    fn end_line(&mut self) -> Option<SseEvent> {
        let bytes = std::mem::take(&mut self.line);
        let text = String::from_utf8_lossy(&bytes);
        let mut line = text.as_ref();
        if std::mem::take(&mut self.at_start) {
            line = line.strip_prefix('\u{feff}').unwrap_or(line);
        }
        if self.lines {
            return (!line.is_empty()).then(|| SseEvent { event: String::new(), data: line.to_owned() });
        }
        if line.is_empty() {
            let event = std::mem::take(&mut self.event);
            return self.data.take().map(|data| SseEvent { event, data });
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.event),
            "data" => match &mut self.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                None => self.data = Some(value.to_owned()),
            },
            // A comment (empty name), an id, a retry hint: nothing a model's stream needs.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn whole(bytes: &[u8]) -> Vec<SseEvent> {
        SseDecoder::new(1 << 20).push(bytes).unwrap()
    }

    #[test]
    fn fields_comments_and_line_ends_are_read_as_the_standard_says() {
        let bytes = "\u{feff}: hello\r\nevent: a\rdata: 1\ndata:2\n\ndata\n\nid: 4\n\ndata: cut";
        assert_eq!(
            whole(bytes.as_bytes()),
            [
                SseEvent { event: "a".into(), data: "1\n2".into() },
                SseEvent { event: String::new(), data: String::new() }
            ]
        );
    }

    #[test]
    fn an_event_beyond_the_limit_is_an_error_and_not_memory() {
        let mut decoder = SseDecoder::new(16);
        assert_eq!(decoder.push(b"data: 0123456789abcdef"), Err(SseTooLong { limit: 16 }));
        let mut decoder = SseDecoder::new(16);
        assert_eq!(decoder.push(b"data: 01234\ndata: 56789\ndata: 01234\n"), Err(SseTooLong { limit: 16 }));
    }

    #[test]
    fn in_a_stream_of_lines_every_line_is_an_event_and_a_part_of_one_is_none() {
        let mut decoder = SseDecoder::of_lines(16);
        let data: Vec<String> = decoder
            .push(b"{\"a\":1}\n\r\ndata: b\n{\"c")
            .unwrap()
            .into_iter()
            .map(|event| event.data)
            .collect();
        assert_eq!(data, ["{\"a\":1}", "data: b"]);
        assert_eq!(decoder.push(b"0123456789abcdef"), Err(SseTooLong { limit: 16 }));
    }

    proptest! {
        #[test]
        fn events_do_not_depend_on_where_the_bytes_are_cut(
            events in prop::collection::vec(("[a-z]{0,4}", "\\PC{0,20}"), 0..6),
            newline in prop::sample::select(vec!["\n", "\r\n", "\r"]),
            cuts in prop::collection::vec(1usize..7, 1..80),
        ) {
            let mut text = String::new();
            for (event, data) in &events {
                text.extend(["event: ", event, newline, "data: ", data, newline, newline]);
            }
            let mut decoder = SseDecoder::new(1 << 20);
            let mut got = Vec::new();
            let mut rest = text.as_bytes();
            for cut in cuts.iter().cycle() {
                if rest.is_empty() { break; }
                let (head, tail) = rest.split_at((*cut).min(rest.len()));
                got.extend(decoder.push(head).unwrap());
                rest = tail;
            }
            prop_assert_eq!(&got, &whole(text.as_bytes()));
            let expected: Vec<_> = events.iter()
                .map(|(event, data)| SseEvent { event: event.clone(), data: data.clone() }).collect();
            prop_assert_eq!(got, expected);
        }
    }
}
