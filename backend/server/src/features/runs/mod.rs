//! Runs: an agent works a stage, step by step.
//!
//! A job `run.advance` does what is due next and nothing more: one model call, or the tool calls of one answer. Every
//! step is recorded before and after, under the job's lease: whoever lost the lease records nothing.
//!
//! Invariants: a recorded result is used, never asked for again; an intent without a result is resolved as the
//! tool's own definition says (see `resolve`); a call that the run makes of itself (a message, its result) is written in
//! the transaction of the transition that it causes, and so exactly once; every tool call that the model asked for gets a result; a parked run holds nothing but rows.

mod act;
mod advance;
mod answer;
#[doc(hidden)]
pub mod bench;
mod brief;
mod command;
mod completion;
mod control;
mod effects;
mod leave;
mod queries;
mod read;
mod reconcile;
mod resolve;
mod steps;
mod think;
mod tools;
mod transcript;
mod views;
mod waiting;
mod worktree;

pub use answer::{answer, edited, edited_outcome};
pub use command::{
    CancelRun, RetryRun, cancel, cancel_with_job, end_with_agent, is_advanced_by, resume, retry,
};
pub use read::{detail, view};
pub use reconcile::schedule;
pub use views::{RunAgent, RunDetail, RunView, StepView, TestRunView, TimelineItem};
pub use waiting::{COLUMNS as WAITING, Circumstances, Waiting, WaitingJob, held_up, joins, waiting};

use crate::state::App;
use syndarix_jobs::Registry;
use utoipa_axum::router::OpenApiRouter;

/// The operations of this feature.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().merge(read::routes()).merge(command::routes())
}

/// The jobs of this feature.
pub fn jobs(app: &App, registry: Registry) -> Registry {
    let registry = registry.with(advance::KIND, advance::Advance::new(app));
    let registry = registry.with(advance::WAKE, advance::Wake::new(app));
    let registry = registry.with(reconcile::KIND, reconcile::Reconcile::new(app));
    registry.with(worktree::REMOVE, worktree::Remove::new(app))
}
