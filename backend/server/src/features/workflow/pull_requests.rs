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
        idempotent, keyed,
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
use syndarix_forge::{BranchName, ForgeError, ObjectId};
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
    responses((status = 201, body = PullRequestView), (status = 404),
        (status = 409, description = "`no_repository`; the story has another pull request, or is not in implementation"),
        (status = 422, description = "a branch is not there, or cannot be one")))]
async fn create_pull_request(
    State(app): State<App>,
    scope: ProjectScope<Work>,
    key: Option<Idempotency>,
    ValidJson(body): ValidJson<CreatePullRequest>,
) -> Result<(StatusCode, Json<PullRequestView>), ApiError> {
    let (author, project) = (keyed(Author::of(scope.actor()), key, &body)?, scope.project());
    let work = || open(&app, author, &scope, &body);
    let opened = idempotent(&app, author, work, |id: PullRequestId| view(&app, project, id.0)).await?;
    Ok((StatusCode::CREATED, Json(opened)))
}

async fn open(
    app: &App,
    author: Author,
    scope: &ProjectScope<Work>,
    body: &CreatePullRequest,
) -> Result<PullRequestId, ApiError> {
    let project = scope.project();
    check(body)?;
    let story = story_of(app, scope, body).await?;
    if let Some(existing) = open_already(app, project, story, body).await? {
        return Ok(existing);
    }
    let (branch, head) = branch_head(app, project, "head_branch", &body.head_branch).await?;
    let (base, base_head) = base_of(app, project, story, body).await?;
    if head == base_head {
        return Err(ApiError::invalid("head_branch", format!("`{branch}` has no commit of its own yet")));
    }
    retry_conflicts(|| async {
        let mut uow = app.store.begin(author);
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
            base_branch: base.to_string(),
            head: head.to_string(),
        };
        uow.create::<PullRequest>(project, id, &Command::Submit(new)).await?;
        if let Some(story) = story {
            let change = Change { pull_request: id, branch: branch.to_string() };
            uow.execute::<Story>(project, story, &story::Command::OpenPullRequest(change)).await?;
        }
        Ok(uow.commit_with(id).await?)
    })
    .await
}

/// A named branch that is there, and its newest commit.
async fn branch_head(
    app: &App,
    project: ProjectId,
    field: &str,
    name: &str,
) -> Result<(BranchName, ObjectId), ApiError> {
    let branch = BranchName::new(name).map_err(|error| ApiError::invalid(field, error.to_string()))?;
    match app.forge.head(project.0, &branch).await.map_err(unreadable)? {
        Some(head) => Ok((branch, head)),
        None => Err(ApiError::invalid(field, format!("there is no branch `{branch}`: commit to it first"))),
    }
}

/// The branch that is offered for: a story is done when it is in the default branch, so its change goes nowhere else.
async fn base_of(
    app: &App,
    project: ProjectId,
    story: Option<StoryId>,
    body: &CreatePullRequest,
) -> Result<(BranchName, ObjectId), ApiError> {
    let info = app.forge.info(project.0).await.map_err(unreadable)?;
    let Some(name) = body.base_branch.as_deref().filter(|name| *name != info.default_branch.as_str()) else {
        return Ok((info.default_branch, info.head));
    };
    let named = branch_head(app, project, "base_branch", name).await?;
    if story.is_some() {
        let message = format!("a story's change goes to the default branch, `{}`", info.default_branch);
        return Err(ApiError::invalid("base_branch", message));
    }
    Ok(named)
}

/// A project whose import failed or still runs has no repository: that is no fault of ours.
pub(super) fn unreadable(error: ForgeError) -> ApiError {
    match error {
        ForgeError::NoRepository => ApiError::conflict(
            "no_repository",
            "the project has no repository yet: see in its settings how the import went",
        ),
        other => ApiError::internal(&other),
    }
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
) -> Result<Option<PullRequestId>, ApiError> {
    let Some(story) = story else { return Ok(None) };
    let story = app.store.read::<Story>(project, story).await?.state;
    let same = story.change.filter(|change| change.branch == body.head_branch);
    Ok(same.map(|change| change.pull_request))
}

#[utoipa::path(get, path = "/projects/{project_id}/pull-requests", operation_id = "list_pull_requests", tag = "pull requests",
    params(("project_id" = Uuid, Path), Page), responses((status = 200, body = List<PullRequestView>), (status = 404)))]
async fn list_pull_requests(
    State(app): State<App>,
    scope: ProjectScope<View>,
    ValidQuery(page): ValidQuery<Page>,
) -> Result<Json<List<PullRequestView>>, ApiError> {
    let window = (page.limit()?, page.after()?);
    let found = queries::pull_requests(app.pool(), scope.project(), window).await?;
    let ids: Vec<Uuid> =
        found.iter().flat_map(|(_, pr)| &pr.comments).filter_map(|comment| comment.author.id()).collect();
    let names = queries::names(app.pool(), scope.project(), &ids).await?;
    let items = found.into_iter().map(|(version, pr)| PullRequestView::of(version, pr, &names)).collect();
    Ok(Json(List::keyed(items, &page, |pr: &PullRequestView| pr.number)?))
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
    let (author, project) = (keyed(Author::of(scope.actor()), key, &body)?, scope.project());
    let work = || comment(&app, author, (project, id), &body);
    let commented = idempotent(&app, author, work, |()| view(&app, project, id)).await?;
    Ok((StatusCode::CREATED, Json(commented)))
}

async fn comment(
    app: &App,
    author: Author,
    (project, id): (ProjectId, Uuid),
    body: &CreateComment,
) -> Result<(), ApiError> {
    if body.body.chars().count() > MAX_BODY {
        return Err(ApiError::invalid("body", format!("has at most {MAX_BODY} characters")));
    }
    retry_conflicts(|| async {
        let mut uow = app.store.begin(author);
        let comment = Comment {
            author: author.actor,
            body: body.body.clone(),
            path: body.path.clone(),
            line: body.line,
            side: Side::New,
            at: uow.now(),
        };
        uow.execute::<PullRequest>(project, id, &Command::Comment { comment }).await?;
        uow.commit().await?;
        Ok(())
    })
    .await
}
