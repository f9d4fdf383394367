//! Sealing of events. They are numbered without a gap in the order of commits, project by project, so that whatever
//! follows the last sealed number can be read at once: no earlier one can still appear.

use super::seal::{Batch, Ends, Entry, Held, SealError, Source, chains, ends, write};
use crate::db::audit::EventEntry;
use sqlx::PgConnection;
use uuid::Uuid;

/// Events of one transaction: each takes some 4 KiB of memory until its seal is written.
const BATCH: i64 = 1_000;
/// Projects that share a batch: those that are furthest behind.
const CHAINS: i64 = 16;

/// Seals the next events of the projects that are furthest behind. A damaged chain's events wait where they are, and
/// leave their turn to others.
pub(super) async fn seal(conn: &mut PgConnection) -> Result<Batch, SealError> {
    let mut damaged = Vec::new();
    loop {
        let events = next(conn, &damaged).await?;
        let read = events.len();
        let entries = events.iter().map(entry).collect::<Result<Vec<_>, _>>()?;
        let Ends { mut good, stopped } = ends(conn, chains(&entries), Held::First).await?;
        damaged.extend(&stopped);
        let entries: Vec<Entry> =
            entries.into_iter().filter(|entry| !stopped.contains(&entry.chain)).collect();
        if entries.is_empty() && !stopped.is_empty() {
            continue;
        }
        if !entries.is_empty() {
            write(conn, &entries, &mut good).await?;
        }
        // Of a batch that is less than half full no chain has more than its share.
        let more = !entries.is_empty() && i64::try_from(read).unwrap_or(0) * 2 >= BATCH;
        return Ok(Batch { sealed: entries.len(), more });
    }
}

fn entry(event: &EventEntry) -> Result<Entry, sqlx::Error> {
    let salt: [u8; 32] = rand::random();
    let header = event.header(&salt)?;
    Ok(Entry {
        id: event.id,
        chain: event.project_id,
        header,
        source: Source::Event { seq: event.seq, salt },
    })
}

async fn next(conn: &mut PgConnection, damaged: &[Uuid]) -> Result<Vec<EventEntry>, sqlx::Error> {
    sqlx::query_as(
        "select e.project_id, e.seq, e.id, e.kind, e.stream_id, e.version, e.type, e.data::text as data, e.actor, e.at
           from (select b.*, $1 / count(*) over () as share
                   from (select l.project_id, h.event_seq
                           from project_log l join audit_head h on h.chain = l.project_id
                          where l.head > h.event_seq and l.project_id <> all ($3)
                          order by l.head - h.event_seq desc, l.project_id limit $2) b) c
          cross join lateral (
            select * from event where event.project_id = c.project_id and event.seq > c.event_seq
             order by event.seq limit c.share) e
          order by e.project_id, e.seq",
    )
    .bind(BATCH)
    .bind(CHAINS)
    .bind(damaged)
    .fetch_all(conn)
    .await
}
