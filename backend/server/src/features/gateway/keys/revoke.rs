//! `DELETE /projects/{project_id}/gateway-keys/{key_id}`.

use super::{create::record, queries};
use crate::{
    db::Author,
    http::{Admin, ApiError, ProjectScope},
    state::App,
};
use axum::{
    extract::{Path, State},
    http::StatusCode,
};
use uuid::Uuid;

/// Revoke a key for good, with the secret before where it is good as well. It stays in the list, since what was spent with
/// it names it.
#[utoipa::path(delete, path = "/projects/{project_id}/gateway-keys/{key_id}", operation_id = "revoke_gateway_key",
    tag = "gateway",
    params(
        ("project_id" = String, Path, description = "The project"),
        ("key_id" = String, Path, description = "The key's id"),
    ),
    responses((status = 204, description = "Good for nothing any more"), (status = 404, description = "No such key")))]
pub(super) async fn revoke(
    State(app): State<App>,
    scope: ProjectScope<Admin>,
    Path(path): Path<(Uuid, Uuid)>,
) -> Result<StatusCode, ApiError> {
    let id = path.1;
    let mut uow = app.store.begin(Author::of(scope.actor()));
    let now = uow.now();
    let name = queries::revoke(uow.conn().await?, scope.project(), id, now)
        .await?
        .ok_or_else(|| ApiError::not_found("gateway key"))?;
    record(&mut uow, scope.project(), id, ("revoked", format!("revoked the gateway key `{name}`")));
    uow.commit().await?;
    app.gateway.keyring.forget(id);
    Ok(StatusCode::NO_CONTENT)
}
