//! `DELETE /organisations/{organisation_id}/model-groups/{name}`.

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

/// Remove an organisation's own group; a configured one of its name takes its place again. For owners and admins.
#[utoipa::path(delete, path = "/organisations/{organisation_id}/model-groups/{name}",
    operation_id = "remove_model_group", tag = "gateway",
    params(("organisation_id" = Uuid, Path), ("name" = String, Path, description = "The group's name")),
    responses((status = 204, description = "It is there no longer"), (status = 403),
        (status = 404, description = "The organisation has no group of this name"),
        (status = 409, description = "`group_in_use`: another group names it as its cheaper one")))]
pub(super) async fn remove(
    State(app): State<App>,
    caller: Caller,
    Path((organisation, name)): Path<(OrganisationId, String)>,
) -> Result<StatusCode, ApiError> {
    require_manager(app.pool(), organisation, caller.user()?).await?;
    let mut uow = app.store.begin(Author::of(caller.actor()));
    let conn = uow.conn().await?;
    queries::lock(conn, organisation).await.map_err(Error::from)?;
    let all = queries::of_organisation(conn, organisation).await.map_err(Error::from)?;
    let names_it = |one: &&queries::Stored| one.settings().cheaper.as_deref() == Some(name.as_str());
    if let Some(user) = all.iter().find(names_it).filter(|_| app.models.groups.get(&name).is_none()) {
        let message = format!("the group `{}` names it as its cheaper one: change that first", user.name);
        return Err(ApiError::conflict("group_in_use", message));
    }
    if !queries::remove(conn, organisation, &name).await.map_err(Error::from)? {
        return Err(ApiError::not_found("model group"));
    }
    record(&mut uow, organisation, &name, ("removed", format!("removed the model group `{name}`")));
    uow.commit().await?;
    app.gateway.groups.forget();
    Ok(StatusCode::NO_CONTENT)
}
