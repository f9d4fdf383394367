//! Stories, sprints and pull requests: the business machines and what follows from each of their decisions.
//!
//! Invariants: a story's work is started by a job that the same transaction wrote; a merge happens in the
//! repository's serial queue, once; what one machine tells another commits together with what it did itself.
//!
//! Jobs: `stage.work` (agent), `pull_request.merge` (git), `story.deadline`, `sprint.time_up` and `stories.reconcile`
//! (default).

mod diff;
mod effects;
mod history;
mod merge;
mod pull_requests;
mod queries;
mod reconcile;
mod sprint_gate;
mod sprints;
mod stage;
mod stories;
mod timers;
mod views;
mod waits;

pub use diff::{DiffView, FileView, diff};
pub use history::history;
pub use pull_requests::{CreateComment, CreatePullRequest, view as pull_request};
pub(crate) use queries::names;
pub use reconcile::schedule;
pub use sprint_gate::answer_sprint;
pub use sprints::{ChangeSprint, CompleteSprint, CreateSprint, SprintView, plan, start};
pub use stories::{CreateStory, MoveStory, Reason, command, view as story, write};
pub use views::{AuthorView, CommentView, HistoryItem, Owner, PullRequestView, StoryView};

use crate::state::App;
use syndarix_jobs::Registry;
use utoipa_axum::router::OpenApiRouter;

/// The operations of this feature.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().merge(stories::routes()).merge(sprints::routes()).merge(pull_requests::routes())
}

/// The jobs of this feature.
pub fn jobs(app: &App, registry: Registry) -> Registry {
    let registry = registry.with(stage::KIND, stage::WorkStage::new(app));
    let registry = registry.with(merge::KIND, merge::Merge::new(app));
    let registry = registry.with(reconcile::KIND, reconcile::Reconcile::new(app));
    timers::jobs(app, registry)
}
