//! `GET /organisations/{organisation_id}/model-groups`.

use super::{queries, view::GroupView};
use crate::{
    db::Error,
    features::{auth::require_manager, gateway::providers},
    http::{ApiError, Caller, List},
    state::App,
};
use axum::{
    Json,
    extract::{Path, State},
};
use syndarix_domain::ids::OrganisationId;

/// The model groups that an organisation's projects can name: the configured ones and its own. For owners and admins.
#[utoipa::path(get, path = "/organisations/{organisation_id}/model-groups", operation_id = "list_model_groups",
    tag = "gateway", params(("organisation_id" = Uuid, Path)),
    responses((status = 200, description = "By name", body = List<GroupView>), (status = 403), (status = 404)))]
pub(super) async fn list(
    State(app): State<App>,
    caller: Caller,
    Path(organisation): Path<OrganisationId>,
) -> Result<Json<List<GroupView>>, ApiError> {
    require_manager(app.pool(), organisation, caller.user()?).await?;
    let mut conn = app.pool().acquire().await.map_err(Error::from)?;
    let base = providers::base(&app, &mut conn, organisation).await?;
    let stored = queries::of_organisation(&mut conn, organisation).await.map_err(Error::from)?;
    Ok(Json(List::all(GroupView::all(&app, &base.groups, &stored))))
}
