//! `POST /me/password`: another password, for who knows the present one.

use super::{
    account, credentials,
    device::Device,
    journal::{Happening, note},
    password, session,
    throttle::Throttle,
    view::{SessionView, signed_in},
};
use crate::{
    db::{Author, Error, Uow},
    http::{ApiError, Caller, ValidJson},
    state::App,
};
use axum::{extract::State, http::StatusCode, response::Response};
use serde::Deserialize;
use serde_json::json;
use syndarix_domain::{actor::Actor, ids::UserId};
use utoipa::ToSchema;

/// The present password and the next.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ChangePassword {
    /// The one that is good now.
    #[schema(format = Password)]
    current_password: String,
    /// At least 12 characters.
    #[schema(format = Password)]
    new_password: String,
}

/// Change the own password. Every other device is signed out; this one goes on with the tokens of the answer.
#[utoipa::path(post, path = "/me/password", operation_id = "change_password", tag = "auth",
    request_body = ChangePassword,
    responses(
        (status = 200, description = "Changed; the new refresh token is set as a cookie too", body = SessionView),
        (status = 422, description = "The present password is wrong, or the new one too short"),
        (status = 429, description = "`too_many_attempts`: come back after `Retry-After` seconds"),
    ))]
pub(super) async fn change_password(
    State(app): State<App>,
    caller: Caller,
    device: Device,
    ValidJson(body): ValidJson<ChangePassword>,
) -> Result<Response, ApiError> {
    let user = caller.user()?;
    credentials::acceptable("new_password", &body.new_password)?;
    let throttle = Throttle::account(&user.to_string(), &device);
    throttle.count(&app).await?;
    let before: Option<String> = sqlx::query_scalar("select password_hash from app_user where id = $1")
        .bind(user.0)
        .fetch_optional(app.pool())
        .await?;
    if !password::matches(&body.current_password, before.as_deref()).await? {
        return Err(ApiError::invalid("current_password", "is not the present password"));
    }
    throttle.clear(&app).await?;
    let hash = password::hash(&body.new_password).await?;
    let mut uow = app.store.begin(Author::of(caller.actor()));
    let epoch = write(&mut uow, user, &hash).await?;
    let token = session::open(&mut uow, user, epoch, &device.user_agent).await?;
    note(&mut uow, caller.actor(), Happening::PasswordChanged, &device, &json!({ "user_id": user }));
    uow.commit().await?;
    signed_in(&app, &device, (user, epoch), (StatusCode::OK, &token)).await
}

/// Gives somebody a password and signs them out everywhere, for the operator's commands.
pub async fn set_password(app: &App, email: &str, new: &str) -> Result<(), ApiError> {
    credentials::acceptable("password", new)?;
    let hash = password::hash(new).await?;
    let mut uow = app.store.begin(Author::system());
    let user = account::of_email(&mut uow, email).await?;
    write(&mut uow, user, &hash).await?;
    let details = json!({ "user_id": user });
    note(&mut uow, Actor::System, Happening::PasswordChanged, &Device::console(), &details);
    uow.commit().await?;
    Ok(())
}

async fn write(uow: &mut Uow, user: UserId, hash: &str) -> Result<i32, Error> {
    sqlx::query("update app_user set password_hash = $2 where id = $1")
        .bind(user.0)
        .bind(hash)
        .execute(uow.conn().await?)
        .await?;
    session::end_all(uow, user).await
}
