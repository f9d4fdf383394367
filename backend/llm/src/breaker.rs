//! Leaves a deployment alone for a while after it failed several times in a row.
//!
//! Closed until `failures` in a row, then open for `cool_down`, then one probe decides. What belongs together is the
//! [`Circuit`]: provider, credential and model. Every process decides by what it knows itself, without asking anybody;
//! where somebody carries news between processes ([`BreakerNews`]), a circuit that one of them opened is open in all, and
//! when the news stop each goes on by itself.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::provider::Circuit;

/// Most circuits whose failures are remembered. More come only from deployments that are made up one after the other.
const MAX_CIRCUITS: usize = 10_000;

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

/// A circuit was opened or closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BreakerChange {
    /// Which.
    pub circuit: Circuit,
    /// For how many milliseconds it is open; none: it is closed again.
    pub open_ms: Option<u64>,
}

/// Carries changes to other processes. Must not wait: what cannot be carried now is lost.
pub trait BreakerNews: Send + Sync {
    /// Tells the others.
    fn tell(&self, change: BreakerChange);
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

type States = HashMap<Circuit, State>;

/// The state of all circuits.
pub struct Breaker {
    policy: BreakerPolicy,
    states: Mutex<States>,
    news: OnceLock<Arc<dyn BreakerNews>>,
}

impl fmt::Debug for Breaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Breaker").field("policy", &self.policy).finish_non_exhaustive()
    }
}

impl Breaker {
    /// All closed.
    pub fn new(policy: BreakerPolicy) -> Self {
        Self { policy, states: Mutex::default(), news: OnceLock::new() }
    }

    /// From now on changes are told to other processes. The first carrier stays.
    pub fn tell(&self, news: Arc<dyn BreakerNews>) {
        let _first_stays = self.news.set(news);
    }

    /// Another process opened or closed a circuit.
    pub fn hear(&self, change: BreakerChange, now: Instant) {
        let mut states = self.states();
        match change.open_ms {
            None => {
                states.remove(&change.circuit);
            }
            Some(ms) => {
                let failures = self.policy.failures;
                let state = room_for(&mut states, change.circuit, now);
                state.failures = state.failures.max(failures);
                state.open_until = Some(now + Duration::from_millis(ms)).max(state.open_until);
            }
        }
    }

    /// Whether it is left alone now. One whose probe is due is not.
    pub fn is_open(&self, circuit: Circuit, now: Instant) -> bool {
        let open_until = self.states().get(&circuit).and_then(|state| state.open_until);
        open_until.is_some_and(|until| now < until)
    }

    /// Whether to try the circuit now; otherwise how long it is left alone. The first one let through after the
    /// cool-down is the probe: it re-arms the breaker, so that others wait for its result.
    pub fn admit(&self, circuit: Circuit, now: Instant) -> Result<(), Duration> {
        let mut states = self.states();
        let Some(state) = states.get_mut(&circuit) else { return Ok(()) };
        let Some(until) = state.open_until else { return Ok(()) };
        if now < until {
            return Err(until - now);
        }
        state.open_until = Some(now + self.policy.cool_down);
        drop(states);
        self.told(circuit, Some(self.policy.cool_down));
        Ok(())
    }

    /// How a deployment stands, without asking to try it.
    pub fn state(&self, circuit: Circuit, now: Instant) -> BreakerState {
        let Some(until) = self.states().get(&circuit).and_then(|state| state.open_until) else {
            return BreakerState::Closed;
        };
        match until.saturating_duration_since(now) {
            Duration::ZERO => BreakerState::HalfOpen,
            remaining => BreakerState::Open { remaining },
        }
    }

    /// It answered.
    pub fn succeeded(&self, circuit: Circuit) {
        let was = self.states().remove(&circuit);
        if was.is_some_and(|state| state.open_until.is_some()) {
            self.told(circuit, None);
        }
    }

    /// It failed; `wait` is how long the provider asked to be left alone, which opens the breaker at once.
    pub fn failed(&self, circuit: Circuit, wait: Option<Duration>, now: Instant) {
        let mut states = self.states();
        let state = room_for(&mut states, circuit, now);
        state.failures = state.failures.saturating_add(1);
        let opens = (state.failures >= self.policy.failures).then_some(self.policy.cool_down);
        let Some(length) = wait.max(opens) else { return };
        state.open_until = Some(now + length).max(state.open_until);
        drop(states);
        self.told(circuit, Some(length));
    }

    /// The attempt said nothing about the circuit's health: a probe's place is given back.
    pub fn undecided(&self, circuit: Circuit, now: Instant) {
        if let Some(state) = self.states().get_mut(&circuit)
            && state.open_until.is_some()
        {
            state.open_until = Some(now);
        }
    }

    fn states(&self) -> MutexGuard<'_, States> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn told(&self, circuit: Circuit, open: Option<Duration>) {
        if let Some(news) = self.news.get() {
            let open_ms = open.map(|length| u64::try_from(length.as_millis()).unwrap_or(u64::MAX));
            news.tell(BreakerChange { circuit, open_ms });
        }
    }
}

