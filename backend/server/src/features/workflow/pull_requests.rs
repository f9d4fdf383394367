//! Pull requests: open, list, show, diff, comment.

use super::{
    diff::{DiffView, diff},
    queries,
    views::PullRequestView,
};
use crate::{
    db::{Author, Loaded, retry_conflicts},
    http::{
        ApiError, CallerKind, Idempotency, List, Page, ProjectScope, ValidJson, ValidQuery, View, Work,
        idempotent,
    },
    state::App,
};
use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use serde::{Deserialize, Serialize};
use syndarix_domain::{
    ids::{ProjectId, PullRequestId, StoryId},
    pull_request::{Command, Comment, New, PullRequest},
    run::Run,
    story::{self, Change, Side, Story},
};
use syndarix_forge::BranchName;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

const MAX_TITLE: usize = 200;
const MAX_BODY: usize = 20_000;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list_pull_requests, create_pull_request))
        .routes(routes!(show_pull_request))
        .routes(routes!(pull_request_diff))
        .routes(routes!(comment_on_pull_request))
}

/// A new pull request.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreatePullRequest {
    /// The story it is for. An agent's is always the story of its run.
    pub story_id: Option<Uuid>,
    /// One line.
    pub title: String,
    /// What and why.
    #[serde(default)]
    pub body: String,
    /// The branch that is offered.
    pub head_branch: String,
    /// The branch that it is offered for; the default branch when not given.
    pub base_branch: Option<String>,
}

#[utoipa::path(post, path = "/projects/{project_id}/pull-requests", operation_id = "create_pull_request", tag = "pull requests",
    params(("project_id" = Uuid, Path)), request_body = CreatePullRequest,
    responses((status = 201, body = PullRequestView), (status = 404), (status = 409), (status = 422)))]
async fn create_pull_request(
    State(app): State<App>,
    scope: ProjectScope<Work>,
    key: Option<Idempotency>,
    ValidJson(body): ValidJson<CreatePullRequest>,
) -> Result<(StatusCode, Json<PullRequestView>), ApiError> {
    let view = idempotent(&app, key, &body, || open(&app, &scope, &body)).await?;
    Ok((StatusCode::CREATED, Json(view)))
}

async fn open(
    app: &App,
    scope: &ProjectScope<Work>,
    body: &CreatePullRequest,
) -> Result<PullRequestView, ApiError> {
    let project = scope.project();
    check(body)?;
    let story = story_of(app, scope, body).await?;
    if let Some(existing) = open_already(app, project, story, body).await? {
        return Ok(existing);
    }
    let branch = BranchName::new(body.head_branch.clone())
        .map_err(|error| ApiError::invalid("head_branch", error.to_string()))?;
    let head = app.forge.head(project.0, &branch).await.map_err(|error| ApiError::internal(&error))?;
    let head = head.ok_or_else(|| {
        ApiError::invalid("head_branch", format!("there is no branch `{branch}`: commit to it first"))
    })?;
    let info = app.forge.info(project.0).await.map_err(|error| ApiError::internal(&error))?;
    if head == info.head {
        return Err(ApiError::invalid("head_branch", format!("`{branch}` has no commit of its own yet")));
    }
    let base = body.base_branch.clone().unwrap_or_else(|| info.default_branch.to_string());
    let id = retry_conflicts(|| async {
        let mut uow = app.store.begin(Author::of(scope.actor())).await?;
        let id = PullRequestId(uow.new_id());
        let number = queries::next_number(&mut uow, project, "pull_request").await?;
        let new = New {
            id,
            project,
            story,
            number,
            title: body.title.trim().to_owned(),
            body: body.body.clone(),
            head_branch: branch.to_string(),
            base_branch: base.clone(),
            head: head.to_string(),
        };
        uow.create::<PullRequest>(project, id, &Command::Submit(new)).await?;
        if let Some(story) = story {
            let change = Change { pull_request: id, branch: branch.to_string() };
            uow.execute::<Story>(project, story, &story::Command::OpenPullRequest(change)).await?;
        }
        uow.commit().await?;
        Ok::<_, ApiError>(id)
    })
    .await?;
    view(app, project, id.0).await
}

fn check(body: &CreatePullRequest) -> Result<(), ApiError> {
    if body.title.trim().is_empty() || body.title.chars().count() > MAX_TITLE {
        return Err(ApiError::invalid("title", format!("has 1 to {MAX_TITLE} characters")));
    }
    if body.body.chars().count() > MAX_BODY {
        return Err(ApiError::invalid("body", format!("has at most {MAX_BODY} characters")));
    }
    Ok(())
}

/// An agent's pull request belongs to the story that its run works on, whatever it says.
async fn story_of(
    app: &App,
    scope: &ProjectScope<Work>,
    body: &CreatePullRequest,
) -> Result<Option<StoryId>, ApiError> {
    match scope.caller().kind {
        CallerKind::Agent { run, .. } => {
            Ok(Some(app.store.read::<Run>(scope.project(), run).await?.state.story))
        }
        CallerKind::User(_) => Ok(body.story_id.map(StoryId)),
    }
}

