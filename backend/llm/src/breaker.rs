//! Leaves a deployment alone for a while after it failed several times in a row.
//!
//! Per process: replicas learn it each for themselves, which costs a few attempts and no shared state. Closed until
//! `failures` in a row, then open for `cool_down`, then one probe decides.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// When to open and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerPolicy {
    /// Failures in a row that open it.
    pub failures: u32,
    /// How long it stays open, and how long a probe is given before another may try.
    pub cool_down: Duration,
}

impl Default for BreakerPolicy {
    fn default() -> Self {
        // One call's own retries (three attempts) do not open it; the second call that fails does.
        Self { failures: 5, cool_down: Duration::from_secs(15) }
    }
}

/// How a deployment stands with the breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    /// It is asked.
    Closed,
    /// It is left alone for this long, by whoever is no probe.
    Open {
        /// What is left of it.
        remaining: Duration,
    },
    /// The cool-down is over: the next call is the probe.
    HalfOpen,
}

#[derive(Debug, Default)]
struct State {
    failures: u32,
    open_until: Option<Instant>,
}

/// The state of all deployments, by name.
#[derive(Debug)]
pub struct Breaker {
    policy: BreakerPolicy,
    states: Mutex<HashMap<String, State>>,
}

impl Breaker {
    /// All closed.
    pub fn new(policy: BreakerPolicy) -> Self {
        Self { policy, states: Mutex::default() }
    }

    /// Whether to try the deployment now; otherwise how long it is left alone. The first one let through after the
    /// cool-down is the probe: it re-arms the breaker, so that others wait for its result.
    pub fn admit(&self, deployment: &str) -> Result<(), Duration> {
        let mut states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(state) = states.get_mut(deployment) else { return Ok(()) };
        let Some(until) = state.open_until else { return Ok(()) };
        let now = Instant::now();
        if now < until {
            return Err(until - now);
        }
        state.open_until = Some(now + self.policy.cool_down);
        Ok(())
    }

    /// How a deployment stands, without asking to try it.
    pub fn state(&self, deployment: &str) -> BreakerState {
        let states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(until) = states.get(deployment).and_then(|state| state.open_until) else {
            return BreakerState::Closed;
        };
        match until.saturating_duration_since(Instant::now()) {
            Duration::ZERO => BreakerState::HalfOpen,
            remaining => BreakerState::Open { remaining },
        }
    }

    /// It answered.
    pub fn succeeded(&self, deployment: &str) {
        self.states.lock().unwrap_or_else(PoisonError::into_inner).remove(deployment);
    }

    /// It failed; `wait` is how long the provider asked to be left alone, which opens the breaker at once.
    pub fn failed(&self, deployment: &str, wait: Option<Duration>) {
        let mut states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        let state = states.entry(deployment.to_owned()).or_default();
        state.failures = state.failures.saturating_add(1);
        let opens = (state.failures >= self.policy.failures).then_some(self.policy.cool_down);
        if let Some(length) = wait.max(opens) {
            state.open_until = Some(Instant::now() + length).max(state.open_until);
        }
    }

    /// The attempt said nothing about the deployment's health: a probe's place is given back.
    pub fn undecided(&self, deployment: &str) {
        let mut states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(state) = states.get_mut(deployment)
            && state.open_until.is_some()
        {
            state.open_until = Some(Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COOL_DOWN: Duration = Duration::from_millis(80);

    #[tokio::test]
    async fn it_opens_after_failures_in_a_row_and_lets_one_probe_through() {
        let breaker = Breaker::new(BreakerPolicy { failures: 2, cool_down: COOL_DOWN });
        breaker.failed("a", None);
        assert_eq!(breaker.admit("a"), Ok(()));
        breaker.failed("a", None);
        assert!(breaker.admit("a").is_err());
        assert_eq!(breaker.admit("b"), Ok(()));
        tokio::time::sleep(COOL_DOWN).await;
        assert_eq!(breaker.admit("a"), Ok(()), "the probe");
        assert!(breaker.admit("a").is_err(), "only one probe");
        breaker.undecided("a");
        assert_eq!(breaker.admit("a"), Ok(()), "the probe's place was given back");
        breaker.succeeded("a");
        assert_eq!(breaker.admit("a"), Ok(()));
        breaker.failed("a", None);
        assert_eq!(breaker.admit("a"), Ok(()), "the count starts again");
    }

    #[tokio::test]
    async fn looking_at_it_takes_no_probes_place() {
        let breaker = Breaker::new(BreakerPolicy { failures: 1, cool_down: COOL_DOWN });
        let is_open =
            || matches!(breaker.state("a"), BreakerState::Open { remaining } if remaining <= COOL_DOWN);
        assert_eq!(breaker.state("a"), BreakerState::Closed);
        breaker.failed("a", None);
        assert!(is_open());
        tokio::time::sleep(COOL_DOWN).await;
        assert_eq!(breaker.state("a"), BreakerState::HalfOpen);
        assert_eq!(breaker.admit("a"), Ok(()), "the probe");
        assert!(is_open(), "others wait for the probe");
        breaker.succeeded("a");
        assert_eq!(breaker.state("a"), BreakerState::Closed);
    }

    #[tokio::test]
    async fn a_wait_that_the_provider_asks_for_opens_it_at_once() {
        let breaker = Breaker::new(BreakerPolicy::default());
        breaker.failed("a", Some(COOL_DOWN));
        assert!(breaker.admit("a").is_err());
        tokio::time::sleep(COOL_DOWN).await;
        assert_eq!(breaker.admit("a"), Ok(()));
    }
}
