//! Stories: write, list, show, and move through their phases.

use super::{
    history::history,
    queries,
    views::{HistoryItem, StoryView},
};
use crate::{
    db::{Author, retry_conflicts},
    http::{
        ApiError, Edit, Idempotency, List, Page, ProjectScope, ValidJson, ValidQuery, View, idempotent, keyed,
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
    ids::{ProjectId, SprintId, StoryId},
    story::{Command, New, Story},
};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

/// The longest title, in characters.
const MAX_TITLE: usize = 200;
/// The longest description, in characters: what a person writes, not a book.
const MAX_DESCRIPTION: usize = 20_000;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list_stories, create_story))
        .routes(routes!(show_story))
        .routes(routes!(start_story))
        .routes(routes!(block_story))
        .routes(routes!(unblock_story))
        .routes(routes!(cancel_story))
        .routes(routes!(move_story))
        .routes(routes!(story_history))
}

/// A new story.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateStory {
    /// One line: what is wanted.
    pub title: String,
    /// What is wanted, in the client's words.
    #[serde(default)]
    pub description: String,
    /// Estimated effort.
    pub points: Option<u16>,
    /// The sprint to plan it in.
    pub sprint_id: Option<Uuid>,
}

#[utoipa::path(post, path = "/projects/{project_id}/stories", operation_id = "create_story", tag = "stories",
    params(("project_id" = Uuid, Path)), request_body = CreateStory,
    responses((status = 201, body = StoryView), (status = 404), (status = 422)))]
async fn create_story(
    State(app): State<App>,
    scope: ProjectScope<Edit>,
    key: Option<Idempotency>,
    ValidJson(body): ValidJson<CreateStory>,
) -> Result<(StatusCode, Json<StoryView>), ApiError> {
    let (author, project) = (keyed(Author::of(scope.actor()), key, &body)?, scope.project());
    let work = || write(&app, author, project, &body);
    let made = idempotent(&app, author, work, |story: StoryId| view(&app, project, story.0)).await?;
    Ok((StatusCode::CREATED, Json(made)))
}

/// Writes a story.
pub async fn write(
    app: &App,
    author: Author,
    project: ProjectId,
    body: &CreateStory,
) -> Result<StoryId, ApiError> {
    if body.title.chars().count() > MAX_TITLE {
        return Err(ApiError::invalid("title", format!("has at most {MAX_TITLE} characters")));
    }
    if body.description.chars().count() > MAX_DESCRIPTION {
        return Err(ApiError::invalid("description", format!("has at most {MAX_DESCRIPTION} characters")));
    }
    retry_conflicts(|| async {
        let mut uow = app.store.begin(author);
        let id = StoryId(uow.new_id());
        let number = queries::next_number(&mut uow, project, "story").await?;
        let new = New {
            id,
            project,
            number,
            title: body.title.trim().to_owned(),
            description: body.description.clone(),
            points: body.points,
            sprint: body.sprint_id.map(SprintId),
        };
        uow.create::<Story>(project, id, &Command::Create(new)).await?;
        Ok(uow.commit_with(id).await?)
    })
    .await
}

/// Which stories.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Filter {
    /// Of this sprint only.
    sprint_id: Option<Uuid>,
    /// In this phase only.
    phase: Option<String>,
    /// At most this many items, 1 to 200.
    limit: Option<i64>,
    /// Go on where the last answer's `next_cursor` said.
    cursor: Option<String>,
}

#[utoipa::path(get, path = "/projects/{project_id}/stories", operation_id = "list_stories", tag = "stories",
    params(("project_id" = Uuid, Path), Filter), responses((status = 200, body = List<StoryView>), (status = 404)))]
async fn list_stories(
    State(app): State<App>,
    scope: ProjectScope<View>,
    ValidQuery(filter): ValidQuery<Filter>,
) -> Result<Json<List<StoryView>>, ApiError> {
    let page = Page { limit: filter.limit, cursor: filter.cursor };
    let window = (page.limit()?, page.after()?);
    let phase = filter.phase.as_deref();
    let rows = queries::stories(app.pool(), scope.project(), filter.sprint_id, phase, window).await?;
    let items = rows.into_iter().map(StoryView::from).collect();
    Ok(Json(List::keyed(items, &page, |story: &StoryView| story.number)?))
}

/// Which version.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct AtVersion {
    /// The story as it was after this version: with the agent, the pull request and the costs of that moment.
    version: Option<i64>,
}

#[utoipa::path(get, path = "/projects/{project_id}/stories/{story_id}", operation_id = "show_story", tag = "stories",
    params(("project_id" = Uuid, Path), ("story_id" = Uuid, Path), AtVersion),
    responses((status = 200, body = StoryView), (status = 404)))]
async fn show_story(
    State(app): State<App>,
    scope: ProjectScope<View>,
    Path((_project, story)): Path<(Uuid, Uuid)>,
    ValidQuery(at): ValidQuery<AtVersion>,
) -> Result<Json<StoryView>, ApiError> {
    let Some(version) = at.version else { return Ok(Json(view(&app, scope.project(), story).await?)) };
    let then = app.store.at_version::<Story>(scope.project(), story, version).await?;
    Ok(Json(queries::story_then(app.pool(), then).await?.into()))
}

/// A story as the API shows it.
pub async fn view(app: &App, project: ProjectId, story: Uuid) -> Result<StoryView, ApiError> {
    Ok(queries::story(app.pool(), project, story).await?.into())
}

/// Why.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Reason {
    /// In a sentence; shown with the story.
    pub reason: String,
}

/// Where to.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MoveStory {
    /// The sprint, or null for none. It must be said: what is forgotten must not take a story out of its sprint.
    #[serde(deserialize_with = "Option::deserialize")]
    #[schema(required = true)]
    pub sprint_id: Option<Uuid>,
}

