//! Money: a project's budget, and what was spent on what.
//!
//! Invariants: `spent + simulated + reserved` never passes the hard limit (features/llm reserves before every attempt; a
//! provider that charges more than the worst case is an alert); simulated spend is shown apart and never added to real money; raising a limit wakes what waits for it.

mod budget;
mod export;
mod reconcile;
mod usage;

pub use budget::{BudgetView, SetBudget, of_project, set};
pub use reconcile::schedule;

use crate::state::App;
use syndarix_jobs::Registry;
use utoipa_axum::{router::OpenApiRouter, routes};

/// The operations of this feature.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().merge(budget::routes()).merge(usage::routes()).routes(routes!(export::export_usage))
}

/// The jobs of this feature.
pub fn jobs(app: &App, registry: Registry) -> Registry {
    registry.with(reconcile::KIND, reconcile::Reconcile::new(app))
}
