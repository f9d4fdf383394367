//! Money: budgets on the nodes of the tree, and what was spent on what.
//!
//! Invariants: `spent + simulated + reserved` never passes a hard limit (features/llm reserves before every attempt; a
//! provider that charges more than the worst case is an alert); simulated spend is shown apart and never added to real
//! money; raising a limit, and a new period, wake what waits for it; what is counted in a window is the sum of its usage
//! rows, and can be made anew from them.

mod budget;
mod call;
mod export;
mod nodes;
mod organisation;
mod outlook;
mod rebuild;
mod reconcile;
mod rollup;
mod tree;
mod usage;
mod view;
mod wake;

pub use budget::{BudgetView, SetBudget, of_project, set};
pub use rebuild::{RebuiltWindows, rebuild_windows};
pub use reconcile::schedule;
pub use tree::{Limits, Owner, Target, remove as remove_limits, set as set_limits};

use crate::state::App;
use syndarix_jobs::Registry;
use utoipa_axum::{router::OpenApiRouter, routes};

/// The operations of this feature.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .merge(budget::routes())
        .merge(nodes::routes())
        .merge(usage::routes())
        .routes(routes!(call::usage_call))
        .routes(routes!(export::export_usage))
        .routes(routes!(organisation::organisation_usage))
}

/// The jobs of this feature.
pub fn jobs(app: &App, registry: Registry) -> Registry {
    wake::jobs(app, registry).with(reconcile::KIND, reconcile::Reconcile::new(app))
}
