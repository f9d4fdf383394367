//! All SQL about the health of deployments.

use sqlx::{FromRow, PgPool, Result};
use std::collections::HashMap;
use syndarix_domain::{Timestamp, ids::ProjectId};

/// What was measured of a deployment. That a caller went away is no failure, and no request either.
#[derive(Debug, FromRow)]
pub(super) struct Measured {
    pub(super) deployment: String,
    pub(super) requests: i64,
    pub(super) failures: i64,
    pub(super) latency_p50_ms: Option<i64>,
    pub(super) latency_p95_ms: Option<i64>,
    pub(super) first_content_p50_ms: Option<i64>,
}

/// What a project's last calls say, by deployment: those since a moment, and not more than so many. Those under way say
/// nothing yet.
pub(super) async fn measured(
    pool: &PgPool,
    project: ProjectId,
    (since, most): (Timestamp, i64),
) -> Result<HashMap<String, Measured>> {
    let rows: Vec<Measured> = sqlx::query_as(
        "select deployment, count(*) as requests, count(*) filter (where state = 'failed') as failures,
                percentile_disc(0.5) within group (order by latency_ms) filter (where state = 'settled') as latency_p50_ms,
                percentile_disc(0.95) within group (order by latency_ms) filter (where state = 'settled')
                    as latency_p95_ms,
                percentile_disc(0.5) within group (order by first_content_ms) filter (where state = 'settled')
                    as first_content_p50_ms
           from (select deployment, state, latency_ms, first_content_ms from usage
                  where project_id = $1 and at >= $2 and not from_cache
                    and (state = 'settled' or (state = 'failed' and error not like 'Cancelled:%'))
                  order by at desc limit $3) recent
          group by deployment",
    )
    .bind(project.0)
    .bind(since)
    .bind(most)
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(|row| (row.deployment.clone(), row)).collect())
}

/// A failure: when, and in the provider's words.
#[derive(Debug, FromRow)]
pub(super) struct Failed {
    deployment: String,
    pub(super) at: Timestamp,
    pub(super) error: String,
}

/// The last failure of each of these deployments in a project's calls, however long ago.
pub(super) async fn last_failures(
    pool: &PgPool,
    project: ProjectId,
    deployments: &[&str],
) -> Result<HashMap<String, Failed>> {
    let rows: Vec<Failed> = sqlx::query_as(
        "select named.deployment, last.at, last.error
           from unnest($2::text[]) as named(deployment)
          cross join lateral (
                select at, error from usage
                 where project_id = $1 and deployment = named.deployment
                   and state = 'failed' and error not like 'Cancelled:%'
                 order by at desc limit 1) last",
    )
    .bind(project.0)
    .bind(deployments)
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(|row| (row.deployment.clone(), row)).collect())
}
