//! `GET /projects/{project_id}/gateway-keys`.

use super::{queries, view::KeyView};
use crate::{
    http::{ApiError, List, Page, ProjectScope, ValidQuery, View},
    state::App,
};
use axum::{Json, extract::State};
use syndarix_domain::Timestamp;
use uuid::Uuid;

/// A project's virtual keys, the newest first, revoked ones among them.
#[utoipa::path(get, path = "/projects/{project_id}/gateway-keys", operation_id = "list_gateway_keys", tag = "gateway",
    params(("project_id" = String, Path, description = "The project"), Page),
    responses((status = 200, description = "Without the keys themselves", body = List<KeyView>)))]
pub(super) async fn list(
    State(app): State<App>,
    scope: ProjectScope<View>,
    ValidQuery(page): ValidQuery<Page>,
) -> Result<Json<List<KeyView>>, ApiError> {
    let limit = page.limit()?;
    let after: Option<(Timestamp, Uuid)> = page.after()?;
    let rows = queries::list(app.pool(), scope.project(), after, limit + 1).await?;
    Ok(Json(List::keyed(rows, &page, |last| (last.created_at, last.id))?))
}
