//! After a restore from a dump: the entries' transaction ids are of another server, and mean nothing in this one. Events
//! have none, and go on as if nothing had been.

use super::seal::{Entry, Held, SealError, append};
use sqlx::PgConnection;
use syndarix_jobs::Leadership;

/// Entries that may wait to be sealed at a restore; a dump is taken of a system whose sealer is seconds behind.
const MOST: i64 = 100_000;

/// Seals what the restored database had not sealed, and lets the cursor begin again after it. Does nothing, cheaply,
/// where nothing was restored. True: it did something.
pub(super) async fn adopt(conn: &mut PgConnection, leadership: &Leadership) -> Result<bool, SealError> {
    leadership.hold(conn).await?;
    if !is_restored(conn).await? {
        return Ok(false);
    }
    // Nobody may be writing: an entry that is not visible yet would lie below the new beginning and be passed over.
    sqlx::query("lock table audit_entry in share row exclusive mode").execute(&mut *conn).await?;
    let waiting: Vec<Entry> = sqlx::query_as(
        "select id, chain, xid::text as xid, ordinal, header from audit_entry e
          where not exists (select from audit_seal s where s.entry_id = e.id)
            and not exists (select from audit_held h where h.entry_id = e.id)
          order by e.ordinal limit $1",
    )
    .bind(MOST)
    .fetch_all(&mut *conn)
    .await?;
    let sealed = waiting.len();
    append(conn, waiting, Held::First).await?;
    sqlx::query(
        "update audit_cursor set xid = '0', ordinal = 0, restored_to = (select coalesce(max(ordinal), 0) from audit_entry)",
    )
    .execute(conn)
    .await?;
    tracing::info!(sealed, "the audit chain goes on after a restore");
    Ok(true)
}

/// A cursor ahead of every transaction of this server was written by another. So was an entry, unless it lies
/// below the mark of an earlier restore.
pub(super) async fn is_restored(conn: &mut PgConnection) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar(
        "select c.xid > pg_snapshot_xmax(pg_current_snapshot()) or coalesce(
                  (select xid >= pg_snapshot_xmax(pg_current_snapshot()) and ordinal > c.restored_to
                     from audit_entry order by xid desc, ordinal desc limit 1), false)
           from audit_cursor c",
    )
    .fetch_one(conn)
    .await
}
