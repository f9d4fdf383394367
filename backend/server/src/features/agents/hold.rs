//! Pausing, resuming and terminating instances.
//!
//! A paused or terminated instance is stopped at its next step: the step under way is recorded first. What its
//! run does then is decided where runs advance, under the lock of the instance's row.

use super::{
    assign::announce_status,
    instances::{AgentView, view},
};
use crate::{
    db::{Author, Error, Uow, retry_conflicts},
    features::runs,
    http::{ApiError, Edit, Idempotency, ProjectScope, idempotent, keyed},
    state::App,
};
use axum::{
    Json,
    extract::{Path, State},
};
use sqlx::FromRow;
use syndarix_domain::ids::{AgentId, ProjectId, RunId};
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(pause_agent))
        .routes(routes!(resume_agent))
        .routes(routes!(terminate_agent))
}

#[derive(Debug, Clone, Copy)]
enum Wish {
    Pause,
    Resume,
    Terminate,
}

#[utoipa::path(post, path = "/projects/{project_id}/agents/{agent_id}/pause", operation_id = "pause_agent", tag = "agents",
    params(("project_id" = Uuid, Path), ("agent_id" = Uuid, Path)),
    responses((status = 200, body = AgentView), (status = 403), (status = 404), (status = 409)))]
async fn pause_agent(
    State(app): State<App>,
    scope: ProjectScope<Edit>,
    Path((_project, agent)): Path<(Uuid, AgentId)>,
    key: Option<Idempotency>,
) -> Result<Json<AgentView>, ApiError> {
    carry_out(&app, &scope, agent, key, Wish::Pause).await
}

#[utoipa::path(post, path = "/projects/{project_id}/agents/{agent_id}/resume", operation_id = "resume_agent", tag = "agents",
    params(("project_id" = Uuid, Path), ("agent_id" = Uuid, Path)),
    responses((status = 200, body = AgentView), (status = 403), (status = 404), (status = 409)))]
async fn resume_agent(
    State(app): State<App>,
    scope: ProjectScope<Edit>,
    Path((_project, agent)): Path<(Uuid, AgentId)>,
    key: Option<Idempotency>,
) -> Result<Json<AgentView>, ApiError> {
    carry_out(&app, &scope, agent, key, Wish::Resume).await
}

#[utoipa::path(post, path = "/projects/{project_id}/agents/{agent_id}/terminate", operation_id = "terminate_agent", tag = "agents",
    params(("project_id" = Uuid, Path), ("agent_id" = Uuid, Path)),
    responses((status = 200, body = AgentView), (status = 403), (status = 404), (status = 409)))]
async fn terminate_agent(
    State(app): State<App>,
    scope: ProjectScope<Edit>,
    Path((_project, agent)): Path<(Uuid, AgentId)>,
    key: Option<Idempotency>,
) -> Result<Json<AgentView>, ApiError> {
    carry_out(&app, &scope, agent, key, Wish::Terminate).await
}

async fn carry_out(
    app: &App,
    scope: &ProjectScope<Edit>,
    agent: AgentId,
    key: Option<Idempotency>,
    wish: Wish,
) -> Result<Json<AgentView>, ApiError> {
    let (author, project) = (keyed(Author::of(scope.actor()), key, &())?, scope.project());
    let work = || {
        retry_conflicts(|| async {
            let mut uow = app.store.begin(author);
            apply(&mut uow, project, agent, wish).await?;
            uow.commit().await?;
            Ok(())
        })
    };
    let show = async |()| Ok(view(app.pool(), project, agent).await?);
    Ok(Json(idempotent(app, author, work, show).await?))
}

#[derive(FromRow)]
struct Held {
    status: String,
    current_run_id: Option<Uuid>,
}

/// The instance's row is locked before its run is looked at, and a run parks under a share of the same lock: so a
/// run that parks at this moment is either seen here, or sees the new status.
async fn apply(uow: &mut Uow, project: ProjectId, agent: AgentId, wish: Wish) -> Result<(), ApiError> {
    let held: Held = sqlx::query_as(
        "select status, current_run_id from agent where id = $1 and project_id = $2 for update",
    )
    .bind(agent.0)
    .bind(project.0)
    .fetch_optional(uow.conn().await?)
    .await?
    .ok_or(Error::NotFound("agent"))?;
    let run = held.current_run_id.map(RunId);
    let status = match (held.status.as_str(), wish) {
        ("terminated", Wish::Terminate) | ("paused", Wish::Pause) | ("idle" | "active", Wish::Resume) => {
            return Ok(());
        }
        ("terminated", _) => {
            return Err(ApiError::conflict("terminated", "this agent was terminated: spawn another one"));
        }
        (_, Wish::Pause) => "paused",
        (_, Wish::Terminate) => "terminated",
        (_, Wish::Resume) if run.is_some() => "active",
        (_, Wish::Resume) => "idle",
    };
    let by = uow.actor().id().filter(|_| !matches!(wish, Wish::Resume));
    sqlx::query("update agent set status = $3, status_by = $4 where id = $1 and project_id = $2")
        .bind(agent.0)
        .bind(project.0)
        .bind(status)
        .bind(by)
        .execute(uow.conn().await?)
        .await?;
    announce_status(uow, project, agent, status, run);
    match (wish, run) {
        (Wish::Resume, Some(run)) => runs::resume(uow, project, run).await?,
        (Wish::Terminate, Some(run)) => runs::end_with_agent(uow, project, run).await?,
        _ => {}
    }
    if let Wish::Terminate = wish {
        // The record says that it is gone, not only that its status changed.
        uow.announce(
            project,
            "agent",
            agent,
            "agent.terminated.v1",
            serde_json::json!({ "agent_id": agent, "run_id": run }),
        );
    }
    Ok(())
}
