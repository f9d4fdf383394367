//! The loop that seals: on every instance, at work on the one that holds the lease.

use super::{
    restore,
    seal::{self, SealError},
};
use crate::state::App;
use std::time::Duration;
use syndarix_jobs::{Leadership, lead};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// The lease's name.
const DUTY: &str = "audit.sealer";
/// How long the lease lasts: a dead sealer's successor begins within this time.
const TERM: Duration = Duration::from_secs(5);
/// How often it is looked for entries to seal: the time for which a changed row would go unnoticed.
const TICK: Duration = Duration::from_secs(1);

/// Seals audit entries until `cancel`. Every process may run it: one at a time is at work.
pub fn spawn_sealer(app: &App, tracker: &TaskTracker, cancel: CancellationToken) {
    let mut sealer = Sealer { app: app.clone(), leadership: None };
    tracker.spawn(async move {
        while !cancel.is_cancelled() {
            let more = sealer.turn().await;
            if !more {
                let _ = tokio::time::timeout(TICK, cancel.cancelled()).await;
            }
        }
        sealer.resign().await;
    });
}

struct Sealer {
    app: App,
    leadership: Option<Leadership>,
}

impl Sealer {
    /// True: there is more to seal at once.
    async fn turn(&mut self) -> bool {
        match self.work().await {
            Ok(sealed) => {
                metrics::counter!("syndarix_audit_sealed_total")
                    .increment(u64::try_from(sealed).unwrap_or(0));
                i64::try_from(sealed).unwrap_or(0) == seal::BATCH
            }
            Err(SealError::NotLeader(error)) => {
                tracing::debug!(error = &error as &dyn std::error::Error, "the audit sealer lost its lease");
                self.leadership = None;
                false
            }
            Err(error) => {
                metrics::counter!("syndarix_audit_seal_failures_total").increment(1);
                tracing::error!(error = &error as &dyn std::error::Error, "audit entries are not sealed");
                false
            }
        }
    }

    async fn work(&mut self) -> Result<usize, SealError> {
        let mut conn = self.app.pool().acquire().await?;
        let Some(leadership) = lead(&mut conn, DUTY, self.app.instance, TERM).await? else {
            self.leadership = None;
            return Ok(0);
        };
        drop(conn);
        let new = self.leadership.replace(leadership.clone()).is_none_or(|old| old.epoch != leadership.epoch);
        let mut tx = self.app.pool().begin().await?;
        if new {
            restore::adopt(&mut tx, &leadership).await?;
        }
        let sealed = seal::seal(&mut tx, &leadership).await?;
        tx.commit().await?;
        Ok(sealed)
    }

    async fn resign(mut self) {
        let Some(leadership) = self.leadership.take() else { return };
        // Best effort: the lease runs out by itself.
        if let Ok(mut conn) = self.app.pool().acquire().await {
            let _ = leadership.resign(&mut conn).await;
        }
    }
}
