//! Sealing of events. They are numbered without a gap in the order of commits, project by project, so that whatever
//! follows the last sealed number can be read at once: no earlier one can still appear. Those of a project that are read
//! together are a block, or several where there are many.

use super::seal::{Batch, End, Ends, Held, SealError, column, ends, move_ends};
use crate::db::audit::EventEntry;
use futures::TryStreamExt;
use sqlx::{FromRow, PgConnection};
use syndarix_domain::audit::{Hash, SALT};
use uuid::Uuid;

/// Events of one transaction. They are linked as they come: of each, a hundred bytes are kept until its block is written.
const BATCH: i64 = 4_000;
/// Projects that share a batch: those that are furthest behind.
const CHAINS: usize = 16;
/// Events of one block: whoever reads one entry reads its whole block.
const MOST: i32 = 1_000;

/// Seals the next events of the projects that are furthest behind. A damaged chain's events wait where they are, and
/// leave their turn to others; so does a project whose events somebody took away.
pub(super) async fn seal(conn: &mut PgConnection) -> Result<Batch, SealError> {
    let mut passed_over = Vec::new();
    loop {
        let behind = behind(conn, &passed_over).await?;
        if behind.is_empty() {
            return Ok(Batch { sealed: 0, more: false });
        }
        let chains = column(&behind, |chain| chain.project_id);
        let Ends { mut good, .. } = ends(conn, chains.clone(), Held::First).await?;
        // Those that there was no place for come next.
        let mut more = behind.len() == CHAINS;
        let (mut blocks, mut sealed) = (Vec::new(), 0);
        for Behind { project_id, share } in behind {
            if let Some(end) = good.get_mut(&project_id) {
                let linked = link(conn, project_id, share, end, &mut blocks).await?;
                more |= linked == share;
                sealed += linked;
            }
        }
        if sealed > 0 {
            write(conn, &blocks).await?;
            move_ends(conn, &good).await?;
            return Ok(Batch { sealed: usize::try_from(sealed).unwrap_or(0), more });
        }
        passed_over.extend(chains);
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

    /// Whether this number is for another block.
    fn is_over(&self, seq: i64) -> bool {
        self.events == MOST || self.end.event_seq + 1 != seq
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

/// A project with events that are not sealed.
#[derive(FromRow)]
struct Behind {
    project_id: Uuid,
    /// How many events of this batch are its.
    share: i64,
}

async fn behind(conn: &mut PgConnection, but: &[Uuid]) -> Result<Vec<Behind>, sqlx::Error> {
    sqlx::query_as(
        "select b.project_id, $1 / count(*) over () as share
           from (select l.project_id from project_log l join audit_head h on h.chain = l.project_id
                  where l.head > h.event_seq and l.project_id <> all ($3)
                  order by l.head - h.event_seq desc, l.project_id limit $2) b",
    )
    .bind(BATCH)
    .bind(i64::try_from(CHAINS).unwrap_or(i64::MAX))
    .bind(but)
    .fetch_all(conn)
    .await
}

/// Links the next events of a project to the end of its chain, moves the end, and says how many there were. Within a block
/// places and numbers run side by side: where a number is missing, which only somebody who took an event away can have done,
/// another block begins.
async fn link(
    conn: &mut PgConnection,
    project: Uuid,
    share: i64,
    end: &mut End,
    blocks: &mut Vec<Block>,
) -> Result<i64, sqlx::Error> {
    let mut events = sqlx::query_as(
        "select project_id, seq, id, kind, stream_id, version, type, data::text as data, actor, at from event
          where project_id = $1 and seq > $2 order by seq limit $3",
    )
    .bind(project)
    .bind(end.event_seq)
    .bind(share)
    .fetch(conn);
    let (mut open, mut linked) = (None::<Block>, 0);
    while let Some(event) = events.try_next().await? {
        let event: EventEntry = event;
        if open.as_ref().is_some_and(|block| block.is_over(event.seq)) {
            blocks.extend(open.take());
        }
        let block = open.get_or_insert_with(|| Block::begin(project, *end));
        block.link(&event)?;
        *end = block.end;
        linked += 1;
    }
    blocks.extend(open);
    Ok(linked)
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
