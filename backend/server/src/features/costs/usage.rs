//! What was spent: summed up, and call by call.

use super::{
    budget::{BudgetView, of_project},
    outlook::{self, MonthOutlook, Spender},
};
use crate::{
    db::Error,
    http::{ApiError, List, Page, ProjectScope, ValidQuery, View},
    state::App,
};
use axum::{Json, extract::State};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::{FromRow, PgPool};
use syndarix_domain::ids::ProjectId;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(usage_summary)).routes(routes!(usage_calls))
}

/// What a sum is grouped by.
#[derive(Debug, Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum GroupBy {
    Agent,
    Model,
    #[default]
    Day,
    Story,
    /// Virtual keys.
    Key,
}

impl GroupBy {
    /// Key and label of a row. Only what is written here ever reaches a statement.
    fn columns(self) -> (&'static str, &'static str) {
        match self {
            Self::Agent => ("coalesce(u.agent_id::text, '')", "coalesce(max(a.name), 'nobody')"),
            Self::Model => ("u.model", "max(u.model)"),
            Self::Day => (
                "to_char(u.at at time zone 'utc', 'YYYY-MM-DD')",
                "max(to_char(u.at at time zone 'utc', 'YYYY-MM-DD'))",
            ),
            Self::Story => {
                ("coalesce(u.story_id::text, '')", "coalesce(max(s.state ->> 'title'), 'no story')")
            }
            Self::Key => ("coalesce(u.key_id::text, '')", "coalesce(max(k.name), 'no key')"),
        }
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Grouping {
    /// agent, model, day, story or key.
    #[serde(default)]
    #[param(inline)]
    group_by: GroupBy,
    /// Of this run only.
    run_id: Option<Uuid>,
}

/// Where sums are read: `$2` is a run or null. The sums by the hour know of no runs, so one run's attempts are read.
fn source(run: Option<Uuid>) -> &'static str {
    match run {
        None => "(select * from usage_sum where project_id = $1 and $2::uuid is null)",
        Some(_) => "(select *, 1 as calls from usage where project_id = $1 and run_id = $2)",
    }
}

/// What was spent, in micro-USD.
#[derive(Debug, Serialize, ToSchema)]
struct UsageSummary {
    /// Real money.
    total_micro_usd: i64,
    /// What the scripted endpoint would have cost.
    simulated_micro_usd: i64,
    /// Tokens sent.
    tokens_in: i64,
    /// Tokens received.
    tokens_out: i64,
    /// The month as it stands and as it goes on.
    month: MonthOutlook,
    /// The sums.
    rows: Vec<UsageRow>,
    /// The budget that it counts against.
    budget: BudgetView,
}

/// One sum.
#[derive(Debug, Serialize, ToSchema, FromRow)]
struct UsageRow {
    /// What it is the sum of: an id, a model, a day.
    key: String,
    /// For people.
    label: String,
    /// Real money.
    cost_micro_usd: i64,
    /// What the scripted endpoint would have cost.
    simulated_micro_usd: i64,
    /// Tokens sent.
    tokens_in: i64,
    /// Tokens received.
    tokens_out: i64,
    /// Attempts.
    calls: i64,
}

#[utoipa::path(get, path = "/projects/{project_id}/usage", operation_id = "usage_summary", tag = "costs",
    params(("project_id" = Uuid, Path), Grouping), responses((status = 200, body = UsageSummary), (status = 404)))]
async fn usage_summary(
    State(app): State<App>,
    scope: ProjectScope<View>,
    ValidQuery(grouping): ValidQuery<Grouping>,
) -> Result<Json<UsageSummary>, ApiError> {
    if let Some(run) = grouping.run_id {
        be_there(app.pool(), scope.project(), run).await?;
    }
    let ((key, label), from) = (grouping.group_by.columns(), source(grouping.run_id));
    let rows: Vec<UsageRow> = sqlx::query_as(sqlx::AssertSqlSafe(format!(
        "select * from (
         select {key} as key, {label} as label,
                coalesce(sum(u.cost_micro_usd) filter (where not u.simulated), 0)::bigint as cost_micro_usd,
                coalesce(sum(u.cost_micro_usd) filter (where u.simulated), 0)::bigint as simulated_micro_usd,
                coalesce(sum(u.tokens_in), 0)::bigint as tokens_in, coalesce(sum(u.tokens_out), 0)::bigint as tokens_out,
                sum(u.calls)::bigint as calls
         from {from} u
         left join agent a on a.id = u.agent_id and a.project_id = u.project_id
         left join story s on s.id = u.story_id and s.project_id = u.project_id
         left join gateway_key k on k.id = u.key_id and k.project_id = u.project_id
         group by 1 order by 1 desc limit 1000) latest order by key"
    )))
    .bind(scope.project().0)
    .bind(grouping.run_id)
    .fetch_all(app.pool())
    .await?;
    let all = totals(app.pool(), scope.project(), grouping.run_id).await?;
    Ok(Json(UsageSummary {
        total_micro_usd: all.0,
        simulated_micro_usd: all.1,
        tokens_in: all.2,
        tokens_out: all.3,
        budget: of_project(app.pool(), scope.project()).await?,
        month: outlook::month(&app, Spender::Project(scope.project())).await?,
        rows,
    }))
}

/// A run of another project is none.
async fn be_there(pool: &PgPool, project: ProjectId, run: Uuid) -> Result<(), ApiError> {
    let there: bool = sqlx::query_scalar("select exists (select from run where id = $2 and project_id = $1)")
        .bind(project.0)
        .bind(run)
        .fetch_one(pool)
        .await?;
    if there { Ok(()) } else { Err(ApiError::not_found("run")) }
}

