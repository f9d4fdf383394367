//! The projects feature.

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
