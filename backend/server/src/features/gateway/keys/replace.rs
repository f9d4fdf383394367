//! `PUT /projects/{project_id}/gateway-keys/{key_id}`.

use super::{
    create::{limit, record},
    queries,
    settings::KeySettings,
    view::KeyView,
};
use crate::{
    db::Author,
    http::{Admin, ApiError, ProjectScope, ValidJson},
    state::App,
};
use axum::{
    Json,
    extract::{Path, State},
};
use uuid::Uuid;

/// Set what a key may do. What is left out has no limit any more.
#[utoipa::path(put, path = "/projects/{project_id}/gateway-keys/{key_id}", operation_id = "replace_gateway_key",
    tag = "gateway",
    params(
        ("project_id" = String, Path, description = "The project"),
        ("key_id" = String, Path, description = "The key's id"),
    ),
    request_body = KeySettings,
    responses((status = 200, description = "As it is now", body = KeyView), (status = 404, description = "No such key, or revoked")))]
pub(super) async fn replace(
    State(app): State<App>,
    scope: ProjectScope<Admin>,
    Path(path): Path<(Uuid, Uuid)>,
    ValidJson(body): ValidJson<KeySettings>,
) -> Result<Json<KeyView>, ApiError> {
    let id = path.1;
    // First of all: whoever names another project's key learns nothing of its settings.
    if !queries::exists(app.pool(), scope.project(), id).await? {
        return Err(ApiError::not_found("gateway key"));
    }
    body.check(&app, scope.project()).await?;
    let mut uow = app.store.begin(Author::of(scope.actor()));
    limit(&mut uow, scope.project(), id, &body).await?;
    let key = queries::replace(uow.conn().await?, scope.project(), id, &body)
        .await?
        .ok_or_else(|| ApiError::not_found("gateway key"))?;
    record(&mut uow, scope.project(), id, ("replaced", format!("changed the gateway key `{}`", key.name)));
    uow.commit().await?;
    app.gateway.keyring.forget(id);
    Ok(Json(key))
}
