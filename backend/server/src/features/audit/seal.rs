//! One batch of the sealer: read below the transaction horizon, link, write, move on. One transaction.

use sqlx::{FromRow, PgConnection};
use std::collections::HashMap;
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
    /// A chain's last seal does not read: whatever is linked to it would hide the damage.
    #[error(
        "the last seal of chain {0} is damaged: nothing more is sealed on it; run `syndarix audit verify`"
    )]
    Damaged(Uuid),
}

#[derive(Debug, FromRow)]
pub(super) struct Entry {
    id: Uuid,
    chain: Uuid,
    xid: String,
    ordinal: i64,
    header: Vec<u8>,
}

/// Where a chain ends.
#[derive(Clone, Copy)]
struct End {
    position: i64,
    hash: Hash,
}

/// Seals what can be sealed, at most a batch; says how many entries that were.
pub(super) async fn seal(conn: &mut PgConnection, leadership: &Leadership) -> Result<usize, SealError> {
    leadership.hold(conn).await?;
    let entries = next(conn).await?;
    let Some(last) = entries.last() else { return Ok(0) };
    let (xid, ordinal) = (last.xid.clone(), last.ordinal);
    append(conn, &entries).await?;
    sqlx::query("update audit_cursor set xid = $1::text::xid8, ordinal = $2")
        .bind(xid)
        .bind(ordinal)
        .execute(conn)
        .await?;
    Ok(entries.len())
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

/// Links entries to the ends of their chains, in the given order.
pub(super) async fn append(conn: &mut PgConnection, entries: &[Entry]) -> Result<(), SealError> {
    let mut ends = ends(conn, entries).await?;
    let (mut positions, mut previous, mut hashes) = (Vec::new(), Vec::new(), Vec::new());
    for entry in entries {
        let end = ends.entry(entry.chain).or_insert(End { position: 0, hash: GENESIS });
        let position = end.position + 1;
        let hash = link(&end.hash, position.unsigned_abs(), &entry.header);
        positions.push(position);
        previous.push(end.hash.to_vec());
        hashes.push(hash.to_vec());
        *end = End { position, hash };
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
    .bind(column(entries, |entry| entry.xid.clone()))
    .bind(column(entries, |entry| entry.ordinal))
    .bind(previous)
    .bind(hashes)
    .execute(conn)
    .await?;
    Ok(())
}

async fn ends(conn: &mut PgConnection, entries: &[Entry]) -> Result<HashMap<Uuid, End>, SealError> {
    let mut chains = column(entries, |entry| entry.chain);
    chains.sort_unstable();
    chains.dedup();
    let rows: Vec<(Uuid, i64, Vec<u8>)> = sqlx::query_as(
        "select c.chain, s.position, s.hash from unnest($1::uuid[]) as c(chain), lateral (
            select position, hash from audit_seal where audit_seal.chain = c.chain order by position desc limit 1
         ) s",
    )
    .bind(chains)
    .fetch_all(conn)
    .await?;
    let end = |(chain, position, hash): (Uuid, i64, Vec<u8>)| {
        let hash = Hash::try_from(hash).map_err(|_| SealError::Damaged(chain))?;
        Ok((chain, End { position, hash }))
    };
    rows.into_iter().map(end).collect()
}

fn column<T>(entries: &[Entry], field: impl Fn(&Entry) -> T) -> Vec<T> {
    entries.iter().map(field).collect()
}
