//! Ends of jobs whose rows somebody else holds: they wait by themselves, lest they keep the ends of all others waiting.

use tokio::sync::mpsc;
use tokio::time::{Duration, Instant, timeout, timeout_at};

use crate::outage::{CallError, STATEMENT_LIMIT};
use crate::settle::Settlement;
use crate::worker::Shared;

/// How soon it is looked whether a row is free again.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Jobs that are still there and whose rows are locked.
const LOCKED: &str = "
with free as materialized (select id from job where id = any ($1) for update skip locked)
select id from job where id = any ($1) and id not in (select id from free)";

#[derive(Default)]
pub(crate) struct HeldUp {
    ends: Vec<Settlement>,
    /// When it is looked again; nothing is held up otherwise.
    look_at: Option<Instant>,
}

impl HeldUp {
    /// Waits for ends, those of rows that are free again among them. `false`: no more will come.
    pub(crate) async fn next(
        &mut self,
        shared: &Shared,
        ends: &mut mpsc::Receiver<Settlement>,
        (batch, limit): (&mut Vec<Settlement>, usize),
    ) -> bool {
        let Some(at) = self.look_at else { return ends.recv_many(batch, limit).await > 0 };
        if let Ok(0) = timeout_at(at, ends.recv_many(batch, limit)).await {
            return false;
        }
        if Instant::now() >= at {
            // What cannot be looked at now is looked at later.
            if let Ok(locked) = locked(shared, &self.ends).await {
                batch.extend(self.ends.extract_if(.., |end| !locked.contains(&end.lease.job)));
            }
            self.look_at = (!self.ends.is_empty()).then(|| Instant::now() + LOOK_AGAIN);
        }
        true
    }

    /// Takes out of a batch what keeps the rest of it waiting.
    pub(crate) async fn set_aside(
        &mut self,
        shared: &Shared,
        batch: &mut Vec<Settlement>,
    ) -> Result<(), CallError> {
        let locked = locked(shared, batch).await?;
        self.ends.extend(batch.extract_if(.., |end| locked.contains(&end.lease.job)));
        if let (None, false) = (self.look_at, self.ends.is_empty()) {
            tracing::warn!(jobs = ?locked, "somebody else holds the rows of jobs that are over: their ends are written later");
            self.look_at = Some(Instant::now() + LOOK_AGAIN);
        }
        Ok(())
    }
}

async fn locked(shared: &Shared, ends: &[Settlement]) -> Result<Vec<i64>, CallError> {
    let jobs: Vec<i64> = ends.iter().map(|end| end.lease.job).collect();
    let call = async { sqlx::query_scalar(LOCKED).bind(jobs).fetch_all(&shared.pool).await };
    Ok(timeout(STATEMENT_LIMIT, call).await??)
}
