//! One batch of the sealer: read below the transaction horizon, link, write, move on. One transaction.

use super::events;
use sqlx::{FromRow, PgConnection, PgPool};
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

/// A stored audit entry.
#[derive(Debug, FromRow)]
pub(super) struct Entry {
    id: Uuid,
    chain: Uuid,
    xid: String,
    ordinal: i64,
    header: Vec<u8>,
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
    pub(super) position: i64,
    pub(super) hash: Hash,
    /// The last event that is linked.
    pub(super) event_seq: i64,
}

impl End {
    pub(super) const NONE: Self = Self { position: 0, hash: GENESIS, event_seq: 0 };

    /// The end moves on to this header.
    pub(super) fn link(&mut self, header: &[u8]) {
        self.position += 1;
        self.hash = link(&self.hash, self.position.unsigned_abs(), header);
    }
}

/// Whether there is anything to seal. An idle system asks this and nothing else: it costs one round trip instead of eight.
pub(super) async fn is_due(pool: &PgPool) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar(
        "select exists (select from audit_held)
             or exists (select from audit_entry
                         where (xid, ordinal) > ((select xid from audit_cursor), (select ordinal from audit_cursor))
                           and xid < pg_snapshot_xmin(pg_current_snapshot())
                           and ordinal > (select restored_to from audit_cursor))
             or exists (select from project_log l join audit_head h on h.chain = l.project_id where l.head > h.event_seq)",
    )
    .fetch_one(pool)
    .await
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
    append(conn, entries, Held::First).await?;
    sqlx::query("update audit_cursor set xid = $1::text::xid8, ordinal = $2")
        .bind(xid)
        .bind(ordinal)
        .execute(conn)
        .await?;
    Ok(Batch { sealed, more: i64::try_from(sealed).unwrap_or(0) == BATCH })
}

/// Seals what was held back, where the end of its chain reads again.
async fn release(conn: &mut PgConnection) -> Result<(), SealError> {
    let entries: Vec<Entry> = sqlx::query_as(
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
    append(conn, entries, Held::These).await
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
async fn next(conn: &mut PgConnection) -> Result<Vec<Entry>, sqlx::Error> {
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
    let chains = entries.iter().map(|entry| entry.chain).collect();
    let Ends { mut good, stopped } = ends(conn, chains, held_back).await?;
    let (held, entries): (Vec<Entry>, Vec<Entry>) =
        entries.into_iter().partition(|entry| stopped.contains(&entry.chain));
    hold(conn, &held).await?;
    write(conn, &entries, &mut good).await
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

async fn write(
    conn: &mut PgConnection,
    entries: &[Entry],
    ends: &mut HashMap<Uuid, End>,
) -> Result<(), SealError> {
    let (mut positions, mut previous, mut hashes) = (Vec::new(), Vec::new(), Vec::new());
    for entry in entries {
        let end = ends.entry(entry.chain).or_insert(End::NONE);
        previous.push(end.hash.to_vec());
        end.link(&entry.header);
        positions.push(end.position);
        hashes.push(end.hash.to_vec());
    }
    sqlx::query(
        "insert into audit_seal (chain, position, entry_id, entry_xid, entry_ordinal, previous, hash, sealed_at)
         select s.chain, s.position, s.entry_id, s.xid::xid8, s.ordinal, s.previous, s.hash, now()
           from unnest($1::uuid[], $2::bigint[], $3::uuid[], $4::text[], $5::bigint[], $6::bytea[], $7::bytea[])
                as s(chain, position, entry_id, xid, ordinal, previous, hash)",
    )
    .bind(column(entries, |entry| entry.chain))
    .bind(positions)
    .bind(column(entries, |entry| entry.id))
    .bind(column(entries, |entry| entry.xid.as_str()))
    .bind(column(entries, |entry| entry.ordinal))
    .bind(previous)
    .bind(hashes)
    .execute(&mut *conn)
    .await?;
    move_ends(conn, ends).await
}

/// Records where the chains end now.
pub(super) async fn move_ends(conn: &mut PgConnection, ends: &HashMap<Uuid, End>) -> Result<(), SealError> {
    let mut heads: Vec<(Uuid, End)> = ends.iter().map(|(chain, end)| (*chain, *end)).collect();
    heads.sort_unstable_by_key(|(chain, _)| *chain);
    sqlx::query(
        "insert into audit_head as h (chain, position, hash, event_seq)
         select * from unnest($1::uuid[], $2::bigint[], $3::bytea[], $4::bigint[])
         on conflict (chain) do update
            set position = excluded.position, hash = excluded.hash, event_seq = excluded.event_seq",
    )
    .bind(column(&heads, |(chain, _)| *chain))
    .bind(column(&heads, |(_, end)| end.position))
    .bind(column(&heads, |(_, end)| end.hash.to_vec()))
    .bind(column(&heads, |(_, end)| end.event_seq))
    .execute(conn)
    .await?;
    Ok(())
}

/// The ends of chains, and the chains on which nothing can be sealed now.
pub(super) struct Ends {
    pub(super) good: HashMap<Uuid, End>,
    pub(super) stopped: HashSet<Uuid>,
}

/// A chain stops where its last link does not read, is not what the sealer wrote last, or where entries are held back
/// already, so that their order stays.
pub(super) async fn ends(
    conn: &mut PgConnection,
    mut chains: Vec<Uuid>,
    held_back: Held,
) -> Result<Ends, SealError> {
    chains.sort_unstable();
    chains.dedup();
    let rows: Vec<Found> = sqlx::query_as(
        "select c.chain, s.position, s.hash, h.position as head, h.hash as head_hash, h.event_seq,
                $2 and exists (select from audit_held where audit_held.chain = c.chain) as holding
           from unnest($1::uuid[]) as c(chain)
           left join audit_head h on h.chain = c.chain
           left join lateral audit_end(c.chain) s on true",
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

/// A column of rows, as statements that write many at once take it.
pub(super) fn column<'r, R, T>(rows: &'r [R], field: impl Fn(&'r R) -> T) -> Vec<T> {
    rows.iter().map(field).collect()
}
