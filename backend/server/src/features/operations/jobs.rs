//! `GET /jobs`: what is queued, running, waiting, dead.

use super::{
    queries::{administers, alive, held, visible},
    system::QueueView,
};
use crate::{
    db::Error,
    http::{ApiError, Caller, ValidQuery},
    state::App,
};
use axum::{Json, extract::State};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::PgConnection;
use syndarix_jobs::{Attempt, DeadJob, Filter, JobRow, JobState, WorkerRow, list, list_dead};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

/// Jobs in one answer when nothing is said, and at most.
const DEFAULT_LIMIT: u16 = 50;
const MAX_LIMIT: u16 = 200;

/// Which jobs.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// In this queue.
    queue: Option<String>,
    /// `ready`, `running`, `scheduled` or `dead`; all of them when nothing is said.
    state: Option<Stage>,
    /// Of this project.
    project_id: Option<Uuid>,
    /// At most this many, 1 to 200; 50 when nothing is said.
    limit: Option<u16>,
    /// Go on where the last answer's `next_cursor` said.
    cursor: Option<String>,
}

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = JobState)]
pub(super) enum Stage {
    /// Could run now.
    Ready,
    /// A worker holds it.
    Running,
    /// Its time has not come.
    Scheduled,
    /// It was given up.
    Dead,
}

/// A job.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Job)]
pub(super) struct JobView {
    /// Its id.
    id: String,
    /// The queue it is in.
    queue: String,
    /// What it does.
    kind: String,
    /// Where it stands.
    state: Stage,
    /// Whose it is.
    project_id: Option<Uuid>,
    /// Attempts that were begun.
    attempts: i32,
    /// Attempts before it is given up.
    max_attempts: i32,
    /// When it may run, or could; none for a dead one.
    run_at: Option<DateTime<Utc>>,
    /// What went wrong last, or what it waits for.
    last_error: Option<String>,
    /// When it was enqueued.
    created_at: DateTime<Utc>,
    /// When it was given up.
    died_at: Option<DateTime<Utc>>,
    /// The worker that holds it.
    worker_id: Option<Uuid>,
    /// The run that it would go on with.
    run_id: Option<Uuid>,
    /// The failed attempts of a dead one, oldest first; the last 20 at most.
    errors: Vec<FailedAttempt>,
    /// It runs and was told to stop.
    cancel_requested: bool,
    /// It is dead, and the caller may run it again or give it up for good.
    may_settle: bool,
    /// It is alive and not told to stop yet, and the caller may cancel it.
    may_cancel: bool,
}

/// A failed attempt.
#[derive(Debug, Serialize, ToSchema)]
struct FailedAttempt {
    /// Its number.
    attempt: i32,
    /// When it failed.
    at: DateTime<Utc>,
    /// What went wrong.
    error: String,
}

/// Payloads are not shown; the run that one names is.
fn run_of(payload: &Value) -> Option<Uuid> {
    payload.get("run")?.as_str()?.parse().ok()
}

impl From<JobRow> for JobView {
    fn from(job: JobRow) -> Self {
        Self {
            run_id: run_of(&job.payload),
            id: job.id.to_string(),
            queue: job.queue,
            kind: job.kind,
            state: match job.state {
                JobState::Ready => Stage::Ready,
                JobState::Running => Stage::Running,
                JobState::Delayed => Stage::Scheduled,
            },
            project_id: job.project,
            attempts: job.attempt,
            max_attempts: job.max_attempts,
            run_at: Some(job.run_at),
            last_error: job.last_error,
            created_at: job.created_at,
            died_at: None,
            worker_id: job.owner,
            errors: Vec::new(),
            cancel_requested: job.cancel_requested,
            may_settle: false,
            may_cancel: false,
        }
    }
}

impl From<DeadJob> for JobView {
    fn from(job: DeadJob) -> Self {
        let failed = |attempt: Attempt| FailedAttempt {
            attempt: attempt.attempt,
            at: attempt.at,
            error: attempt.error,
        };
        Self {
            run_id: run_of(&job.payload),
            id: job.id.to_string(),
            queue: job.queue,
            kind: job.kind,
            state: Stage::Dead,
            project_id: job.project,
            attempts: job.attempt,
            max_attempts: job.max_attempts,
            run_at: None,
            last_error: Some(job.reason),
            created_at: job.created_at,
            died_at: Some(job.died_at),
            worker_id: None,
            errors: job.errors.into_iter().map(failed).collect(),
            cancel_requested: false,
            may_settle: false,
            may_cancel: false,
        }
    }
}

/// A worker process.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Worker)]
struct WorkerView {
    /// This start of it.
    id: Uuid,
    /// Its name.
    name: String,
    /// When it started.
    started_at: DateTime<Utc>,
    /// How long ago it was last heard of.
    silent_seconds: f64,
    /// It was heard of lately enough to count as one that is up.
    alive: bool,
    /// The queues that it polls; null for one of an earlier release, which did not say.
    queues: Option<Vec<String>>,
    /// Jobs of the caller's projects that it holds.
    running: i64,
}

