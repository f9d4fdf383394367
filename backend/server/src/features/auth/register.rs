//! `POST /auth/register`: an account, its organisation, and the first device signed in.

use super::{
    account::{self, NewAccount},
    device::Device,
    journal::{Happening, note},
    session,
    throttle::Throttle,
    view::{SessionView, signed_in},
};
use crate::{
    db::Author,
    http::{ApiError, ValidJson},
    state::App,
};
use axum::{extract::State, http::StatusCode, response::Response};
use serde::Deserialize;
use serde_json::json;
use syndarix_domain::actor::Actor;
use utoipa::ToSchema;

/// The epoch of a new account.
const FIRST_EPOCH: i32 = 0;

/// Who wants an account.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Register {
    /// Where mail reaches the person; any spelling of case.
    email: String,
    /// As the person wants to be called.
    name: String,
    /// At least 12 characters.
    #[schema(format = Password)]
    password: String,
    /// What the person's organisation is called; "<name>'s organisation" when nothing is said.
    organisation: Option<String>,
}

/// Register, and be signed in.
#[utoipa::path(post, path = "/auth/register", operation_id = "register", tag = "auth",
    request_body = Register,
    responses(
        (status = 201, description = "Registered and signed in; the refresh token is set as a cookie too", body = SessionView),
        (status = 403, description = "`registration_closed`: only invited people get accounts here"),
        (status = 409, description = "`email_taken`"),
        (status = 422, description = "A field is wrong"),
        (status = 429, description = "`too_many_attempts`: come back after `Retry-After` seconds"),
    ))]
pub(super) async fn register(
    State(app): State<App>,
    device: Device,
    ValidJson(body): ValidJson<Register>,
) -> Result<Response, ApiError> {
    if !app.config.open_registration {
        return Err(ApiError::new(
            StatusCode::FORBIDDEN,
            "registration_closed",
            "registration is closed here: ask the operator for an account",
        ));
    }
    let Register { email, name, password, organisation } = body;
    Throttle::registrations(&device).count(&app).await?;
    let ready = NewAccount { email, name, password, organisation }.prepare().await?;
    let mut uow = app.store.begin(Author::system());
    let registered = ready.write(&mut uow).await.map_err(account::refused)?;
    let token = session::open(&mut uow, registered.user, FIRST_EPOCH, &device.user_agent).await?;
    let details = json!({ "organisation_id": registered.organisation });
    note(&mut uow, Actor::User(registered.user), Happening::Registered, &device, &details);
    uow.commit().await?;
    signed_in(&app, &device, (registered.user, FIRST_EPOCH), (StatusCode::CREATED, &token)).await
}
