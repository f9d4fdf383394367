//! The claim on an idempotency key, which lives and dies with the transaction of its command.
//!
//! Invariants: the key's row is written by the command's own transaction, and by its one statement where it has no other
//! (`db/statement.rs`), so that the key is used up exactly when the command took effect; what died before its commit leaves
//! nothing behind, and the key is free again at once.

use super::Error;
use serde::Serialize;
use serde_json::Value;
use sqlx::PgConnection;
use syndarix_domain::ids::CommandId;

/// How long a key is kept, as an interval.
pub const KEPT: &str = "24 hours";

/// A key that a command from outside came with, and what was asked under it.
#[derive(Debug, Clone, Copy)]
pub struct Claim {
    /// The key, of this caller, for this method and path.
    pub id: CommandId,
    /// SHA-256 of the request's body.
    pub request: [u8; 32],
}

/// A claim with what comes of its command, still to be written.
#[derive(Debug)]
pub(super) struct Claimed {
    pub(super) claim: Claim,
    /// What the answer can be made from, in case nobody lives to keep the answer itself.
    pub(super) result: Value,
}

impl Claimed {
    pub(super) fn of(claim: Claim) -> Self {
        Self { claim, result: Value::Null }
    }
}

impl Claim {
    /// Takes the key for a transaction that a feature needs for its own rows. Of two transactions at once, one is told to
    /// try again; a statement that is using the key up is waited for. Of two in turn, the second is told that the first has
    /// done it.
    pub(super) async fn take(&self, conn: &mut PgConnection) -> Result<(), Error> {
        let (lock, _) = self.id.0.as_u64_pair();
        let free: bool = sqlx::query_scalar("select pg_try_advisory_xact_lock($1)")
            .bind(lock.cast_signed())
            .fetch_one(&mut *conn)
            .await?;
        if !free {
            return Err(Error::InProgress);
        }
        let taken = sqlx::query(sqlx::AssertSqlSafe(format!(
            "insert into idempotency (id, request_hash, created_at) values ($1, $2, now())
             on conflict (id) do update
                 set request_hash = excluded.request_hash, result = 'null', answer = null, created_at = now()
             where idempotency.created_at < now() - interval '{KEPT}'"
        )))
        .bind(self.id.0)
        .bind(self.request.as_slice())
        .execute(conn)
        .await?;
        if taken.rows_affected() == 1 { Ok(()) } else { Err(Error::Repeated) }
    }

    /// Keeps what the answer can be made from, in case nobody lives to keep the answer itself.
    pub(super) async fn keep<R: Serialize>(&self, conn: &mut PgConnection, result: &R) -> Result<(), Error> {
        sqlx::query("update idempotency set result = $2 where id = $1")
            .bind(self.id.0)
            .bind(sqlx::types::Json(result))
            .execute(conn)
            .await?;
        Ok(())
    }
}
