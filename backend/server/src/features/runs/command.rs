//! What people do to runs: cancel, retry; and what follows for a run when its agent is resumed or terminated.

use super::{advance, queries, views::RunView};
use crate::{
    db::{Author, Error, Uow, retry_conflicts},
    http::{ApiError, Edit, Idempotency, ProjectScope, ValidJson, idempotent, keyed},
    state::App,
};
use axum::{
    Json,
    extract::{Path, State},
};
use serde::{Deserialize, Serialize};
use syndarix_domain::{
    ids::{ProjectId, RunId},
    run::{Command, Phase, Run, Wait},
    story::{self, Story},
};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

/// The longest reason, in characters.
const MAX_REASON: usize = 1_000;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(cancel_run)).routes(routes!(retry_run))
}

/// Why a run is stopped.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CancelRun {
    /// In a sentence; shown with the run and its story.
    #[serde(default)]
    pub reason: String,
}

#[utoipa::path(post, path = "/projects/{project_id}/runs/{run_id}/cancel", operation_id = "cancel_run", tag = "runs",
    params(("project_id" = Uuid, Path), ("run_id" = Uuid, Path)), request_body = CancelRun,
    responses((status = 200, body = RunView), (status = 403), (status = 404), (status = 409), (status = 422)))]
async fn cancel_run(
    State(app): State<App>,
    scope: ProjectScope<Edit>,
    Path((_project, run)): Path<(Uuid, RunId)>,
    key: Option<Idempotency>,
    ValidJson(body): ValidJson<CancelRun>,
) -> Result<Json<RunView>, ApiError> {
    if body.reason.chars().count() > MAX_REASON {
        return Err(ApiError::invalid("reason", format!("has at most {MAX_REASON} characters")));
    }
    let (author, project) = (keyed(Author::of(scope.actor()), key, &body)?, scope.project());
    let work = || retry_conflicts(|| cancel(&app, author, project, run, &body.reason));
    let show = async |()| Ok(queries::run(app.pool(), project, run).await?);
    Ok(Json(idempotent(&app, author, work, show).await?))
}

/// Stops a run now; its jobs go with it. A model call or tool that is under way is told to stop; what it still reports is recorded.
pub async fn cancel(
    app: &App,
    author: Author,
    project: ProjectId,
    run: RunId,
    reason: &str,
) -> Result<(), ApiError> {
    let mut uow = app.store.begin(author);
    let state: Run = uow.load(project, run).await?;
    match state.phase {
        Phase::Cancelled { .. } => return Ok(()),
        Phase::Succeeded { .. } | Phase::Failed { .. } | Phase::Stalled { .. } => {
            return Err(ApiError::conflict("ended", format!("this run has {} already", state.phase.name())));
        }
        _ => {}
    }
    let reason = match reason.trim() {
        "" => "no reason was given".to_owned(),
        reason => reason.to_owned(),
    };
    uow.execute::<Run>(project, run, &Command::Cancel { reason }).await?;
    uow.commit().await?;
    Ok(())
}

/// Jobs of this kind go on with the run that their payload names.
pub fn is_advanced_by(kind: &str) -> bool {
    [advance::KIND, advance::WAKE].contains(&kind)
}

/// A job that would go on with a run is cancelled, and the run with it. False: the run was over before.
pub async fn cancel_with_job(
    uow: &mut Uow,
    project: ProjectId,
    run: RunId,
    reason: &str,
) -> Result<bool, Error> {
    let state: Run = uow.load(project, run).await?;
    if state.phase.is_terminal() {
        return Ok(false);
    }
    uow.execute::<Run>(project, run, &Command::Cancel { reason: reason.to_owned() }).await?;
    Ok(true)
}

/// From where.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RetryRun {
    /// Not possible: a stage is worked again from its beginning, by a new run.
    #[serde(default)]
    pub from_step: Option<u32>,
}

#[utoipa::path(post, path = "/projects/{project_id}/runs/{run_id}/retry", operation_id = "retry_run", tag = "runs",
    params(("project_id" = Uuid, Path), ("run_id" = Uuid, Path)), request_body = RetryRun,
    responses((status = 200, body = RunView, description = "the run that ended; a new one begins with the next free agent"),
        (status = 403), (status = 404), (status = 409), (status = 422)))]
async fn retry_run(
    State(app): State<App>,
    scope: ProjectScope<Edit>,
    Path((_project, run)): Path<(Uuid, RunId)>,
    key: Option<Idempotency>,
    ValidJson(body): ValidJson<RetryRun>,
) -> Result<Json<RunView>, ApiError> {
    if body.from_step.is_some() {
        let message = "a stage is worked again from its beginning, by a new run: leave this out";
        return Err(ApiError::invalid("from_step", message));
    }
    let (author, project) = (keyed(Author::of(scope.actor()), key, &body)?, scope.project());
    let work = || retry_conflicts(|| retry(&app, author, project, run));
    let show = async |()| Ok(queries::run(app.pool(), project, run).await?);
    Ok(Json(idempotent(&app, author, work, show).await?))
}

/// Has the stage of a run that did not succeed worked again.
pub async fn retry(app: &App, author: Author, project: ProjectId, run: RunId) -> Result<(), ApiError> {
    let mut uow = app.store.begin(author);
    let state: Run = uow.load(project, run).await?;
    let refuse = |why: &str| Err(ApiError::conflict("not_retryable", why));
    match state.phase {
        Phase::Failed { .. } | Phase::Stalled { .. } | Phase::Cancelled { .. } => {}
        Phase::Succeeded { .. } => return refuse("this run succeeded: there is nothing to retry"),
        _ => return refuse("this run still goes on: cancel it first"),
    }
    let story: Story = uow.load(project, state.story).await?;
    let newest: Uuid = sqlx::query_scalar(
        "select id from run where project_id = $1 and story_id = $2 order by state ->> 'started_at' desc, id desc limit 1",
    )
    .bind(project.0)
    .bind(state.story.0)
    .fetch_one(uow.conn().await?)
    .await?;
    let blocked_here =
        matches!(&story.phase, story::Phase::Blocked { from, .. } if from.name() == state.stage);
    if newest != run.0 || !blocked_here {
        return refuse("the story has moved on since this run ended");
    }
    uow.execute::<Story>(project, story.id, &story::Command::Unblock).await?;
    uow.commit().await?;
    Ok(())
}

/// The run's agent is at work again.
pub async fn resume(uow: &mut Uow, project: ProjectId, run: RunId) -> Result<(), Error> {
    let state: Run = uow.load(project, run).await?;
    match state.phase {
        Phase::Waiting { wait: Wait::Paused { .. }, .. } => {
            uow.tell::<Run>(project, run, &Command::Wake).await
        }
        _ => Ok(()),
    }
}

/// The run's agent is terminated. A parked run ends now; one at work ends at its next step, so that the step under
/// way is recorded first.
pub async fn end_with_agent(uow: &mut Uow, project: ProjectId, run: RunId) -> Result<(), Error> {
    let state: Run = uow.load(project, run).await?;
    match state.phase {
        Phase::Waiting { .. } => uow.tell::<Run>(project, run, &advance::agent_terminated()).await,
        phase if phase.is_terminal() => Ok(()),
        _ => uow.enqueue(advance::job(project, run, advance::KIND)),
    }
}
