//! `POST /me/sign-out`: signs a person out of every device.

use super::{
    account,
    device::Device,
    journal::{Happening, note},
    session,
};
use crate::{
    db::Author,
    http::{ApiError, Caller},
    state::App,
};
use axum::{
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::json;
use syndarix_domain::{actor::Actor, ids::UserId};

/// Sign out everywhere: every device of the person, this one too. Access tokens end at once.
#[utoipa::path(post, path = "/me/sign-out", operation_id = "logout_all", tag = "auth",
    responses((status = 204, description = "Signed out everywhere; the cookie is removed")))]
pub(super) async fn logout_all(
    State(app): State<App>,
    caller: Caller,
    device: Device,
) -> Result<Response, ApiError> {
    let user = caller.user()?;
    end(&app, caller.actor(), user, &device).await?;
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, device.set_cookie("", 0))]).into_response())
}

/// Signs somebody out everywhere, for the operator's commands.
pub async fn sign_out(app: &App, email: &str) -> Result<(), ApiError> {
    let mut uow = app.store.begin(Author::system());
    let user = account::of_email(&mut uow, email).await?;
    drop(uow);
    end(app, Actor::System, user, &Device::console()).await
}

async fn end(app: &App, actor: Actor, user: UserId, device: &Device) -> Result<(), ApiError> {
    let mut uow = app.store.begin(Author::of(actor));
    session::end_all(&mut uow, user).await?;
    note(&mut uow, actor, Happening::LoggedOutEverywhere, device, &json!({ "user_id": user }));
    uow.commit().await?;
    Ok(())
}
