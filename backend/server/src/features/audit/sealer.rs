//! The loop that seals: on every instance, at work on the one that has the duty.

use super::{
    restore,
    seal::{self, Batch, SealError},
};
use crate::{db::apart, state::App};
use sqlx::PgPool;
use std::time::Duration;
use syndarix_jobs::{Duty, Leadership};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// The duty's name.
const DUTY: &str = "audit.sealer";
/// How often it is looked for entries to seal: the time for which a changed row would go unnoticed.
const TICK: Duration = Duration::from_secs(1);

/// A batch takes a fraction of a second, and the server ends every statement after 30 s: whoever has heard nothing for so
/// long asks over a line that is dead without a word, and would go on for as long as the lease is renewed over others.
const TURN_LIMIT: Duration = Duration::from_secs(30);
/// Once after a restore a turn has up to 100,000 entries, in eight statements of which each may take those 30 s.
const RESTORE_LIMIT: Duration = Duration::from_secs(300);

/// Seals audit entries until `cancel`. Every process may run it: one at a time is at work.
pub fn spawn_sealer(app: &App, tracker: &TaskTracker, cancel: CancellationToken) {
    let app = app.clone();
    // Not over the pool of requests: while that is busy, a lease may be over before a connection is free to renew it.
    // Two: one whose line is dead without a word keeps its place in the pool until the system gives it up, minutes later.
    let duty = Duty { name: DUTY, holder: app.instance, pool: apart(app.pool(), 2) };
    let seal = move |leadership, ending| seal_until(app.clone(), leadership, ending);
    tracker.spawn(duty.keep(seal, cancel));
}

/// Seals until `ending`, or until another instance does.
async fn seal_until(app: App, leadership: Leadership, ending: CancellationToken) {
    let pool = apart(app.pool(), 1);
    let mut sealer = Sealer { pool, leadership, look: Look::Restored, behind: false };
    while !ending.is_cancelled() {
        let limit = sealer.look.limit();
        match tokio::time::timeout(limit, sealer.turn()).await {
            Ok(Turn::More) => {}
            Ok(Turn::Wait) => drop(tokio::time::timeout(TICK, ending.cancelled()).await),
            Ok(Turn::Lost) => return,
            // The next term has connections of its own.
            Err(_) => {
                metrics::counter!("syndarix_audit_seal_failures_total").increment(1);
                tracing::error!(after = ?limit, "the database says nothing to the audit sealer; another begins anew");
                return;
            }
        }
    }
}

/// What comes after a batch.
enum Turn {
    /// There is more to seal at once.
    More,
    Wait,
    /// Another instance is the leader.
    Lost,
}

/// What a turn looks for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Look {
    /// Whether the entries are of another server.
    Restored,
    /// Those of another server, first.
    Adopt,
    /// Whether there is anything.
    Due,
}

impl Look {
    fn limit(self) -> Duration {
        if self == Self::Adopt { RESTORE_LIMIT } else { TURN_LIMIT }
    }
}

struct Sealer {
    pool: PgPool,
    leadership: Leadership,
    look: Look,
    /// The last batch left something: nobody need ask whether there is anything.
    behind: bool,
}

impl Sealer {
    async fn turn(&mut self) -> Turn {
        match self.work().await {
            Ok(Batch { sealed, more }) => {
                metrics::counter!("syndarix_audit_sealed_total")
                    .increment(u64::try_from(sealed).unwrap_or(0));
                if more { Turn::More } else { Turn::Wait }
            }
            Err(SealError::NotLeader(error)) => {
                tracing::debug!(error = &error as &dyn std::error::Error, "the audit sealer lost its lease");
                Turn::Lost
            }
            Err(error) => {
                metrics::counter!("syndarix_audit_seal_failures_total").increment(1);
                tracing::error!(error = &error as &dyn std::error::Error, "audit entries are not sealed");
                Turn::Wait
            }
        }
    }

    async fn work(&mut self) -> Result<Batch, SealError> {
        const AT_ONCE: Batch = Batch { sealed: 0, more: true };
        if self.look == Look::Restored {
            let restored = restore::is_restored(&mut *self.pool.acquire().await?).await?;
            self.look = if restored { Look::Adopt } else { Look::Due };
            return Ok(AT_ONCE);
        }
        if self.look == Look::Due && !self.behind && !seal::is_due(&self.pool).await? {
            return Ok(Batch { sealed: 0, more: false });
        }
        // Whatever goes wrong below, the next turn asks first.
        self.behind = false;
        let mut tx = self.pool.begin().await?;
        if self.look == Look::Adopt {
            restore::adopt(&mut tx, &self.leadership).await?;
        }
        let sealed = seal::seal(&mut tx, &self.leadership).await?;
        tx.commit().await?;
        self.look = Look::Due;
        self.behind = sealed.more;
        Ok(sealed)
    }
}
