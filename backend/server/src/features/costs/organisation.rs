//! `GET /organisations/{organisation_id}/usage`: what all its projects have spent, each of them this month, and where the
//! month ends.

use super::outlook::{self, MonthOutlook, Spender};
use crate::{
    db::Error,
    features::auth::require_manager,
    http::{ApiError, Caller},
    state::App,
};
use axum::{
    Json,
    extract::{Path, State},
};
use serde::Serialize;
use syndarix_domain::{budget::Period, ids::OrganisationId};
use utoipa::ToSchema;
use uuid::Uuid;

/// The most projects whose month is listed.
const LISTED: i64 = 200;

/// What all projects of an organisation have spent, in micro-USD.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct OrganisationUsage {
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
    /// What each project has spent this month, the dearest first, 200 at most; one that has spent nothing is not listed.
    projects: Vec<ProjectMonth>,
    /// How many more projects have spent something this month.
    projects_left_out: i64,
}

/// What a project has spent this month, in micro-USD; by UTC days.
#[derive(Debug, Serialize, ToSchema)]
struct ProjectMonth {
    /// Which one.
    project_id: Uuid,
    /// Its name.
    name: String,
    /// Real money spent in it.
    to_date_micro_usd: i64,
    /// What the scripted endpoint would have cost in it.
    simulated_micro_usd: i64,
}

/// What all projects of an organisation have spent, and where their month ends. For owners and admins.
#[utoipa::path(get, path = "/organisations/{organisation_id}/usage", operation_id = "organisation_usage", tag = "costs",
    params(("organisation_id" = Uuid, Path)),
    responses((status = 200, body = OrganisationUsage), (status = 403), (status = 404)))]
pub(super) async fn organisation_usage(
    State(app): State<App>,
    caller: Caller,
    Path(organisation): Path<OrganisationId>,
) -> Result<Json<OrganisationUsage>, ApiError> {
    require_manager(app.pool(), organisation, caller.user()?).await?;
    let spender = Spender::Organisation(organisation);
    let (belongs, id) = spender.rows();
    let (real, simulated, tokens_in, tokens_out): (i64, i64, i64, i64) =
        sqlx::query_as(sqlx::AssertSqlSafe(format!(
            "select coalesce(sum(cost_micro_usd) filter (where not simulated), 0)::bigint,
                    coalesce(sum(cost_micro_usd) filter (where simulated), 0)::bigint,
                    coalesce(sum(tokens_in), 0)::bigint, coalesce(sum(tokens_out), 0)::bigint
               from usage_sum where {belongs}"
        )))
        .bind(id)
        .fetch_one(app.pool())
        .await?;
    let (projects, projects_left_out) = by_project(&app, spender).await?;
    Ok(Json(OrganisationUsage {
        total_micro_usd: real,
        simulated_micro_usd: simulated,
        tokens_in,
        tokens_out,
        month: outlook::month(&app, spender).await?,
        projects,
        projects_left_out,
    }))
}

/// The dearest projects of this month, and how many more have spent something.
async fn by_project(app: &App, spender: Spender) -> Result<(Vec<ProjectMonth>, i64), Error> {
    let (belongs, id) = spender.rows();
    let (month, _) = Period::Month.window(app.clock().now());
    let rows: Vec<(Uuid, String, i64, i64, i64)> = sqlx::query_as(sqlx::AssertSqlSafe(format!(
        "select p.id, p.name, sums.spent, sums.simulated, count(*) over ()
           from (select project_id,
                        coalesce(sum(cost_micro_usd) filter (where not simulated), 0)::bigint as spent,
                        coalesce(sum(cost_micro_usd) filter (where simulated), 0)::bigint as simulated
                   from usage_sum where {belongs} and at >= $2 group by project_id) sums
           join project p on p.id = sums.project_id
          where sums.spent > 0 or sums.simulated > 0
          order by sums.spent desc, sums.simulated desc, p.name, p.id limit $3"
    )))
    .bind(id)
    .bind(month)
    .bind(LISTED)
    .fetch_all(app.pool())
    .await?;
    // Every row says how many there are in all.
    let all = rows.first().map_or(0, |(.., all)| *all);
    let projects: Vec<ProjectMonth> = rows
        .into_iter()
        .map(|(project_id, name, to_date_micro_usd, simulated_micro_usd, _)| ProjectMonth {
            project_id,
            name,
            to_date_micro_usd,
            simulated_micro_usd,
        })
        .collect();
    let listed = i64::try_from(projects.len()).unwrap_or(LISTED);
    Ok((projects, all - listed))
}
