//! One batch of the sealer: read below the transaction horizon, link, write, move on. One transaction.

use super::events;
use sqlx::{FromRow, PgConnection};
use std::collections::{HashMap, HashSet};
use syndarix_domain::audit::{GENESIS, Hash, link};
use syndarix_jobs::{Leadership, NotLeader};
use uuid::Uuid;

/// Entries of one transaction: bounds how long a new leader waits for the old one's locks.
pub(super) const BATCH: i64 = 1_000;

/// A batch could not be sealed. Nothing of it was written.
#[derive(Debug, thiserror::Error)]
pub(super) enum SealError {
    /// Another instance seals now.
    #[error(transparent)]
    NotLeader(#[from] NotLeader),
    /// The database failed.
    #[error("cannot seal audit entries")]
    Database(#[from] sqlx::Error),
}

/// What is linked: an audit entry, or an event.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) id: Uuid,
    pub(super) chain: Uuid,
    pub(super) header: Vec<u8>,
    pub(super) source: Source,
}

/// Where it is stored, and what its seal keeps of that.
#[derive(Debug)]
pub(super) enum Source {
    /// As an entry.
    Entry { xid: String, ordinal: i64 },
    /// As an event, whose salt is kept with the seal.
    Event { seq: i64, salt: [u8; 32] },
}

/// A stored audit entry.
#[derive(Debug, FromRow)]
pub(super) struct Stored {
    id: Uuid,
    chain: Uuid,
    xid: String,
    ordinal: i64,
    header: Vec<u8>,
}

impl From<Stored> for Entry {
    fn from(stored: Stored) -> Self {
        let Stored { id, chain, xid, ordinal, header } = stored;
        Self { id, chain, header, source: Source::Entry { xid, ordinal } }
    }
}

/// What a batch came to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Batch {
    /// Entries and events that are linked now, or held back.
    pub(super) sealed: usize,
    /// There may be more.
    pub(super) more: bool,
}

/// Where a chain ends.
#[derive(Clone, Copy)]
pub(super) struct End {
    position: i64,
    hash: Hash,
    /// The last event that is linked.
    event_seq: i64,
}

impl End {
    const NONE: Self = Self { position: 0, hash: GENESIS, event_seq: 0 };
}

/// Seals what can be sealed, at most a batch.
pub(super) async fn seal(conn: &mut PgConnection, leadership: &Leadership) -> Result<Batch, SealError> {
    leadership.hold(conn).await?;
    release(conn).await?;
    let entries = seal_entries(conn).await?;
    let events = events::seal(conn).await?;
    Ok(Batch { sealed: entries.sealed + events.sealed, more: entries.more || events.more })
}

async fn seal_entries(conn: &mut PgConnection) -> Result<Batch, SealError> {
    let entries = next(conn).await?;
    let Some(last) = entries.last() else { return Ok(Batch { sealed: 0, more: false }) };
    let (xid, ordinal) = (last.xid.clone(), last.ordinal);
    let sealed = entries.len();
    append(conn, entries.into_iter().map(Entry::from).collect(), Held::First).await?;
    sqlx::query("update audit_cursor set xid = $1::text::xid8, ordinal = $2")
        .bind(xid)
        .bind(ordinal)
        .execute(conn)
        .await?;
    Ok(Batch { sealed, more: i64::try_from(sealed).unwrap_or(0) == BATCH })
}

/// Seals what was held back, where the end of its chain reads again.
async fn release(conn: &mut PgConnection) -> Result<(), SealError> {
    let entries: Vec<Stored> = sqlx::query_as(
        "select e.id, e.chain, e.xid::text as xid, e.ordinal, e.header
           from audit_held h join audit_entry e on e.id = h.entry_id order by e.xid, e.ordinal limit $1",
    )
    .bind(BATCH)
    .fetch_all(&mut *conn)
    .await?;
    if entries.is_empty() {
        return Ok(());
    }
    let ids: Vec<Uuid> = entries.iter().map(|entry| entry.id).collect();
    sqlx::query("delete from audit_held where entry_id = any($1)").bind(ids).execute(&mut *conn).await?;
    append(conn, entries.into_iter().map(Entry::from).collect(), Held::These).await
}

/// What of a chain's entries that are held back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Held {
    /// They come before the given entries, which are held back with them.
    First,
    /// The given entries are the first of them.
    These,
}

