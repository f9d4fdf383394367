//! `POST /organisations/{organisation_id}/model-providers`.
//!
//! Takes no idempotency key: what is kept for a repeat would hold a digest of the key. A repeat finds the name taken.

use super::{MAX_PROVIDERS, key, queries, record, settings::Settings, view::ProviderView};
use crate::{
    db::{Author, Error},
    features::{auth::require_manager, gateway::groups},
    http::{ApiError, Caller, ValidJson},
    state::App,
};
use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use syndarix_domain::ids::OrganisationId;

/// Make a model provider of an organisation: an address, its key, and the models that are asked there. The organisation's
/// groups and clients name them `PROVIDER/NAME`. For owners and admins.
#[utoipa::path(post, path = "/organisations/{organisation_id}/model-providers",
    operation_id = "create_model_provider", tag = "gateway",
    params(("organisation_id" = Uuid, Path)),
    request_body = Settings,
    responses(
        (status = 201, description = "The provider; its key is not shown again", body = ProviderView),
        (status = 403), (status = 404),
        (status = 409, description = "`name_taken`, `too_many_providers`"),
        (status = 422, description = "An address that leads into a private network, a limit out of bounds"),
        (status = 503, description = "`no_master_key`: this process cannot encrypt the key"),
    ))]
pub(super) async fn create(
    State(app): State<App>,
    caller: Caller,
    Path(organisation): Path<OrganisationId>,
    ValidJson(body): ValidJson<Settings>,
) -> Result<(StatusCode, Json<ProviderView>), ApiError> {
    require_manager(app.pool(), organisation, caller.user()?).await?;
    body.check(&app).await?;
    let mut uow = app.store.begin(Author::of(caller.actor()));
    let (now, id) = (uow.now(), uow.new_id());
    let conn = uow.conn().await?;
    groups::lock(conn, organisation).await.map_err(Error::from)?;
    if queries::of_organisation(conn, organisation).await.map_err(Error::from)?.len() >= MAX_PROVIDERS {
        let message =
            format!("an organisation has at most {MAX_PROVIDERS} model providers: delete one first");
        return Err(ApiError::conflict("too_many_providers", message));
    }
    let made = queries::insert(conn, (organisation, id), &body, now).await.map_err(Error::from);
    let mut provider = made.map_err(taken)?;
    if let Some(secret) = &body.key {
        provider = key::store(&app, &mut uow, &provider, secret).await?;
    }
    record(
        &mut uow,
        organisation,
        &provider,
        ("created", format!("made the model provider `{}`", body.name)),
    );
    uow.commit().await?;
    app.gateway.groups.forget();
    Ok((StatusCode::CREATED, Json(ProviderView::of(&app, &provider))))
}

fn taken(error: Error) -> ApiError {
    if error.constraint() == Some("model_provider_name_key") {
        return ApiError::conflict("name_taken", "this organisation has a model provider of this name");
    }
    error.into()
}
