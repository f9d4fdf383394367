//! Stories, sprints and pull requests: the business machines and what follows from each of their decisions.
//!
//! Invariants: a story's work is started by a job that the same transaction wrote; a merge happens in the
//! repository's serial queue, once; what one machine tells another commits together with what it did itself.
//!
//! Jobs: `stage.work` (agent), `pull_request.merge` (git), `story.deadline` and `sprint.time_up` (default).

mod effects;
mod merge;
mod sprints;
mod stage;
mod timers;

pub use sprints::answer_sprint;

use crate::state::App;
use syndarix_jobs::Registry;
use utoipa_axum::router::OpenApiRouter;

/// The operations of this feature.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
}

/// The jobs of this feature.
pub fn jobs(app: &App, registry: Registry) -> Registry {
    let registry = registry.with(stage::KIND, stage::WorkStage::new(app));
    let registry = registry.with(merge::KIND, merge::Merge::new(app));
    timers::jobs(app, registry)
}