/// What follows the cursor, in the order of commits. Below the horizon no transaction is under way any more: a
/// reader that went by the ordinal alone would pass a slow, earlier one for ever.
async fn next(conn: &mut PgConnection) -> Result<Vec<Stored>, sqlx::Error> {
    let (xid, ordinal, restored_to): (String, i64, i64) =
        sqlx::query_as("select xid::text, ordinal, restored_to from audit_cursor for update")
            .fetch_one(&mut *conn)
            .await?;
    sqlx::query_as(
        "select id, chain, xid::text as xid, ordinal, header from audit_entry
          where (audit_entry.xid, ordinal) > ($1::text::xid8, $2) and audit_entry.xid < pg_snapshot_xmin(pg_current_snapshot())
            and ordinal > $3
          order by audit_entry.xid, ordinal limit $4",
    )
    .bind(xid)
    .bind(ordinal)
    .bind(restored_to)
    .bind(BATCH)
    .fetch_all(conn)
    .await
}

/// Links entries to the ends of their chains, in the given order. Where the end of a chain is damaged, its entries are
/// held back: what is linked to it would hide the damage, and the other chains go on.
pub(super) async fn append(
    conn: &mut PgConnection,
    entries: Vec<Entry>,
    held_back: Held,
) -> Result<(), SealError> {
    let Ends { mut good, stopped } = ends(conn, chains(&entries), held_back).await?;
    let (held, entries): (Vec<Entry>, Vec<Entry>) =
        entries.into_iter().partition(|entry| stopped.contains(&entry.chain));
    hold(conn, &held).await?;
    write(conn, &entries, &mut good).await
}

/// The chains of entries, each once.
pub(super) fn chains(entries: &[Entry]) -> Vec<Uuid> {
    let mut chains = column(entries, |entry| entry.chain);
    chains.sort_unstable();
    chains.dedup();
    chains
}

async fn hold(conn: &mut PgConnection, entries: &[Entry]) -> Result<(), sqlx::Error> {
    if entries.is_empty() {
        return Ok(());
    }
    sqlx::query("insert into audit_held (entry_id, chain) select * from unnest($1::uuid[], $2::uuid[])")
        .bind(column(entries, |entry| entry.id))
        .bind(column(entries, |entry| entry.chain))
        .execute(conn)
        .await
        .map(drop)
}

/// Links entries to the ends of their chains, and moves the ends.
pub(super) async fn write(
    conn: &mut PgConnection,
    entries: &[Entry],
    ends: &mut HashMap<Uuid, End>,
) -> Result<(), SealError> {
    let (mut positions, mut previous, mut hashes) = (Vec::new(), Vec::new(), Vec::new());
    for entry in entries {
        let end = ends.entry(entry.chain).or_insert(End::NONE);
        previous.push(end.hash.to_vec());
        let position = end.position + 1;
        end.hash = link(&end.hash, position.unsigned_abs(), &entry.header);
        end.position = position;
        if let Source::Event { seq, .. } = entry.source {
            end.event_seq = seq;
        }
        positions.push(position);
        hashes.push(end.hash.to_vec());
    }
    sqlx::query(
        "insert into audit_seal (chain, position, entry_id, entry_xid, entry_ordinal, event_seq, header, salt, previous, hash, sealed_at)
         select s.chain, s.position, s.entry_id, s.xid::xid8, s.ordinal, s.event_seq, s.header, s.salt, s.previous, s.hash, now()
           from unnest($1::uuid[], $2::bigint[], $3::uuid[], $4::text[], $5::bigint[], $6::bigint[], $7::bytea[],
                       $8::bytea[], $9::bytea[], $10::bytea[])
                as s(chain, position, entry_id, xid, ordinal, event_seq, header, salt, previous, hash)",
    )
    .bind(column(entries, |entry| entry.chain))
    .bind(positions)
    .bind(column(entries, |entry| entry.id))
    .bind(column(entries, |entry| entry.source.xid()))
    .bind(column(entries, |entry| entry.source.ordinal()))
    .bind(column(entries, |entry| entry.source.event_seq()))
    .bind(column(entries, |entry| entry.source.salt().map(|_| entry.header.as_slice())))
    .bind(column(entries, |entry| entry.source.salt()))
    .bind(previous)
    .bind(hashes)
    .execute(&mut *conn)
    .await?;
    let mut heads: Vec<(Uuid, End)> = ends.iter().map(|(chain, end)| (*chain, *end)).collect();
    heads.sort_unstable_by_key(|(chain, _)| *chain);
    sqlx::query(
        "insert into audit_head as h (chain, position, hash, event_seq)
         select * from unnest($1::uuid[], $2::bigint[], $3::bytea[], $4::bigint[])
         on conflict (chain) do update
            set position = excluded.position, hash = excluded.hash, event_seq = excluded.event_seq",
    )
    .bind(heads.iter().map(|(chain, _)| *chain).collect::<Vec<_>>())
    .bind(heads.iter().map(|(_, end)| end.position).collect::<Vec<_>>())
    .bind(heads.iter().map(|(_, end)| end.hash.to_vec()).collect::<Vec<_>>())
    .bind(heads.iter().map(|(_, end)| end.event_seq).collect::<Vec<_>>())
    .execute(conn)
    .await?;
    Ok(())
}

