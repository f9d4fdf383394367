//! Dead letters: kept until somebody drives them again or purges them.

use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use crate::claim::AGEING_STEP;
use crate::settle::storable;

/// The reason of jobs that lost one worker after another.
pub(crate) const WORKER_LOST: &str = "worker lost";

/// How the reason of a job begins whose handler panicked.
pub(crate) const PANICKED: &str = "the handler panicked";

/// What became of a dead letter that was to be driven again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Redriven {
    /// It is ready again, under the same id, with all its attempts and its error chain.
    Queued,
    /// A live job has its unique key; the dead letter stays.
    Duplicate,
    /// No dead letter has this id.
    NotFound,
}

/// Puts a dead letter back into its queue, in the caller's transaction.
pub async fn redrive(conn: &mut PgConnection, job: i64) -> Result<Redriven, sqlx::Error> {
    let found =
        sqlx::query("select from job_dead where id = $1 for update").bind(job).fetch_optional(&mut *conn);
    if found.await?.is_none() {
        return Ok(Redriven::NotFound);
    }
    // The fence goes on from where it was: an attempt that outlived its burial must not match the new life.
    let moved = sqlx::query(
        "with put as (
            insert into job (id, queue, project_id, kind, payload, priority, unique_key, concurrency_key,
                             max_attempts, fence, errors, last_error, created_at, rate, tick, due, in_line_at)
            select id, queue, project_id, kind, payload, priority, unique_key, concurrency_key,
                   max_attempts, fence + 1, errors, reason, created_at, rate, tick, (rate).key is null,
                   case when (rate).key is not null then now() + priority * make_interval(secs => $2) end
              from job_dead where id = $1
            on conflict (unique_key) where unique_key is not null do nothing
            returning id
         )
         delete from job_dead using put where job_dead.id = put.id",
    )
    .bind(job)
    .bind(AGEING_STEP.as_secs_f64())
    .execute(conn)
    .await?;
    Ok(if moved.rows_affected() == 0 { Redriven::Duplicate } else { Redriven::Queued })
}

/// Gives a dead letter up for good; a line in the history stays, with what the person says about it. False: no dead
/// letter has this id.
pub async fn purge(conn: &mut PgConnection, job: i64, note: Option<&str>) -> Result<bool, sqlx::Error> {
    let purged = sqlx::query(
        "with gone as (delete from job_dead where id = $1 returning *)
         insert into job_done (id, queue, project_id, kind, attempt, outcome, note)
         select id, queue, project_id, kind, attempt, 'purged', $2 from gone",
    )
    .bind(job)
    .bind(note.map(storable))
    .execute(conn)
    .await?;
    Ok(purged.rows_affected() > 0)
}

/// What kind of end made a dead letter: what they have in common is settled together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeathCause {
    /// It lost one worker after another.
    WorkerLost,
    /// Its handler panicked.
    Panicked,
    /// Its handler said that it cannot be done, or failed as often as it may.
    Failed,
}

impl DeathCause {
    /// What its reasons are like, and what they are not like.
    pub(crate) fn patterns(self) -> (Option<String>, Vec<String>) {
        let (lost, panicked) = (WORKER_LOST.to_owned(), format!("{PANICKED}%"));
        match self {
            Self::WorkerLost => (Some(lost), Vec::new()),
            Self::Panicked => (Some(panicked), Vec::new()),
            Self::Failed => (None, vec![lost, panicked]),
        }
    }
}
