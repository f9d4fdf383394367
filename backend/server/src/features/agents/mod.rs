//! Agent types and the instances spawned from them.
//!
//! Invariants: an instance keeps the version of the type that it was spawned from; one instance works one run at
//! a time; a project never has more live instances than its limit.

mod assign;
mod definition;
mod messages;
mod team;

pub use assign::{Agent, assign, author_of, commit_identity, name_of, release};
pub use definition::{Definition, Limits, Personality};
pub use messages::send_message;
pub use team::{TeamError, default_team, seed_default_team};

use crate::state::App;
use utoipa_axum::router::OpenApiRouter;

/// The operations of this feature.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
}

/// The jobs of this feature.
pub fn jobs(_app: &App, registry: syndarix_jobs::Registry) -> syndarix_jobs::Registry {
    registry
}
