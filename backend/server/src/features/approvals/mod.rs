//! Questions to humans, and their answers.
//!
//! Invariants: the first answer wins; an answer and what it wakes commit together; expiry is never consent; an
//! agent never decides.
//!
//! Jobs: `approval.remind`, `approval.expire`, `people.notify` (default).

mod ask;
mod consequences;
mod decide;
mod delivery;
mod effects;
mod list;
mod mail;
mod notify;
mod queries;
mod show;
mod timers;
mod views;

pub use ask::{Question, ask, retire_for_pull_request, verdict};
pub use consequences::Consequences;
pub use decide::{Decision, decide};
pub use list::Inbox;
pub use notify::{Notice, notify};
pub(crate) use queries::APPROVERS;
pub use show::detail;
pub use views::{
    ApprovalDetail, ApprovalView, DecidedView, PersonView, PolicyView, RemarkView, TimelineEntry,
};

use crate::state::App;
use syndarix_jobs::Registry;
use utoipa_axum::router::OpenApiRouter;

/// The operations of this feature.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().merge(list::routes()).merge(show::routes()).merge(decide::routes())
}

/// The jobs of this feature.
pub fn jobs(app: &App, registry: Registry) -> Registry {
    let registry = timers::jobs(app, registry);
    notify::jobs(app, registry)
}
