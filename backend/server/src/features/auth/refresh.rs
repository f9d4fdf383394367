//! `POST /auth/refresh`: the next access token and the next refresh token of a device.

use super::{
    device::Device,
    journal::{Happening, note},
    session::{self, Presented, RefreshToken},
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

/// Which device.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Refresh {
    /// The refresh token; when nothing is said, the one in the cookie.
    pub(super) refresh_token: Option<String>,
}

impl Refresh {
    /// The token that was sent, in the body or in the cookie.
    pub(super) fn token(self, device: &Device) -> Option<RefreshToken> {
        let text = self.refresh_token.as_deref().or(device.cookie.as_deref())?;
        RefreshToken::parse(text)
    }
}

/// Stay signed in.
#[utoipa::path(post, path = "/auth/refresh", operation_id = "refresh_session", tag = "auth",
    request_body = Refresh,
    responses(
        (status = 200, description = "The next tokens; the refresh token is set as a cookie too", body = SessionView),
        (status = 401, description = "`session_ended`, or `refresh_reused`: the token was used before, and its device is signed out now"),
    ))]
pub(super) async fn refresh(
    State(app): State<App>,
    device: Device,
    ValidJson(body): ValidJson<Refresh>,
) -> Result<Response, ApiError> {
    let token = body.token(&device).ok_or_else(ended)?;
    let mut uow = app.store.begin(Author::system());
    match session::present(&mut uow, &app.keys, &token).await? {
        Presented::Renewed { user, epoch, next } => {
            uow.commit().await?;
            signed_in(&app, &device, (user, epoch), (StatusCode::OK, &next)).await
        }
        Presented::Reused { user, family } => {
            // Whoever holds the token need not be the person: the platform is the actor.
            let details = json!({ "user_id": user, "device": family });
            note(&mut uow, Actor::System, Happening::RefreshReused, &device, &details);
            uow.commit().await?;
            Err(ApiError::new(
                StatusCode::UNAUTHORIZED,
                "refresh_reused",
                "this sign-in was used from two places and was ended to be safe: sign in again",
            ))
        }
        Presented::Refused => Err(ended()),
    }
}

fn ended() -> ApiError {
    ApiError::new(StatusCode::UNAUTHORIZED, "session_ended", "this sign-in has ended: sign in again")
}
