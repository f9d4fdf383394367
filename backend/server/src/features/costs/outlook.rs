//! A month as it stands and as it goes on: of a project, and of all projects of an organisation.

use crate::{db::Error, state::App};
use chrono::NaiveDate;
use serde::Serialize;
use syndarix_domain::{
    budget::Period,
    forecast,
    ids::{OrganisationId, ProjectId},
    money::MicroUsd,
};
use utoipa::ToSchema;
use uuid::Uuid;

/// Whose spend.
#[derive(Debug, Clone, Copy)]
pub(super) enum Spender {
    Project(ProjectId),
    Organisation(OrganisationId),
}

impl Spender {
    /// The condition that holds for its rows, and the id that is `$1` in it.
    pub(super) fn rows(self) -> (&'static str, Uuid) {
        match self {
            Self::Project(id) => ("project_id = $1", id.0),
            Self::Organisation(id) => {
                ("project_id = any(array(select id from project where organisation_id = $1))", id.0)
            }
        }
    }
}

/// A month's spend, in micro-USD; by UTC days.
#[derive(Debug, Serialize, ToSchema)]
#[expect(clippy::struct_field_names, reason = "the API's names say their unit")]
pub(super) struct MonthOutlook {
    /// Real money spent in it.
    to_date_micro_usd: i64,
    /// What the scripted endpoint would have cost in it.
    simulated_micro_usd: i64,
    /// Where the month's real spend ends if it goes on as in the last seven days.
    forecast_micro_usd: i64,
}

/// The present month, from what was spent day by day in it and shortly before.
pub(super) async fn month(app: &App, spender: Spender) -> Result<MonthOutlook, Error> {
    let now = app.clock().now();
    let (belongs, id) = spender.rows();
    let days: Vec<(NaiveDate, i64, i64)> = sqlx::query_as(sqlx::AssertSqlSafe(format!(
        "select (at at time zone 'utc')::date,
                coalesce(sum(cost_micro_usd) filter (where not simulated), 0)::bigint,
                coalesce(sum(cost_micro_usd) filter (where simulated), 0)::bigint
           from usage_sum where {belongs} and at >= $2 group by 1"
    )))
    .bind(id)
    .bind(forecast::since(now))
    .fetch_all(app.pool())
    .await?;
    let real: Vec<(NaiveDate, MicroUsd)> =
        days.iter().map(|(day, real, _)| (*day, MicroUsd(*real))).collect();
    let (first, _) = Period::Month.window(now);
    let simulated = days.iter().filter(|(day, ..)| *day >= first.date_naive()).map(|(.., sum)| sum).sum();
    let outlook = forecast::month(&real, now);
    Ok(MonthOutlook {
        to_date_micro_usd: outlook.to_date.0,
        simulated_micro_usd: simulated,
        forecast_micro_usd: outlook.forecast.0,
    })
}
