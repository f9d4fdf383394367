//! Two attempts at once: the first to have content wins, and the other is cancelled and recorded.
//!
//! Invariants: only the winner's answer is passed on; each attempt is admitted and recorded like any other; one of them that is
//! refused, for want of money for two, leaves the other alone; nobody waits for leave that the other needs no more.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::attempt::{Attempted, Leg, Stop};
use super::call::Call;
use crate::error::Refused;
use crate::provider::Deployment;

/// Who runs against whom.
pub(super) struct Race {
    /// The number of the winner; 0: nobody yet.
    winner: AtomicU32,
    /// The first attempt's number; the other's is one more.
    first: u32,
    cancels: [CancellationToken; 2],
}

impl Race {
    fn new(first: u32, cancel: &CancellationToken) -> Self {
        Self { winner: AtomicU32::new(0), first, cancels: [cancel.child_token(), cancel.child_token()] }
    }

    /// The attempt has content: whether it is the first to have some. The other one is cancelled then.
    pub(super) fn win(&self, n: u32) -> bool {
        match self.winner.compare_exchange(0, n, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => {
                self.cancels[usize::from(n == self.first)].cancel();
                true
            }
            Err(winner) => winner == n,
        }
    }

    /// Whether another attempt won.
    pub(super) fn lost(&self, n: u32) -> bool {
        let winner = self.winner.load(Ordering::Acquire);
        winner != 0 && winner != n
    }

    fn is_decided(&self) -> bool {
        self.winner.load(Ordering::Acquire) != 0
    }
}

/// What came of one or two attempts at once, each with its deployment.
pub(super) struct Tried<'d> {
    pub(super) attempts: Vec<(&'d Deployment, Attempted)>,
    /// Why the first was not made although the second was.
    pub(super) refused: Option<Refused>,
}

impl<'d> Tried<'d> {
    fn one(deployment: &'d Deployment, attempted: Attempted) -> Self {
        Self { attempts: vec![(deployment, attempted)], refused: None }
    }
}

impl<'a> Call<'a> {
    /// Asks one, and after a while without content another one as well. The other is taken out of `rest`.
    pub(super) async fn try_with_hedge(
        &self,
        first: &'a Deployment,
        rest: &mut Vec<&'a Deployment>,
        after: Option<Duration>,
    ) -> Result<Tried<'a>, Stop> {
        let Some(after) = after.filter(|_| !rest.is_empty()) else {
            let leg = Leg { n: self.numbered(), deployment: first, cancel: self.cancel, race: None };
            return Ok(Tried::one(first, self.attempt(leg).await?));
        };
        // By itself, or every call would have the room for two attempts more.
        Box::pin(self.hedged(first, rest, after)).await
    }

    async fn hedged(
        &self,
        first: &'a Deployment,
        rest: &mut Vec<&'a Deployment>,
        after: Duration,
    ) -> Result<Tried<'a>, Stop> {
        let n = self.numbered();
        let race = Race::new(n, self.cancel);
        let leg = Leg { n, deployment: first, cancel: &race.cancels[0], race: Some(&race) };
        let mut one = std::pin::pin!(self.attempt(leg));
        tokio::select! {
            biased;
            done = &mut one => return Ok(Tried::one(first, done?)),
            () = tokio::time::sleep(after) => {}
        }
        let second = if race.is_decided() { None } else { self.take_hedge(rest) };
        let Some(second) = second else { return Ok(Tried::one(first, one.await?)) };
        let n = self.numbered();
        let leg = Leg { n, deployment: second, cancel: &race.cancels[1], race: Some(&race) };
        let (one, two) = futures::join!(one, self.attempt(leg));
        let two = match two {
            // There is money for one only, or the first won while leave was asked.
            Err(Stop::Refused(_) | Stop::Cancelled) => {
                rest.insert(0, second);
                None
            }
            two => Some((second, two?)),
        };
        let (one, refused) = match (one, &two) {
            // It waited for money while the second was asked, and got none.
            (Err(Stop::Refused(refused)), Some(_)) => (None, Some(refused)),
            // It waited until the second had won, or nobody wanted either.
            (Err(Stop::Cancelled), Some(_)) => (None, None),
            (one, _) => (Some((first, one?)), None),
        };
        Ok(Tried { attempts: one.into_iter().chain(two).collect(), refused })
    }

    /// The next one that may be asked the same.
    fn take_hedge(&self, rest: &mut Vec<&'a Deployment>) -> Option<&'a Deployment> {
        let at = rest.iter().position(|one| {
            self.unfit(one).is_none() && self.gateway.breaker.admit(one.circuit(), Instant::now()).is_ok()
        })?;
        Some(rest.remove(at))
    }
}
