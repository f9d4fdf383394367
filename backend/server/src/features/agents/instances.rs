//! Instances: list, show.

use super::spawn;
use crate::{
    db::Error,
    http::{ApiError, List, Page, ProjectScope, ValidQuery, View},
    state::App,
};
use axum::{
    Json,
    extract::{Path, State},
};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::{AssertSqlSafe, FromRow, PgPool};
use syndarix_domain::ids::{AgentId, ProjectId};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list_agents, spawn::spawn_agent)).routes(routes!(show_agent))
}

/// An agent instance.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = Agent)]
pub struct AgentView {
    /// Its id.
    pub id: Uuid,
    /// A person-like name.
    pub name: String,
    /// What it was spawned from.
    #[serde(rename = "type")]
    pub kind: AgentKind,
    /// The project it belongs to.
    pub project_id: Uuid,
    /// idle, active, paused, terminated.
    pub status: String,
    /// The run that it works on.
    pub current_run_id: Option<Uuid>,
    /// The same in a sentence.
    pub current_task: Option<String>,
    /// Real money that its runs have cost, in micro-USD.
    pub spent_micro_usd: i64,
    /// What the scripted endpoint would have cost, in micro-USD.
    pub simulated_micro_usd: i64,
    /// How many runs it has worked on.
    pub runs: i64,
    /// When it last began or ended something.
    pub last_activity_at: DateTime<Utc>,
}

/// The type of an instance, in the version that it keeps.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AgentKind {
    /// Its id.
    pub id: Uuid,
    /// Its name.
    pub name: String,
    /// What it is for.
    pub role: String,
    /// The version that the instance was spawned from.
    pub version: i32,
}

#[derive(Debug, FromRow)]
struct Row {
    id: Uuid,
    name: String,
    type_id: Uuid,
    type_name: String,
    role: String,
    type_version: i32,
    project_id: Uuid,
    status: String,
    current_run_id: Option<Uuid>,
    current_task: Option<String>,
    spent: i64,
    simulated: i64,
    runs: i64,
    last_activity_at: DateTime<Utc>,
}

impl From<Row> for AgentView {
    fn from(row: Row) -> Self {
        Self {
            id: row.id,
            name: row.name,
            kind: AgentKind {
                id: row.type_id,
                name: row.type_name,
                role: row.role,
                version: row.type_version,
            },
            project_id: row.project_id,
            status: row.status,
            current_run_id: row.current_run_id,
            current_task: row.current_task,
            spent_micro_usd: row.spent,
            simulated_micro_usd: row.simulated,
            runs: row.runs,
            last_activity_at: row.last_activity_at,
        }
    }
}

const AGENT: &str = "
    select a.id, a.name, a.agent_type_id as type_id, t.name as type_name, a.role, a.type_version, a.project_id,
           a.status, a.current_run_id, a.current_task, a.last_activity_at,
           coalesce(u.spent, 0)::bigint as spent, coalesce(u.simulated, 0)::bigint as simulated,
           coalesce(r.runs, 0)::bigint as runs
    from agent a
    join agent_type t on t.id = a.agent_type_id
    left join (
        select agent_id, sum(cost_micro_usd) filter (where not simulated) as spent,
               sum(cost_micro_usd) filter (where simulated) as simulated
        from usage where project_id = $1 group by agent_id
    ) u on u.agent_id = a.id
    left join (
        select (state ->> 'agent')::uuid as agent_id, count(*) as runs from run where project_id = $1 group by 1
    ) r on r.agent_id = a.id
    where a.project_id = $1";

#[utoipa::path(get, path = "/projects/{project_id}/agents", operation_id = "list_agents", tag = "agents",
    params(("project_id" = Uuid, Path), Page), responses((status = 200, body = List<AgentView>), (status = 404)))]
async fn list_agents(
    State(app): State<App>,
    scope: ProjectScope<View>,
    ValidQuery(page): ValidQuery<Page>,
) -> Result<Json<List<AgentView>>, ApiError> {
    // Who lives comes first.
    let rows: Vec<Row> = sqlx::query_as(AssertSqlSafe(format!(
        "{AGENT} order by a.status = 'terminated', a.created_at, a.id limit $2 offset $3"
    )))
    .bind(scope.project().0)
    .bind(page.limit()? + 1)
    .bind(page.offset()?)
    .fetch_all(app.pool())
    .await?;
    Ok(Json(List::page(rows.into_iter().map(AgentView::from).collect(), &page)?))
}

#[utoipa::path(get, path = "/projects/{project_id}/agents/{agent_id}", operation_id = "show_agent", tag = "agents",
    params(("project_id" = Uuid, Path), ("agent_id" = Uuid, Path)),
    responses((status = 200, body = AgentView), (status = 404)))]
async fn show_agent(
    State(app): State<App>,
    scope: ProjectScope<View>,
    Path((_project, agent)): Path<(Uuid, AgentId)>,
) -> Result<Json<AgentView>, ApiError> {
    Ok(Json(view(app.pool(), scope.project(), agent).await?))
}

/// One instance as the API shows it.
pub async fn view(pool: &PgPool, project: ProjectId, agent: AgentId) -> Result<AgentView, Error> {
    let row: Option<Row> = sqlx::query_as(AssertSqlSafe(format!("{AGENT} and a.id = $2")))
        .bind(project.0)
        .bind(agent.0)
        .fetch_optional(pool)
        .await?;
    row.map(AgentView::from).ok_or(Error::NotFound("agent"))
}
