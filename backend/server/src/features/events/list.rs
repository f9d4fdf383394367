//! `GET /projects/{project_id}/events`: a page of the log, oldest first.

use crate::{
    http::{ApiError, ProjectScope, ValidQuery, View},
    state::App,
};
use axum::{Json, extract::State};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use syndarix_domain::envelope::Envelope;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

/// Events in one answer when nothing is said.
const DEFAULT_LIMIT: i64 = 100;
/// The most events in one answer.
const MAX_LIMIT: i64 = 500;

/// Which part of the log.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Range {
    /// Only events after this number; from the first when nothing is said.
    #[serde(default)]
    after: i64,
    /// At most this many events, 1 to 500; 100 when nothing is said.
    limit: Option<i64>,
}

/// An event.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Event)]
pub struct EventView {
    /// Unique over all events.
    id: Uuid,
    /// `story.moved`, `run.started`, ...
    #[serde(rename = "type")]
    kind: String,
    /// When it happened.
    time: DateTime<Utc>,
    /// Whose event it is.
    project_id: Uuid,
    /// Who caused it; the system has no id.
    actor_id: Option<Uuid>,
    /// `agent`, `user` or `system`.
    actor_type: String,
    /// What it happened to: `story/0198...`.
    subject: String,
    /// 1, 2, 3 ... without a gap within the project.
    seq: i64,
    /// The payload; its shape depends on the type.
    data: serde_json::Value,
}

impl From<Envelope> for EventView {
    fn from(event: Envelope) -> Self {
        Self {
            id: event.id,
            kind: event.kind,
            time: event.time,
            project_id: event.project_id.0,
            actor_id: event.actor_id,
            actor_type: event.actor_type,
            subject: event.subject,
            seq: event.seq,
            data: event.data,
        }
    }
}

/// A page of the log.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Events {
    /// Oldest first.
    items: Vec<EventView>,
    /// The number of the project's newest event.
    head: i64,
}

/// The events of a project, oldest first.
#[utoipa::path(get, path = "/projects/{project_id}/events", operation_id = "list_events", tag = "events",
    params(("project_id" = Uuid, Path), Range),
    responses(
        (status = 200, description = "A page of the log", body = Events),
        (status = 404, description = "No such project here"),
        (status = 422, description = "The limit is out of range"),
    ))]
pub(super) async fn list_events(
    State(app): State<App>,
    scope: ProjectScope<View>,
    ValidQuery(range): ValidQuery<Range>,
) -> Result<Json<Events>, ApiError> {
    let limit = range.limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(ApiError::invalid("limit", format!("must be from 1 to {MAX_LIMIT}")));
    }
    let log = super::log(&app);
    let head = log.head(scope.project()).await?.seq;
    let events = log.after(scope.project(), range.after, limit).await?;
    Ok(Json(Events { items: events.into_iter().map(Into::into).collect(), head }))
}

impl From<syndarix_bus::LogError> for ApiError {
    fn from(error: syndarix_bus::LogError) -> Self {
        match error {
            syndarix_bus::LogError::Missing(_) => Self::not_found("project"),
            syndarix_bus::LogError::Database(error) => error.into(),
        }
    }
}
