//! Runs, timelines, changes and test runs: what people look at.

use super::{
    queries::{self, Wanted},
    views::{RunDetail, RunView, TestRunView, TimelineItem},
};
use crate::{
    features::workflow::{self, DiffView, HistoryItem},
    http::{ApiError, List, Page, ProjectScope, ValidQuery, View},
    state::App,
};
use axum::{
    Json,
    extract::{Path, State},
};
use serde::Deserialize;
use syndarix_domain::{
    ids::{ProjectId, RunId},
    pull_request::PullRequest,
    run::Run,
    story::Story,
};
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list_runs))
        .routes(routes!(show_run))
        .routes(routes!(run_history))
        .routes(routes!(story_timeline))
        .routes(routes!(story_changes))
        .routes(routes!(story_tests))
}

/// Which runs.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Filter {
    /// Of this story only.
    story_id: Option<Uuid>,
    /// Of this agent only.
    agent_id: Option<Uuid>,
    /// In this state only.
    state: Option<String>,
    /// At most this many items, 1 to 200.
    limit: Option<i64>,
    /// Go on where the last answer's `next_cursor` said.
    cursor: Option<String>,
}

#[utoipa::path(get, path = "/projects/{project_id}/runs", operation_id = "list_runs", tag = "runs",
    params(("project_id" = Uuid, Path), Filter),
    responses((status = 200, body = List<RunView>), (status = 404), (status = 422)))]
async fn list_runs(
    State(app): State<App>,
    scope: ProjectScope<View>,
    ValidQuery(filter): ValidQuery<Filter>,
) -> Result<Json<List<RunView>>, ApiError> {
    let page = Page { limit: filter.limit, cursor: filter.cursor };
    let window = (page.limit()?, page.offset()?);
    let wanted = Wanted { story: filter.story_id, agent: filter.agent_id, state: filter.state };
    let rows = queries::runs(app.pool(), scope.project(), &wanted, window).await?;
    Ok(Json(List::page(rows.into_iter().map(RunView::from).collect(), &page)?))
}

/// Which version.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct AtVersion {
    /// The run as it was after this version: with the steps, the wait and the costs of that moment.
    version: Option<i64>,
}

#[utoipa::path(get, path = "/projects/{project_id}/runs/{run_id}", operation_id = "show_run", tag = "runs",
    params(("project_id" = Uuid, Path), ("run_id" = Uuid, Path), AtVersion),
    responses((status = 200, body = RunDetail), (status = 404)))]
async fn show_run(
    State(app): State<App>,
    scope: ProjectScope<View>,
    Path((_project, run)): Path<(Uuid, RunId)>,
    ValidQuery(at): ValidQuery<AtVersion>,
) -> Result<Json<RunDetail>, ApiError> {
    let Some(version) = at.version else { return Ok(Json(detail(&app, scope.project(), run).await?)) };
    let then = app.store.at_version::<Run>(scope.project(), run, version).await?;
    let (begun, until) = (then.state.steps, then.state.updated_at);
    let steps = queries::steps(app.pool(), scope.project(), run).await?;
    let begun =
        steps.into_iter().filter(|step| u32::try_from(step.number).is_ok_and(|number| number <= begun));
    let steps = begun.map(|step| step.until(until)).collect();
    Ok(Json(RunDetail { run: queries::run_then(app.pool(), then).await?, steps }))
}

#[utoipa::path(get, path = "/projects/{project_id}/runs/{run_id}/history", operation_id = "run_history", tag = "runs",
    params(("project_id" = Uuid, Path), ("run_id" = Uuid, Path)),
    responses((status = 200, body = List<HistoryItem>), (status = 404)))]
async fn run_history(
    State(app): State<App>,
    scope: ProjectScope<View>,
    Path((_project, run)): Path<(Uuid, RunId)>,
) -> Result<Json<List<HistoryItem>>, ApiError> {
    Ok(Json(workflow::history::<Run>(&app, scope.project(), run.0).await?))
}

/// A run with its steps.
pub async fn detail(app: &App, project: ProjectId, run: RunId) -> Result<RunDetail, ApiError> {
    let view = queries::run(app.pool(), project, run).await?;
    let steps = queries::steps(app.pool(), project, run).await?;
    Ok(RunDetail { run: view, steps })
}

/// A run without its steps.
pub async fn view(app: &App, project: ProjectId, run: RunId) -> Result<RunView, ApiError> {
    Ok(queries::run(app.pool(), project, run).await?)
}

#[utoipa::path(get, path = "/projects/{project_id}/stories/{story_id}/timeline", operation_id = "story_timeline", tag = "stories",
    params(("project_id" = Uuid, Path), ("story_id" = Uuid, Path)),
    responses((status = 200, body = List<TimelineItem>), (status = 404)))]
async fn story_timeline(
    State(app): State<App>,
    scope: ProjectScope<View>,
    Path((_project, story)): Path<(Uuid, Uuid)>,
) -> Result<Json<List<TimelineItem>>, ApiError> {
    app.store.read::<Story>(scope.project(), story).await?;
    Ok(Json(List::all(queries::timeline(app.pool(), scope.project(), story).await?)))
}

#[utoipa::path(get, path = "/projects/{project_id}/stories/{story_id}/changes", operation_id = "story_changes", tag = "stories",
    params(("project_id" = Uuid, Path), ("story_id" = Uuid, Path)),
    responses((status = 200, body = DiffView), (status = 404)))]
async fn story_changes(
    State(app): State<App>,
    scope: ProjectScope<View>,
    Path((_project, story)): Path<(Uuid, Uuid)>,
) -> Result<Json<DiffView>, ApiError> {
    let story = app.store.read::<Story>(scope.project(), story).await?.state;
    let change = story.change.ok_or_else(|| ApiError::not_found("change"))?;
    let pr = app.store.read::<PullRequest>(scope.project(), change.pull_request).await?.state;
    Ok(Json(workflow::diff(&app, &pr).await?))
}

#[utoipa::path(get, path = "/projects/{project_id}/stories/{story_id}/tests", operation_id = "story_tests", tag = "stories",
    params(("project_id" = Uuid, Path), ("story_id" = Uuid, Path)),
    responses((status = 200, body = List<TestRunView>), (status = 404)))]
async fn story_tests(
    State(app): State<App>,
    scope: ProjectScope<View>,
    Path((_project, story)): Path<(Uuid, Uuid)>,
) -> Result<Json<List<TestRunView>>, ApiError> {
    app.store.read::<Story>(scope.project(), story).await?;
    Ok(Json(List::all(queries::test_runs(app.pool(), scope.project(), story).await?)))
}
