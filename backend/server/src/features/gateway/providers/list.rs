//! `GET /organisations/{organisation_id}/model-providers`.

use super::{queries, view::ProviderView};
use crate::{
    db::Error,
    features::auth::require_manager,
    http::{ApiError, Caller, List},
    state::App,
};
use axum::{
    Json,
    extract::{Path, State},
};
use syndarix_domain::ids::OrganisationId;

/// An organisation's own model providers; those that the operator configured are not among them. For owners and admins.
#[utoipa::path(get, path = "/organisations/{organisation_id}/model-providers",
    operation_id = "list_model_providers", tag = "gateway", params(("organisation_id" = Uuid, Path)),
    responses((status = 200, description = "By name", body = List<ProviderView>), (status = 403), (status = 404)))]
pub(super) async fn list(
    State(app): State<App>,
    caller: Caller,
    Path(organisation): Path<OrganisationId>,
) -> Result<Json<List<ProviderView>>, ApiError> {
    require_manager(app.pool(), organisation, caller.user()?).await?;
    let mut conn = app.pool().acquire().await.map_err(Error::from)?;
    let stored = queries::of_organisation(&mut conn, organisation).await.map_err(Error::from)?;
    Ok(Json(List::all(stored.iter().map(|one| ProviderView::of(&app, one)).collect())))
}
