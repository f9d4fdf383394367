//! A project's budget: show it, set it.

use super::tree::{self, Limits, Target};
use crate::{
    db::{Author, Error, retry_conflicts},
    http::{Admin, ApiError, ProjectScope, ValidJson, View},
    state::App,
};
use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::{FromRow, PgPool};
use syndarix_domain::ids::ProjectId;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

/// The highest limit that can be set, in micro-USD or tokens: a typing slip of nine zeros is refused.
const MAX_LIMIT: i64 = 1_000_000_000_000_000;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(show_budget, set_budget))
}

/// A project's budget, in micro-USD.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema, FromRow)]
#[schema(as = Budget)]
pub struct BudgetView {
    /// Model calls never pass this: what it would not pay for is asked of what costs less, later in the chain or in a
    /// cheaper group, and else refused. Null is no limit.
    pub hard_limit_micro_usd: Option<i64>,
    /// People are told at 80, 90 and 100 % of this; from there on a cheaper model group is asked where one is named, as it
    /// is for what a hard limit would not pay for.
    pub soft_limit_micro_usd: Option<i64>,
    /// Real money spent.
    pub spent_micro_usd: i64,
    /// Worst cost of the calls under way.
    pub reserved_micro_usd: i64,
    /// What the scripted endpoint would have cost. Counts against the limit, never as real money.
    pub simulated_micro_usd: i64,
}

/// New limits, in micro-USD.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetBudget {
    /// Model calls never pass this; null is no limit. It must be said: what is forgotten must not take a limit away.
    #[serde(deserialize_with = "Option::deserialize")]
    #[schema(required = true)]
    pub hard_limit_micro_usd: Option<i64>,
    /// People are told at 80, 90 and 100 % of this.
    #[serde(default)]
    pub soft_limit_micro_usd: Option<i64>,
}

#[utoipa::path(get, path = "/projects/{project_id}/budget", operation_id = "show_budget", tag = "costs",
    params(("project_id" = Uuid, Path)), responses((status = 200, body = BudgetView), (status = 404)))]
async fn show_budget(
    State(app): State<App>,
    scope: ProjectScope<View>,
) -> Result<Json<BudgetView>, ApiError> {
    Ok(Json(of_project(app.pool(), scope.project()).await?))
}

/// The budget of a project for all time.
pub async fn of_project(pool: &PgPool, project: ProjectId) -> Result<BudgetView, Error> {
    sqlx::query_as(
        "select hard_limit_micro_usd, soft_limit_micro_usd, spent_micro_usd, reserved_micro_usd, simulated_micro_usd
         from project_budget where project_id = $1",
    )
    .bind(project.0)
    .fetch_optional(pool)
    .await?
    .ok_or(Error::NotFound("budget"))
}

#[utoipa::path(put, path = "/projects/{project_id}/budget", operation_id = "set_budget", tag = "costs",
    params(("project_id" = Uuid, Path)), request_body = SetBudget,
    responses((status = 200, body = BudgetView), (status = 403), (status = 404), (status = 422)))]
async fn set_budget(
    State(app): State<App>,
    scope: ProjectScope<Admin>,
    ValidJson(body): ValidJson<SetBudget>,
) -> Result<Json<BudgetView>, ApiError> {
    set(&app, Author::of(scope.actor()), scope.project(), &body).await?;
    Ok(Json(of_project(app.pool(), scope.project()).await?))
}

/// Sets the limits and wakes every run that waits for money; a run for which it is still too little parks again.
pub async fn set(app: &App, author: Author, project: ProjectId, limits: &SetBudget) -> Result<(), ApiError> {
    check("hard_limit_micro_usd", limits.hard_limit_micro_usd)?;
    check("soft_limit_micro_usd", limits.soft_limit_micro_usd)?;
    let target = Target::of_project(project);
    retry_conflicts(|| async {
        let mut uow = app.store.begin(author);
        let before = tree::limits(&mut uow, target).await?;
        let new = Limits {
            hard_micro_usd: limits.hard_limit_micro_usd,
            soft_micro_usd: limits.soft_limit_micro_usd,
            ..before
        };
        tree::set(&mut uow, target, new).await?;
        let data = json!({
            "hard_limit_micro_usd": limits.hard_limit_micro_usd, "soft_limit_micro_usd": limits.soft_limit_micro_usd,
        });
        uow.announce(project, "budget", project, "cost.budget_changed.v1", data);
        uow.commit().await?;
        Ok(())
    })
    .await
}

/// A limit that can be meant.
pub(super) fn check(field: &str, limit: Option<i64>) -> Result<(), ApiError> {
    match limit {
        Some(limit) if !(0..=MAX_LIMIT).contains(&limit) => Err(ApiError::invalid(
            field,
            format!("is between 0 and {MAX_LIMIT}, in micro-USD or tokens, or null for no limit"),
        )),
        _ => Ok(()),
    }
}
