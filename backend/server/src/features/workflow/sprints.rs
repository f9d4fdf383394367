//! Sprints: plan, start, review, complete.

use super::{
    queries::{self, SprintRow},
    sprint_gate::{gate, outcome},
};
use crate::{
    db::{Author, Error, Uow, retry_conflicts},
    http::{ApiError, Edit, Idempotency, List, ProjectScope, ValidJson, View, idempotent, keyed},
    state::App,
};
use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use chrono::NaiveDate;
use serde::{Deserialize, Serialize};
use syndarix_domain::{
    ids::{ProjectId, SprintId},
    machine::Machine as _,
    sprint::{Command, New, Phase, Sprint},
    story::{self, Story},
};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list_sprints, create_sprint))
        .routes(routes!(show_sprint, change_sprint))
        .routes(routes!(start_sprint))
        .routes(routes!(review_sprint))
        .routes(routes!(complete_sprint))
        .routes(routes!(cancel_sprint))
}

/// A sprint.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = Sprint)]
pub struct SprintView {
    /// Its id.
    pub id: Uuid,
    /// The project it belongs to.
    pub project_id: Uuid,
    /// A short name.
    pub name: String,
    /// What it is for.
    pub goal: String,
    /// Its first day.
    pub starts_on: Option<NaiveDate>,
    /// Its last day.
    pub ends_on: Option<NaiveDate>,
    /// planning, active, review, done, cancelled.
    pub state: String,
    /// The open question about starting or completing it.
    pub approval_id: Option<Uuid>,
    /// The version of its last event.
    pub version: i64,
    /// Points of all its stories.
    pub points_total: i64,
    /// Points of those that are done: once it is done, its velocity as its last event recorded it.
    pub points_done: i64,
    /// Its stories, the cancelled ones left out.
    pub stories: i64,
}

impl From<SprintRow> for SprintView {
    fn from(row: SprintRow) -> Self {
        let sprint = row.state.0;
        let velocity = match &sprint.phase {
            Phase::Done { points, .. } => Some(i64::from(*points)),
            _ => None,
        };
        Self {
            id: sprint.id.0,
            project_id: sprint.project.0,
            state: sprint.phase().to_owned(),
            approval_id: sprint.asked.map(|approval| approval.0),
            name: sprint.name,
            goal: sprint.goal,
            starts_on: sprint.starts_on,
            ends_on: sprint.ends_on,
            version: row.version,
            points_total: row.points_total,
            points_done: velocity.unwrap_or(row.points_done),
            stories: row.stories,
        }
    }
}

/// A new sprint.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateSprint {
    /// A short name.
    pub name: String,
    /// What it is for.
    #[serde(default)]
    pub goal: String,
    /// Its first day.
    pub starts_on: Option<NaiveDate>,
    /// Its last day.
    pub ends_on: Option<NaiveDate>,
}

#[utoipa::path(post, path = "/projects/{project_id}/sprints", operation_id = "create_sprint", tag = "sprints",
    params(("project_id" = Uuid, Path)), request_body = CreateSprint,
    responses((status = 201, body = SprintView), (status = 404), (status = 409), (status = 422)))]
async fn create_sprint(
    State(app): State<App>,
    scope: ProjectScope<Edit>,
    key: Option<Idempotency>,
    ValidJson(body): ValidJson<CreateSprint>,
) -> Result<(StatusCode, Json<SprintView>), ApiError> {
    let (author, project) = (keyed(Author::of(scope.actor()), key, &body)?, scope.project());
    let work = || plan(&app, author, project, &body);
    let made = idempotent(&app, author, work, |sprint: SprintId| view(&app, project, sprint.0)).await?;
    Ok((StatusCode::CREATED, Json(made)))
}

/// Plans a sprint.
pub async fn plan(
    app: &App,
    author: Author,
    project: ProjectId,
    body: &CreateSprint,
) -> Result<SprintId, ApiError> {
    retry_conflicts(|| async {
        let mut uow = app.store.begin(author);
        let id = SprintId(uow.new_id());
        let new = New {
            id,
            project,
            name: body.name.trim().to_owned(),
            goal: body.goal.trim().to_owned(),
            starts_on: body.starts_on,
            ends_on: body.ends_on,
        };
        uow.create::<Sprint>(project, id, &Command::Create(new)).await?;
        Ok(uow.commit_with(id).await?)
    })
    .await
}

#[utoipa::path(get, path = "/projects/{project_id}/sprints", operation_id = "list_sprints", tag = "sprints",
    params(("project_id" = Uuid, Path)), responses((status = 200, body = List<SprintView>), (status = 404)))]
