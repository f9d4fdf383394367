//! Requests and tokens in a minute: a bucket each, which fills up evenly.
//!
//! Counted by process: with two of them behind a balancer a key gets up to twice its limit. A bound on load, where the
//! bound on money is exact.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

const MINUTE: Duration = Duration::from_secs(60);

/// A key's two buckets. Cheap to clone; clones share them.
#[derive(Debug, Clone)]
pub(in crate::features::gateway) struct Meter {
    requests: Option<Bucket>,
    tokens: Option<Bucket>,
}

#[derive(Debug, Clone)]
struct Bucket {
    limit: u32,
    level: Arc<Mutex<Level>>,
}

/// What is left, which may be less than nothing: what an answer used is known when it is there.
#[derive(Debug)]
struct Level {
    left: f64,
    at: Instant,
}

/// How much of a limit is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::features::gateway) struct Left {
    pub(in crate::features::gateway) limit: u32,
    pub(in crate::features::gateway) remaining: u32,
    /// Until it is whole again.
    pub(in crate::features::gateway) reset: Duration,
}

/// What a caller is told of its limits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::features::gateway) struct Quota {
    pub(in crate::features::gateway) requests: Option<Left>,
    pub(in crate::features::gateway) tokens: Option<Left>,
}

/// A limit is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::features::gateway) struct Exceeded {
    /// `requests` or `tokens`.
    pub(in crate::features::gateway) what: &'static str,
    pub(in crate::features::gateway) limit: u32,
    /// After how long there is room again.
    pub(in crate::features::gateway) wait: Duration,
}

impl Meter {
    pub(super) fn new(requests: Option<u32>, tokens: Option<u32>) -> Self {
        Self { requests: requests.map(Bucket::full), tokens: tokens.map(Bucket::full) }
    }

    /// The same counts under limits that may have changed; a bucket whose limit changed begins full.
    pub(super) fn with(&self, requests: Option<u32>, tokens: Option<u32>) -> Self {
        let keep = |old: &Option<Bucket>, limit: Option<u32>| {
            limit.map(|limit| match old {
                Some(bucket) if bucket.limit == limit => bucket.clone(),
                _ => Bucket::full(limit),
            })
        };
        Self { requests: keep(&self.requests, requests), tokens: keep(&self.tokens, tokens) }
    }

    /// Lets a call through and counts it. Of tokens, one must be left: how many a call takes is seen afterwards.
    pub(in crate::features::gateway) fn admit(&self) -> (Quota, Result<(), Exceeded>) {
        let now = Instant::now();
        let admitted = self.try_admit(now);
        (self.quota(now), admitted)
    }

    fn try_admit(&self, now: Instant) -> Result<(), Exceeded> {
        if let Some(tokens) = &self.tokens {
            tokens.take(now, 1.0, 0.0).map_err(|wait| tokens.exceeded("tokens", wait))?;
        }
        if let Some(requests) = &self.requests {
            requests.take(now, 1.0, 1.0).map_err(|wait| requests.exceeded("requests", wait))?;
        }
        Ok(())
    }

    /// Counts what a call used.
    pub(in crate::features::gateway) fn used(&self, tokens: u32) {
        if let Some(bucket) = &self.tokens {
            // Whatever is left: it has been used.
            let _counted = bucket.take(Instant::now(), f64::NEG_INFINITY, f64::from(tokens));
        }
    }

    fn quota(&self, now: Instant) -> Quota {
        let left = |bucket: &Option<Bucket>| bucket.as_ref().map(|bucket| bucket.left(now));
        Quota { requests: left(&self.requests), tokens: left(&self.tokens) }
    }
}

impl Bucket {
    fn full(limit: u32) -> Self {
        let level = Level { left: f64::from(limit), at: Instant::now() };
        Self { limit, level: Arc::new(Mutex::new(level)) }
    }

    fn per_second(&self) -> f64 {
        f64::from(self.limit) / MINUTE.as_secs_f64()
    }

    /// Takes an amount if at least `least` is left; else how long until it is.
    fn take(&self, now: Instant, least: f64, amount: f64) -> Result<(), Duration> {
        let mut level = self.level.lock().unwrap_or_else(PoisonError::into_inner);
        let filled = level.left + now.saturating_duration_since(level.at).as_secs_f64() * self.per_second();
        level.left = filled.min(f64::from(self.limit));
        level.at = now;
        if level.left < least {
            return Err(Duration::from_secs_f64((least - level.left) / self.per_second()));
        }
        level.left -= amount;
        Ok(())
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between nothing and the limit, which fits"
    )]
    fn left(&self, now: Instant) -> Left {
        let _filled = self.take(now, f64::NEG_INFINITY, 0.0);
        let left = self.level.lock().unwrap_or_else(PoisonError::into_inner).left;
        let limit = f64::from(self.limit);
        Left {
            limit: self.limit,
            remaining: left.clamp(0.0, limit).floor() as u32,
            reset: Duration::from_secs_f64((limit - left).max(0.0) / self.per_second()),
        }
    }

    fn exceeded(&self, what: &'static str, wait: Duration) -> Exceeded {
        Exceeded { what, limit: self.limit, wait }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_lets_as_many_through_as_were_said_and_then_one_by_one() {
        let meter = Meter::new(Some(3), None);
        let now = Instant::now();
        for _ in 0..3 {
            assert_eq!(meter.try_admit(now), Ok(()));
        }
        let refused = meter.try_admit(now).unwrap_err();
        assert_eq!((refused.what, refused.limit), ("requests", 3));
        assert!((19..=20).contains(&refused.wait.as_secs()), "{:?}", refused.wait);
        assert_eq!(meter.try_admit(now + Duration::from_secs(21)), Ok(()));
        assert!(meter.try_admit(now + Duration::from_secs(22)).is_err());
    }

    #[test]
    fn tokens_are_counted_when_they_are_known_and_make_the_next_call_wait() {
        let meter = Meter::new(None, Some(600));
        assert_eq!(meter.admit().1, Ok(()));
        meter.used(1_200);
        let (quota, refused) = meter.admit();
        let refused = refused.unwrap_err();
        assert!((59..=61).contains(&refused.wait.as_secs()), "{:?}", refused.wait);
        let left = quota.tokens.unwrap();
        assert_eq!((left.limit, left.remaining), (600, 0));
        assert!((118..=120).contains(&left.reset.as_secs()));
    }

    #[test]
    fn counts_go_on_when_a_key_is_read_again_and_begin_anew_under_another_limit() {
        let meter = Meter::new(Some(1), None);
        assert_eq!(meter.admit().1, Ok(()));
        assert!(meter.with(Some(1), None).admit().1.is_err());
        assert_eq!(meter.with(Some(2), None).admit().1, Ok(()));
        assert_eq!(meter.with(None, None).admit().1, Ok(()));
    }
}
