//! The export: JSON lines that hold all that offline verification needs.
//!
//! A chain is a line `chain`, a line `entry` for each sealed entry, a line `end` with what must have come before it; the
//! last line, `close`, names all chains again with their ends: a file that was cut short shows, wherever. Header and payload are the stored bytes, as text.

use super::{
    links::{Bytes, Row, page},
    verify::{chains, outside},
};
use futures::{Stream, stream};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use uuid::Uuid;

/// How the lines are written.
pub(super) const VERSION: u8 = 2;

/// One line of an export.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Line {
    /// A chain begins.
    Chain {
        /// How the lines are written.
        v: u8,
        /// The project, or the nil id for the instance's own.
        chain: Uuid,
    },
    /// A sealed entry.
    Entry {
        /// From 1, without a gap.
        position: i64,
        /// The stored bytes.
        header: String,
        /// The stored bytes; null when erased.
        payload: Option<String>,
        /// In hex; null when erased.
        salt: Option<String>,
        /// In hex.
        previous: String,
        /// In hex.
        hash: String,
    },
    /// A chain ends.
    End {
        /// The same as at its beginning.
        chain: Uuid,
        /// How many entries came before.
        entries: u64,
        /// The hash of the last one, in hex; 64 zeros when there was none.
        head: String,
        /// Entries that were not sealed yet and are not in here.
        unsealed: u64,
    },
    /// The file ends.
    Close {
        /// Every chain of the file, in its order.
        chains: Vec<ChainEnd>,
    },
}

/// Where a chain of the file ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ChainEnd {
    pub(super) chain: Uuid,
    pub(super) entries: u64,
    /// In hex.
    pub(super) head: String,
}

impl Line {
    fn write(&self) -> String {
        // Numbers, ids and strings: nothing that JSON cannot say.
        let mut line = serde_json::to_string(self).unwrap_or_default();
        line.push('\n');
        line
    }
}

/// Writes the chains, or one of them, page by page.
pub fn export(
    pool: PgPool,
    chain: Option<Uuid>,
) -> impl Stream<Item = Result<axum::body::Bytes, sqlx::Error>> + Send + 'static {
    let progress =
        Progress { pool, wanted: chain, chains: None, current: None, heads: Vec::new(), over: false };
    stream::try_unfold(progress, |mut progress| async move {
        Ok(progress.next().await?.map(|text| (axum::body::Bytes::from(text), progress)))
    })
}

/// Where the export is.
struct Progress {
    pool: PgPool,
    wanted: Option<Uuid>,
    /// Those that are to come; none before the first line.
    chains: Option<std::vec::IntoIter<Uuid>>,
    current: Option<Chain>,
    heads: Vec<ChainEnd>,
    over: bool,
}

/// Where the export of one chain is.
struct Chain {
    after: i64,
    head: ChainEnd,
}

impl Progress {
    async fn next(&mut self) -> Result<Option<String>, sqlx::Error> {
        if let Some(chain) = self.current.take() {
            return self.entries(chain).await.map(Some);
        }
        if self.chains.is_none() {
            self.chains = Some(chains(&self.pool, self.wanted).await?.into_iter());
        }
        if let Some(chain) = self.chains.as_mut().and_then(Iterator::next) {
            let head = ChainEnd { chain, entries: 0, head: "0".repeat(64) };
            self.current = Some(Chain { after: i64::MIN, head });
            return Ok(Some(Line::Chain { v: VERSION, chain }.write()));
        }
        if std::mem::replace(&mut self.over, true) {
            return Ok(None);
        }
        Ok(Some(Line::Close { chains: std::mem::take(&mut self.heads) }.write()))
    }

    async fn entries(&mut self, mut chain: Chain) -> Result<String, sqlx::Error> {
        let rows = page(&self.pool, chain.head.chain, chain.after).await?;
        if rows.is_empty() {
            let (unsealed, _) = outside(&self.pool, chain.head.chain).await?.waiting();
            self.heads.push(chain.head.clone());
            let ChainEnd { chain, entries, head } = chain.head;
            return Ok(Line::End { chain, entries, head, unsealed }.write());
        }
        let lines = rows.into_iter().map(|row| chain.entry(row)).collect();
        self.current = Some(chain);
        Ok(lines)
    }
}

impl Chain {
    fn entry(&mut self, mut row: Row) -> String {
        self.after = row.position;
        self.head.entries += 1;
        self.head.head = hex::encode(&row.hash);
        // What the writer wrote is UTF-8. What is not any more was changed, and will not match its hash either way.
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let Bytes { header, payload, salt } = row.bytes(self.head.chain);
        let line = Line::Entry {
            position: row.position,
            header: header.map(text).unwrap_or_default(),
            payload: payload.map(text),
            salt: salt.map(hex::encode),
            previous: hex::encode(row.previous),
            hash: self.head.head.clone(),
        };
        line.write()
    }
}
