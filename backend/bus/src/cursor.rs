//! A place in a project's log, as clients keep it.

use std::{fmt, str::FromStr};

/// The last event that somebody has seen. Written `epoch:seq`, as in `Last-Event-ID`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    /// Which life of the log: it changes when the database was restored from a backup.
    pub epoch: i32,
    /// The event's number; 0 is before the first.
    pub seq: i64,
}

/// Not `epoch:seq`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor: expected `epoch:seq`")]
pub struct BadCursor;

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.epoch, self.seq)
    }
}

impl FromStr for Cursor {
    type Err = BadCursor;

    fn from_str(text: &str) -> Result<Self, BadCursor> {
        let (epoch, seq) = text.split_once(':').ok_or(BadCursor)?;
        let cursor =
            Self { epoch: epoch.parse().map_err(|_| BadCursor)?, seq: seq.parse().map_err(|_| BadCursor)? };
        if cursor.seq < 0 { Err(BadCursor) } else { Ok(cursor) }
    }
}
