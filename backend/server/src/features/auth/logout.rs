//! `POST /auth/logout`: signs this device out.

use super::{
    device::Device,
    journal::{Happening, note},
    refresh::Refresh,
    session,
};
use crate::{
    db::Author,
    http::{ApiError, ValidJson},
    state::App,
};
use axum::{
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::json;
use syndarix_domain::actor::Actor;

/// Sign out. A device that is signed out already is a success.
#[utoipa::path(post, path = "/auth/logout", operation_id = "logout", tag = "auth",
    request_body = Refresh,
    responses((status = 204, description = "Signed out; the cookie is removed")))]
pub(super) async fn logout(
    State(app): State<App>,
    device: Device,
    ValidJson(body): ValidJson<Refresh>,
) -> Result<Response, ApiError> {
    let cookie = device.set_cookie("", 0);
    if let Some(token) = body.token(&device) {
        let mut uow = app.store.begin(Author::system());
        if let Some(user) = session::close(&mut uow, &token).await? {
            note(&mut uow, Actor::User(user), Happening::LoggedOut, &device, &json!({}));
            uow.commit().await?;
        }
    }
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, cookie)]).into_response())
}
