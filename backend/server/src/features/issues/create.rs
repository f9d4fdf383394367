//! Opening an issue.

use super::{
    limits,
    queries::{self, IssueRow},
    read,
    view::IssueView,
};
use crate::{
    db::{Author, retry_conflicts},
    http::{ApiError, Idempotency, ProjectScope, ValidJson, Work, idempotent, keyed},
    state::App,
};
use axum::{Json, extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::types::Json as Stored;
use syndarix_domain::ids::ProjectId;
use utoipa::ToSchema;
use uuid::Uuid;

/// A new issue.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateIssue {
    /// One line, at most 200 characters.
    pub title: String,
    /// What is the case and what should be, Markdown, at most 64 KiB.
    #[serde(default)]
    pub body: String,
    /// At most 20.
    #[serde(default)]
    pub labels: Vec<String>,
    /// Who shall do it.
    pub assignee: Option<String>,
    /// The story it is about.
    pub story_id: Option<Uuid>,
}

#[utoipa::path(post, path = "/projects/{project_id}/issues", operation_id = "create_issue", tag = "issues",
    params(("project_id" = Uuid, Path)), request_body = CreateIssue,
    responses((status = 201, body = IssueView), (status = 404), (status = 422)))]
pub(super) async fn create_issue(
    State(app): State<App>,
    scope: ProjectScope<Work>,
    key: Option<Idempotency>,
    ValidJson(body): ValidJson<CreateIssue>,
) -> Result<(StatusCode, Json<IssueView>), ApiError> {
    let author = keyed(Author::of(scope.actor()), key, &body)?;
    let work = || create(&app, author, scope.project(), &body);
    let view = idempotent(&app, author, work, |number| read::show(&app, scope.project(), number)).await?;
    Ok((StatusCode::CREATED, Json(view)))
}

/// The number of the new issue.
async fn create(app: &App, author: Author, project: ProjectId, body: &CreateIssue) -> Result<i64, ApiError> {
    let (title, text) = (limits::title(&body.title)?, limits::body(&body.body)?);
    let labels = limits::labels(&body.labels)?;
    let assignee = body.assignee.as_deref().map(|name| limits::word("assignee", name)).transpose()?;
    retry_conflicts(|| async {
        let mut uow = app.store.begin(author);
        if let Some(story) = body.story_id
            && !queries::has_story(&mut uow, project, story).await?
        {
            return Err(ApiError::invalid("story_id", "there is no story with this id here"));
        }
        let issue = IssueRow {
            id: uow.new_id(),
            project_id: project.0,
            number: queries::next_number(&mut uow, project).await?,
            title: title.clone(),
            body: Some(text.clone()),
            state: "open".into(),
            labels: labels.clone(),
            assignee: assignee.clone(),
            story_id: body.story_id,
            author: Stored(author.actor),
            comments: 0,
            created_at: uow.now(),
            updated_at: uow.now(),
            closed_at: None,
            rank: 0.0,
        };
        queries::insert(&mut uow, &issue).await?;
        let data = json!({ "number": issue.number, "title": issue.title, "labels": issue.labels,
                           "assignee": issue.assignee, "story_id": issue.story_id });
        uow.announce(project, "issue", issue.id, "issue.created.v1", data);
        Ok(uow.commit_with(issue.number).await?)
    })
    .await
}