async fn list_sprints(
    State(app): State<App>,
    scope: ProjectScope<View>,
) -> Result<Json<List<SprintView>>, ApiError> {
    let rows = queries::sprints(app.pool(), scope.project()).await?;
    Ok(Json(List::all(rows.into_iter().map(SprintView::from).collect())))
}

#[utoipa::path(get, path = "/projects/{project_id}/sprints/{sprint_id}", operation_id = "show_sprint", tag = "sprints",
    params(("project_id" = Uuid, Path), ("sprint_id" = Uuid, Path)),
    responses((status = 200, body = SprintView), (status = 404)))]
async fn show_sprint(
    State(app): State<App>,
    scope: ProjectScope<View>,
    Path((_project, sprint)): Path<(Uuid, Uuid)>,
) -> Result<Json<SprintView>, ApiError> {
    Ok(Json(view(&app, scope.project(), sprint).await?))
}

/// What to change; what is left out stays.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeSprint {
    /// A short name.
    pub name: Option<String>,
    /// What it is for.
    pub goal: Option<String>,
    /// Its first day.
    pub starts_on: Option<NaiveDate>,
    /// Its last day.
    pub ends_on: Option<NaiveDate>,
}

#[utoipa::path(patch, path = "/projects/{project_id}/sprints/{sprint_id}", operation_id = "change_sprint", tag = "sprints",
    description = "While it is planned. An open question about it is superseded: it was about the sprint as it was.",
    params(("project_id" = Uuid, Path), ("sprint_id" = Uuid, Path)), request_body = ChangeSprint,
    responses((status = 200, body = SprintView), (status = 404), (status = 409), (status = 422)))]
async fn change_sprint(
    State(app): State<App>,
    scope: ProjectScope<Edit>,
    Path((_project, sprint)): Path<(Uuid, Uuid)>,
    key: Option<Idempotency>,
    ValidJson(body): ValidJson<ChangeSprint>,
) -> Result<Json<SprintView>, ApiError> {
    let (author, project) = (keyed(Author::of(scope.actor()), key, &body)?, scope.project());
    let work = || retry_conflicts(|| change(&app, author, (project, sprint), &body));
    Ok(Json(idempotent(&app, author, work, |()| view(&app, project, sprint)).await?))
}

async fn change(
    app: &App,
    author: Author,
    (project, sprint): (ProjectId, Uuid),
    body: &ChangeSprint,
) -> Result<(), ApiError> {
    let mut uow = app.store.begin(author);
    let now: Sprint = uow.load(project, sprint).await?;
    let text = |new: &Option<String>, old: String| new.as_ref().map_or(old, |new| new.trim().to_owned());
    let command = Command::Edit {
        name: text(&body.name, now.name),
        goal: text(&body.goal, now.goal),
        starts_on: body.starts_on.or(now.starts_on),
        ends_on: body.ends_on.or(now.ends_on),
    };
    uow.execute::<Sprint>(project, sprint, &command).await?;
    uow.commit().await?;
    Ok(())
}

async fn view(app: &App, project: ProjectId, sprint: Uuid) -> Result<SprintView, ApiError> {
    Ok(queries::sprint(app.pool(), project, sprint).await?.into())
}

#[utoipa::path(post, path = "/projects/{project_id}/sprints/{sprint_id}/start", operation_id = "start_sprint", tag = "sprints",
    params(("project_id" = Uuid, Path), ("sprint_id" = Uuid, Path)),
    responses((status = 200, body = SprintView), (status = 404), (status = 409)))]
async fn start_sprint(
    State(app): State<App>,
    scope: ProjectScope<Edit>,
    Path((_project, sprint)): Path<(Uuid, Uuid)>,
    key: Option<Idempotency>,
) -> Result<Json<SprintView>, ApiError> {
    let (author, project) = (keyed(Author::of(scope.actor()), key, &())?, scope.project());
    let work = || start(&app, author, project, sprint);
    Ok(Json(idempotent(&app, author, work, |()| view(&app, project, sprint)).await?))
}

/// Starts a sprint, or asks a human first where the policy says so.
pub async fn start(app: &App, author: Author, project: ProjectId, sprint: Uuid) -> Result<(), ApiError> {
    retry_conflicts(|| async {
        let mut uow = app.store.begin(author);
        let stories = queries::lock_stories_of_sprint(&mut uow, project, sprint).await?;
        let gate = gate(&mut uow, project, (sprint, &stories), false).await?;
        let stories = u32::try_from(stories.len()).unwrap_or(u32::MAX);
        uow.execute::<Sprint>(project, sprint, &Command::Start { stories, gate }).await?;
        uow.commit().await?;
        Ok(())
    })
    .await
}

