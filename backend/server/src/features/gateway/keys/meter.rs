//! Requests and tokens in a minute: a bucket each, which fills up evenly.
//!
//! Where processes share their buckets over Redis, those decide. What a process lets through it counts in its own as well,
//! and goes by these while Redis is away: then a key gets up to its limit at each of them. A bound on load, where the bound
//! on money is exact.
//!
//! Tokens are set aside before a call and corrected when it is over, so that calls at the same time do not pass the limit
//! together.

use super::{
    held::{Aside, Held, Share},
    lows::Lows,
};
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use syndarix_bus::{Buckets, Take};
use uuid::Uuid;

const MINUTE: Duration = Duration::from_secs(60);
pub(super) const TOKENS: &str = "tokens";
const REQUESTS: &str = "requests";

/// A key's two buckets. Cheap to clone; clones share them.
#[derive(Debug, Clone)]
pub(in crate::features::gateway) struct Meter {
    requests: Option<Bucket>,
    tokens: Option<Bucket>,
}

#[derive(Debug, Clone)]
pub(super) struct Bucket {
    pub(super) limit: u32,
    level: Arc<Mutex<Level>>,
}

/// What is left, which may be less than nothing: an answer may use more than was set aside.
#[derive(Debug)]
struct Level {
    left: f64,
    at: Instant,
    lows: Lows,
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
    /// What must be left of it.
    pub(in crate::features::gateway) needed: u32,
    /// After how long there is room again.
    pub(in crate::features::gateway) wait: Duration,
}

impl Left {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between nothing and the limit, which fits"
    )]
    fn of(limit: u32, left: f64) -> Self {
        let full = f64::from(limit);
        let remaining = left.clamp(0.0, full).floor() as u32;
        Self { limit, remaining, reset: time_to_fill(full - left, limit) }
    }
}

/// How long so much takes to flow into a bucket.
fn time_to_fill(amount: f64, limit: u32) -> Duration {
    let seconds = amount.max(0.0) * MINUTE.as_secs_f64() / f64::from(limit.max(1));
    Duration::try_from_secs_f64(seconds).unwrap_or(MINUTE)
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

    /// Whether there is any limit.
    pub(super) fn is_limited(&self) -> bool {
        self.requests.is_some() || self.tokens.is_some()
    }

    /// Whether nothing is known that would be lost with it.
    pub(super) fn is_full(&self) -> bool {
        let now = Instant::now();
        [&self.requests, &self.tokens].into_iter().flatten().all(|bucket| bucket.left(now).reset.is_zero())
    }

    /// The most tokens in a minute; none: there is no limit.
    pub(in crate::features::gateway) fn tokens_per_minute(&self) -> Option<u32> {
        self.tokens.as_ref().map(|tokens| tokens.limit)
    }

    /// Lets a request through and counts it, in the shared buckets of this owner if there are any. Of tokens, one must be
    /// left: how many a call may take is known once it is read.
    pub(in crate::features::gateway) async fn admit(
        &self,
        shared: Option<&Buckets>,
        owner: Uuid,
    ) -> (Quota, Result<(), Exceeded>) {
        if let Some(shared) = shared.filter(|_| self.is_limited())
            && let Some(answer) = self.admit_together(shared, owner).await
        {
            return answer;
        }
        self.admit_alone()
    }

    fn admit_alone(&self) -> (Quota, Result<(), Exceeded>) {
        let now = Instant::now();
        let admitted = self.try_admit(now);
        (self.quota(now), admitted)
    }

    async fn admit_together(&self, shared: &Buckets, owner: Uuid) -> Option<(Quota, Result<(), Exceeded>)> {
        let take = |bucket, of: &Option<Bucket>, amount| {
            of.as_ref().map(|of| Take { bucket, size: of.limit, least: 1.0, amount })
        };
        let takes = [take(TOKENS, &self.tokens, 0.0), take(REQUESTS, &self.requests, 1.0)];
        let takes: Vec<Take> = takes.into_iter().flatten().collect();
        let answer = shared.take(&owner.to_string(), &takes).await?;
        let mut quota = Quota::default();
        let mut refused = None;
        for (take, left) in takes.iter().zip(&answer.left) {
            let told = Some(Left::of(take.size, *left));
            if take.bucket == TOKENS {
                quota.tokens = told;
            } else {
                quota.requests = told;
            }
            if !answer.is_taken && *left < take.least && refused.is_none() {
                let wait = time_to_fill(take.least - left, take.size);
                refused = Some(Exceeded { what: take.bucket, limit: take.size, needed: 1, wait });
            }
        }
        if let (true, Some(requests)) = (answer.is_taken, &self.requests) {
            requests.count(Instant::now(), 1.0);
        }
        Some((quota, refused.map_or(Ok(()), Err)))
    }

    fn try_admit(&self, now: Instant) -> Result<(), Exceeded> {
        if let Some(tokens) = &self.tokens {
            tokens.take(now, 1.0, 0.0).map_err(|wait| tokens.exceeded(TOKENS, wait))?;
        }
        if let Some(requests) = &self.requests {
            requests.take(now, 1.0, 1.0).map_err(|wait| requests.exceeded(REQUESTS, wait))?;
        }
        Ok(())
    }

    /// Sets so many tokens aside for a call where at least as many as it needs are left, together with other processes where
    /// that is possible. More than the limit are never there.
    pub(in crate::features::gateway) async fn set_aside(
        &self,
        (needed, tokens): (u32, u32),
        share: Option<Share>,
    ) -> (Quota, Result<Held, Exceeded>) {
        let Some(bucket) = &self.tokens else { return (Quota::default(), Ok(Held::default())) };
        let (limit, least, amount) = (bucket.limit, f64::from(needed), f64::from(tokens));
        let together = match &share {
            Some(share) => share.take(limit, (least, amount)).await,
            None => None,
        };
        let now = Instant::now();
        let (left, here) = if let Some((left, there)) = together {
            (left, there.map(|_taken| bucket.count(now, amount)))
        } else {
            let taken = bucket.take(now, least, amount);
            (bucket.filled(now), taken.ok())
        };
        let quota = Quota { tokens: Some(Left::of(limit, left)), ..Quota::default() };
        let Some(here) = here else {
            let wait = time_to_fill(least - left, limit);
            return (quota, Err(Exceeded { what: TOKENS, limit, needed, wait }));
        };
        let aside = |moment| Aside { tokens, moment };
        let there = together.and_then(|(_, there)| there).map(aside).unwrap_or_default();
        (quota, Ok(Held::new(bucket.clone(), (aside(here), there), share)))
    }

    fn quota(&self, now: Instant) -> Quota {
        let left = |bucket: &Option<Bucket>| bucket.as_ref().map(|bucket| bucket.left(now));
        Quota { requests: left(&self.requests), tokens: left(&self.tokens) }
    }
}

