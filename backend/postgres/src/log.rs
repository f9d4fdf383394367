//! The server's log file: its last lines for error messages, and a bound on its size.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

/// Lines shown in an error message.
const TAIL_LINES: usize = 20;
/// Bytes read from the end for them.
const TAIL_BYTES: u64 = 16 * 1024;
/// The log is moved to `.1` beyond this; both together bound what a chatty server can fill.
const LOG_LIMIT: u64 = 16 * 1024 * 1024;

/// The last lines written after byte `from`.
pub(crate) fn tail(path: &Path, from: u64) -> String {
    let read = || -> io::Result<String> {
        let mut file = File::open(path)?;
        let end = file.metadata()?.len();
        file.seek(SeekFrom::Start(from.min(end).max(end.saturating_sub(TAIL_BYTES))))?;
        let mut bytes = Vec::new();
        file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    match read() {
        Ok(text) => {
            let lines: Vec<&str> = text.lines().collect();
            lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
        }
        Err(error) => format!("(no log: {error})"),
    }
}

pub(crate) fn length(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |meta| meta.len())
}

/// Copies a log that has grown too long to `.1` and empties it. The server writes in append mode, so it goes on at
/// the new end; lines written between the two steps are lost, which a log that grows by 16 MiB can bear.
pub(crate) fn trim(path: &Path) {
    if length(path) <= LOG_LIMIT {
        return;
    }
    let result = fs::copy(path, path.with_extension("log.1"))
        .and_then(|_| File::options().write(true).open(path)?.set_len(0));
    if let Err(error) = result {
        tracing::warn!(%error, path = %path.display(), "cannot trim PostgreSQL's log");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_starts_after_the_mark_and_is_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("postgres.log");
        fs::write(&path, "old\n").unwrap();
        let mark = length(&path);
        fs::write(&path, format!("old\n{}", "new\n".repeat(10_000))).unwrap();
        assert_eq!(tail(&path, mark), ["new"; TAIL_LINES].join("\n"));
        assert!(tail(&dir.path().join("none"), 0).starts_with("(no log"));
    }

    #[test]
    fn a_log_beyond_the_limit_is_put_aside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("postgres.log");
        File::create(&path).unwrap().set_len(LOG_LIMIT + 1).unwrap();
        trim(&path);
        assert_eq!(length(&path), 0);
        assert_eq!(length(&dir.path().join("postgres.log.1")), LOG_LIMIT + 1);
    }
}
