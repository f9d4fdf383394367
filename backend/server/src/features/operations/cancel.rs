//! `POST /jobs/{id}/cancel`: a live job is taken out of its queue, or told to stop.
//!
//! A job that goes on with a run takes the run with it: a run without a job would only be given another one.

use super::{
    queries::{Found, administers, found},
    settle::{Letter, record, required},
};
use crate::{
    db::{Author, retry_conflicts},
    features::runs,
    http::{ApiError, Caller, Idempotency, ValidJson, idempotent, keyed},
    state::App,
};
use axum::{
    Json,
    extract::{Path, State},
};
use serde::{Deserialize, Serialize};
use syndarix_domain::ids::{ProjectId, RunId};
use syndarix_jobs::Cancelled;
use utoipa::ToSchema;
use uuid::Uuid;

/// Why a job is cancelled.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CancelJob {
    /// In a sentence; on record, and shown with the run that ends with it.
    reason: String,
}

/// What a cancellation did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = JobCancellation)]
pub enum Cancellation {
    /// It had not started, and is gone.
    Cancelled,
    /// It runs: the worker that holds it hears of it with its next heartbeat, and what it does not stop is aborted.
    Requested,
}

/// A job that was cancelled.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(super) struct CancelledJob {
    /// Its id.
    id: String,
    /// What that did.
    outcome: Cancellation,
    /// The run that ended with it.
    run_id: Option<Uuid>,
}

/// Cancel a job that waits or runs. For owners and admins of its project's organisation.
#[utoipa::path(post, path = "/jobs/{id}/cancel", operation_id = "cancel_job", tag = "operations",
    params(("id" = String, Path)), request_body = CancelJob,
    responses(
        (status = 200, description = "It is gone, or told to stop", body = CancelledJob),
        (status = 404, description = "No such job, or not the caller's to cancel"),
        (status = 409, description = "`job_ended`: it is over already; `job_dead`: it was given up"),
        (status = 422, description = "No reason is given, or it is too long"),
    ))]
pub(super) async fn cancel_job(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    key: Option<Idempotency>,
    ValidJson(body): ValidJson<CancelJob>,
) -> Result<Json<CancelledJob>, ApiError> {
    let (author, why) = (keyed(Author::of(caller.actor()), key, &body)?, required(&body.reason)?);
    let work = || async {
        let (job, found) = own(&app, &caller, &id).await?;
        retry_conflicts(|| cancel(&app, author, job, &found, why)).await
    };
    let show = |cancelled: CancelledJob| async move { Ok(cancelled) };
    Ok(Json(idempotent(&app, author, work, show).await?))
}

/// Cancels a job, for the operator's commands; `why` is on record.
pub async fn cancel_any(app: &App, job: i64, why: &str) -> Result<Cancellation, ApiError> {
    let why = required(why)?;
    let found = found(app.pool(), job, None).await?.ok_or_else(missing)?;
    let cancelled = retry_conflicts(|| cancel(app, Author::system(), job, &found, why)).await?;
    Ok(cancelled.outcome)
}

fn missing() -> ApiError {
    ApiError::not_found("job")
}

/// A job of a project whose organisation the caller runs.
async fn own(app: &App, caller: &Caller, id: &str) -> Result<(i64, Found), ApiError> {
    let job: i64 = id.parse().map_err(|_| missing())?;
    let own = administers(app.pool(), caller.user()?).await?;
    if own.is_empty() {
        return Err(missing());
    }
    let found = found(app.pool(), job, Some(&own)).await?.ok_or_else(missing)?;
    Ok((job, found))
}

async fn cancel(
    app: &App,
    author: Author,
    job: i64,
    found: &Found,
    why: &str,
) -> Result<CancelledJob, ApiError> {
    alive(job, found)?;
    let mut uow = app.store.begin(author);
    // The job before its run, as its worker locks them: one that ends at this moment takes no run with it.
    let outcome = match syndarix_jobs::cancel(uow.conn().await?, job).await? {
        Cancelled::Requested => Cancellation::Requested,
        Cancelled::Removed => Cancellation::Cancelled,
        Cancelled::NotFound => return Err(over(&format!("job {job} came to its end at this moment"))),
    };
    let mut ended = None;
    if let (Some(project), Some(run)) = (found.project_id, run_of(found))
        && runs::cancel_with_job(&mut uow, ProjectId(project), run, why).await?
    {
        ended = Some(run.0);
    }
    let letter = Letter {
        job,
        project: found.project_id.map(ProjectId),
        queue: found.queue.clone(),
        kind: found.kind.clone(),
    };
    record(&mut uow, &letter, "job.cancelled", "cancelled a job", Some(why));
    let cancelled = uow.commit_with(CancelledJob { id: job.to_string(), outcome, run_id: ended }).await?;
    // Jobs of the same concurrency key may have waited for it.
    app.wake.poke(&letter.queue);
    Ok(cancelled)
}

/// The run that a job goes on with.
fn run_of(found: &Found) -> Option<RunId> {
    let run = found.run.as_deref().filter(|_| runs::is_advanced_by(&found.kind))?;
    run.parse().ok()
}

/// Only what is alive can be cancelled; of anything else it is said how it ended.
fn alive(job: i64, found: &Found) -> Result<(), ApiError> {
    match found.state.as_str() {
        "live" => Ok(()),
        "dead" => Err(ApiError::conflict(
            "job_dead",
            format!("job {job} was given up and does not run: run it again, or purge it"),
        )),
        outcome => {
            let at = found.ended_at.map(|at| format!(" at {}", at.format("%Y-%m-%d %H:%M:%S UTC")));
            Err(over(&format!("job {job} is over: {outcome}{}", at.unwrap_or_default())))
        }
    }
}

fn over(sentence: &str) -> ApiError {
    ApiError::conflict("job_ended", format!("{sentence}; there is nothing left to cancel"))
}
