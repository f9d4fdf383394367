//! `GET /organisations/{organisation_id}/model-deployments`.

use super::known::base;
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
use serde::Serialize;
use syndarix_domain::ids::OrganisationId;
use utoipa::ToSchema;

/// A deployment that a group may name.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OrganisationDeployment)]
pub(super) struct DeploymentView {
    name: String,
    /// Whose model it is.
    provider: String,
    /// Its name there.
    model: String,
    /// Tokens that prompt and answer may have together.
    context_window: u32,
    /// Tokens that an answer may have.
    max_output: u32,
    /// Whether its price is known; otherwise calls are charged at the dearest rates that are.
    price_known: bool,
    /// The organisation's own; else the operator configured it.
    own: bool,
}

/// What an organisation's model groups may name: the configured deployments, and those of its own providers. For owners
/// and admins.
#[utoipa::path(get, path = "/organisations/{organisation_id}/model-deployments",
    operation_id = "list_model_deployments", tag = "gateway", params(("organisation_id" = Uuid, Path)),
    responses((status = 200, description = "By name", body = List<DeploymentView>), (status = 403), (status = 404)))]
pub(super) async fn deployments(
    State(app): State<App>,
    caller: Caller,
    Path(organisation): Path<OrganisationId>,
) -> Result<Json<List<DeploymentView>>, ApiError> {
    require_manager(app.pool(), organisation, caller.user()?).await?;
    let mut conn = app.pool().acquire().await.map_err(Error::from)?;
    let base = base(&app, &mut conn, organisation).await?;
    let view = |one: &syndarix_llm::Deployment| DeploymentView {
        name: one.name.clone(),
        provider: one.vendor().to_owned(),
        model: one.model.clone(),
        context_window: one.context_window,
        max_output: one.max_output,
        price_known: !app.models.gateway.price(one, 0).is_unknown(),
        own: base.is_own(&one.name),
    };
    Ok(Json(List::all(base.groups.deployments().map(view).collect())))
}
