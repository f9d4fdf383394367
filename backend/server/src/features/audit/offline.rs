//! Verification of an exported file: nothing is needed but the file.

use super::{
    check::{Bad, ChainReport, Found, Walk},
    export::{ChainEnd, Line, VERSION},
};
use std::io::{BufRead, Read};
use uuid::Uuid;

/// The longest line, in bytes: a header and a payload at their largest, with every byte escaped.
const MAX_LINE: u64 = 2 * 1024 * 1024;

/// A file that is no export.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The file cannot be read.
    #[error("cannot read the export")]
    Unreadable(#[from] std::io::Error),
    /// A line is not one of an export.
    #[error("line {line} of the export: {detail}")]
    Malformed {
        /// Which line, from 1.
        line: u64,
        /// What is wrong.
        detail: String,
    },
    /// The last line is not the closing one.
    #[error("the export is cut short: its closing line, which names every chain, is not there")]
    Cut,
}

/// Checks every chain of an export, as [`verify`](super::verify()) checks those of the database.
pub fn verify_export(mut reader: impl BufRead) -> Result<Vec<ChainReport>, ExportError> {
    let mut file = File::default();
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        if reader.by_ref().take(MAX_LINE).read_until(b'\n', &mut bytes)? == 0 {
            return file.end();
        }
        file.line += 1;
        if bytes.trim_ascii().is_empty() {
            continue;
        }
        let line = serde_json::from_slice(&bytes).map_err(|error| file.malformed(error.to_string()))?;
        file.accept(line)?;
    }
}

#[derive(Default)]
struct File {
    line: u64,
    current: Option<Chain>,
    closed: bool,
    reports: Vec<ChainReport>,
}

struct Chain {
    id: Uuid,
    walk: Walk,
    bad: Option<Bad>,
}

impl File {
    fn malformed(&self, detail: impl Into<String>) -> ExportError {
        ExportError::Malformed { line: self.line, detail: detail.into() }
    }

    fn accept(&mut self, line: Line) -> Result<(), ExportError> {
        if self.closed {
            return Err(self.malformed("nothing can come after the closing line"));
        }
        match (line, self.current.take()) {
            (Line::Close { chains }, None) => {
                // Of a broken chain its fault is told.
                let same = |(report, head): (&ChainReport, &ChainEnd)| {
                    !report.is_ok() || *head == ChainEnd::of(report)
                };
                let whole = self.reports.iter().zip(&chains).all(same);
                if chains.len() != self.reports.len() || !whole {
                    return Err(self.malformed("the chains before are not those that this line names"));
                }
                self.closed = true;
                Ok(())
            }
            (Line::Chain { v: VERSION, chain }, None) => {
                self.current = Some(Chain { id: chain, walk: Walk::new(chain), bad: None });
                Ok(())
            }
            (Line::Chain { v, .. }, None) => {
                Err(self.malformed(format!("version {v} is not one that this program reads")))
            }
            (line @ Line::Entry { .. }, Some(mut chain)) => {
                // After the first fault nothing can be said of the rest.
                if chain.bad.is_none() {
                    chain.bad = entry(&mut chain.walk, line).err();
                }
                self.current = Some(chain);
                Ok(())
            }
            (Line::End { chain, entries, head, unsealed }, Some(current)) if chain == current.id => {
                let Chain { walk, bad, .. } = current;
                let whole = walk.expected() == entries + 1 && hex::encode(walk.head()) == head;
                let short = || {
                    (!whole).then(|| {
                        walk.bad(format!("the chain must end after {entries} entries, with hash {head}"))
                    })
                };
                let bad = bad.or_else(short);
                self.reports.push(walk.report((unsealed, None), bad));
                Ok(())
            }
            _ => Err(self.malformed("this line cannot come here")),
        }
    }

    fn end(mut self) -> Result<Vec<ChainReport>, ExportError> {
        if let Some(Chain { walk, bad, .. }) = self.current.take() {
            let bad = bad.unwrap_or_else(|| walk.bad("the export is cut short"));
            self.reports.push(walk.report((0, None), Some(bad)));
            return Ok(self.reports);
        }
        if self.closed { Ok(self.reports) } else { Err(ExportError::Cut) }
    }
}

impl ChainEnd {
    fn of(report: &ChainReport) -> Self {
        Self { chain: report.chain, entries: report.entries, head: report.head.clone() }
    }
}

fn entry(walk: &mut Walk, line: Line) -> Result<(), Bad> {
    let Line::Entry { position, header, payload, salt, previous, hash } = line else { return Ok(()) };
    let read =
        |text: &str, what: &str| hex::decode(text).map_err(|_| walk.bad(format!("the {what} is not hex")));
    let found = Found {
        position,
        header: header.into_bytes(),
        payload: payload.map(String::into_bytes),
        salt: salt.map(|salt| read(&salt, "salt")).transpose()?,
        previous: read(&previous, "previous hash")?,
        hash: read(&hash, "hash")?,
    };
    walk.check(found, |_| None)
}
