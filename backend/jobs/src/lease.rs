//! The right to write a job's result.

use sqlx::PgConnection;

/// A claim on one job. It is good as long as the job's fence has not moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lease {
    /// The job.
    pub job: i64,
    /// Its fence at the time of the claim.
    pub fence: i64,
}

/// The lease cannot be shown to be held: roll back.
#[derive(Debug, thiserror::Error)]
pub enum LeaseLost {
    /// Another worker took the job over, or it is finished.
    #[error("the lease on job {job} with fence {fence} is no longer held")]
    Moved {
        /// The job.
        job: i64,
        /// The fence that is no longer current.
        fence: i64,
    },
    /// The database did not answer, so nothing is known.
    #[error("cannot check the lease")]
    Database(#[from] sqlx::Error),
}

impl Lease {
    /// Locks the job's row until the end of the caller's transaction, so that what it writes is written under the lease.
    ///
    /// Keep that transaction short: the lease is not extended while the row is locked.
    pub async fn hold(&self, conn: &mut PgConnection) -> Result<(), LeaseLost> {
        let held =
            sqlx::query("select from job where id = $1 and fence = $2 and owner is not null for update")
                .bind(self.job)
                .bind(self.fence)
                .fetch_optional(conn)
                .await?;
        self.lost_unless(held.is_some())
    }

    /// Finishes the job in the caller's transaction: its effects and its end commit together, exactly once.
    ///
    /// The handler then returns [`crate::Outcome::Completed`].
    pub async fn complete(&self, conn: &mut PgConnection) -> Result<(), LeaseLost> {
        let finished = crate::settle::finish_leased(conn, &[*self]).await?;
        self.lost_unless(!finished.is_empty())
    }

    fn lost_unless(&self, held: bool) -> Result<(), LeaseLost> {
        if held {
            return Ok(());
        }
        crate::telemetry::lease_lost();
        Err(LeaseLost::Moved { job: self.job, fence: self.fence })
    }
}
