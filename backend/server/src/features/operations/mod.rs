//! The operations feature.

use crate::state::App;
use utoipa_axum::router::OpenApiRouter;

/// The operations of this feature.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
}

/// Health and metrics, outside the API.
pub fn public_routes() -> axum::Router<App> {
    axum::Router::new()
}
