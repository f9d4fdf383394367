//! Looking through many rows, some at each turn.
//!
//! What waits may be a million rows, and a sweep of every few seconds must not read them all. So it goes round: as many
//! as it may at each turn, the next ones at the next turn, and from the beginning again after the last.

use sqlx::PgPool;
use std::sync::{Mutex, PoisonError};
use uuid::Uuid;

/// Rows of one turn. As long as there are fewer, each turn looks at all of them.
pub(super) const TURN: i64 = 1_000;

/// How far this process has come. Another one begins anew, and looks at some of them twice.
#[derive(Debug, Default)]
pub(super) struct Round(Mutex<Uuid>);

impl Round {
    /// The ids of this turn, from a query for those after `$1`, in their order, at most `$2`.
    pub(super) async fn next(&self, pool: &PgPool, query: &'static str) -> Result<Vec<Uuid>, sqlx::Error> {
        let after = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let ids: Vec<Uuid> = sqlx::query_scalar(query).bind(after).bind(TURN).fetch_all(pool).await?;
        let full = i64::try_from(ids.len()).is_ok_and(|found| found >= TURN);
        let last = ids.last().copied().filter(|_| full);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = last.unwrap_or_default();
        Ok(ids)
    }
}
