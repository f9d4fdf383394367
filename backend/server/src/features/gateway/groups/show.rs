//! `GET /organisations/{organisation_id}/model-groups/{name}`.

use super::{queries, view::GroupView};
use crate::{
    db::Error,
    features::{auth::require_manager, gateway::providers},
    http::{ApiError, Caller},
    state::App,
};
use axum::{
    Json,
    extract::{Path, State},
};
use syndarix_domain::ids::OrganisationId;

/// One of them. For owners and admins.
#[utoipa::path(get, path = "/organisations/{organisation_id}/model-groups/{name}", operation_id = "show_model_group",
    tag = "gateway",
    params(("organisation_id" = Uuid, Path), ("name" = String, Path, description = "The group's name")),
    responses((status = 200, description = "The group", body = GroupView), (status = 403), (status = 404)))]
pub(super) async fn show(
    State(app): State<App>,
    caller: Caller,
    Path((organisation, name)): Path<(OrganisationId, String)>,
) -> Result<Json<GroupView>, ApiError> {
    require_manager(app.pool(), organisation, caller.user()?).await?;
    let mut conn = app.pool().acquire().await.map_err(Error::from)?;
    let base = providers::base(&app, &mut conn, organisation).await?;
    let stored = queries::of_organisation(&mut conn, organisation).await.map_err(Error::from)?;
    let all = GroupView::all(&app, &base.groups, &stored);
    let found = all.into_iter().find(|group| group.name == name);
    Ok(Json(found.ok_or_else(|| ApiError::not_found("model group"))?))
}
