//! `GET /organisations/{organisation_id}/usage`: what all its projects have spent, and where the month ends.

use super::outlook::{self, MonthOutlook, Spender};
use crate::{
    features::auth::require_manager,
    http::{ApiError, Caller},
    state::App,
};
use axum::{
    Json,
    extract::{Path, State},
};
use serde::Serialize;
use syndarix_domain::ids::OrganisationId;
use utoipa::ToSchema;

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
    Ok(Json(OrganisationUsage {
        total_micro_usd: real,
        simulated_micro_usd: simulated,
        tokens_in,
        tokens_out,
        month: outlook::month(&app, spender).await?,
    }))
}
