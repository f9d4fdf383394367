//! A person asks a model: the same engine as behind `/v1`, at the project's cost.
//!
//! Invariants: it is recorded like any other call, with who made it, and so in the audit; it ends with the way that it took,
//! also when nobody answered.

mod ask;
mod body;
mod end;
mod stream;

use crate::state::App;
use utoipa_axum::{router::OpenApiRouter, routes};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(ask::ask))
}
