//! The discussion below an issue.

use super::{
    limits,
    queries::{self, CommentRow},
};
use crate::{
    db::{Author, retry_conflicts},
    features::workflow::{self, AuthorView},
    http::{
        ApiError, Idempotency, List, Page, ProjectScope, ValidJson, ValidQuery, View, Work, idempotent, keyed,
    },
    state::App,
};
use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::types::Json as Stored;
use syndarix_domain::ids::ProjectId;
use utoipa::ToSchema;
use uuid::Uuid;

/// A comment on an issue.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = IssueComment)]
pub struct IssueCommentView {
    /// Its id.
    pub id: Uuid,
    /// Who.
    pub author: AuthorView,
    /// The text, Markdown.
    pub body: String,
    /// When.
    pub at: DateTime<Utc>,
}

/// A new comment.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateIssueComment {
    /// The text, Markdown, at most 64 KiB.
    pub body: String,
}

#[utoipa::path(get, path = "/projects/{project_id}/issues/{number}/comments", operation_id = "list_issue_comments", tag = "issues",
    params(("project_id" = Uuid, Path), ("number" = i64, Path), Page),
    responses((status = 200, body = List<IssueCommentView>), (status = 404)))]
pub(super) async fn list_issue_comments(
    State(app): State<App>,
    scope: ProjectScope<View>,
    Path((_project, number)): Path<(Uuid, i64)>,
    ValidQuery(page): ValidQuery<Page>,
) -> Result<Json<List<IssueCommentView>>, ApiError> {
    let window = (page.limit()?, page.offset()?);
    queries::issue(app.pool(), scope.project(), number).await?;
    let rows = queries::comments(app.pool(), scope.project(), number, window).await?;
    let items = views(&app, scope.project(), rows).await?;
    Ok(Json(List::page(items, &page)?))
}

#[utoipa::path(post, path = "/projects/{project_id}/issues/{number}/comments", operation_id = "comment_on_issue", tag = "issues",
    params(("project_id" = Uuid, Path), ("number" = i64, Path)), request_body = CreateIssueComment,
    responses((status = 201, body = IssueCommentView), (status = 404), (status = 422)))]
pub(super) async fn comment_on_issue(
    State(app): State<App>,
    scope: ProjectScope<Work>,
    Path((_project, number)): Path<(Uuid, i64)>,
    key: Option<Idempotency>,
    ValidJson(body): ValidJson<CreateIssueComment>,
) -> Result<(StatusCode, Json<IssueCommentView>), ApiError> {
    let author = keyed(Author::of(scope.actor()), key, &body)?;
    let work = || comment(&app, author, (scope.project(), number), &body);
    let show = async |row| {
        let views = views(&app, scope.project(), vec![row]).await?;
        views.into_iter().next().ok_or_else(|| ApiError::not_found("comment"))
    };
    let view = idempotent(&app, author, work, show).await?;
    Ok((StatusCode::CREATED, Json(view)))
}

async fn comment(
    app: &App,
    author: Author,
    (project, number): (ProjectId, i64),
    body: &CreateIssueComment,
) -> Result<CommentRow, ApiError> {
    if body.body.trim().is_empty() {
        return Err(ApiError::invalid("body", "is empty"));
    }
    let text = limits::body(&body.body)?;
    retry_conflicts(|| async {
        let mut uow = app.store.begin(author);
        let issue = queries::lock(&mut uow, project, number).await?;
        let row =
            CommentRow { id: uow.new_id(), author: Stored(author.actor), body: text.clone(), at: uow.now() };
        queries::comment(&mut uow, &issue, &row).await?;
        let data = json!({ "number": issue.number, "title": issue.title, "comment_id": row.id });
        uow.announce(project, "issue", issue.id, "issue.commented.v1", data);
        Ok(uow.commit_with(row).await?)
    })
    .await
}

async fn views(
    app: &App,
    project: ProjectId,
    rows: Vec<CommentRow>,
) -> Result<Vec<IssueCommentView>, ApiError> {
    let ids: Vec<Uuid> = rows.iter().filter_map(|row| row.author.0.id()).collect();
    let names = workflow::names(app.pool(), project, &ids).await?;
    let view = |row: CommentRow| {
        let author = row.author.0;
        let name = author.id().and_then(|id| names.get(&id)).map(String::as_str);
        IssueCommentView { id: row.id, author: AuthorView::of(author, name), body: row.body, at: row.at }
    };
    Ok(rows.into_iter().map(view).collect())
}
