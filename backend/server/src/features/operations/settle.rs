//! `POST /jobs/{id}/redrive` and `POST /jobs/{id}/purge`: what becomes of a dead letter, and why.

use super::queries::administered;
use crate::{
    db::{
        Author, Uow,
        audit::{Entry, Severity},
        retry_conflicts,
    },
    http::{ApiError, Caller, Idempotency, ValidJson, idempotent, keyed},
    state::App,
};
use axum::{
    extract::{Path, State},
    http::StatusCode,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use syndarix_domain::ids::ProjectId;
use syndarix_jobs::{Redriven, purge, redrive};
use utoipa::ToSchema;
use uuid::Uuid;

/// The longest reason, in characters.
const MAX_REASON: usize = 1_000;

/// Why a dead letter is run again.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RedriveJob {
    /// In a sentence, such as what was mended; on record with it.
    #[serde(default)]
    reason: String,
}

/// Why a dead letter is given up for good.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PurgeJob {
    /// In a sentence; in the job's history and on record.
    reason: String,
}

/// A job that the caller may act on.
pub(super) struct Letter {
    pub(super) job: i64,
    pub(super) project: Option<ProjectId>,
    pub(super) queue: String,
    pub(super) kind: String,
}

/// A reason as it is kept; an empty one is none.
fn said(reason: &str) -> Result<Option<&str>, ApiError> {
    let reason = reason.trim();
    if reason.chars().count() > MAX_REASON {
        return Err(ApiError::invalid("reason", format!("has at most {MAX_REASON} characters")));
    }
    Ok((!reason.is_empty()).then_some(reason))
}

/// A reason that must be given.
pub(super) fn required(reason: &str) -> Result<&str, ApiError> {
    said(reason)?.ok_or_else(|| ApiError::invalid("reason", "say why: it stays on record"))
}

/// Run a given-up job again, with all its attempts. For owners and admins of its project's organisation.
#[utoipa::path(post, path = "/jobs/{id}/redrive", operation_id = "redrive_job", tag = "operations",
    params(("id" = String, Path)), request_body = RedriveJob,
    responses(
        (status = 204, description = "It is ready again"),
        (status = 404, description = "No such dead letter, or not the caller's to settle"),
        (status = 409, description = "A job that does the same is alive"),
        (status = 422, description = "The reason is too long"),
    ))]
pub(super) async fn redrive_job(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    key: Option<Idempotency>,
    // Who sends none gives no reason.
    body: Option<ValidJson<RedriveJob>>,
) -> Result<StatusCode, ApiError> {
    let body = body.map_or_else(RedriveJob::default, |ValidJson(body)| body);
    let (author, why) = (keyed(Author::of(caller.actor()), key, &body)?, said(&body.reason)?);
    // Looked up within the work: who repeats it does not find the letter any more.
    let work = || async {
        let letter = letter(&app, &caller, &id).await?;
        retry_conflicts(|| again(&app, author, &letter, why)).await
    };
    idempotent(&app, author, work, |()| async { Ok(()) }).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn again(app: &App, author: Author, letter: &Letter, why: Option<&str>) -> Result<(), ApiError> {
    let mut uow = app.store.begin(author);
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
    record(&mut uow, letter, "job.redriven", "drove a dead letter again", why);
    uow.commit().await?;
    app.wake.poke(&letter.queue);
    Ok(())
}

/// Runs a given-up job again, for the operator's commands; `why` is on record.
pub async fn redrive_any(app: &App, job: i64, why: &str) -> Result<(), ApiError> {
    let why = said(why)?;
    again(app, Author::system(), &any(app, job).await?, why).await
}

/// Gives a job up for good, for the operator's commands; `why` stays in the history and on record.
pub async fn purge_any(app: &App, job: i64, why: &str) -> Result<(), ApiError> {
    let why = required(why)?;
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
    params(("id" = String, Path)), request_body = PurgeJob,
    responses(
        (status = 204, description = "It is gone; its history stays, with the reason"),
        (status = 404, description = "No such dead letter, or not the caller's to settle"),
        (status = 422, description = "No reason is given, or it is too long"),
    ))]
pub(super) async fn purge_job(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    key: Option<Idempotency>,
    ValidJson(body): ValidJson<PurgeJob>,
) -> Result<StatusCode, ApiError> {
    let (author, why) = (keyed(Author::of(caller.actor()), key, &body)?, required(&body.reason)?);
    let work = || async {
        let letter = letter(&app, &caller, &id).await?;
        retry_conflicts(|| gone(&app, author, &letter, why)).await
    };
    idempotent(&app, author, work, |()| async { Ok(()) }).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn gone(app: &App, author: Author, letter: &Letter, why: &str) -> Result<(), ApiError> {
    let mut uow = app.store.begin(author);
    if !purge(uow.conn().await?, letter.job, Some(why)).await? {
        return Err(ApiError::not_found("dead letter"));
    }
    record(&mut uow, letter, "job.purged", "purged a dead letter", Some(why));
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

/// On record, with the reason where one was given.
pub(super) fn record(uow: &mut Uow, letter: &Letter, event_type: &str, action: &str, why: Option<&str>) {
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
