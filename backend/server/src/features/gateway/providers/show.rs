//! `GET /organisations/{organisation_id}/model-providers/{provider_id}`.

use super::{queries, view::ProviderView};
use crate::{
    db::Error,
    features::auth::require_manager,
    http::{ApiError, Caller},
    state::App,
};
use axum::{
    Json,
    extract::{Path, State},
};
use syndarix_domain::ids::OrganisationId;
use uuid::Uuid;

/// One of them. For owners and admins.
#[utoipa::path(get, path = "/organisations/{organisation_id}/model-providers/{provider_id}",
    operation_id = "show_model_provider", tag = "gateway",
    params(("organisation_id" = Uuid, Path), ("provider_id" = Uuid, Path)),
    responses((status = 200, description = "The provider", body = ProviderView), (status = 403), (status = 404)))]
pub(super) async fn show(
    State(app): State<App>,
    caller: Caller,
    Path((organisation, id)): Path<(OrganisationId, Uuid)>,
) -> Result<Json<ProviderView>, ApiError> {
    require_manager(app.pool(), organisation, caller.user()?).await?;
    let mut conn = app.pool().acquire().await.map_err(Error::from)?;
    let found = queries::find(&mut conn, organisation, id).await.map_err(Error::from)?;
    let provider = found.ok_or_else(|| ApiError::not_found("model provider"))?;
    Ok(Json(ProviderView::of(&app, &provider)))
}