impl Source {
    fn xid(&self) -> Option<&str> {
        match self {
            Self::Entry { xid, .. } => Some(xid),
            Self::Event { .. } => None,
        }
    }

    fn ordinal(&self) -> Option<i64> {
        match self {
            Self::Entry { ordinal, .. } => Some(*ordinal),
            Self::Event { .. } => None,
        }
    }

    fn event_seq(&self) -> Option<i64> {
        match self {
            Self::Entry { .. } => None,
            Self::Event { seq, .. } => Some(*seq),
        }
    }

    fn salt(&self) -> Option<&[u8]> {
        match self {
            Self::Entry { .. } => None,
            Self::Event { salt, .. } => Some(salt),
        }
    }
}

/// The ends of chains, and the chains on which nothing can be sealed now.
pub(super) struct Ends {
    pub(super) good: HashMap<Uuid, End>,
    pub(super) stopped: HashSet<Uuid>,
}

/// A chain stops where its last seal does not read, is not what the sealer wrote last, or where entries are held back
/// already, so that their order stays.
pub(super) async fn ends(
    conn: &mut PgConnection,
    chains: Vec<Uuid>,
    held_back: Held,
) -> Result<Ends, SealError> {
    let rows: Vec<Found> = sqlx::query_as(
        "select c.chain, s.position, s.hash, h.position as head, h.hash as head_hash, h.event_seq,
                $2 and exists (select from audit_held where audit_held.chain = c.chain) as holding
           from unnest($1::uuid[]) as c(chain)
           left join audit_head h on h.chain = c.chain
           left join lateral (
            select position, hash from audit_seal where audit_seal.chain = c.chain order by position desc limit 1
         ) s on true",
    )
    .bind(chains)
    .bind(held_back == Held::First)
    .fetch_all(conn)
    .await?;
    let mut ends = Ends { good: HashMap::new(), stopped: HashSet::new() };
    for row in rows {
        let chain = row.chain;
        if let Some(end) = row.end() {
            ends.good.insert(chain, end);
        } else {
            metrics::counter!("syndarix_audit_seal_failures_total").increment(1);
            tracing::error!(%chain, "the end of an audit chain is damaged: nothing is sealed on it; run `syndarix audit verify`");
            ends.stopped.insert(chain);
        }
    }
    Ok(ends)
}

/// What there is at the end of a chain.
#[derive(FromRow)]
struct Found {
    chain: Uuid,
    position: Option<i64>,
    hash: Option<Vec<u8>>,
    head: Option<i64>,
    head_hash: Option<Vec<u8>>,
    event_seq: Option<i64>,
    holding: bool,
}

impl Found {
    fn end(self) -> Option<End> {
        if self.holding {
            return None;
        }
        let head = self.head.unwrap_or(0);
        let event_seq = self.event_seq.unwrap_or(0);
        let Some(position) = self.position else {
            return (head == 0).then_some(End { event_seq, ..End::NONE });
        };
        // The version before writes seals and no heads: a chain may be longer than its row, never shorter.
        let changed = position < head || (position == head && self.hash != self.head_hash);
        let hash = Hash::try_from(self.hash?).ok()?;
        (!changed).then_some(End { position, hash, event_seq })
    }
}

fn column<'e, T>(entries: &'e [Entry], field: impl Fn(&'e Entry) -> T) -> Vec<T> {
    entries.iter().map(field).collect()
}
