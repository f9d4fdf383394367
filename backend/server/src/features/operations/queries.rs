//! Whose jobs somebody may see, and whose they may act on.

use chrono::{DateTime, Utc};
use sqlx::{FromRow, PgConnection, PgPool};
use std::collections::HashMap;
use syndarix_domain::ids::UserId;
use syndarix_jobs::WorkerRow;
use uuid::Uuid;

/// A worker that was not heard of for this long does not count.
const SILENT_SECONDS: f64 = 30.0;

/// Whether a worker counts as one that is up.
pub(super) fn alive(worker: &WorkerRow) -> bool {
    worker.silent_seconds < SILENT_SECONDS
}

/// How full a queue is with the jobs of some projects.
#[derive(Debug, FromRow)]
pub(super) struct Load {
    pub(super) queue: String,
    pub(super) ready: i64,
    pub(super) running: i64,
    pub(super) delayed: i64,
    pub(super) dead: i64,
    pub(super) oldest_ready_seconds: Option<f64>,
}

/// The queues, as far as these projects fill them: how busy others are is none of a tenant's business. `None` is for
/// the operator: everything.
pub(super) async fn load(
    conn: &mut PgConnection,
    projects: Option<&[Uuid]>,
) -> Result<Vec<Load>, sqlx::Error> {
    sqlx::query_as(
        "select queue, count(*) filter (where state = 'ready') as ready,
                count(*) filter (where state = 'running') as running,
                count(*) filter (where state = 'delayed') as delayed,
                count(*) filter (where state = 'dead') as dead,
                extract(epoch from now() - min(run_at) filter (where state = 'ready'))::float8 as oldest_ready_seconds
           from (select queue, run_at, case when owner is not null then 'running'
                                            when (due or run_at <= now()) and in_line_at is null then 'ready'
                                            else 'delayed' end as state
                   from job where $1::uuid[] is null or project_id = any($1)
                 union all
                 select queue, null, 'dead' from job_dead
                  where $1::uuid[] is null or project_id = any($1)) jobs
          group by queue",
    )
    .bind(projects)
    .fetch_all(conn)
    .await
}

/// The jobs of these projects that each worker holds.
pub(super) async fn held(
    conn: &mut PgConnection,
    projects: &[Uuid],
) -> Result<HashMap<Uuid, i64>, sqlx::Error> {
    let rows: Vec<(Uuid, i64)> = sqlx::query_as(
        "select owner, count(*) from job where owner is not null and project_id = any($1) group by owner",
    )
    .bind(projects)
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().collect())
}

/// The projects whose jobs a person may see.
pub(super) async fn visible(pool: &PgPool, user: UserId) -> Result<Vec<Uuid>, sqlx::Error> {
    sqlx::query_scalar(
        "select project_id from project_member where user_id = $1
         union
         select p.id from project p join membership m on m.organisation_id = p.organisation_id
          where m.user_id = $1 and m.role in ('owner', 'admin')",
    )
    .bind(user.0)
    .fetch_all(pool)
    .await
}

/// The projects whose dead letters a person may settle.
pub(super) async fn administers(pool: &PgPool, user: UserId) -> Result<Vec<Uuid>, sqlx::Error> {
    sqlx::query_scalar(
        "select p.id from project p join membership m on m.organisation_id = p.organisation_id
          where m.user_id = $1 and m.role in ('owner', 'admin')",
    )
    .bind(user.0)
    .fetch_all(pool)
    .await
}

/// A dead letter's project, if this person is owner or admin of its organisation.
pub(super) async fn administered(
    pool: &PgPool,
    user: UserId,
    job: i64,
) -> Result<Option<(Uuid, String, String)>, sqlx::Error> {
    sqlx::query_as(
        "select d.project_id, d.queue, d.kind from job_dead d
           join project p on p.id = d.project_id
           join membership m on m.organisation_id = p.organisation_id
          where d.id = $1 and m.user_id = $2 and m.role in ('owner', 'admin')",
    )
    .bind(job)
    .bind(user.0)
    .fetch_optional(pool)
    .await
}

/// A job, wherever it is.
#[derive(Debug, FromRow)]
pub(super) struct Found {
    pub(super) project_id: Option<Uuid>,
    pub(super) queue: String,
    pub(super) kind: String,
    /// The run that it names.
    pub(super) run: Option<String>,
    /// live, dead; or how it ended: done, cancelled, purged.
    pub(super) state: String,
    pub(super) ended_at: Option<DateTime<Utc>>,
}

/// A job of these projects; `None` is for the operator: of any, or of none. Of those that ended the last day's are known:
/// the history has no index by id, as each would cost every job a write, and only its last days are read for this.
pub(super) async fn found(
    pool: &PgPool,
    job: i64,
    projects: Option<&[Uuid]>,
) -> Result<Option<Found>, sqlx::Error> {
    sqlx::query_as(
        "select project_id, queue, kind, payload ->> 'run' as run, 'live' as state, null::timestamptz as ended_at
           from job where id = $1 and ($2::uuid[] is null or project_id = any($2))
         union all
         select project_id, queue, kind, null, 'dead', died_at
           from job_dead where id = $1 and ($2::uuid[] is null or project_id = any($2))
         union all
         select project_id, queue, kind, null, outcome, ended_at
           from job_done
          where id = $1 and ended_at > now() - interval '1 day' and ($2::uuid[] is null or project_id = any($2))
         limit 1",
    )
    .bind(job)
    .bind(projects)
    .fetch_optional(pool)
    .await
}
