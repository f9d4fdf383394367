//! The budgets of a project's tree, and of an organisation: list, set, take away.

use super::{
    budget::check,
    tree::{self, Limits, Owner, Target},
    view::{BudgetNode, nodes},
};
use crate::{
    db::{Author, Error, audit, retry_conflicts},
    features::auth::{manages, require_manager},
    http::{Admin, ApiError, Caller, List, Page, ProjectScope, ValidJson, ValidQuery, View},
    state::App,
};
use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::PgPool;
use syndarix_domain::{
    budget::{Period, Scope},
    ids::{OrganisationId, ProjectId},
};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

/// The most projects whose followers are told of a change at once, the newest: one stream follows no more.
const FOLLOWED: i64 = 400;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list_budgets))
        .routes(routes!(put_budget, delete_budget))
        .routes(routes!(list_organisation_budgets))
        .routes(routes!(put_organisation_budget, delete_organisation_budget))
}

/// Limits of a node. At least one; what is left out or null is no limit.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PutBudget {
    /// Model calls never pass this: what it would not pay for is asked of what costs less, later in the chain or in a
    /// cheaper group, and else refused.
    #[serde(default)]
    hard_limit_micro_usd: Option<i64>,
    /// People are told at 80, 90 and 100 % of this; from there on a cheaper model group is asked where one is named, as it
    /// is for what a hard limit would not pay for.
    #[serde(default)]
    soft_limit_micro_usd: Option<i64>,
    /// The hard limit of tokens, of prompts and answers.
    #[serde(default)]
    hard_limit_tokens: Option<i64>,
    /// The soft limit of tokens.
    #[serde(default)]
    soft_limit_tokens: Option<i64>,
}

impl PutBudget {
    fn limits(&self) -> Result<Limits, ApiError> {
        let fields = [
            ("hard_limit_micro_usd", self.hard_limit_micro_usd),
            ("soft_limit_micro_usd", self.soft_limit_micro_usd),
            ("hard_limit_tokens", self.hard_limit_tokens),
            ("soft_limit_tokens", self.soft_limit_tokens),
        ];
        for (field, limit) in fields {
            check(field, limit)?;
        }
        if fields.iter().all(|(_, limit)| limit.is_none()) {
            let message = "set at least one limit, or delete the budget";
            return Err(ApiError::invalid("hard_limit_micro_usd", message));
        }
        Ok(Limits {
            hard_micro_usd: self.hard_limit_micro_usd,
            soft_micro_usd: self.soft_limit_micro_usd,
            hard_tokens: self.hard_limit_tokens,
            soft_tokens: self.soft_limit_tokens,
        })
    }

    fn data(&self, scope: Scope, id: Uuid, period: Period) -> Value {
        json!({
            "scope": scope.name(), "scope_id": id, "period": period.name(),
            "hard_limit_micro_usd": self.hard_limit_micro_usd, "soft_limit_micro_usd": self.soft_limit_micro_usd,
            "hard_limit_tokens": self.hard_limit_tokens, "soft_limit_tokens": self.soft_limit_tokens,
        })
    }
}

/// The budgets of a project and of what is in it; for owners and admins of its organisation those of that, too.
#[utoipa::path(get, path = "/projects/{project_id}/budgets", operation_id = "list_budgets", tag = "costs",
    params(("project_id" = Uuid, Path), Page), responses((status = 200, body = List<BudgetNode>), (status = 404)))]
async fn list_budgets(
    State(app): State<App>,
    scope: ProjectScope<View>,
    caller: Caller,
    ValidQuery(page): ValidQuery<Page>,
) -> Result<Json<List<BudgetNode>>, ApiError> {
    let project = scope.project();
    // What an organisation spends says what projects spend that the caller may not know of.
    let belongs = if manages_organisation_of(app.pool(), project, &caller).await? {
        "b.project_id = $1 or (b.scope = 'organisation'
                               and b.scope_id = (select organisation_id from project where id = $1))"
    } else {
        "b.project_id = $1"
    };
    Ok(Json(nodes(&app, belongs, project.0, &page).await?))
}

async fn manages_organisation_of(
    pool: &PgPool,
    project: ProjectId,
    caller: &Caller,
) -> Result<bool, sqlx::Error> {
    let Ok(user) = caller.user() else { return Ok(false) };
    let organisation: Uuid = sqlx::query_scalar("select organisation_id from project where id = $1")
        .bind(project.0)
        .fetch_one(pool)
        .await?;
    Ok(manages(pool, OrganisationId(organisation), user).await? == Some(true))
}

