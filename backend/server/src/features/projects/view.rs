//! `GET /projects` and `GET /projects/{project_id}`: what the API shows of a project.

use super::{fields, repository::Source};
use crate::{
    features::{auth::MembershipView, costs::BudgetView},
    http::{ApiError, Caller, List, Page, ProjectRole, ProjectScope, ValidQuery, View},
    state::App,
};
use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use sqlx::{AssertSqlSafe, FromRow, PgPool, types::Json as Jsonb};
use syndarix_domain::{
    Timestamp,
    ids::{ProjectId, UserId},
    policy::Policy,
};
use utoipa::ToSchema;
use uuid::Uuid;

/// A project.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct ProjectView {
    /// Its id.
    pub id: Uuid,
    /// Whose it is.
    pub organisation_id: Uuid,
    /// Unique within the organisation.
    pub name: String,
    /// The caller's role: `admin`, `editor`, `approver` or `viewer`.
    pub role: String,
    /// `full_control`, `milestone` or `autonomous`.
    pub autonomy: String,
    /// From 0 to 1: below it a human is asked at every level.
    pub confidence_threshold: f64,
    /// What work starts from and is merged into.
    pub default_branch: String,
    /// How its tests are run.
    pub test_command: Option<String>,
    /// How many agents it may have at once.
    pub agent_limit: i32,
    /// For so many seconds the gateway gives an answer again to the same question; null: never.
    pub gateway_cache_seconds: Option<i32>,
    /// Whether its code is there.
    pub repository: RepositoryView,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// What it may cost.
    pub budget: Option<BudgetView>,
    /// Real money that was spent, in millionths of a dollar.
    pub spent_micro_usd: i64,
    /// What the scripted models would have cost; never added to real money.
    pub simulated_micro_usd: i64,
    /// How much is going on.
    pub counts: Counts,
}

/// A project's repository.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct RepositoryView {
    /// `importing`, `ready` or `failed`.
    pub state: String,
    /// Why it failed.
    pub detail: Option<String>,
    /// Where it came from, without credentials.
    pub location: Option<String>,
}

/// How much is going on in a project.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Counts {
    /// Stories that are neither done nor cancelled.
    pub stories_open: i64,
    /// Questions that wait for a human.
    pub approvals_pending: i64,
    /// Agents that are not terminated.
    pub agents: i64,
}

#[derive(FromRow)]
struct Row {
    id: Uuid,
    organisation_id: Uuid,
    name: String,
    autonomy: String,
    policy: Jsonb<Policy>,
    default_branch: String,
    test_command: Option<String>,
    agent_limit: i32,
    gateway_cache_seconds: Option<i32>,
    repository_state: String,
    repository_detail: String,
    repository_source: Jsonb<Source>,
    created_at: Timestamp,
    role: Option<String>,
    has_budget: bool,
    hard_limit_micro_usd: Option<i64>,
    soft_limit_micro_usd: Option<i64>,
    spent_micro_usd: i64,
    reserved_micro_usd: i64,
    simulated_micro_usd: i64,
    stories_open: i64,
    approvals_pending: i64,
    agents: i64,
}

/// The role of user $1 in each project, as far as there is one: named there, or through the organisation.
const ROLE: &str = "case when m.role in ('owner', 'admin') then 'admin' else pm.role end";
const MINE: &str = "left join project_member pm on pm.project_id = p.id and pm.user_id = $1
     left join membership m on m.organisation_id = p.organisation_id and m.user_id = $1";

fn select(rest: &str) -> String {
    format!(
        "select p.id, p.organisation_id, p.name, p.autonomy, p.policy, p.default_branch, p.test_command, p.agent_limit,
                p.gateway_cache_seconds, p.repository_state, p.repository_detail, p.repository_source, p.created_at, {ROLE} as role,
                b.project_id is not null as has_budget, b.hard_limit_micro_usd, b.soft_limit_micro_usd,
                coalesce(b.spent_micro_usd, 0) as spent_micro_usd,
                coalesce(b.reserved_micro_usd, 0) as reserved_micro_usd,
                coalesce(b.simulated_micro_usd, 0) as simulated_micro_usd,
                (select count(*) from story s
                  where s.project_id = p.id and s.phase not in ('done', 'cancelled')) as stories_open,
                (select count(*) from approval a
                  where a.project_id = p.id and a.phase = 'pending') as approvals_pending,
                (select count(*) from agent g
                  where g.project_id = p.id and g.status <> 'terminated') as agents
         from project p {MINE} left join project_budget b on b.project_id = p.id {rest}"
    )
}