#[utoipa::path(post, path = "/projects/{project_id}/sprints/{sprint_id}/request-review", operation_id = "review_sprint", tag = "sprints",
    params(("project_id" = Uuid, Path), ("sprint_id" = Uuid, Path)),
    responses((status = 200, body = SprintView), (status = 404), (status = 409)))]
async fn review_sprint(
    State(app): State<App>,
    scope: ProjectScope<Edit>,
    Path((_project, sprint)): Path<(Uuid, Uuid)>,
    key: Option<Idempotency>,
) -> Result<Json<SprintView>, ApiError> {
    let author = keyed(Author::of(scope.actor()), key, &())?;
    command(&app, author, (scope.project(), sprint), &Command::RequestReview).await
}

/// Where unfinished stories go.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CompleteSprint {
    /// The sprint that takes the stories that are not done.
    pub carry_over_to: Option<Uuid>,
}

#[utoipa::path(post, path = "/projects/{project_id}/sprints/{sprint_id}/complete", operation_id = "complete_sprint", tag = "sprints",
    params(("project_id" = Uuid, Path), ("sprint_id" = Uuid, Path)), request_body = CompleteSprint,
    responses((status = 200, body = SprintView), (status = 404), (status = 409), (status = 422)))]
async fn complete_sprint(
    State(app): State<App>,
    scope: ProjectScope<Edit>,
    Path((_project, sprint)): Path<(Uuid, Uuid)>,
    key: Option<Idempotency>,
    ValidJson(body): ValidJson<CompleteSprint>,
) -> Result<Json<SprintView>, ApiError> {
    let (author, project) = (keyed(Author::of(scope.actor()), key, &body)?, scope.project());
    let work = || retry_conflicts(|| complete(&app, author, (project, sprint), body.carry_over_to));
    Ok(Json(idempotent(&app, author, work, |()| view(&app, project, sprint)).await?))
}

async fn complete(
    app: &App,
    author: Author,
    (project, sprint): (ProjectId, Uuid),
    to: Option<Uuid>,
) -> Result<(), ApiError> {
    let mut uow = app.store.begin(author);
    if let Some(target) = to {
        if target == sprint {
            return Err(ApiError::invalid("carry_over_to", "is this sprint itself"));
        }
        uow.load::<Sprint>(project, target).await?;
        carry_over(&mut uow, project, sprint, target).await?;
    }
    let stories = queries::lock_stories_of_sprint(&mut uow, project, sprint).await?;
    let (unfinished, points) = outcome(&stories);
    let gate =
        if unfinished.is_empty() { gate(&mut uow, project, (sprint, &stories), true).await? } else { None };
    uow.execute::<Sprint>(project, sprint, &Command::Complete { unfinished, points, gate }).await?;
    uow.commit().await?;
    Ok(())
}

/// Moves what is not done; the move says in both sprints where the story came from and went to.
async fn carry_over(uow: &mut Uow, project: ProjectId, from: Uuid, to: Uuid) -> Result<(), Error> {
    let stories = queries::lock_stories_of_sprint(uow, project, from).await?;
    for story in outcome(&stories).0 {
        let command = story::Command::MoveToSprint { sprint: Some(SprintId(to)) };
        uow.execute::<Story>(project, story, &command).await?;
    }
    Ok(())
}

#[utoipa::path(post, path = "/projects/{project_id}/sprints/{sprint_id}/cancel", operation_id = "cancel_sprint", tag = "sprints",
    params(("project_id" = Uuid, Path), ("sprint_id" = Uuid, Path)), request_body = super::stories::Reason,
    responses((status = 200, body = SprintView), (status = 404), (status = 409), (status = 422)))]
async fn cancel_sprint(
    State(app): State<App>,
    scope: ProjectScope<Edit>,
    Path((_project, sprint)): Path<(Uuid, Uuid)>,
    key: Option<Idempotency>,
    ValidJson(body): ValidJson<super::stories::Reason>,
) -> Result<Json<SprintView>, ApiError> {
    let author = keyed(Author::of(scope.actor()), key, &body)?;
    command(&app, author, (scope.project(), sprint), &Command::Cancel { reason: body.reason }).await
}

async fn command(
    app: &App,
    author: Author,
    (project, sprint): (ProjectId, Uuid),
    command: &Command,
) -> Result<Json<SprintView>, ApiError> {
    let work = || {
        retry_conflicts(|| async {
            let mut uow = app.store.begin(author);
            uow.execute::<Sprint>(project, sprint, command).await?;
            uow.commit().await?;
            Ok(())
        })
    };
    Ok(Json(idempotent(app, author, work, |()| view(app, project, sprint)).await?))
}
