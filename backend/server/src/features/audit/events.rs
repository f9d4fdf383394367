//! Sealing of events. They are numbered without a gap in the order of commits, project by project, so that whatever
//! follows the last sealed number can be read at once: no earlier one can still appear. Those of a project that are read
//! together are one block.

use super::seal::{Batch, End, Ends, Held, SealError, column, ends, move_ends};
use crate::db::audit::EventEntry;
use sqlx::PgConnection;
use std::collections::HashMap;
use syndarix_domain::audit::{Hash, SALT};
use uuid::Uuid;

/// Events of one transaction: each takes some 4 KiB of memory until its block is written.
const BATCH: i64 = 1_000;
/// Projects that share a batch: those that are furthest behind.
const CHAINS: i64 = 16;

/// Seals the next events of the projects that are furthest behind. A damaged chain's events wait where they are, and
/// leave their turn to others.
pub(super) async fn seal(conn: &mut PgConnection) -> Result<Batch, SealError> {
    let mut damaged = Vec::new();
    loop {
        let mut events = next(conn, &damaged).await?;
        let read = events.len();
        let Ends { mut good, stopped } =
            ends(conn, column(&events, |event| event.project_id), Held::First).await?;
        damaged.extend(&stopped);
        events.retain(|event| !stopped.contains(&event.project_id));
        if events.is_empty() && !stopped.is_empty() {
            continue;
        }
        if !events.is_empty() {
            write(conn, &blocks(&events, &mut good)?).await?;
            move_ends(conn, &good).await?;
        }
        // Of a batch that is less than half full no chain has more than its share.
        let more = !events.is_empty() && i64::try_from(read).unwrap_or(0) * 2 >= BATCH;
        return Ok(Batch { sealed: events.len(), more });
    }
}

/// Events that are linked together. Of each of them it keeps what cannot be made again of the event.
struct Block {
    chain: Uuid,
    /// After the last of them.
    end: End,
    events: i32,
    previous: Hash,
    salts: Vec<u8>,
    commitments: Vec<u8>,
    hashes: Vec<u8>,
}

impl Block {
    fn begin(chain: Uuid, end: End) -> Self {
        let (salts, commitments, hashes) = (Vec::new(), Vec::new(), Vec::new());
        Self { chain, end, events: 0, previous: end.hash, salts, commitments, hashes }
    }

    fn link(&mut self, event: &EventEntry) -> Result<(), sqlx::Error> {
        let salt: [u8; SALT] = rand::random();
        let commitment = event.commitment(&salt);
        self.end.link(&event.header(&commitment)?);
        self.end.event_seq = event.seq;
        self.events += 1;
        self.salts.extend(salt);
        self.commitments.extend(commitment);
        self.hashes.extend(self.end.hash);
        Ok(())
    }
}

/// Links events to the ends of their chains, and moves the ends. Within a block places and numbers run side by side:
/// where a number is missing, which only somebody who took an event away can have done, another block begins.
fn blocks(events: &[EventEntry], ends: &mut HashMap<Uuid, End>) -> Result<Vec<Block>, sqlx::Error> {
    let follows =
        |one: &EventEntry, other: &EventEntry| one.project_id == other.project_id && one.seq + 1 == other.seq;
    let mut blocks = Vec::new();
    for events in events.chunk_by(follows) {
        let Some(EventEntry { project_id: chain, .. }) = events.first() else { continue };
        let end = ends.entry(*chain).or_insert(End::NONE);
        let mut block = Block::begin(*chain, *end);
        for event in events {
            block.link(event)?;
        }
        *end = block.end;
        blocks.push(block);
    }
    Ok(blocks)
}

async fn write(conn: &mut PgConnection, blocks: &[Block]) -> Result<(), sqlx::Error> {
    sqlx::query(
        "insert into audit_block (chain, position, event_seq, events, previous, salts, commitments, hashes, sealed_at)
         select b.*, now() from unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::integer[], $5::bytea[], $6::bytea[],
                                       $7::bytea[], $8::bytea[]) b",
    )
    .bind(column(blocks, |block| block.chain))
    .bind(column(blocks, |block| block.end.position))
    .bind(column(blocks, |block| block.end.event_seq))
    .bind(column(blocks, |block| block.events))
    .bind(column(blocks, |block| block.previous.as_slice()))
    .bind(column(blocks, |block| block.salts.as_slice()))
    .bind(column(blocks, |block| block.commitments.as_slice()))
    .bind(column(blocks, |block| block.hashes.as_slice()))
    .execute(conn)
    .await
    .map(drop)
}

async fn next(conn: &mut PgConnection, damaged: &[Uuid]) -> Result<Vec<EventEntry>, sqlx::Error> {
    let mut events: Vec<EventEntry> = sqlx::query_as(
        "select c.project_id, e.seq, e.id, e.kind, e.stream_id, e.version, e.type, e.data::text as data, e.actor, e.at
           from (select b.*, $1 / count(*) over () as share
                   from (select l.project_id, h.event_seq
                           from project_log l join audit_head h on h.chain = l.project_id
                          where l.head > h.event_seq and l.project_id <> all ($3)
                          order by l.head - h.event_seq desc, l.project_id limit $2) b) c
          cross join lateral (
            select seq, id, kind, stream_id, version, type, data, actor, at from event
             where event.project_id = c.project_id and event.seq > c.event_seq order by event.seq limit c.share) e",
    )
    .bind(BATCH)
    .bind(CHAINS)
    .bind(damaged)
    .fetch_all(conn)
    .await?;
    // They come in this order; that they do is the server's affair, which would have to copy them all to promise it.
    events.sort_by_key(|event| (event.project_id, event.seq));
    Ok(events)
}
