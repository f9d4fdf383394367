//! Projects: a piece of work on one git repository, its members, its policy and its settings.
//!
//! Invariants: a project, its event log, counters, budget and first admin are written together with the job that
//! brings its repository; the platform's own directories are never imported from; a project always has an admin;
//! an address is shown without its credentials, and kept with them only until the repository is there.
//!
//! Jobs: `repository.import` (git).

mod create;
mod fields;
mod import;
mod journal;
mod me;
mod members;
mod places;
mod policy;
mod repository;
mod settings;
mod view;

pub use create::{NewProject, create};
pub use repository::Source;
pub use view::ProjectView;

use crate::state::App;
use utoipa_axum::{router::OpenApiRouter, routes};

/// The operations of this feature.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(me::me))
        .routes(routes!(view::list, create::create_project))
        .routes(routes!(view::read, settings::change))
        .routes(routes!(policy::read, policy::replace))
        .routes(routes!(members::list, members::put))
        .routes(routes!(members::remove))
        .routes(routes!(repository::retry))
}

/// The jobs of this feature.
pub fn jobs(app: &App, registry: syndarix_jobs::Registry) -> syndarix_jobs::Registry {
    registry.with(import::KIND, import::Import::new(app))
}
