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
        let finished = crate::settle::finish_leased(conn, &[*self], false).await?;
        self.lost_unless(!finished.is_empty())
    }

    /// As [`Self::hold`], for many at once: the ids of the jobs whose leases are held.
    pub async fn hold_all(conn: &mut PgConnection, leases: &[Self]) -> Result<Vec<i64>, sqlx::Error> {
        let held: Vec<i64> = sqlx::query_scalar(
            "select id from job join unnest($1::bigint[], $2::bigint[]) as mine (job, fence)
                 on job.id = mine.job and job.fence = mine.fence
              where owner is not null order by id for update of job",
        )
        .bind(leases.iter().map(|lease| lease.job).collect::<Vec<_>>())
        .bind(leases.iter().map(|lease| lease.fence).collect::<Vec<_>>())
        .persistent(false)
        .fetch_all(conn)
        .await?;
        (held.len()..leases.len()).for_each(|_| crate::telemetry::lease_lost());
        Ok(held)
    }

    /// As [`Self::complete`], for many at once: the ids of the jobs that are finished now.
    pub async fn complete_all(conn: &mut PgConnection, leases: &[Self]) -> Result<Vec<i64>, sqlx::Error> {
        let finished = crate::settle::finish_leased(conn, leases, false).await?;
        (finished.len()..leases.len()).for_each(|_| crate::telemetry::lease_lost());
        Ok(finished)
    }

    fn lost_unless(&self, held: bool) -> Result<(), LeaseLost> {
        if held {
            return Ok(());
        }
        crate::telemetry::lease_lost();
        Err(LeaseLost::Moved { job: self.job, fence: self.fence })
    }
}
