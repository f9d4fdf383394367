//! `POST /auth/login`: a new device, for an e-mail address and a password.

use super::{
    credentials,
    device::Device,
    journal::{Happening, note},
    password, session,
    throttle::Throttle,
    view::{SessionView, signed_in},
};
use crate::{db::Author, http::ApiError, state::App};
use axum::{
    Form,
    extract::{State, rejection::FormRejection},
    http::StatusCode,
    response::Response,
};
use serde::Deserialize;
use serde_json::json;
use syndarix_domain::{actor::Actor, ids::UserId};
use utoipa::ToSchema;
use uuid::Uuid;

/// The OAuth2 password form.
#[derive(Deserialize, ToSchema)]
pub(super) struct Login {
    /// The e-mail address.
    username: String,
    /// The password.
    #[schema(format = Password)]
    password: String,
}

/// Sign in.
#[utoipa::path(post, path = "/auth/login", operation_id = "login", tag = "auth",
    request_body(content = Login, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, description = "Signed in; the refresh token is set as a cookie too", body = SessionView),
        (status = 401, description = "`wrong_credentials`"),
        (status = 429, description = "`too_many_attempts`: come back after `Retry-After` seconds"),
    ))]
pub(super) async fn login(
    State(app): State<App>,
    device: Device,
    form: Result<Form<Login>, FormRejection>,
) -> Result<Response, ApiError> {
    let Form(form) = form.map_err(|error| ApiError::new(error.status(), "bad_form", error.body_text()))?;
    let email = credentials::normalised(&form.username);
    let network = Throttle::sign_ins(&device);
    let throttle = Throttle::account(email.as_deref().unwrap_or_default(), &device);
    network.count(&app).await?;
    throttle.count(&app).await?;
    let account: Option<(Uuid, String, i32)> =
        sqlx::query_as("select id, password_hash, token_epoch from app_user where email = $1")
            .bind(&email)
            .fetch_optional(app.pool())
            .await?;
    let found = account.as_ref().map(|(id, _, epoch)| (UserId(*id), *epoch));
    let right = password::matches(&form.password, account.as_ref().map(|(_, hash, _)| hash.as_str())).await?;
    let (true, Some((user, epoch))) = (right, found) else {
        return Err(refuse(&app, &device, found.map(|(user, _)| user), email).await?);
    };
    let mut uow = app.store.begin(Author::of(Actor::User(user)));
    let token = session::open(&mut uow, user, epoch, &device.user_agent).await?;
    note(&mut uow, Actor::User(user), Happening::LoggedIn, &device, &json!({}));
    uow.commit().await?;
    throttle.clear(&app).await?;
    network.uncount(&app).await?;
    signed_in(&app, &device, (user, epoch), (StatusCode::OK, &token)).await
}

/// One answer for a wrong password and for no account. Nobody is signed in, so nobody is the actor. What is not an
/// e-mail address is not kept: it may be a password in the wrong field.
async fn refuse(
    app: &App,
    device: &Device,
    user: Option<UserId>,
    email: Option<String>,
) -> Result<ApiError, ApiError> {
    let mut uow = app.store.begin(Author::system());
    let details = json!({ "email": email, "user_id": user });
    note(&mut uow, Actor::System, Happening::LogInFailed, device, &details);
    uow.commit().await?;
    Ok(ApiError::new(
        StatusCode::UNAUTHORIZED,
        "wrong_credentials",
        "the e-mail address or the password is wrong",
    ))
}
