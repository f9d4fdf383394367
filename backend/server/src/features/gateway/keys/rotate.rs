//! `POST /projects/{project_id}/gateway-keys/{key_id}/rotate`. No idempotency key, for the reason of `create`.

use super::{
    create::record_with,
    queries,
    secret::Secret,
    view::{KeyView, MadeKey},
};
use crate::{
    db::{Author, Uow},
    http::{Admin, ApiError, ProjectScope, ValidJson},
    state::App,
};
use axum::{
    Json,
    extract::{Path, State},
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use syndarix_domain::ids::ProjectId;
use utoipa::ToSchema;
use uuid::Uuid;

/// The longest overlap, in seconds: seven days.
const LONGEST: i32 = 7 * 24 * 60 * 60;

/// How a key is rotated.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[schema(as = RotateGatewayKey)]
#[serde(deny_unknown_fields)]
pub(super) struct RotateKey {
    /// For how long the secret before is good beside the new one, in seconds, at most seven days; 0 when left out.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 604_800)]
    pub(super) overlap_seconds: i32,
}

/// Give a key another secret. Both secrets of an overlap count against the same limits and budget; a secret that is older
/// than these two is good for nothing from now on.
#[utoipa::path(post, path = "/projects/{project_id}/gateway-keys/{key_id}/rotate", operation_id = "rotate_gateway_key",
    tag = "gateway",
    params(
        ("project_id" = String, Path, description = "The project"),
        ("key_id" = String, Path, description = "The key's id"),
    ),
    request_body = RotateKey,
    responses(
        (status = 200, description = "The new key; it is not shown again", body = MadeKey),
        (status = 404, description = "No such key, or revoked"),
        (status = 422, description = "An overlap that is too long"),
    ))]
pub(super) async fn rotate(
    State(app): State<App>,
    scope: ProjectScope<Admin>,
    Path(path): Path<(Uuid, Uuid)>,
    // Who sends none wants no overlap.
    body: Option<ValidJson<RotateKey>>,
) -> Result<Json<MadeKey>, ApiError> {
    let (id, overlap) = (path.1, body.map_or(0, |ValidJson(body)| body.overlap_seconds));
    if !(0..=LONGEST).contains(&overlap) {
        let message = format!("is between 0 and {LONGEST} seconds, which is seven days");
        return Err(ApiError::invalid("overlap_seconds", message));
    }
    let secret = Secret::make();
    let mut uow = app.store.begin(Author::of(scope.actor()));
    let fresh = (secret.prefix(), secret.hash(), overlap);
    let key = queries::rotate(uow.conn().await?, scope.project(), id, fresh)
        .await?
        .ok_or_else(|| ApiError::not_found("gateway key"))?;
    record(&mut uow, scope.project(), &key, overlap);
    uow.commit().await?;
    app.gateway.keyring.forget(id);
    Ok(Json(MadeKey { key, secret: secret.reveal() }))
}

fn record(uow: &mut Uow, project: ProjectId, key: &KeyView, overlap: i32) {
    let before = match overlap {
        0 => String::new(),
        _ => format!("; the secret before is good for another {overlap} s"),
    };
    let data = json!({ "key_id": key.id, "overlap_seconds": overlap, "previous_until": key.previous_until });
    let action = format!("rotated the gateway key `{}`{before}", key.name);
    record_with(uow, project, (key.id, data), ("rotated", action));
}
