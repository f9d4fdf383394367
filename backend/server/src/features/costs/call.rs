//! `GET /projects/{project_id}/usage/calls/{call_id}`: the way that a call took.

use super::usage::{ATTEMPTS, UsageCall};
use crate::{
    http::{ApiError, ProjectScope, View},
    state::App,
};
use axum::{
    Json,
    extract::{Path, State},
};
use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::FromRow;
use utoipa::ToSchema;
use uuid::Uuid;

/// The most attempts of one call that are shown: a run that waits may make many.
const MOST: i64 = 200;

/// The way that a call took.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CallWay {
    /// Its id.
    call_id: Uuid,
    /// Its attempts in order, at most the last 200.
    attempts: Vec<UsageCall>,
    /// Deployments that it passed over, and why.
    skipped: Vec<CallSkip>,
}

/// A deployment that a call passed over.
#[derive(Debug, Serialize, ToSchema, FromRow)]
struct CallSkip {
    /// Its name.
    deployment: String,
    /// cooling_down, window_too_small, untranslatable, over_budget.
    kind: String,
    /// For people, as it was the last time.
    reason: String,
    /// How often: a run asks again within one call while nobody answers.
    times: i32,
    /// When, the last time.
    at: DateTime<Utc>,
}

/// The way that a call took: its attempts, and whom it passed over. Where a step of a run asked a model, the call has the
/// step's id.
#[utoipa::path(get, path = "/projects/{project_id}/usage/calls/{call_id}", operation_id = "usage_call", tag = "costs",
    params(
        ("project_id" = Uuid, Path),
        ("call_id" = Uuid, Path, description = "What the gateway answered with as `x-syndarix-call-id`, or a step's id"),
    ),
    responses((status = 200, body = CallWay), (status = 404, description = "Nothing is recorded of such a call here")))]
pub(super) async fn usage_call(
    State(app): State<App>,
    scope: ProjectScope<View>,
    Path(path): Path<(Uuid, Uuid)>,
) -> Result<Json<CallWay>, ApiError> {
    let call_id = path.1;
    let mut attempts: Vec<UsageCall> = sqlx::query_as(sqlx::AssertSqlSafe(format!(
        "{ATTEMPTS} and u.call_id = $2 order by u.attempt desc limit $3"
    )))
    .bind(scope.project().0)
    .bind(call_id)
    .bind(MOST)
    .fetch_all(app.pool())
    .await?;
    attempts.reverse();
    let skipped: Vec<CallSkip> = sqlx::query_as(
        "select deployment, kind, reason, times, at from usage_skip
          where project_id = $1 and call_id = $2 order by at, deployment, kind limit $3",
    )
    .bind(scope.project().0)
    .bind(call_id)
    .bind(MOST)
    .fetch_all(app.pool())
    .await?;
    if attempts.is_empty() && skipped.is_empty() {
        return Err(ApiError::not_found("recorded call"));
    }
    Ok(Json(CallWay { call_id, attempts, skipped }))
}
