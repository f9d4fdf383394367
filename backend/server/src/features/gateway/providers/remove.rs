//! `DELETE /organisations/{organisation_id}/model-providers/{provider_id}`.

use super::{queries, record};
use crate::{
    db::{Author, Error},
    features::auth::require_manager,
    http::{ApiError, Caller},
    state::App,
};
use axum::{
    extract::{Path, State},
    http::StatusCode,
};
use syndarix_domain::ids::OrganisationId;
use uuid::Uuid;

/// Delete a provider with its key, also while groups name its models: they pass them over. For owners and admins.
#[utoipa::path(delete, path = "/organisations/{organisation_id}/model-providers/{provider_id}",
    operation_id = "remove_model_provider", tag = "gateway",
    params(("organisation_id" = Uuid, Path), ("provider_id" = Uuid, Path)),
    responses((status = 204, description = "It is there no longer"), (status = 403), (status = 404)))]
pub(super) async fn remove(
    State(app): State<App>,
    caller: Caller,
    Path((organisation, id)): Path<(OrganisationId, Uuid)>,
) -> Result<StatusCode, ApiError> {
    require_manager(app.pool(), organisation, caller.user()?).await?;
    let mut uow = app.store.begin(Author::of(caller.actor()));
    let removed = queries::remove(uow.conn().await?, organisation, id).await.map_err(Error::from)?;
    let provider = removed.ok_or_else(|| ApiError::not_found("model provider"))?;
    let action = format!("deleted the model provider `{}` with its key", provider.name);
    record(&mut uow, organisation, &provider, ("removed", action));
    uow.commit().await?;
    app.gateway.groups.forget();
    Ok(StatusCode::NO_CONTENT)
}
