//! Questions to humans, and their answers.
//!
//! Invariants: the first answer wins; an answer and what it wakes commit together; expiry is never consent; an
//! agent never decides.
//!
//! Jobs: `approval.remind`, `approval.expire`, `people.notify` (default).

mod ask;
mod effects;
mod notify;
mod timers;

pub use ask::{Question, ask, supersede_for_pull_request, verdict};
pub use notify::notify;

use crate::state::App;
use syndarix_jobs::Registry;
use utoipa_axum::router::OpenApiRouter;

/// The operations of this feature.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
}

/// The jobs of this feature.
pub fn jobs(app: &App, registry: Registry) -> Registry {
    let registry = timers::jobs(app, registry);
    notify::jobs(app, registry)
}
