//! Shares of the places: which project gets more of them than others.

use std::collections::HashMap;

use sqlx::PgConnection;
use uuid::Uuid;

/// Weight of a project that has no share of its own.
pub(crate) const USUAL: f64 = 1.0;

/// Gives a project `weight` times the places of a usual one while both have work; from 0.01 to 100. Claimers know of it
/// within a second.
///
/// A project with nothing running comes before any that has something running, whatever the weights: where there are
/// fewer places than parts, shares are more equal than asked for, and nobody starves.
pub async fn set_share(conn: &mut PgConnection, project: Uuid, weight: f64) -> Result<(), sqlx::Error> {
    sqlx::query(
        "insert into project_share (project_id, weight) values ($1, $2)
         on conflict (project_id) do update set weight = excluded.weight",
    )
    .bind(project)
    .bind(weight)
    .execute(conn)
    .await
    .map(drop)
}

pub(crate) async fn weights(conn: &mut PgConnection) -> Result<HashMap<Uuid, f64>, sqlx::Error> {
    let shares: Vec<(Uuid, f64)> =
        sqlx::query_as("select project_id, weight from project_share").fetch_all(conn).await?;
    Ok(shares.into_iter().collect())
}
