//! What `/metrics` says of model calls.
//!
//! Invariant: labels are what the operator configured, or one of a few words: no id of a tenant or a key is ever one,
//! and what organisations name themselves is counted as `other`.

use metrics::{Histogram, counter, gauge, histogram};
use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
    time::Duration,
};
use syndarix_llm::{AttemptOutcome, BreakerState, CallError, Endpoint, Gateway, ModelGroups};

/// The label of whatever the operator did not name.
const OTHER: &str = "other";

/// Who asks, as a label: a client at one of the gateway's paths, or an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    Client(Endpoint),
    Agent,
}

impl Dialect {
    /// What is done, in OpenTelemetry's words.
    pub(super) fn operation(self) -> &'static str {
        if self == Self::Client(Endpoint::Embeddings) { "embeddings" } else { "chat" }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Client(Endpoint::ChatCompletions) => "chat_completions",
            Self::Client(Endpoint::Responses) => "responses",
            Self::Client(Endpoint::Embeddings) => "embeddings",
            Self::Client(Endpoint::Messages) => "messages",
        }
    }
}

/// How a call ended, as a label.
pub(super) fn ended(error: Option<&CallError>) -> &'static str {
    match error {
        None => "answered",
        Some(CallError::Refused { .. }) => "refused",
        Some(CallError::Cancelled { .. }) => "cancelled",
        Some(CallError::NotRecorded { .. }) => "not_recorded",
        Some(CallError::Exhausted { .. } | CallError::Fatal { .. }) => "failed",
    }
}

/// A call that has ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ended<'a> {
    pub(super) dialect: Dialect,
    /// What was asked for.
    pub(super) group: &'a str,
    pub(super) outcome: &'static str,
    pub(super) attempts: u32,
    /// From the request's being read to its end.
    pub(super) total: Duration,
    /// Of that, as long as some attempt was at a provider.
    pub(super) upstream: Duration,
}

/// The histograms of calls, kept at hand: finding one by its labels costs more than recording a figure.
pub(super) struct Meters {
    deployments: Family<OfDeployment>,
    groups: Family<OfGroup>,
}

struct OfDeployment {
    answered: Histogram,
    failed: Histogram,
    first_token: Histogram,
    tokens_per_second: Histogram,
}

struct OfGroup {
    name: Arc<str>,
    attempts: Histogram,
}

impl Meters {
    /// For what the operator configured.
    pub(super) fn new(groups: &ModelGroups) -> Self {
        let deployments = groups.deployments().map(|deployment| deployment.name.as_str());
        Self {
            deployments: Family::new(deployments, OfDeployment::named),
            groups: Family::new(groups.names(), OfGroup::named),
        }
    }

    /// An attempt has ended, after so long at its provider.
    pub(super) fn attempted(&self, outcome: &AttemptOutcome<'_>, streamed: bool, took: Duration) {
        let of = self.deployments.of(&outcome.deployment.name);
        if outcome.result.is_err() {
            return of.failed.record(took);
        }
        of.answered.record(took);
        let Some(first) = outcome.first_content_ms.filter(|_| streamed).map(Duration::from_millis) else {
            return;
        };
        of.first_token.record(first);
        let writing = took.saturating_sub(first);
        // An answer that came in one piece has no pace.
        if outcome.usage.output > 1 && writing > Duration::from_millis(1) {
            of.tokens_per_second.record(f64::from(outcome.usage.output - 1) / writing.as_secs_f64());
        }
    }

    /// A call has ended.
    pub(super) fn called(&self, call: &Ended<'_>) {
        let (of, dialect) = (self.groups.of(call.group), call.dialect.name());
        counter!("syndarix_gateway_calls_total",
            "dialect" => dialect, "group" => Arc::clone(&of.name), "outcome" => call.outcome)
        .increment(1);
        // A call that was refused, or whose deployments are all left alone, has none.
        if call.attempts > 0 {
            of.attempts.record(f64::from(call.attempts));
            histogram!("syndarix_gateway_added_seconds", "dialect" => dialect)
                .record(call.total.saturating_sub(call.upstream));
        }
    }
}

impl OfDeployment {
    fn named(name: &Arc<str>) -> Self {
        let upstream = |outcome: &'static str| histogram!("syndarix_gateway_upstream_seconds", "deployment" => Arc::clone(name), "outcome" => outcome);
        Self {
            answered: upstream("answered"),
            failed: upstream("failed"),
            first_token: histogram!("syndarix_gateway_first_token_seconds", "deployment" => Arc::clone(name)),
            tokens_per_second: histogram!("syndarix_gateway_tokens_per_second", "deployment" => Arc::clone(name)),
        }
    }
}

impl OfGroup {
    fn named(name: &Arc<str>) -> Self {
        let attempts = histogram!("syndarix_gateway_attempts", "group" => Arc::clone(name));
        Self { name: Arc::clone(name), attempts }
    }
}

/// How every configured deployment stands in this process: 0 it is asked, 1 on trial, 2 left alone.
pub fn show_breakers(gateway: &Gateway, groups: &ModelGroups) {
    for deployment in groups.deployments() {
        let state = match gateway.breaker_state(deployment) {
            BreakerState::Closed => 0.0,
            BreakerState::HalfOpen => 1.0,
            BreakerState::Open { .. } => 2.0,
        };
        gauge!("syndarix_gateway_breaker_state", "deployment" => deployment.name.clone()).set(state);
    }
}

/// One of a kind for each name that is known, made when it is first needed: a recorder may be installed after this is
/// made, and what was never used is not shown.
struct Family<T> {
    known: HashMap<String, OnceLock<T>>,
    others: OnceLock<T>,
    make: fn(&Arc<str>) -> T,
}

impl<T> Family<T> {
    fn new<'a>(names: impl Iterator<Item = &'a str>, make: fn(&Arc<str>) -> T) -> Self {
        let known = names.map(|name| (name.to_owned(), OnceLock::new())).collect();
        Self { known, others: OnceLock::new(), make }
    }

    fn of(&self, name: &str) -> &T {
        match self.known.get_key_value(name) {
            Some((name, one)) => one.get_or_init(|| (self.make)(&name.as_str().into())),
            None => self.others.get_or_init(|| (self.make)(&OTHER.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_configured_shares_one_label() {
        let family = Family::new(["fast"].into_iter(), ToString::to_string);
        assert_eq!([family.of("fast"), family.of("shop-42"), family.of("shop-43")], ["fast", OTHER, OTHER]);
    }
}
