//! A worker's settings: what it works on, how long it waits, and when it stops trusting itself.

use std::time::Duration;

use uuid::Uuid;

use crate::{Holder, Rescue};

/// A queue and how many of its jobs this process runs at once.
#[derive(Clone, Debug)]
pub struct QueueConfig {
    /// Its name.
    pub name: String,
    /// Slots; 0 is none.
    pub concurrency: u16,
}

impl QueueConfig {
    /// A queue with this many slots.
    pub fn new(name: impl Into<String>, concurrency: u16) -> Self {
        Self { name: name.into(), concurrency }
    }
}

/// Wait before the next attempt: a random share of a limit that doubles with every failure.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    /// Limit after the first failure.
    pub base: Duration,
    /// The limit grows to this.
    pub cap: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { base: Duration::from_secs(2), cap: Duration::from_secs(15 * 60) }
    }
}

impl Backoff {
    pub(crate) fn limit(&self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        self.base.saturating_mul(1 << doublings).min(self.cap)
    }

    /// Full jitter: jobs that failed together do not come back together.
    pub(crate) fn delay(&self, failures: u32) -> Duration {
        self.limit(failures).mul_f64(rand::random::<f64>())
    }

    /// A random time of the limit's upper half: grows for sure, and still parts those that failed together.
    pub(crate) fn spread(&self, failures: u32) -> Duration {
        self.limit(failures).mul_f64(0.5 + 0.5 * rand::random::<f64>())
    }
}

/// Settings of a worker. Every duration has a default that holds in production; tests shorten them.
#[derive(Clone, Debug)]
pub struct WorkerConfig {
    /// Host or instance name, for people.
    pub name: String,
    /// Identity of this one process start; never reused, its last 64 bits name the advisory lock.
    pub incarnation: Uuid,
    /// What to work on.
    pub queues: Vec<QueueConfig>,
    /// What only one process at a time can hold, and this one does: its predecessors' jobs are taken over at once.
    pub place: Option<String>,
    /// How long a silent worker keeps its jobs. All workers of a database agree on it: see [`crate::set_right`].
    pub lease: Duration,
    /// Between two heartbeats.
    pub heartbeat: Duration,
    /// Heartbeat age from which a free advisory lock means that a worker is dead. Three quarters of it, and seven
    /// eighths to the last, are what a worker that lost its lock has for getting it back.
    pub stale_after: Duration,
    /// Longest wait between two looks at a queue nobody poked; the wait is between a quarter of it and all of it, and of
    /// twice as long where nothing was found the last two times.
    pub poll: Duration,
    /// Between two looks at timers and delayed jobs.
    pub tick: Duration,
    /// From the cancellation of a handler to its abortion.
    pub cancel_grace: Duration,
    /// Wait for jobs whose kind has no handler here: a newer release may have it.
    pub unknown_kind_wait: Duration,
    /// Workers that a job may lose in a row, without an attempt that came to its end in between, before it goes to the
    /// dead letters as what kills them. With the default waits a crash loop goes on for about twenty minutes.
    pub max_rescues: u16,
    /// Waits between rescues in a row, from the second on.
    pub rescue_backoff: Backoff,
    /// Waits between attempts.
    pub backoff: Backoff,
    /// How long finished jobs stay in the history.
    pub history: Duration,
}

impl WorkerConfig {
    /// The defaults, for this identity and these queues.
    pub fn new(name: impl Into<String>, incarnation: Uuid, queues: Vec<QueueConfig>) -> Self {
        Self {
            name: name.into(),
            incarnation,
            queues,
            place: None,
            // With the looks at it and the claim, a frozen worker's job starts elsewhere within 15 s.
            lease: Duration::from_secs(13),
            heartbeat: Duration::from_secs(2),
            stale_after: Duration::from_secs(4),
            poll: Duration::from_secs(1),
            tick: Duration::from_millis(400),
            cancel_grace: Duration::from_secs(10),
            unknown_kind_wait: Duration::from_secs(30),
            max_rescues: 25,
            rescue_backoff: Backoff { base: Duration::from_secs(1), cap: Duration::from_secs(60) },
            backoff: Backoff::default(),
            history: Duration::from_secs(7 * 24 * 3600),
        }
    }

    /// Silence after which the worker no longer trusts its leases and stops its own tasks: two thirds of a lease.
    pub(crate) fn distrust_after(&self) -> Duration {
        self.lease.mul_f64(2.0 / 3.0)
    }

    /// Silence after which a worker whose lock may be free does so: before a peer's patience is over.
    pub(crate) fn distrust_unlocked_after(&self) -> Duration {
        self.distrust_after().min(self.stale_after.mul_f64(3.0 / 4.0))
    }

    /// How long handlers may still run once their leases are not trusted: all are gone before a peer takes over.
    pub(crate) fn distrust_grace(&self) -> Duration {
        self.cancel_grace.min(self.stale_after / 8)
    }

    /// The queues that it takes jobs from, by name.
    pub(crate) fn polled(&self) -> Vec<&str> {
        self.queues.iter().filter(|queue| queue.concurrency > 0).map(|queue| queue.name.as_str()).collect()
    }

    pub(crate) fn rescue(&self) -> Rescue {
        Rescue { stale_after: self.stale_after, max_rescues: self.max_rescues, backoff: self.rescue_backoff }
    }

    pub(crate) fn holder(&self) -> Option<Holder<'_>> {
        self.place.as_deref().map(|place| Holder { incarnation: self.incarnation, place })
    }

    /// The advisory lock that says "this process lives".
    pub(crate) fn lock_key(&self) -> i64 {
        let (_, low) = self.incarnation.as_u64_pair();
        low.cast_signed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn back_off_doubles_up_to_its_cap_and_never_overflows() {
        let backoff = Backoff { base: Duration::from_secs(2), cap: Duration::from_secs(60) };
        let limits: Vec<_> = (0..8).map(|failures| backoff.limit(failures).as_secs()).collect();
        assert_eq!(limits, [2, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(backoff.limit(u32::MAX), backoff.cap);
        assert!((0..100).all(|_| backoff.delay(3) <= Duration::from_secs(8)));
    }
}
