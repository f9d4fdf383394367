//! `PUT /organisations/{organisation_id}/model-providers/{provider_id}/key`, and how a key is stored.
//!
//! Takes no idempotency key: what is kept for a repeat would hold a digest of the key.

use super::{
    place,
    queries::{self, NewKey, Stored},
    record,
    settings::check_key,
    view::ProviderView,
};
use crate::{
    db::{Author, Error, Uow},
    features::auth::require_manager,
    http::{ApiError, Caller, ValidJson},
    state::App,
    vault::VaultError,
};
use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use serde::Deserialize;
use syndarix_domain::ids::OrganisationId;
use syndarix_llm::Secret;
use utoipa::ToSchema;
use uuid::Uuid;

/// Of a shorter key, its last four characters would be too much.
const LONG: usize = 16;

/// Another key.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewModelProviderKey)]
pub(super) struct Body {
    /// The key; it is not shown again.
    #[schema(value_type = String, write_only)]
    key: Secret,
}

/// Replace a provider's key; the one before is gone. Calls under way end with it, in this process and, within seconds, in
/// others. For owners and admins.
#[utoipa::path(put, path = "/organisations/{organisation_id}/model-providers/{provider_id}/key",
    operation_id = "replace_model_provider_key", tag = "gateway",
    params(("organisation_id" = Uuid, Path), ("provider_id" = Uuid, Path)),
    request_body = Body,
    responses(
        (status = 200, description = "The provider, with the last characters of its key", body = ProviderView),
        (status = 403), (status = 404), (status = 422, description = "No key can be like this"),
        (status = 503, description = "`no_master_key`: this process cannot encrypt it"),
    ))]
pub(super) async fn replace_key(
    State(app): State<App>,
    caller: Caller,
    Path((organisation, id)): Path<(OrganisationId, Uuid)>,
    ValidJson(body): ValidJson<Body>,
) -> Result<Json<ProviderView>, ApiError> {
    require_manager(app.pool(), organisation, caller.user()?).await?;
    check_key(&body.key)?;
    let mut uow = app.store.begin(Author::of(caller.actor()));
    let conn = uow.conn().await?;
    let found = queries::find(conn, organisation, id).await.map_err(Error::from)?;
    let provider = found.ok_or_else(|| ApiError::not_found("model provider"))?;
    let provider = store(&app, &mut uow, &provider, &body.key).await?;
    let action = format!("replaced the key of the model provider `{}`", provider.name);
    record(&mut uow, organisation, &provider, ("key_replaced", action));
    uow.commit().await?;
    app.gateway.groups.forget();
    Ok(Json(ProviderView::of(&app, &provider)))
}

/// Seals a key for its provider, which knows its address by now, and stores it.
pub(super) async fn store(
    app: &App,
    uow: &mut Uow,
    provider: &Stored,
    key: &Secret,
) -> Result<Stored, ApiError> {
    let now = uow.now();
    let conn = uow.conn().await?;
    let (organisation, id) = (provider.organisation(), provider.id);
    let place = place(organisation, id, &provider.base_url);
    let sealed = app.vault.seal(&mut *conn, place, key).await.map_err(|error| refused(&error))?;
    let text = key.expose();
    let last_four = text.len().checked_sub(4).filter(|_| text.len() >= LONG);
    let last_four = last_four.and_then(|start| text.get(start..)).map(str::to_owned);
    let stored = queries::set_key(conn, (organisation, id), &NewKey { sealed, last_four }, now).await;
    Ok(stored.map_err(Error::from)?)
}

/// What a person is told: the operator has to do something, or it is our fault.
fn refused(error: &VaultError) -> ApiError {
    match error {
        VaultError::Missing { .. } | VaultError::NoKey { .. } | VaultError::File { .. } => {
            tracing::error!(%error, "a key cannot be encrypted");
            let message = "this process cannot encrypt keys, since it lacks the master key: the operator finds why in \
                           the log";
            ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "no_master_key", message)
        }
        error => ApiError::internal(error),
    }
}