/// Gives a story a command in somebody's name.
pub async fn command(
    app: &App,
    author: Author,
    project: ProjectId,
    story: Uuid,
    command: &Command,
) -> Result<StoryView, ApiError> {
    give(app, author, project, story, command).await?;
    view(app, project, story).await
}

async fn give(
    app: &App,
    author: Author,
    project: ProjectId,
    story: Uuid,
    command: &Command,
) -> Result<(), ApiError> {
    retry_conflicts(|| async {
        let mut uow = app.store.begin(author);
        uow.execute::<Story>(project, story, command).await?;
        uow.commit().await?;
        Ok(())
    })
    .await
}

async fn from_outside<B: Serialize + Sync>(
    app: &App,
    scope: &ProjectScope<Edit>,
    (key, body): (Option<Idempotency>, &B),
    story: Uuid,
    asked: Command,
) -> Result<Json<StoryView>, ApiError> {
    let (author, project) = (keyed(Author::of(scope.actor()), key, body)?, scope.project());
    let work = || give(app, author, project, story, &asked);
    Ok(Json(idempotent(app, author, work, |()| view(app, project, story)).await?))
}

#[utoipa::path(post, path = "/projects/{project_id}/stories/{story_id}/start", operation_id = "start_story", tag = "stories",
    params(("project_id" = Uuid, Path), ("story_id" = Uuid, Path)),
    responses((status = 200, body = StoryView), (status = 404), (status = 409)))]
async fn start_story(
    State(app): State<App>,
    scope: ProjectScope<Edit>,
    Path((_project, story)): Path<(Uuid, Uuid)>,
    key: Option<Idempotency>,
) -> Result<Json<StoryView>, ApiError> {
    from_outside(&app, &scope, (key, &()), story, Command::Start).await
}

#[utoipa::path(post, path = "/projects/{project_id}/stories/{story_id}/block", operation_id = "block_story", tag = "stories",
    params(("project_id" = Uuid, Path), ("story_id" = Uuid, Path)), request_body = Reason,
    responses((status = 200, body = StoryView), (status = 404), (status = 409), (status = 422)))]
async fn block_story(
    State(app): State<App>,
    scope: ProjectScope<Edit>,
    Path((_project, story)): Path<(Uuid, Uuid)>,
    key: Option<Idempotency>,
    ValidJson(body): ValidJson<Reason>,
) -> Result<Json<StoryView>, ApiError> {
    let reason = given(&body)?;
    from_outside(&app, &scope, (key, &body), story, Command::Block { reason }).await
}

#[utoipa::path(post, path = "/projects/{project_id}/stories/{story_id}/unblock", operation_id = "unblock_story", tag = "stories",
    params(("project_id" = Uuid, Path), ("story_id" = Uuid, Path)),
    responses((status = 200, body = StoryView), (status = 404), (status = 409)))]
async fn unblock_story(
    State(app): State<App>,
    scope: ProjectScope<Edit>,
    Path((_project, story)): Path<(Uuid, Uuid)>,
    key: Option<Idempotency>,
) -> Result<Json<StoryView>, ApiError> {
    from_outside(&app, &scope, (key, &()), story, Command::Unblock).await
}

#[utoipa::path(post, path = "/projects/{project_id}/stories/{story_id}/cancel", operation_id = "cancel_story", tag = "stories",
    params(("project_id" = Uuid, Path), ("story_id" = Uuid, Path)), request_body = Reason,
    responses((status = 200, body = StoryView), (status = 404), (status = 409), (status = 422)))]
async fn cancel_story(
    State(app): State<App>,
    scope: ProjectScope<Edit>,
    Path((_project, story)): Path<(Uuid, Uuid)>,
    key: Option<Idempotency>,
    ValidJson(body): ValidJson<Reason>,
) -> Result<Json<StoryView>, ApiError> {
    let reason = given(&body)?;
    from_outside(&app, &scope, (key, &body), story, Command::Cancel { reason }).await
}

#[utoipa::path(post, path = "/projects/{project_id}/stories/{story_id}/move", operation_id = "move_story", tag = "stories",
    params(("project_id" = Uuid, Path), ("story_id" = Uuid, Path)), request_body = MoveStory,
    responses((status = 200, body = StoryView), (status = 404), (status = 409), (status = 422)))]
async fn move_story(
    State(app): State<App>,
    scope: ProjectScope<Edit>,
    Path((_project, story)): Path<(Uuid, Uuid)>,
    key: Option<Idempotency>,
    ValidJson(body): ValidJson<MoveStory>,
) -> Result<Json<StoryView>, ApiError> {
    let sprint = body.sprint_id.map(SprintId);
    from_outside(&app, &scope, (key, &body), story, Command::MoveToSprint { sprint }).await
}

fn given(body: &Reason) -> Result<String, ApiError> {
    match body.reason.trim() {
        "" => Err(ApiError::invalid("reason", "say why, in a sentence")),
        reason => Ok(reason.to_owned()),
    }
}

#[utoipa::path(get, path = "/projects/{project_id}/stories/{story_id}/history", operation_id = "story_history", tag = "stories",
    params(("project_id" = Uuid, Path), ("story_id" = Uuid, Path)),
    responses((status = 200, body = List<HistoryItem>), (status = 404)))]
async fn story_history(
    State(app): State<App>,
    scope: ProjectScope<View>,
    Path((_project, story)): Path<(Uuid, Uuid)>,
) -> Result<Json<List<HistoryItem>>, ApiError> {
    Ok(Json(history::<Story>(&app, scope.project(), story).await?))
}
