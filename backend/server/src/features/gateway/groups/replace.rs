//! `PUT /organisations/{organisation_id}/model-groups/{name}`.

use super::{
    effective::over,
    queries, record,
    settings::{GroupSettings, check_name},
    view::GroupView,
};
use crate::{
    db::{Author, Error},
    features::{auth::require_manager, gateway::providers},
    http::{ApiError, Caller, ValidJson},
    state::App,
};
use axum::{
    Json,
    extract::{Path, State},
};
use syndarix_domain::ids::OrganisationId;

/// More groups than an organisation has names for.
const MAX_GROUPS: usize = 100;

/// Make a group, or set an existing one: also one that is configured, whose place it takes for this organisation. It names
/// deployments that are configured, or of the organisation's own providers. For owners and admins; other processes follow within seconds.
#[utoipa::path(put, path = "/organisations/{organisation_id}/model-groups/{name}", operation_id = "put_model_group",
    tag = "gateway",
    params(("organisation_id" = Uuid, Path), ("name" = String, Path, description = "The group's name")),
    request_body = GroupSettings,
    responses(
        (status = 200, description = "As it is now", body = GroupView), (status = 403), (status = 404),
        (status = 409, description = "`too_many_groups`"),
        (status = 422, description = "A deployment or a group that is not there, a limit out of bounds"),
    ))]
pub(super) async fn replace(
    State(app): State<App>,
    caller: Caller,
    Path((organisation, name)): Path<(OrganisationId, String)>,
    ValidJson(body): ValidJson<GroupSettings>,
) -> Result<Json<GroupView>, ApiError> {
    require_manager(app.pool(), organisation, caller.user()?).await?;
    check_name(&app, &name)?;
    let mut uow = app.store.begin(Author::of(caller.actor()));
    let now = uow.now();
    let conn = uow.conn().await?;
    queries::lock(conn, organisation).await.map_err(Error::from)?;
    let others = queries::of_organisation(conn, organisation).await.map_err(Error::from)?;
    if others.len() >= MAX_GROUPS && others.iter().all(|other| other.name != name) {
        let message = format!("an organisation has at most {MAX_GROUPS} groups of its own: remove one first");
        return Err(ApiError::conflict("too_many_groups", message));
    }
    let base = providers::base(&app, conn, organisation).await?;
    body.check(&base.groups, &name, &over(&base.groups, &others))?;
    let stored = queries::put(conn, organisation, (&name, &body), now).await.map_err(Error::from)?;
    record(&mut uow, organisation, &name, ("replaced", format!("set the model group `{name}`")));
    uow.commit().await?;
    app.gateway.groups.forget();
    Ok(Json(GroupView::of_stored(&app, &base.groups, &stored)))
}
