//! `POST /projects/{project_id}/gateway-keys/{key_id}/rotate`. No idempotency key, for the reason of `create`.

use super::{create::record, queries, secret::Secret, view::MadeKey};
use crate::{
    db::Author,
    http::{Admin, ApiError, ProjectScope},
    state::App,
};
use axum::{
    Json,
    extract::{Path, State},
};
use uuid::Uuid;

/// Give a key another secret; the one before is good for nothing from now on.
#[utoipa::path(post, path = "/projects/{project_id}/gateway-keys/{key_id}/rotate", operation_id = "rotate_gateway_key",
    tag = "gateway",
    params(
        ("project_id" = String, Path, description = "The project"),
        ("key_id" = String, Path, description = "The key's id"),
    ),
    responses(
        (status = 200, description = "The new key; it is not shown again", body = MadeKey),
        (status = 404, description = "No such key, or revoked"),
    ))]
pub(super) async fn rotate(
    State(app): State<App>,
    scope: ProjectScope<Admin>,
    Path(path): Path<(Uuid, Uuid)>,
) -> Result<Json<MadeKey>, ApiError> {
    let id = path.1;
    let secret = Secret::make();
    let mut uow = app.store.begin(Author::of(scope.actor())).await?;
    let key = queries::rotate(uow.conn().await?, scope.project(), id, (secret.prefix(), secret.hash()))
        .await?
        .ok_or_else(|| ApiError::not_found("gateway key"))?;
    record(&mut uow, scope.project(), id, ("rotated", format!("rotated the gateway key `{}`", key.name)));
    uow.commit().await?;
    app.gateway.keyring.forget(id);
    Ok(Json(MadeKey { key, secret: secret.reveal() }))
}