/// Real and simulated micro-USD, tokens sent and received of a project, or of a run in it.
async fn totals(pool: &PgPool, project: ProjectId, run: Option<Uuid>) -> Result<(i64, i64, i64, i64), Error> {
    let from = source(run);
    Ok(sqlx::query_as(sqlx::AssertSqlSafe(format!(
        "select coalesce(sum(cost_micro_usd) filter (where not simulated), 0)::bigint,
                coalesce(sum(cost_micro_usd) filter (where simulated), 0)::bigint,
                coalesce(sum(tokens_in), 0)::bigint, coalesce(sum(tokens_out), 0)::bigint
           from {from} u"
    )))
    .bind(project.0)
    .bind(run)
    .fetch_one(pool)
    .await?)
}

/// Which attempts.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Attempts {
    /// Of this call only: what the gateway answered with as `x-syndarix-call-id`.
    call_id: Option<Uuid>,
    /// At most this many items, 1 to 200; 50 when nothing is said.
    limit: Option<i64>,
    /// Go on where the last answer's `next_cursor` said.
    cursor: Option<String>,
}

/// One attempt of a model call.
#[derive(Debug, Serialize, ToSchema, FromRow)]
#[expect(clippy::struct_excessive_bools, reason = "a row, column by column")]
pub(super) struct UsageCall {
    /// Its id.
    id: Uuid,
    /// The call that it is an attempt of; a client has it as `x-syndarix-call-id`.
    call_id: Uuid,
    /// When it was reserved.
    at: DateTime<Utc>,
    /// The run.
    run_id: Option<Uuid>,
    /// The step.
    step_id: Option<Uuid>,
    /// Who asked.
    agent_name: Option<String>,
    /// The virtual key that the call came in with.
    key_name: Option<String>,
    /// The person who asked, where one is known: in the playground, or whose virtual key it is.
    user_id: Option<Uuid>,
    /// Their name.
    user_name: Option<String>,
    /// The deployment that was asked.
    deployment: String,
    /// The cheaper group that it belongs to, since a budget had reached its soft limit, or would not pay for another.
    downgraded_to: Option<String>,
    /// The model that answered, or was asked.
    model: String,
    /// Who serves it.
    provider: String,
    /// 1, 2, 3 ... within the step.
    attempt: i32,
    /// Tokens sent.
    tokens_in: i64,
    /// Tokens received.
    tokens_out: i64,
    /// What it cost, in micro-USD.
    cost_micro_usd: i64,
    /// From sending to the end, in milliseconds.
    latency_ms: Option<i64>,
    /// From sending to the first content, in milliseconds.
    first_content_ms: Option<i64>,
    /// The provider gave no figures: they were counted here.
    estimated: bool,
    /// A scripted endpoint answered.
    simulated: bool,
    /// The price is not known: charged at the dearest rates that are.
    unpriced: bool,
    /// The answer was known already: nobody was asked, and it cost nothing.
    from_cache: bool,
    /// reserved, settled, failed, interrupted.
    outcome: String,
    /// Of what kind its failure was: a word as in the health of deployments, or `cancelled`.
    error_kind: Option<String>,
    /// Why it failed.
    error: Option<String>,
    /// How many deployments its call passed over; the call itself says which, and why.
    skipped: i64,
}

/// Attempts of a project, `$1`. What only holds money for calls to come is none.
pub(super) const ATTEMPTS: &str = "
select u.id, u.call_id, u.at, u.run_id, u.step_id, a.name as agent_name, k.name as key_name, u.user_id,
       p.name as user_name, u.deployment, u.downgraded_to, u.model, u.provider, u.attempt, u.tokens_in, u.tokens_out,
       u.cost_micro_usd, u.latency_ms, u.first_content_ms, u.estimated, u.simulated, u.unpriced, u.from_cache, u.state as outcome, u.error_kind, u.error,
       (select count(distinct s.deployment) from usage_skip s
         where s.project_id = u.project_id and s.call_id = u.call_id) as skipped
  from usage u
  left join agent a on a.id = u.agent_id and a.project_id = u.project_id
  left join gateway_key k on k.id = u.key_id and k.project_id = u.project_id
  left join app_user p on p.id = u.user_id
 where u.project_id = $1 and (u.attempt > 0 or u.state <> 'reserved')";

#[utoipa::path(get, path = "/projects/{project_id}/usage/calls", operation_id = "usage_calls", tag = "costs",
    params(("project_id" = Uuid, Path), Attempts), responses((status = 200, body = List<UsageCall>), (status = 404)))]
async fn usage_calls(
    State(app): State<App>,
    scope: ProjectScope<View>,
    ValidQuery(which): ValidQuery<Attempts>,
) -> Result<Json<List<UsageCall>>, ApiError> {
    let page = Page { limit: which.limit, cursor: which.cursor };
    let rows: Vec<UsageCall> = sqlx::query_as(sqlx::AssertSqlSafe(format!(
        "{ATTEMPTS} and ($2::uuid is null or u.call_id = $2) order by u.at desc, u.id desc limit $3 offset $4"
    )))
    .bind(scope.project().0)
    .bind(which.call_id)
    .bind(page.limit()? + 1)
    .bind(page.offset()?)
    .fetch_all(app.pool())
    .await?;
    Ok(Json(List::page(rows, &page)?))
}