/// A repeat after a crash finds the pull request that the first attempt opened.
async fn open_already(
    app: &App,
    project: ProjectId,
    story: Option<StoryId>,
    body: &CreatePullRequest,
) -> Result<Option<PullRequestView>, ApiError> {
    let Some(story) = story else { return Ok(None) };
    let story = app.store.read::<Story>(project, story).await?.state;
    match story.change {
        Some(change) if change.branch == body.head_branch => {
            view(app, project, change.pull_request.0).await.map(Some)
        }
        _ => Ok(None),
    }
}

#[utoipa::path(get, path = "/projects/{project_id}/pull-requests", operation_id = "list_pull_requests", tag = "pull requests",
    params(("project_id" = Uuid, Path), Page), responses((status = 200, body = List<PullRequestView>), (status = 404)))]
async fn list_pull_requests(
    State(app): State<App>,
    scope: ProjectScope<View>,
    ValidQuery(page): ValidQuery<Page>,
) -> Result<Json<List<PullRequestView>>, ApiError> {
    let window = (page.limit()?, page.offset()?);
    let found = queries::pull_requests(app.pool(), scope.project(), window).await?;
    let ids: Vec<Uuid> =
        found.iter().flat_map(|(_, pr)| &pr.comments).filter_map(|comment| comment.author.id()).collect();
    let names = queries::names(app.pool(), scope.project(), &ids).await?;
    let items = found.into_iter().map(|(version, pr)| PullRequestView::of(version, pr, &names)).collect();
    Ok(Json(List::page(items, &page)?))
}

#[utoipa::path(get, path = "/projects/{project_id}/pull-requests/{pull_request_id}", operation_id = "show_pull_request", tag = "pull requests",
    params(("project_id" = Uuid, Path), ("pull_request_id" = Uuid, Path)),
    responses((status = 200, body = PullRequestView), (status = 404)))]
async fn show_pull_request(
    State(app): State<App>,
    scope: ProjectScope<View>,
    Path((_project, id)): Path<(Uuid, Uuid)>,
) -> Result<Json<PullRequestView>, ApiError> {
    Ok(Json(view(&app, scope.project(), id).await?))
}

/// A pull request as the API shows it.
pub async fn view(app: &App, project: ProjectId, id: Uuid) -> Result<PullRequestView, ApiError> {
    let Loaded { version, state } = app.store.read::<PullRequest>(project, id).await?;
    let ids: Vec<Uuid> = state.comments.iter().filter_map(|comment| comment.author.id()).collect();
    let names = queries::names(app.pool(), project, &ids).await?;
    Ok(PullRequestView::of(version, state, &names))
}

#[utoipa::path(get, path = "/projects/{project_id}/pull-requests/{pull_request_id}/diff", operation_id = "pull_request_diff", tag = "pull requests",
    params(("project_id" = Uuid, Path), ("pull_request_id" = Uuid, Path)),
    responses((status = 200, body = DiffView), (status = 404)))]
async fn pull_request_diff(
    State(app): State<App>,
    scope: ProjectScope<View>,
    Path((_project, id)): Path<(Uuid, Uuid)>,
) -> Result<Json<DiffView>, ApiError> {
    let pr = app.store.read::<PullRequest>(scope.project(), id).await?.state;
    Ok(Json(diff(&app, &pr).await?))
}

/// A remark.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateComment {
    /// The remark.
    pub body: String,
    /// The file it is about.
    pub path: Option<String>,
    /// The line it is about.
    pub line: Option<u32>,
}

#[utoipa::path(post, path = "/projects/{project_id}/pull-requests/{pull_request_id}/comments", operation_id = "comment_on_pull_request", tag = "pull requests",
    params(("project_id" = Uuid, Path), ("pull_request_id" = Uuid, Path)), request_body = CreateComment,
    responses((status = 201, body = PullRequestView), (status = 404), (status = 409), (status = 422)))]
async fn comment_on_pull_request(
    State(app): State<App>,
    scope: ProjectScope<Work>,
    Path((_project, id)): Path<(Uuid, Uuid)>,
    key: Option<Idempotency>,
    ValidJson(body): ValidJson<CreateComment>,
) -> Result<(StatusCode, Json<PullRequestView>), ApiError> {
    let commented = idempotent(&app, key, &body, || comment(&app, &scope, id, &body)).await?;
    Ok((StatusCode::CREATED, Json(commented)))
}

async fn comment(
    app: &App,
    scope: &ProjectScope<Work>,
    id: Uuid,
    body: &CreateComment,
) -> Result<PullRequestView, ApiError> {
    if body.body.chars().count() > MAX_BODY {
        return Err(ApiError::invalid("body", format!("has at most {MAX_BODY} characters")));
    }
    retry_conflicts(|| async {
        let mut uow = app.store.begin(Author::of(scope.actor())).await?;
        let comment = Comment {
            author: scope.actor(),
            body: body.body.clone(),
            path: body.path.clone(),
            line: body.line,
            side: Side::New,
            at: uow.now(),
        };
        uow.execute::<PullRequest>(scope.project(), id, &Command::Comment { comment }).await?;
        uow.commit().await?;
        Ok::<_, ApiError>(())
    })
    .await?;
    view(app, scope.project(), id).await
}
