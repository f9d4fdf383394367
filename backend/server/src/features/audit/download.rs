//! `GET /projects/{project_id}/audit/export`.

use crate::{
    db::{
        Author,
        audit::{Entry, Severity},
    },
    http::{ApiError, ProjectScope, View},
    state::App,
};
use axum::{
    body::Body,
    extract::State,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use serde_json::json;

/// Download a project's chain as JSON lines, enough to verify it anywhere.
#[utoipa::path(get, path = "/projects/{project_id}/audit/export", operation_id = "export_audit", tag = "audit",
    params(("project_id" = uuid::Uuid, Path)),
    responses(
        (status = 200, description = "One JSON object a line", content_type = "application/x-ndjson", body = String),
        (status = 404, description = "No such project here"),
    ))]
pub(super) async fn export_audit(
    State(app): State<App>,
    scope: ProjectScope<View>,
) -> Result<Response, ApiError> {
    // Written before the first byte goes out: an export that is not on record does not happen.
    let mut uow = app.store.begin(Author::of(scope.actor()));
    let entry = Entry {
        id: uow.new_id(),
        project: Some(scope.project()),
        event_type: "audit.exported".into(),
        category: "audit".into(),
        severity: Severity::Info,
        actor: scope.actor(),
        action: "exported the audit chain".into(),
        data: json!({}),
        at: uow.now(),
    };
    uow.audit(entry);
    uow.commit().await?;
    let lines = super::export(app.pool().clone(), Some(scope.project().0));
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson")),
        (header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment; filename=\"audit.jsonl\"")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    Ok((headers, Body::from_stream(lines)).into_response())
}