/// The circuit's state; when there are too many, those that nobody waits for are forgotten.
fn room_for(states: &mut States, circuit: Circuit, now: Instant) -> &mut State {
    if states.len() >= MAX_CIRCUITS && !states.contains_key(&circuit) {
        states.retain(|_, state| state.open_until.is_some_and(|until| now < until));
        if states.len() >= MAX_CIRCUITS {
            states.clear();
        }
    }
    states.entry(circuit).or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const COOL_DOWN: Duration = Duration::from_secs(80);
    const A: Circuit = Circuit(1);
    const B: Circuit = Circuit(2);

    #[test]
    fn it_opens_after_failures_in_a_row_and_lets_one_probe_through() {
        let breaker = Breaker::new(BreakerPolicy { failures: 2, cool_down: COOL_DOWN });
        let now = Instant::now();
        let later = now + COOL_DOWN;
        breaker.failed(A, None, now);
        assert_eq!(breaker.admit(A, now), Ok(()));
        breaker.failed(A, None, now);
        assert_eq!(breaker.admit(A, now), Err(COOL_DOWN));
        assert!(breaker.is_open(A, now) && !breaker.is_open(A, later));
        assert_eq!(breaker.admit(B, now), Ok(()));
        assert_eq!(breaker.admit(A, later), Ok(()), "the probe");
        assert!(breaker.admit(A, later).is_err(), "only one probe");
        breaker.undecided(A, later);
        assert_eq!(breaker.admit(A, later), Ok(()), "the probe's place was given back");
        breaker.succeeded(A);
        assert_eq!(breaker.admit(A, later), Ok(()));
        breaker.failed(A, None, later);
        assert_eq!(breaker.admit(A, later), Ok(()), "the count starts again");
    }

    #[test]
    fn a_probe_that_fails_opens_it_again() {
        let breaker = Breaker::new(BreakerPolicy { failures: 2, cool_down: COOL_DOWN });
        let now = Instant::now();
        breaker.failed(A, None, now);
        breaker.failed(A, None, now);
        let later = now + COOL_DOWN;
        assert_eq!(breaker.admit(A, later), Ok(()), "the probe");
        breaker.failed(A, None, later);
        assert_eq!(breaker.admit(A, later), Err(COOL_DOWN));
    }

    #[test]
    fn looking_at_it_takes_no_probes_place() {
        let breaker = Breaker::new(BreakerPolicy { failures: 1, cool_down: COOL_DOWN });
        let now = Instant::now();
        let later = now + COOL_DOWN;
        let open = BreakerState::Open { remaining: COOL_DOWN };
        assert_eq!(breaker.state(A, now), BreakerState::Closed);
        breaker.failed(A, None, now);
        assert_eq!(breaker.state(A, now), open);
        assert_eq!(breaker.state(A, later), BreakerState::HalfOpen);
        assert_eq!(breaker.admit(A, later), Ok(()), "the probe");
        assert_eq!(breaker.state(A, later), open, "others wait for the probe");
        breaker.succeeded(A);
        assert_eq!(breaker.state(A, later), BreakerState::Closed);
    }

    #[test]
    fn a_wait_that_the_provider_asks_for_opens_it_at_once() {
        let breaker = Breaker::new(BreakerPolicy::default());
        let now = Instant::now();
        breaker.failed(A, Some(COOL_DOWN), now);
        assert_eq!(breaker.admit(A, now), Err(COOL_DOWN));
        assert_eq!(breaker.admit(A, now + COOL_DOWN), Ok(()));
    }

    /// Carries to another breaker at once.
    struct Wire(Arc<Breaker>, Instant);

    impl BreakerNews for Wire {
        fn tell(&self, change: BreakerChange) {
            self.0.hear(change, self.1);
        }
    }

    #[test]
    fn what_one_process_opens_is_open_in_the_other_until_somebodys_probe_closes_it() {
        let policy = BreakerPolicy { failures: 1, cool_down: COOL_DOWN };
        let other = Arc::new(Breaker::new(policy));
        let breaker = Breaker::new(policy);
        let now = Instant::now();
        let later = now + COOL_DOWN;
        breaker.tell(Arc::new(Wire(Arc::clone(&other), later)));
        breaker.failed(A, None, now);
        assert!(other.is_open(A, later) && !other.is_open(B, later));
        assert_eq!(breaker.admit(A, later), Ok(()), "the probe");
        assert!(other.admit(A, later).is_err(), "the other waits for it");
        breaker.succeeded(A);
        assert_eq!(other.admit(A, later), Ok(()));
    }

    #[test]
    fn made_up_circuits_do_not_fill_the_memory() {
        let breaker = Breaker::new(BreakerPolicy::default());
        for n in 0..=u64::try_from(MAX_CIRCUITS).unwrap() {
            breaker.failed(Circuit(n), None, Instant::now());
        }
        assert!(breaker.states().len() <= MAX_CIRCUITS);
    }
}
