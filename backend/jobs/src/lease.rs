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

/// A job that was finished in its caller's transaction.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Finished {
    /// The job.
    pub id: i64,
    queue: String,
}

impl Finished {
    /// Counts it. Call this once the transaction is committed, and only then: of one that failed, the job is still to be
    /// done.
    pub fn committed(self) {
        crate::telemetry::finished(self.queue, 1);
    }

    pub(crate) fn into_queue(self) -> String {
        self.queue
    }
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
        held.map(drop).ok_or_else(|| self.lost())
    }

    /// Finishes the job in the caller's transaction: its effects and its end commit together, exactly once.
    ///
    /// After the commit, [`Finished::committed`] counts it, and the handler returns [`crate::Outcome::Completed`].
    pub async fn complete(&self, conn: &mut PgConnection) -> Result<Finished, LeaseLost> {
        let mut finished = crate::settle::finish_leased(conn, &[*self], false).await?;
        finished.pop().ok_or_else(|| self.lost())
    }

    /// As [`Self::hold`], for many at once: the ids of the jobs whose leases are held.
    pub async fn hold_all(conn: &mut PgConnection, leases: &[Self]) -> Result<Vec<i64>, sqlx::Error> {
        // Row by row, by primary key: such a plan can be kept, whatever the table held when it was made. In the order of
        // their ids, so that nobody waits for each other.
        let held: Vec<i64> = sqlx::query_scalar(
            "select held.id
               from (select * from unnest($1::bigint[], $2::bigint[]) as l (job, fence) order by job) mine
              cross join lateral (
                select id from job where id = mine.job and fence = mine.fence and owner is not null for update) held",
        )
        .bind(leases.iter().map(|lease| lease.job).collect::<Vec<_>>())
        .bind(leases.iter().map(|lease| lease.fence).collect::<Vec<_>>())
        .fetch_all(conn)
        .await?;
        (held.len()..leases.len()).for_each(|_| crate::telemetry::lease_lost());
        Ok(held)
    }

    /// As [`Self::complete`], for many at once: the jobs that are finished now.
    pub async fn complete_all(
        conn: &mut PgConnection,
        leases: &[Self],
    ) -> Result<Vec<Finished>, sqlx::Error> {
        let finished = crate::settle::finish_leased(conn, leases, false).await?;
        (finished.len()..leases.len()).for_each(|_| crate::telemetry::lease_lost());
        Ok(finished)
    }

    fn lost(&self) -> LeaseLost {
        crate::telemetry::lease_lost();
        LeaseLost::Moved { job: self.job, fence: self.fence }
    }
}