impl Row {
    /// The view, with the role of the row, or of a caller who is no user.
    fn view(self, role: Option<ProjectRole>) -> ProjectView {
        let Jsonb(source) = self.repository_source;
        let budget = self.has_budget.then_some(BudgetView {
            hard_limit_micro_usd: self.hard_limit_micro_usd,
            soft_limit_micro_usd: self.soft_limit_micro_usd,
            spent_micro_usd: self.spent_micro_usd,
            reserved_micro_usd: self.reserved_micro_usd,
            simulated_micro_usd: self.simulated_micro_usd,
        });
        ProjectView {
            id: self.id,
            organisation_id: self.organisation_id,
            name: self.name,
            role: role.map(|role| role.name().to_owned()).or(self.role).unwrap_or_default(),
            autonomy: self.autonomy,
            confidence_threshold: fields::share(self.policy.0.threshold),
            default_branch: self.default_branch,
            test_command: self.test_command,
            agent_limit: self.agent_limit,
            gateway_cache_seconds: self.gateway_cache_seconds,
            repository: RepositoryView {
                state: self.repository_state,
                detail: Some(self.repository_detail).filter(|detail| !detail.is_empty()),
                location: source.shown(),
            },
            created_at: self.created_at,
            budget,
            spent_micro_usd: self.spent_micro_usd,
            simulated_micro_usd: self.simulated_micro_usd,
            counts: Counts {
                stories_open: self.stories_open,
                approvals_pending: self.approvals_pending,
                agents: self.agents,
            },
        }
    }
}

impl ProjectView {
    /// A project, to whoever has the scope.
    pub(super) async fn read<L>(app: &App, scope: &ProjectScope<L>) -> Result<Self, ApiError> {
        let row = one(app, scope.project(), scope.actor().id()).await?;
        Ok(row.view(Some(scope.role())))
    }

    /// A project, to a person who is known to be in it.
    pub(super) async fn of_member(app: &App, project: ProjectId, user: UserId) -> Result<Self, ApiError> {
        Ok(one(app, project, Some(user.0)).await?.view(None))
    }
}

async fn one(app: &App, project: ProjectId, user: Option<Uuid>) -> Result<Row, ApiError> {
    let row = sqlx::query_as(AssertSqlSafe(select("where p.id = $2")))
        .bind(user)
        .bind(project.0)
        .fetch_optional(app.pool())
        .await?;
    row.ok_or_else(|| ApiError::not_found("project"))
}

/// The projects a person may see, by name, with their role.
pub(super) async fn memberships_of(pool: &PgPool, user: UserId) -> Result<Vec<MembershipView>, ApiError> {
    let sql = format!(
        "select p.id, p.name, {ROLE} as role from project p {MINE} where {ROLE} is not null order by p.name, p.id"
    );
    Ok(sqlx::query_as(AssertSqlSafe(sql)).bind(user.0).fetch_all(pool).await?)
}

/// The projects that the caller may see.
#[utoipa::path(get, path = "/projects", operation_id = "list_projects", tag = "projects", params(Page),
    responses((status = 200, description = "By name", body = List<ProjectView>)))]
pub(super) async fn list(
    State(app): State<App>,
    caller: Caller,
    ValidQuery(page): ValidQuery<Page>,
) -> Result<Json<List<ProjectView>>, ApiError> {
    let sql = select(&format!("where {ROLE} is not null order by p.name, p.id limit $2 offset $3"));
    let rows: Vec<Row> = sqlx::query_as(AssertSqlSafe(sql))
        .bind(caller.user()?.0)
        .bind(page.limit()? + 1)
        .bind(page.offset()?)
        .fetch_all(app.pool())
        .await?;
    let items = rows.into_iter().map(|row| row.view(None)).collect();
    Ok(Json(List::page(items, &page)?))
}

/// One project.
#[utoipa::path(get, path = "/projects/{project_id}", operation_id = "read_project", tag = "projects",
    params(("project_id" = String, Path, description = "The project")),
    responses(
        (status = 200, description = "The project", body = ProjectView),
        (status = 404, description = "No such project of the caller"),
    ))]
pub(super) async fn read(
    State(app): State<App>,
    scope: ProjectScope<View>,
) -> Result<Json<ProjectView>, ApiError> {
    Ok(Json(ProjectView::read(&app, &scope).await?))
}
