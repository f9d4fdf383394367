//! `POST /jobs/{id}/redrive` and `POST /jobs/{id}/purge`: what becomes of a dead letter.

use super::queries::administered;
use crate::{
    db::{
        Author, Uow,
        audit::{Entry, Severity},
    },
    http::{ApiError, Caller},
    state::App,
};
use axum::{
    extract::{Path, State},
    http::StatusCode,
};
use serde_json::json;
use syndarix_domain::ids::ProjectId;
use syndarix_jobs::{Redriven, purge, redrive};
use uuid::Uuid;

/// A dead letter that the caller may settle.
struct Letter {
    job: i64,
    project: Option<ProjectId>,
    queue: String,
    kind: String,
}

/// Run a given-up job again, with all its attempts. For owners and admins of its project's organisation.
#[utoipa::path(post, path = "/jobs/{id}/redrive", operation_id = "redrive_job", tag = "operations",
    params(("id" = String, Path)),
    responses(
        (status = 204, description = "It is ready again"),
        (status = 404, description = "No such dead letter, or not the caller's to settle"),
        (status = 409, description = "A job that does the same is alive"),
    ))]
pub(super) async fn redrive_job(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    let letter = letter(&app, &caller, &id).await?;
    again(&app, Author::of(caller.actor()), &letter).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn again(app: &App, author: Author, letter: &Letter) -> Result<(), ApiError> {
    let mut uow = app.store.begin(author).await?;
    match redrive(uow.conn().await?, letter.job).await? {
        Redriven::Queued => {}
        Redriven::NotFound => return Err(ApiError::not_found("dead letter")),
        Redriven::Duplicate => {
            return Err(ApiError::conflict(
                "job_duplicate",
                "a job that does the same is alive: this one stays dead",
            ));
        }
    }
    record(&mut uow, letter, "job.redriven", "drove a dead letter again", None);
    uow.commit().await?;
    app.wake.poke(&letter.queue);
    Ok(())
}

/// Runs a given-up job again, for the operator's commands.
pub async fn redrive_any(app: &App, job: i64) -> Result<(), ApiError> {
    again(app, Author::system(), &any(app, job).await?).await
}

/// Gives a job up for good, for the operator's commands; `why` stays in the history and on record.
pub async fn purge_any(app: &App, job: i64, why: Option<&str>) -> Result<(), ApiError> {
    gone(app, Author::system(), &any(app, job).await?, why).await
}

/// A dead letter, whosever it is.
async fn any(app: &App, job: i64) -> Result<Letter, ApiError> {
    let found: Option<(Option<Uuid>, String, String)> =
        sqlx::query_as("select project_id, queue, kind from job_dead where id = $1")
            .bind(job)
            .fetch_optional(app.pool())
            .await?;
    let (project, queue, kind) = found.ok_or_else(|| ApiError::not_found("dead letter"))?;
    Ok(Letter { job, project: project.map(ProjectId), queue, kind })
}

/// Give a job up for good. For owners and admins of its project's organisation.
#[utoipa::path(post, path = "/jobs/{id}/purge", operation_id = "purge_job", tag = "operations",
    params(("id" = String, Path)),
    responses(
        (status = 204, description = "It is gone; its history stays"),
        (status = 404, description = "No such dead letter, or not the caller's to settle"),
    ))]
pub(super) async fn purge_job(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    let letter = letter(&app, &caller, &id).await?;
    gone(&app, Author::of(caller.actor()), &letter, None).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn gone(app: &App, author: Author, letter: &Letter, why: Option<&str>) -> Result<(), ApiError> {
    let mut uow = app.store.begin(author).await?;
    if !purge(uow.conn().await?, letter.job, why).await? {
        return Err(ApiError::not_found("dead letter"));
    }
    record(&mut uow, letter, "job.purged", "purged a dead letter", why);
    uow.commit().await?;
    Ok(())
}

async fn letter(app: &App, caller: &Caller, id: &str) -> Result<Letter, ApiError> {
    let missing = || ApiError::not_found("dead letter");
    let job: i64 = id.parse().map_err(|_| missing())?;
    let found = administered(app.pool(), caller.user()?, job).await?;
    let (project, queue, kind): (Uuid, String, String) = found.ok_or_else(missing)?;
    Ok(Letter { job, project: Some(ProjectId(project)), queue, kind })
}

fn record(uow: &mut Uow, letter: &Letter, event_type: &str, action: &str, why: Option<&str>) {
    let mut data = json!({ "job": letter.job, "queue": letter.queue, "kind": letter.kind });
    if let Some(why) = why {
        data["reason"] = json!(why);
    }
    let entry = Entry {
        id: uow.new_id(),
        project: letter.project,
        event_type: event_type.into(),
        category: "job".into(),
        severity: Severity::Warning,
        actor: uow.actor(),
        action: format!("{action}: {}", letter.kind),
        data,
        at: uow.now(),
    };
    uow.audit(entry);
}
