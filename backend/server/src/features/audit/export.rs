//! The export: JSON lines that hold all that offline verification needs.
//!
//! A chain is a line `chain`, a line `entry` for each sealed entry, a line `end` with what must have come before it,
//! so that a file that was cut short shows. Header and payload are the stored bytes, as text.

use super::verify::{Row, chains, outside, page};
use axum::body::Bytes;
use futures::{Stream, StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use uuid::Uuid;

/// How the lines are written.
pub(super) const VERSION: u8 = 1;

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
) -> impl Stream<Item = Result<Bytes, sqlx::Error>> + Send + 'static {
    stream::once(async move { chains(&pool, chain).await.map(|chains| (pool, chains)) })
        .map_ok(|(pool, chains)| stream::iter(chains).flat_map(move |chain| one(pool.clone(), chain)))
        .try_flatten()
}

/// Where the export of one chain is.
struct Progress {
    pool: PgPool,
    chain: Uuid,
    after: i64,
    entries: u64,
    head: String,
    step: Step,
}

enum Step {
    Begin,
    Entries,
    Over,
}

fn one(pool: PgPool, chain: Uuid) -> impl Stream<Item = Result<Bytes, sqlx::Error>> + Send + 'static {
    let head = "0".repeat(64);
    let progress = Progress { pool, chain, after: i64::MIN, entries: 0, head, step: Step::Begin };
    stream::try_unfold(progress, |mut progress| async move {
        Ok(progress.next().await?.map(|text| (Bytes::from(text), progress)))
    })
}

impl Progress {
    async fn next(&mut self) -> Result<Option<String>, sqlx::Error> {
        match self.step {
            Step::Begin => {
                self.step = Step::Entries;
                Ok(Some(Line::Chain { v: VERSION, chain: self.chain }.write()))
            }
            Step::Entries => self.entries().await.map(Some),
            Step::Over => Ok(None),
        }
    }

    async fn entries(&mut self) -> Result<String, sqlx::Error> {
        let rows = page(&self.pool, self.chain, self.after).await?;
        if rows.is_empty() {
            self.step = Step::Over;
            let (unsealed, _) = outside(&self.pool, self.chain).await?;
            let (chain, entries, head) = (self.chain, self.entries, std::mem::take(&mut self.head));
            return Ok(Line::End { chain, entries, head, unsealed }.write());
        }
        Ok(rows.into_iter().map(|row| self.entry(row)).collect())
    }

    fn entry(&mut self, row: Row) -> String {
        self.after = row.position;
        self.entries += 1;
        self.head = hex::encode(&row.hash);
        // What the writer wrote is UTF-8. What is not any more was changed, and will not match its hash either way.
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let line = Line::Entry {
            position: row.position,
            header: row.entry.header.map(text).unwrap_or_default(),
            payload: row.entry.payload.map(text),
            salt: row.entry.salt.map(hex::encode),
            previous: hex::encode(row.previous),
            hash: self.head.clone(),
        };
        line.write()
    }
}
