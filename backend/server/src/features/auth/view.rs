//! What the API shows of people and sessions.

use super::{
    device::Device,
    keys::ACCESS_SECONDS,
    session::{self, RefreshToken},
};
use crate::{http::ApiError, state::App};
use axum::{
    Json,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use syndarix_domain::ids::UserId;
use utoipa::ToSchema;
use uuid::Uuid;

/// A person.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema, sqlx::FromRow)]
pub struct UserView {
    /// The person's id.
    pub id: Uuid,
    /// Lower case.
    pub email: String,
    /// As the person wants to be called.
    pub name: String,
}

impl UserView {
    /// Reads a person.
    pub async fn read(pool: &PgPool, user: UserId) -> Result<Self, ApiError> {
        let row: Option<(String, String)> = sqlx::query_as("select email, name from app_user where id = $1")
            .bind(user.0)
            .fetch_optional(pool)
            .await?;
        let (email, name) = row.ok_or_else(|| ApiError::not_found("user"))?;
        Ok(Self { id: user.0, email, name })
    }
}

/// What signing in gives.
#[derive(Serialize, ToSchema)]
pub struct SessionView {
    /// For the header `Authorization: Bearer`.
    pub access_token: String,
    /// `Bearer`.
    pub token_type: String,
    /// Seconds that the access token is good.
    pub expires_in: i64,
    /// Good once, for the next access token. Browsers get it as a cookie too, and need not look at it.
    pub refresh_token: String,
    /// Who signed in.
    pub user: UserView,
}

/// The answer to whoever is signed in now: the session, and its refresh token as a cookie. `epoch` is the one that the
/// sign-in was checked in: who was signed out everywhere meanwhile gets tokens that are good for nothing.
pub(super) async fn signed_in(
    app: &App,
    device: &Device,
    (user, epoch): (UserId, i32),
    (status, refresh): (StatusCode, &RefreshToken),
) -> Result<Response, ApiError> {
    let view = UserView::read(app.pool(), user).await?;
    let access_token = app.keys.sign_access(user, epoch).map_err(|error| ApiError::internal(&error))?;
    let refresh_token = refresh.text();
    let cookie = device.set_cookie(&refresh_token, session::LIFETIME.num_seconds());
    let view = SessionView {
        access_token,
        token_type: "Bearer".into(),
        expires_in: ACCESS_SECONDS,
        refresh_token,
        user: view,
    };
    let headers = [(header::SET_COOKIE, cookie), (header::CACHE_CONTROL, "no-store".to_owned())];
    Ok((status, headers, Json(view)).into_response())
}
