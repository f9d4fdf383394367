//! Model calls, of agents and of the gateway's clients: which model, at whose cost, recorded attempt by attempt.
//!
//! Invariants: money is reserved before an attempt and settled after it, in the database; no interleaving of calls
//! passes a hard limit, unless a provider charges more than the worst case, of which people are told; every attempt has
//! a usage row, also one whose process died; simulated spend is kept apart.

mod answer;
mod breakers;
mod call;
mod content;
mod hooks;
mod known;
mod ledger;
mod meters;
mod money;
mod screen;
mod spans;

pub use answer::{SetAside, answer};
pub use breakers::spawn_breakers;
pub use call::{Failure, Purpose, complete, room};
pub use known::record_known;
pub use ledger::{
    Attempt, Failed, Ledger, Lost, Node, Outcome, PassedOver, Place, Refusal, Reservation, Settlement, beat,
    forget_passed_over, give_back, lock_books, spawn_beat,
};
pub use meters::show_breakers;
pub use money::{affordable, used};
pub use screen::{Screen, SecretsInPrompts};

use crate::telemetry::Spans;
use std::sync::OnceLock;
use syndarix_llm::{Gateway, ModelGroups};

/// The gateway with the model groups that the operator configured.
pub struct Models {
    /// Calls models.
    pub gateway: Gateway,
    /// Ordered chains of deployments, by name.
    pub groups: ModelGroups,
    meters: meters::Meters,
    spans: OnceLock<Spans>,
}

impl Models {
    /// The gateway over these groups.
    pub fn new(gateway: Gateway, groups: ModelGroups) -> Self {
        let meters = meters::Meters::new(&groups);
        Self { gateway, groups, meters, spans: OnceLock::new() }
    }

    /// From now on every call is told as spans, too.
    pub fn trace_to(&self, spans: Spans) {
        // The first to listen is the only one.
        let _set = self.spans.set(spans);
    }
}
