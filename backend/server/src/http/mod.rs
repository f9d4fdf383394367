//! The HTTP floor: errors, extractors, the router.
//!
//! Invariants: every error is problem+json with a stable code and the request's id, which is on all that is logged of the
//! request; JSON bodies refuse unknown fields; every path under `/api` needs a caller unless it is listed as public; a
//! project's path answers a stranger with 404.

mod error;
mod extract;
mod finish;
mod idempotency;
mod models;
mod page;
mod problem;
mod router;
mod scope;
mod serve;
mod socket;
mod ui;

/// The request's id, as it is sent and answered.
const REQUEST_ID: axum::http::HeaderName = axum::http::HeaderName::from_static("x-request-id");

pub use error::ApiError;
pub use extract::{Caller, CallerKind, ValidJson, ValidQuery};
pub use idempotency::{Idempotency, forget_old_answers, idempotent, keyed};
pub use page::{List, Page};
pub use router::{openapi, router};
pub use scope::{Admin, Approve, Edit, OrganisationRole, ProjectRole, ProjectScope, View, Work};
pub use serve::{Limits, serve};
pub use socket::{Peer, Sockets};
