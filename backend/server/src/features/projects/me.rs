//! `GET /me`: who is signed in, and where they belong.

use super::view;
use crate::{
    features::auth::{MembershipView, UserView, organisations_of},
    http::{ApiError, Caller},
    state::App,
};
use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;

/// A person with what they belong to.
#[derive(Serialize, ToSchema)]
pub(super) struct Me {
    /// The person.
    user: UserView,
    /// Their organisations, with their role.
    organisations: Vec<MembershipView>,
    /// The projects they may see, with their role.
    projects: Vec<MembershipView>,
}

/// Who is signed in.
#[utoipa::path(get, path = "/me", operation_id = "me", tag = "auth",
    responses(
        (status = 200, description = "The person", body = Me),
        (status = 401, description = "Nobody is signed in"),
    ))]
pub(super) async fn me(State(app): State<App>, caller: Caller) -> Result<Json<Me>, ApiError> {
    let user = caller.user()?;
    Ok(Json(Me {
        user: UserView::read(app.pool(), user).await?,
        organisations: organisations_of(app.pool(), user).await?,
        projects: view::memberships_of(app.pool(), user).await?,
    }))
}
