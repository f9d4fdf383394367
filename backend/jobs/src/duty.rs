//! Being at work on a duty that one process at a time may do: one loop asks for it, renews it, and has the work under it.
//!
//! A process that dies or freezes is followed within three seconds: its lease ends two seconds after its last renewal,
//! and candidates, who ask twice a second, ask at that moment. What it began is undone: see [`Leadership::hold`].

use std::future::Future;
use std::time::{Duration, Instant};

use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::leader::time_left;
use crate::outage::{CallError, Outage};
use crate::{Leadership, lead};

/// How long a duty is held without a word from its holder.
const TERM: Duration = Duration::from_secs(2);

/// Between two renewals, and between two questions of a candidate: a holder may fail to get through twice.
const RENEW_EVERY: Duration = Duration::from_millis(500);

/// Between two questions while the lease is over and something of its holder still keeps the duty: the server ends that.
const ASK_SOON: Duration = Duration::from_millis(50);

/// For work that was asked to stop to come to its end.
const TIME_TO_STOP: Duration = Duration::from_secs(1);

/// A duty, and who asks for it.
#[derive(Clone, Debug)]
pub struct Duty {
    /// Its name.
    pub name: &'static str,
    /// Identity of this process start.
    pub holder: Uuid,
    /// How the database is reached: one connection for a moment, twice a second.
    pub pool: PgPool,
}

/// What came of asking for a duty.
enum Asked {
    Mine(Leadership),
    /// Somebody else has it, for so long without another word.
    Taken(Duration),
}

impl Duty {
    /// Has `work` done for as long as this process holds the duty, until `stop`; then gives the duty up.
    ///
    /// `work` runs until its token fires or until it finds that it is no longer the leader. When the duty is lost it is
    /// dropped: what it writes must be written under [`Leadership::hold`].
    pub async fn keep<W, F>(self, work: W, stop: CancellationToken)
    where
        W: Fn(Leadership, CancellationToken) -> F,
        F: Future<Output = ()>,
    {
        let mut outage = Outage::new(self.name);
        while !stop.is_cancelled() {
            let asked = Instant::now();
            let pause = match self.ask(TERM).await {
                Ok(Asked::Mine(leadership)) => {
                    outage.over();
                    tracing::info!(duty = self.name, epoch = leadership.epoch, "took over a duty");
                    self.lead(leadership, asked + TERM, &work, &stop).await;
                    RENEW_EVERY
                }
                Ok(Asked::Taken(left)) => {
                    outage.over();
                    // Jitter keeps the candidates from asking at the same moment.
                    left.clamp(ASK_SOON, RENEW_EVERY) + ASK_SOON.mul_f64(rand::random())
                }
                Err(error) => outage.failed(&error),
            };
            stop.run_until_cancelled(tokio::time::sleep(pause)).await;
        }
    }

    async fn ask(&self, limit: Duration) -> Result<Asked, CallError> {
        let call = async {
            let mut connection = self.pool.acquire().await?;
            Ok::<_, sqlx::Error>(match lead(&mut connection, self.name, self.holder, TERM).await? {
                Some(leadership) => Asked::Mine(leadership),
                None => Asked::Taken(time_left(&mut connection, self.name).await?),
            })
        };
        Ok(tokio::time::timeout(limit, call).await??)
    }

    /// Has the work done until it ends, the duty is lost, or the process stops.
    async fn lead<W, F>(&self, leadership: Leadership, until: Instant, work: &W, stop: &CancellationToken)
    where
        W: Fn(Leadership, CancellationToken) -> F,
        F: Future<Output = ()>,
    {
        let ending = CancellationToken::new();
        let at_work = work(leadership.clone(), ending.clone());
        tokio::pin!(at_work);
        tokio::select! {
            () = &mut at_work => {}
            () = self.renew(&leadership, until) => {
                tracing::warn!(duty = self.name, epoch = leadership.epoch, "lost a duty");
                return;
            }
            () = stop.cancelled() => {
                ending.cancel();
                tokio::time::timeout(TIME_TO_STOP, at_work).await.ok();
            }
        }
        // Best effort: the lease runs out by itself.
        let resign = async { leadership.resign(&mut *self.pool.acquire().await?).await };
        tokio::time::timeout(TIME_TO_STOP, resign).await.ok();
    }

    /// Comes back when the duty is lost, or when it is not known in time that it is not.
    async fn renew(&self, mine: &Leadership, mut until: Instant) {
        loop {
            tokio::time::sleep(RENEW_EVERY).await;
            let asked = Instant::now();
            match self.ask(until.saturating_duration_since(asked)).await {
                Ok(Asked::Mine(renewed)) if renewed == *mine => until = asked + TERM,
                Err(error) if Instant::now() < until => {
                    let error: &(dyn std::error::Error + 'static) = &error;
                    tracing::debug!(duty = self.name, error, "a duty was not renewed; trying on");
                }
                Ok(_) | Err(_) => return,
            }
        }
    }
}
