//! Who calls, and bodies that were checked.

use super::ApiError;
use crate::{features::auth, state::App};
use axum::{
    Json,
    extract::{FromRequest, FromRequestParts, Query, Request, rejection::JsonRejection},
    http::{StatusCode, header, request::Parts},
};
use serde::de::DeserializeOwned;
use std::sync::Arc;
use syndarix_domain::{
    actor::Actor,
    ids::{AgentId, ProjectId, RunId, UserId},
};

/// Somebody whose token was checked.
#[derive(Debug, Clone)]
pub struct Caller {
    /// A person or an agent.
    pub kind: CallerKind,
}

/// A person or an agent.
#[derive(Debug, Clone)]
pub enum CallerKind {
    /// A signed-in person.
    User(UserId),
    /// An agent instance within a run; its token is good for one project.
    Agent {
        /// Who.
        agent: AgentId,
        /// Where.
        project: ProjectId,
        /// In which run.
        run: RunId,
        /// What its token allows, as `<server>:read` or `<server>:write`.
        capabilities: Arc<[String]>,
    },
}

impl Caller {
    /// As events and audit entries name it.
    pub fn actor(&self) -> Actor {
        match self.kind {
            CallerKind::User(user) => Actor::User(user),
            CallerKind::Agent { agent, .. } => Actor::Agent(agent),
        }
    }

    /// The person; an agent is refused.
    pub fn user(&self) -> Result<UserId, ApiError> {
        match self.kind {
            CallerKind::User(user) => Ok(user),
            CallerKind::Agent { .. } => Err(ApiError::forbidden("this is for people, not for agents")),
        }
    }
}

impl FromRequestParts<App> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        if let Some(caller) = parts.extensions.get::<Self>() {
            return Ok(caller.clone());
        }
        let token = parts
            .headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.strip_prefix("Bearer "))
            .ok_or_else(|| {
                ApiError::unauthenticated("sign in first: send `Authorization: Bearer <access token>`")
            })?;
        let caller = auth::identify(app, token).await?;
        if matches!(caller.kind, CallerKind::Agent { .. }) && changes_outside_of_projects(parts) {
            return Err(ApiError::forbidden("this is for people, not for agents"));
        }
        parts.extensions.insert(caller.clone());
        Ok(caller)
    }
}

/// What an agent changes is in its own project; the door to that asks for more.
fn changes_outside_of_projects(parts: &Parts) -> bool {
    let project = parts.uri.path().split('/').skip_while(|part| *part != "projects").nth(1);
    !parts.method.is_safe() && project.is_none_or(str::is_empty)
}

/// A JSON body that is well-formed, of the right shape, and without unknown meaning; wrong ones are named by field.
#[derive(Debug)]
pub struct ValidJson<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for ValidJson<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        match Json::<T>::from_request(request, state).await {
            Ok(Json(body)) => Ok(Self(body)),
            Err(JsonRejection::JsonDataError(error)) => {
                Err(ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", error.body_text()))
            }
            Err(error) if error.status() == StatusCode::PAYLOAD_TOO_LARGE => Err(ApiError::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "too_large",
                "the body is larger than this endpoint accepts",
            )),
            Err(error) => Err(ApiError::new(error.status(), "bad_json", error.body_text())),
        }
    }
}

/// Query parameters of the right shape.
#[derive(Debug)]
pub struct ValidQuery<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for ValidQuery<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        Query::<T>::try_from_uri(&parts.uri)
            .map(|Query(query)| Self(query))
            .map_err(|error| ApiError::bad_request("bad_query", error.body_text()))
    }
}