impl Bucket {
    fn full(limit: u32) -> Self {
        let level = Level { left: f64::from(limit), at: Instant::now(), lows: Lows::default() };
        Self { limit, level: Arc::new(Mutex::new(level)) }
    }

    fn per_second(&self) -> f64 {
        f64::from(self.limit) / MINUTE.as_secs_f64()
    }

    /// As it is now, and the number of this moment.
    fn at(&self, now: Instant) -> (MutexGuard<'_, Level>, u64) {
        let mut level = self.level.lock().unwrap_or_else(PoisonError::into_inner);
        let size = f64::from(self.limit);
        let filled = level.left + now.saturating_duration_since(level.at).as_secs_f64() * self.per_second();
        level.left = filled.min(size);
        level.at = now;
        let lacks = size - level.left;
        let moment = level.lows.note(size, lacks);
        (level, moment)
    }

    /// Takes an amount if at least `least` is left, at this moment; else how long until it is.
    fn take(&self, now: Instant, least: f64, amount: f64) -> Result<u64, Duration> {
        let (mut level, moment) = self.at(now);
        if level.left < least {
            return Err(time_to_fill(least - level.left, self.limit));
        }
        level.left -= amount;
        Ok(moment)
    }

    /// Takes an amount, whatever is left.
    fn count(&self, now: Instant, amount: f64) -> u64 {
        let (mut level, moment) = self.at(now);
        level.left -= amount;
        moment
    }

    /// So much more was used than was taken at that moment; less than nothing: it is given back, but for what has flowed in
    /// again.
    pub(super) fn correct(&self, now: Instant, since: u64, more: f64) {
        let (mut level, _) = self.at(now);
        if more < 0.0 {
            let back = level.lows.give_back(since, -more);
            level.left = (level.left + back).min(f64::from(self.limit));
        } else {
            level.left -= more;
        }
    }

    fn filled(&self, now: Instant) -> f64 {
        self.at(now).0.left
    }

    fn left(&self, now: Instant) -> Left {
        Left::of(self.limit, self.filled(now))
    }

    fn exceeded(&self, what: &'static str, wait: Duration) -> Exceeded {
        Exceeded { what, limit: self.limit, needed: 1, wait }
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

    #[tokio::test]
    async fn more_tokens_than_were_set_aside_make_the_next_call_wait() {
        let meter = Meter::new(None, Some(600));
        assert_eq!(meter.admit_alone().1, Ok(()));
        meter.set_aside((100, 100), None).await.1.unwrap().used(1_200).await;
        let (quota, refused) = meter.admit_alone();
        let refused = refused.unwrap_err();
        assert!((59..=61).contains(&refused.wait.as_secs()), "{:?}", refused.wait);
        let left = quota.tokens.unwrap();
        assert_eq!((left.limit, left.remaining), (600, 0));
        assert!((118..=120).contains(&left.reset.as_secs()));
    }

    #[test]
    fn what_has_flowed_in_again_while_a_call_was_under_way_is_not_given_back_as_well() {
        let (bucket, begun) = (Bucket::full(600), Instant::now());
        let (held, after) = (bucket.count(begun, 600.0), |seconds| begun + Duration::from_secs(seconds));
        let next = bucket.take(after(61), 600.0, 600.0).unwrap();
        bucket.correct(after(90), held, -500.0);
        assert!(
            (289.0..291.0).contains(&bucket.filled(after(90))),
            "what has flowed in since the next began"
        );

        bucket.correct(after(91), next, -100.0);
        assert!((399.0..401.0).contains(&bucket.filled(after(91))), "what was lacking all the time is back");
    }

    #[test]
    fn of_two_calls_at_once_neither_gets_back_what_the_other_has_got() {
        let (bucket, begun) = (Bucket::full(600), Instant::now());
        let (one, other) = (bucket.count(begun, 300.0), bucket.count(begun, 300.0));
        let half = begun + Duration::from_secs(30);
        bucket.count(half, 300.0);
        bucket.correct(half, one, -300.0);
        bucket.correct(half, other, -300.0);
        let left = bucket.filled(half);
        assert!((299.0..301.0).contains(&left), "one had flowed in again when the third began: {left}");
    }

    #[test]
    fn counts_go_on_when_a_key_is_read_again_and_begin_anew_under_another_limit() {
        let meter = Meter::new(Some(1), None);
        assert_eq!(meter.admit_alone().1, Ok(()));
        assert!(meter.with(Some(1), None).admit_alone().1.is_err());
        assert_eq!(meter.with(Some(2), None).admit_alone().1, Ok(()));
        assert_eq!(meter.with(None, None).admit_alone().1, Ok(()));
    }
}
