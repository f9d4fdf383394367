//! How the deployments behind the model groups are doing, as far as a project's own calls tell.
//!
//! Invariants: figures and errors are of the project's calls only; of a deployment nothing is shown that its provider
//! is paid or asked with. The breaker's state is that of the process that answers.

mod list;
mod queries;

use crate::state::App;
use utoipa_axum::{router::OpenApiRouter, routes};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list::list))
}