/// Set a budget on the project, or on a sprint, an agent, a run or a virtual key of it.
#[utoipa::path(put, path = "/projects/{project_id}/budgets/{scope}/{scope_id}/{period}", operation_id = "put_budget",
    tag = "costs",
    params(("project_id" = Uuid, Path), ("scope" = String, Path, description = "project, sprint, agent, run or key"),
        ("scope_id" = Uuid, Path), ("period" = String, Path, description = "total, day, week or month")),
    request_body = PutBudget,
    responses((status = 204, description = "Set"), (status = 403), (status = 404), (status = 422)))]
async fn put_budget(
    State(app): State<App>,
    scope: ProjectScope<Admin>,
    Path(path): Path<(Uuid, String, Uuid, String)>,
    ValidJson(body): ValidJson<PutBudget>,
) -> Result<StatusCode, ApiError> {
    let (project, limits) = (scope.project(), body.limits()?);
    let (node, target) = target(app.pool(), project, &path).await?;
    let author = Author::of(scope.actor());
    retry_conflicts(|| async {
        let mut uow = app.store.begin(author);
        tree::set(&mut uow, target, limits).await?;
        let data = body.data(node, path.2, target.period);
        uow.announce(project, "budget", project, "cost.budget_changed.v1", data);
        uow.commit().await.map(|_events| ())
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Take a budget away. The project's for all time stays: set its limits to null instead.
#[utoipa::path(delete, path = "/projects/{project_id}/budgets/{scope}/{scope_id}/{period}", operation_id = "delete_budget",
    tag = "costs",
    params(("project_id" = Uuid, Path), ("scope" = String, Path, description = "project, sprint, agent, run or key"),
        ("scope_id" = Uuid, Path), ("period" = String, Path, description = "total, day, week or month")),
    responses((status = 204, description = "Gone"), (status = 403), (status = 404), (status = 409, description = "`budget_stays`")))]
async fn delete_budget(
    State(app): State<App>,
    scope: ProjectScope<Admin>,
    Path(path): Path<(Uuid, String, Uuid, String)>,
) -> Result<StatusCode, ApiError> {
    let project = scope.project();
    let (node, target) = target(app.pool(), project, &path).await?;
    if target == Target::of_project(project) {
        let message = "every project has a budget for all time: set its limits to null instead";
        return Err(ApiError::conflict("budget_stays", message));
    }
    let author = Author::of(scope.actor());
    retry_conflicts(|| async {
        let mut uow = app.store.begin(author);
        if !tree::remove(&mut uow, target).await? {
            return Err(Error::NotFound("budget"));
        }
        let data = json!({
            "scope": node.name(), "scope_id": path.2, "period": target.period.name(), "removed": true,
        });
        uow.announce(project, "budget", project, "cost.budget_changed.v1", data);
        uow.commit().await.map(|_events| ())
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The node that a path names: one of this project, and nobody else's.
async fn target(
    pool: &PgPool,
    project: ProjectId,
    (_, scope, id, period): &(Uuid, String, Uuid, String),
) -> Result<(Scope, Target), ApiError> {
    let period = period_of(period)?;
    let scope = Scope::named(scope).filter(|scope| *scope != Scope::Organisation);
    let scope = scope.ok_or_else(|| ApiError::invalid("scope", "is project, sprint, agent, run or key"))?;
    let there = match scope {
        Scope::Project | Scope::Organisation => "select $2 = $1",
        Scope::Sprint => "select exists (select from sprint where id = $2 and project_id = $1)",
        Scope::Agent => "select exists (select from agent where id = $2 and project_id = $1)",
        Scope::Run => "select exists (select from run where id = $2 and project_id = $1)",
        Scope::Key => "select exists (select from gateway_key where id = $2 and project_id = $1)",
    };
    let there: bool = sqlx::query_scalar(there).bind(project.0).bind(id).fetch_one(pool).await?;
    if !there {
        return Err(ApiError::not_found(scope.name()));
    }
    Ok((scope, Target { on: Owner::Project(project, scope, *id), period }))
}

fn period_of(name: &str) -> Result<Period, ApiError> {
    Period::named(name).ok_or_else(|| ApiError::invalid("period", "is total, day, week or month"))
}

/// The budgets of an organisation. For owners and admins.
#[utoipa::path(get, path = "/organisations/{organisation_id}/budgets", operation_id = "list_organisation_budgets",
    tag = "costs", params(("organisation_id" = Uuid, Path), Page),
    responses((status = 200, body = List<BudgetNode>), (status = 403), (status = 404)))]
async fn list_organisation_budgets(
    State(app): State<App>,
    caller: Caller,
    Path(organisation): Path<OrganisationId>,
    ValidQuery(page): ValidQuery<Page>,
) -> Result<Json<List<BudgetNode>>, ApiError> {
    require_manager(app.pool(), organisation, caller.user()?).await?;
    let belongs = "b.organisation_id = $1 and b.scope in ('organisation', 'project')";
    Ok(Json(nodes(&app, belongs, organisation.0, &page).await?))
}

/// Set a budget on all projects of an organisation together. For owners and admins.
#[utoipa::path(put, path = "/organisations/{organisation_id}/budgets/{period}", operation_id = "put_organisation_budget",
    tag = "costs",
    params(("organisation_id" = Uuid, Path), ("period" = String, Path, description = "total, day, week or month")),
    request_body = PutBudget,
    responses((status = 204, description = "Set"), (status = 403), (status = 404), (status = 422)))]
