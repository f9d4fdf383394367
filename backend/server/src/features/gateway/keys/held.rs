//! Tokens of a minute that are set aside for a call under way, until it is known what it used.
//!
//! Invariants: what is set aside is corrected once; where nothing was sent to a provider, all of it is given back; a call
//! that went away at its provider keeps it, since nobody knows what was used; what has flowed in again meanwhile is never
//! given back as well.

use super::meter::{Bucket, TOKENS};
use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Instant,
};
use syndarix_bus::{Buckets, Correction, Take};
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

/// Tokens that were set aside, and the moment at which, as the bucket counts them. By default none were.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Aside {
    pub(super) tokens: u32,
    pub(super) moment: u64,
}

/// Where processes count together.
#[derive(Debug)]
pub(in crate::features::gateway) struct Share {
    pub(in crate::features::gateway) buckets: Buckets,
    /// Whose buckets.
    pub(in crate::features::gateway) owner: Uuid,
    /// What is given back beside everything else.
    pub(in crate::features::gateway) tasks: TaskTracker,
}

impl Share {
    /// Takes an amount if at least `least` is there: what is left then, and the moment if it was. None: Redis is away.
    pub(super) async fn take(&self, size: u32, (least, amount): (f64, f64)) -> Option<(f64, Option<u64>)> {
        let take = Take { bucket: TOKENS, size, least, amount };
        let taken = self.buckets.take(&self.owner.to_string(), &[take]).await?;
        let moment = taken.moments.first().copied()?;
        Some((taken.left.first().copied()?, taken.is_taken.then_some(moment)))
    }

    async fn correct(&self, size: u32, since: u64, amount: f64) {
        let correction = Correction { bucket: TOKENS, size, amount, since };
        // Where Redis is away, what was too much flows back within a minute.
        let _corrected = self.buckets.correct(&self.owner.to_string(), correction).await;
    }
}

/// Tokens that are set aside. By default none are.
#[derive(Debug, Default)]
pub(in crate::features::gateway) struct Held(Option<Part>);

#[derive(Debug)]
struct Part {
    bucket: Bucket,
    here: Aside,
    share: Option<Share>,
    /// What was taken together with other processes: nothing while Redis was away.
    there: Aside,
    is_sent: AtomicBool,
    is_over: AtomicBool,
}

impl Held {
    /// What was taken of this bucket, and of the one that is shared.
    pub(super) fn new(bucket: Bucket, (here, there): (Aside, Aside), share: Option<Share>) -> Self {
        let (is_sent, is_over) = (AtomicBool::new(false), AtomicBool::new(false));
        Self(Some(Part { bucket, here, share, there, is_sent, is_over }))
    }

    /// Something goes to a provider: from now on nothing is given back before it is known what was used.
    pub(in crate::features::gateway) fn sent(&self) {
        if let Some(part) = &self.0 {
            part.is_sent.store(true, Ordering::Release);
        }
    }

    /// The call is over: what it did not use and has not flowed in again is given back, and what it used beside is taken.
    pub(in crate::features::gateway) async fn used(&self, tokens: u32) {
        let Some(part) = &self.0 else { return };
        if part.is_over.swap(true, Ordering::AcqRel) {
            return;
        }
        let Part { bucket, here, there, .. } = part;
        bucket.correct(Instant::now(), here.moment, more(tokens, here.tokens));
        if let Some(share) = part.share.as_ref().filter(|_| tokens != there.tokens) {
            share.correct(bucket.limit, there.moment, more(tokens, there.tokens)).await;
        }
    }
}

/// How much more was used than was set aside; less than nothing: how much less.
fn more(used: u32, set_aside: u32) -> f64 {
    f64::from(used) - f64::from(set_aside)
}

impl Drop for Held {
    fn drop(&mut self) {
        let Some(part) = self.0.take() else { return };
        let Part { bucket, here, share, there, is_sent, is_over } = part;
        if is_sent.into_inner() || is_over.into_inner() {
            return;
        }
        bucket.correct(Instant::now(), here.moment, more(0, here.tokens));
        // Where there is no runtime any more, the process ends.
        if let Some(share) = share.filter(|_| there.tokens > 0)
            && Handle::try_current().is_ok()
        {
            let tasks = share.tasks.clone();
            let unused = more(0, there.tokens);
            tasks.spawn(async move { share.correct(bucket.limit, there.moment, unused).await });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::meter::{Meter, Quota};

    fn left(quota: Quota) -> u32 {
        quota.tokens.unwrap().remaining
    }

    #[tokio::test]
    async fn what_is_set_aside_is_nobody_elses_until_it_is_known_what_was_used() {
        let meter = Meter::new(None, Some(600));
        let (quota, held) = meter.set_aside((400, 400), None).await;
        let held = held.unwrap();
        assert_eq!(left(quota), 200);
        let refused = meter.set_aside((400, 400), None).await.1.unwrap_err();
        assert_eq!((refused.what, refused.limit, refused.needed), ("tokens", 600, 400));
        assert!((19..=20).contains(&refused.wait.as_secs()), "{:?}", refused.wait);
        held.sent();
        held.used(100).await;
        held.used(600).await;
        drop(held);
        let (_, all_that_is_left) = meter.set_aside((500, 500), None).await;
        all_that_is_left.unwrap().used(900).await;
        assert!(meter.set_aside((1, 1), None).await.1.is_err(), "what was used beside counts as well");
    }

    #[tokio::test]
    async fn what_was_never_sent_is_given_back_and_what_went_away_at_a_provider_is_not() {
        let meter = Meter::new(None, Some(600));
        drop(meter.set_aside((600, 600), None).await.1.unwrap());
        let held = meter.set_aside((600, 600), None).await.1.unwrap();
        held.sent();
        drop(held);
        assert!(meter.set_aside((600, 600), None).await.1.is_err());
    }

    #[tokio::test]
    async fn whoever_may_take_the_whole_minute_is_let_through_when_some_of_it_is_used_and_then_holds_it_all()
    {
        let meter = Meter::new(None, Some(600));
        meter.set_aside((100, 100), None).await.1.unwrap().used(100).await;
        let whole = meter.set_aside((50, 600), None).await.1.unwrap();
        let refused = meter.set_aside((50, 600), None).await.1.unwrap_err();
        assert_eq!(refused.needed, 50);
        whole.sent();
        whole.used(40).await;
        let (quota, again) = meter.set_aside((50, 50), None).await;
        assert!(again.is_ok() && (400..450).contains(&left(quota)), "{quota:?}");
    }
}
