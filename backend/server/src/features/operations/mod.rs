//! For whoever runs the installation: health, metrics, what is configured, queues and dead letters.
//!
//! Invariants: `/livez` says only that the process turns; `/readyz` fails only for what this instance cannot serve
//! without, so that a lost Redis never takes all instances out of a load balancer; nothing unauthenticated says
//! more than which part is ill; jobs are seen, and counted, by members of their project, and cancelled, re-driven or purged by
//! owners and admins of its organisation, with a reason and on record.

mod cancel;
mod gauges;
mod health;
mod jobs;
mod metrics;
mod queries;
mod settle;
mod system;

pub use cancel::{Cancellation, cancel_any};
pub use jobs::{all_queues, all_workers};
pub use metrics::{NO_ROUTE, measure, measured, spawn_upkeep};
pub use settle::{purge_any, redrive_any};

use crate::state::App;
use axum::routing::get;
use utoipa_axum::{router::OpenApiRouter, routes};

/// The operations of this feature.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(system::show_system))
        .routes(routes!(jobs::list_jobs))
        .routes(routes!(cancel::cancel_job))
        .routes(routes!(settle::redrive_job))
        .routes(routes!(settle::purge_job))
}

/// Health and metrics, outside the API.
pub fn public_routes() -> axum::Router<App> {
    metrics::install();
    axum::Router::new()
        .route("/livez", get(health::livez))
        .route("/readyz", health::readyz())
        .route("/metrics", metrics::route())
}