async fn put_organisation_budget(
    State(app): State<App>,
    caller: Caller,
    Path((organisation, period)): Path<(OrganisationId, String)>,
    ValidJson(body): ValidJson<PutBudget>,
) -> Result<StatusCode, ApiError> {
    require_manager(app.pool(), organisation, caller.user()?).await?;
    let (limits, period) = (body.limits()?, period_of(&period)?);
    let followers = Followers::of(app.pool(), organisation).await?;
    let (author, target) =
        (Author::of(caller.actor()), Target { on: Owner::Organisation(organisation), period });
    retry_conflicts(|| async {
        let mut uow = app.store.begin(author);
        tree::set(&mut uow, target, limits).await?;
        let data = body.data(Scope::Organisation, organisation.0, period);
        let entry = entry(&uow, "organisation.budget_changed", "set a budget of the organisation", data);
        uow.audit(entry);
        uow.commit().await.map(|_events| ())
    })
    .await?;
    followers.tell(&app, period);
    Ok(StatusCode::NO_CONTENT)
}

/// Take a budget of an organisation away. For owners and admins.
#[utoipa::path(delete, path = "/organisations/{organisation_id}/budgets/{period}",
    operation_id = "delete_organisation_budget", tag = "costs",
    params(("organisation_id" = Uuid, Path), ("period" = String, Path, description = "total, day, week or month")),
    responses((status = 204, description = "Gone"), (status = 403), (status = 404), (status = 422)))]
async fn delete_organisation_budget(
    State(app): State<App>,
    caller: Caller,
    Path((organisation, period)): Path<(OrganisationId, String)>,
) -> Result<StatusCode, ApiError> {
    require_manager(app.pool(), organisation, caller.user()?).await?;
    let period = period_of(&period)?;
    let followers = Followers::of(app.pool(), organisation).await?;
    let (author, target) =
        (Author::of(caller.actor()), Target { on: Owner::Organisation(organisation), period });
    retry_conflicts(|| async {
        let mut uow = app.store.begin(author);
        if !tree::remove(&mut uow, target).await? {
            return Err(Error::NotFound("budget"));
        }
        let data = json!({ "organisation_id": organisation, "period": period.name() });
        let entry =
            entry(&uow, "organisation.budget_removed", "took a budget of the organisation away", data);
        uow.audit(entry);
        uow.commit().await.map(|_events| ())
    })
    .await?;
    followers.tell(&app, period);
    Ok(StatusCode::NO_CONTENT)
}

fn entry(uow: &crate::db::Uow, event_type: &str, action: &str, data: Value) -> audit::Entry {
    audit::Entry {
        id: uow.new_id(),
        project: None,
        event_type: event_type.into(),
        category: "cost".into(),
        severity: audit::Severity::Critical,
        actor: uow.actor(),
        action: action.into(),
        data,
        at: uow.now(),
    }
}

/// Whoever follows a project of an organisation, whose budgets are shown with the project's.
struct Followers {
    organisation: OrganisationId,
    projects: Vec<Uuid>,
}

impl Followers {
    /// Looked up before the change: once it is made, nothing may fail any more.
    async fn of(pool: &PgPool, organisation: OrganisationId) -> Result<Self, Error> {
        let projects =
            sqlx::query_scalar("select id from project where organisation_id = $1 order by id desc limit $2")
                .bind(organisation.0)
                .bind(FOLLOWED)
                .fetch_all(pool)
                .await?;
        Ok(Self { organisation, projects })
    }

    /// Has their pages load the budgets anew. It is told and not kept: the change itself is in the organisation's audit.
    fn tell(&self, app: &App, period: Period) {
        let data = json!({ "organisation_id": self.organisation, "period": period.name() });
        for project in &self.projects {
            app.hub.ephemeral(ProjectId(*project), "organisation.budget_changed", &data);
        }
    }
}
