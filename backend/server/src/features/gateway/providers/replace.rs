//! `PUT /organisations/{organisation_id}/model-providers/{provider_id}`.

use super::{key, queries, record, settings::Settings, view::ProviderView};
use crate::{
    db::{Author, Error},
    features::auth::require_manager,
    http::{ApiError, Caller, ValidJson},
    state::App,
};
use axum::{
    Json,
    extract::{Path, State},
};
use syndarix_domain::ids::OrganisationId;
use uuid::Uuid;

/// Set a provider's address and models anew. The key stays when it is left out, but not for another address: it is sent
/// only where it was given for. For owners and admins; other processes follow within seconds.
#[utoipa::path(put, path = "/organisations/{organisation_id}/model-providers/{provider_id}",
    operation_id = "replace_model_provider", tag = "gateway",
    params(("organisation_id" = Uuid, Path), ("provider_id" = Uuid, Path)),
    request_body = Settings,
    responses(
        (status = 200, description = "As it is now", body = ProviderView), (status = 403), (status = 404),
        (status = 422, description = "An address that leads into a private network, another address without its key"),
        (status = 503, description = "`no_master_key`: this process cannot encrypt the key"),
    ))]
pub(super) async fn replace(
    State(app): State<App>,
    caller: Caller,
    Path((organisation, id)): Path<(OrganisationId, Uuid)>,
    ValidJson(body): ValidJson<Settings>,
) -> Result<Json<ProviderView>, ApiError> {
    require_manager(app.pool(), organisation, caller.user()?).await?;
    body.check(&app).await?;
    let mut uow = app.store.begin(Author::of(caller.actor()));
    let now = uow.now();
    let conn = uow.conn().await?;
    let found = queries::find(conn, organisation, id).await.map_err(Error::from)?;
    let before = found.ok_or_else(|| ApiError::not_found("model provider"))?;
    if before.name != body.name {
        let message = format!("stays `{}`: model groups and keys name its models by it", before.name);
        return Err(ApiError::invalid("name", message));
    }
    if before.key_id.is_some() && body.key.is_none() && before.base_url != body.base_url {
        return Err(ApiError::invalid(
            "key",
            "must be given with another address: the stored one is sent only where it was given for",
        ));
    }
    let stored = queries::update(conn, (organisation, id), &body, now).await;
    let mut provider = stored.map_err(Error::from)?;
    if let Some(secret) = &body.key {
        provider = key::store(&app, &mut uow, &provider, secret).await?;
    }
    record(
        &mut uow,
        organisation,
        &provider,
        ("replaced", format!("set the model provider `{}`", body.name)),
    );
    uow.commit().await?;
    app.gateway.groups.forget();
    Ok(Json(ProviderView::of(&app, &provider)))
}
