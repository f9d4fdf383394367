//! What Syndarix does, feature by feature. A feature calls another's public operations, never its queries.

pub mod agents;
pub mod approvals;
pub mod audit;
pub mod auth;
pub mod costs;
pub mod events;
pub mod gateway;
pub mod issues;
pub(crate) mod job;
pub mod knowledge;
pub mod llm;
pub mod operations;
pub mod projects;
mod rounds;
pub mod runs;
pub mod workflow;

use crate::{db::Error, state::App};
use syndarix_jobs::Registry;
use utoipa_axum::router::OpenApiRouter;

/// Every operation under `/api/v1`.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .merge(agents::routes())
        .merge(approvals::routes())
        .merge(audit::routes())
        .merge(auth::routes())
        .merge(costs::routes())
        .merge(events::routes())
        .merge(gateway::routes())
        .merge(issues::routes())
        .merge(knowledge::routes())
        .merge(operations::routes())
        .merge(projects::routes())
        .merge(runs::routes())
        .merge(workflow::routes())
}

/// Who runs which kind of job.
pub fn jobs(app: &App) -> Registry {
    let registry = Registry::new();
    let registry = agents::jobs(app, registry);
    let registry = approvals::jobs(app, registry);
    let registry = costs::jobs(app, registry);
    let registry = knowledge::jobs(app, registry);
    let registry = projects::jobs(app, registry);
    let registry = runs::jobs(app, registry);
    workflow::jobs(app, registry)
}

/// Sets up the jobs that come back again and again: whatever a crash or a lost message left behind is found by one
/// of them. Every instance may do so at every start.
pub async fn schedule(app: &App) -> Result<(), Error> {
    costs::schedule(app).await?;
    runs::schedule(app).await?;
    workflow::schedule(app).await
}