impl From<WorkerRow> for WorkerView {
    fn from(worker: WorkerRow) -> Self {
        Self {
            alive: alive(&worker),
            id: worker.incarnation,
            name: worker.name,
            started_at: worker.started_at,
            silent_seconds: worker.silent_seconds,
            queues: worker.queues,
            running: worker.running,
        }
    }
}

/// All queues and what is in them, for the operator's commands.
pub async fn all_queues(conn: &mut PgConnection) -> Result<Value, sqlx::Error> {
    Ok(json!(super::system::queues(conn, None).await?))
}

/// All workers with all that they hold, for the operator's commands.
pub async fn all_workers(conn: &mut PgConnection) -> Result<Value, sqlx::Error> {
    let workers = syndarix_jobs::workers(conn).await?;
    Ok(json!(workers.into_iter().map(WorkerView::from).collect::<Vec<_>>()))
}

/// A page of jobs, with the queues as far as the caller's projects fill them, and the workers.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Jobs {
    /// Newest first.
    items: Vec<JobView>,
    /// Where the next page begins; null on the last.
    next_cursor: Option<String>,
    /// How full the queues are.
    queues: Vec<QueueView>,
    /// Who works.
    workers: Vec<WorkerView>,
}

/// The jobs of the caller's projects, newest first.
#[utoipa::path(get, path = "/jobs", operation_id = "list_jobs", tag = "operations", params(Wanted),
    responses(
        (status = 200, description = "A page of jobs", body = Jobs),
        (status = 403, description = "Agents see no jobs"),
        (status = 422, description = "The limit or the cursor is not usable"),
    ))]
pub(super) async fn list_jobs(
    State(app): State<App>,
    caller: Caller,
    ValidQuery(wanted): ValidQuery<Wanted>,
) -> Result<Json<Jobs>, ApiError> {
    let user = caller.user()?;
    let projects = visible(app.pool(), user).await?;
    let limit = wanted.limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(ApiError::invalid("limit", format!("must be from 1 to {MAX_LIMIT}")));
    }
    let filter = Filter {
        project: wanted.project_id,
        projects: Some(projects.clone()),
        queue: wanted.queue,
        before: wanted.cursor.as_deref().map(read_cursor).transpose()?,
        limit: Some(limit + 1),
        ..Filter::default()
    };
    let (mut items, more) = page(&app, filter, wanted.state, usize::from(limit)).await?;
    let own = administers(app.pool(), user).await?;
    for job in &mut items {
        let is_own = job.project_id.is_some_and(|of| own.contains(&of));
        job.may_settle = is_own && job.state == Stage::Dead;
        job.may_cancel = is_own && job.state != Stage::Dead && !job.cancel_requested;
    }
    let next_cursor = items.last().filter(|_| more).map(|job| job.id.clone());
    let mut conn = app.pool().acquire().await.map_err(Error::from)?;
    let workers = syndarix_jobs::workers(&mut conn).await?;
    let held = held(&mut conn, &projects).await?;
    let view = |worker: WorkerRow| {
        let running = held.get(&worker.incarnation).copied().unwrap_or(0);
        WorkerView { running, ..WorkerView::from(worker) }
    };
    let queues = super::system::queues(&mut conn, Some(&projects)).await?;
    Ok(Json(Jobs { items, next_cursor, queues, workers: workers.into_iter().map(view).collect() }))
}

fn read_cursor(cursor: &str) -> Result<i64, ApiError> {
    cursor.parse().map_err(|_| ApiError::invalid("cursor", "is not one that this API gave"))
}

/// Live jobs and dead letters share their numbers: both lists, merged, are one list.
async fn page(
    app: &App,
    mut filter: Filter,
    state: Option<Stage>,
    limit: usize,
) -> Result<(Vec<JobView>, bool), ApiError> {
    filter.state = match state {
        Some(Stage::Ready) => Some(JobState::Ready),
        Some(Stage::Running) => Some(JobState::Running),
        Some(Stage::Scheduled) => Some(JobState::Delayed),
        Some(Stage::Dead) | None => None,
    };
    let mut conn = app.pool().acquire().await.map_err(Error::from)?;
    let mut found: Vec<(i64, JobView)> = Vec::new();
    if state != Some(Stage::Dead) {
        found.extend(list(&mut conn, &filter).await?.into_iter().map(|job| (job.id, job.into())));
    }
    if matches!(state, Some(Stage::Dead) | None) {
        found.extend(list_dead(&mut conn, &filter).await?.into_iter().map(|job| (job.id, job.into())));
    }
    found.sort_by_key(|(id, _)| std::cmp::Reverse(*id));
    let more = found.len() > limit;
    found.truncate(limit);
    Ok((found.into_iter().map(|(_, job)| job).collect(), more))
}
