//! Listing issues and reading one.

use super::{
    limits::MAX_WORD,
    queries::{self, IssueRow, Wanted},
    view::IssueView,
};
use crate::{
    features::workflow,
    http::{ApiError, List, Page, ProjectScope, ValidQuery, View},
    state::App,
};
use axum::{
    Json,
    extract::{Path, State},
};
use serde::Deserialize;
use syndarix_domain::ids::ProjectId;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

/// Open, closed, or both.
#[derive(Debug, Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum StateFilter {
    /// Still to be done.
    #[default]
    Open,
    /// Done or dropped.
    Closed,
    /// Both.
    All,
}

/// Which issues.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Filter {
    /// open, closed or all; open when nothing is said.
    #[param(inline)]
    state: Option<StateFilter>,
    /// With this label only.
    label: Option<String>,
    /// Of this assignee only.
    assignee: Option<String>,
    /// With any of these words in title or text; the best match comes first.
    q: Option<String>,
    /// At most this many items, 1 to 200.
    limit: Option<i64>,
    /// Go on where the last answer's `next_cursor` said.
    cursor: Option<String>,
}

#[utoipa::path(get, path = "/projects/{project_id}/issues", operation_id = "list_issues", tag = "issues",
    params(("project_id" = Uuid, Path), Filter), responses((status = 200, body = List<IssueView>), (status = 404)))]
pub(super) async fn list_issues(
    State(app): State<App>,
    scope: ProjectScope<View>,
    ValidQuery(filter): ValidQuery<Filter>,
) -> Result<Json<List<IssueView>>, ApiError> {
    let page = Page { limit: filter.limit, cursor: filter.cursor };
    let window = (page.limit()?, page.after()?);
    let words = filter.q.as_deref().map(str::trim).filter(|words| !words.is_empty());
    if words.is_some_and(|words| words.chars().count() > MAX_WORD || words.contains('\0')) {
        return Err(ApiError::invalid("q", format!("has at most {MAX_WORD} characters")));
    }
    let state = match filter.state.unwrap_or_default() {
        StateFilter::Open => Some("open"),
        StateFilter::Closed => Some("closed"),
        StateFilter::All => None,
    };
    let wanted =
        Wanted { state, label: filter.label.as_deref(), assignee: filter.assignee.as_deref(), words };
    let rows = queries::list(app.pool(), scope.project(), &wanted, window).await?;
    let List { items, next_cursor } = List::keyed(rows, &page, IssueRow::place)?;
    Ok(Json(List { items: views(&app, scope.project(), items).await?, next_cursor }))
}

#[utoipa::path(get, path = "/projects/{project_id}/issues/{number}", operation_id = "show_issue", tag = "issues",
    params(("project_id" = Uuid, Path), ("number" = i64, Path)),
    responses((status = 200, body = IssueView), (status = 404)))]
pub(super) async fn show_issue(
    State(app): State<App>,
    scope: ProjectScope<View>,
    Path((_project, number)): Path<(Uuid, i64)>,
) -> Result<Json<IssueView>, ApiError> {
    Ok(Json(show(&app, scope.project(), number).await?))
}

/// One issue with its text.
pub(super) async fn show(app: &App, project: ProjectId, number: i64) -> Result<IssueView, ApiError> {
    let row = queries::issue(app.pool(), project, number).await?;
    let mut views = views(app, project, vec![row]).await?;
    views.pop().ok_or_else(|| ApiError::not_found("issue"))
}

async fn views(app: &App, project: ProjectId, rows: Vec<IssueRow>) -> Result<Vec<IssueView>, ApiError> {
    let ids: Vec<Uuid> = rows.iter().filter_map(|row| row.author.0.id()).collect();
    let names = workflow::names(app.pool(), project, &ids).await?;
    Ok(rows.into_iter().map(|row| IssueView::of(row, &names)).collect())
}
