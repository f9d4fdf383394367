//! Who calls, and bodies that were checked.

use super::ApiError;
use crate::{features::auth, state::App};
use axum::{
    body::Bytes,
    extract::{FromRequest, FromRequestParts, OptionalFromRequest, Query, Request},
    http::{HeaderMap, StatusCode, header, request::Parts},
};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::Value;
use std::sync::Arc;
use syndarix_domain::{
    actor::Actor,
    ids::{AgentId, ProjectId, RunId, UserId},
};

/// How JSON says the one character that PostgreSQL keeps in no text.
const ESCAPED_NUL: &[u8] = b"\\u0000";
/// What is repeated of a caller's own words in an answer, in characters.
const MAX_MESSAGE: usize = 300;

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
        if !is_json(request.headers()) {
            return Err(not_json());
        }
        body(&read(request, state).await?).map(Self)
    }
}

/// Where a body may be left out.
impl<T: DeserializeOwned, S: Send + Sync> OptionalFromRequest<S> for ValidJson<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Option<Self>, ApiError> {
        let is_json = is_json(request.headers());
        // One that comes in chunks is known to be empty when it has been read.
        let bytes = read(request, state).await?;
        match (bytes.is_empty(), is_json) {
            (true, _) => Ok(None),
            (false, true) => body(&bytes).map(Self).map(Some),
            (false, false) => Err(not_json()),
        }
    }
}

async fn read<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, ApiError> {
    Bytes::from_request(request, state).await.map_err(|error| match error.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            ApiError::new(error.status(), "too_large", "the body is larger than this endpoint accepts")
        }
        status => ApiError::new(status, "bad_json", error.body_text()),
    })
}

fn not_json() -> ApiError {
    ApiError::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "bad_json",
        "send the body as JSON, with `Content-Type: application/json`",
    )
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("application/json")
}

fn body<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    // JSON can only say it as an escape: bodies without one are read once.
    if bytes.windows(ESCAPED_NUL.len()).any(|window| window == ESCAPED_NUL)
        && let Ok(value) = serde_json::from_slice::<Value>(bytes)
        && let Some(field) = with_nul(&value)
    {
        return Err(unstorable(&field));
    }
    // A list would be read as the fields in their order, of whatever names.
    if bytes.trim_ascii_start().first() == Some(&b'[') {
        return Err(wrong(".", "send an object with named fields: a list has none"));
    }
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let body = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        // Some mistakes of shape are counted as mistakes of writing, such as a number where a word is wanted.
        if let Err(unreadable) = serde_json::from_slice::<IgnoredAny>(bytes) {
            return ApiError::bad_request("bad_json", unreadable.to_string());
        }
        wrong(&error.path().to_string(), &error.inner().to_string())
    })?;
    json.end().map_err(|error| ApiError::bad_request("bad_json", error.to_string()))?;
    Ok(body)
}

/// JSON of the wrong shape, by the path of the field.
fn wrong(path: &str, said: &str) -> ApiError {
    // Where in the text it stands is of no use to whoever fills in a form.
    let said = said.rfind(" at line ").map_or(said, |end| &said[..end]);
    let message: String = said.chars().take(MAX_MESSAGE).collect();
    let path = if path == "." { "" } else { path };
    let missing = message.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`'));
    let field = match (path, missing) {
        ("", Some(missing)) => missing.to_owned(),
        (path, Some(missing)) => format!("{path}.{missing}"),
        ("", None) => "body".to_owned(),
        (path, None) => path.chars().take(MAX_MESSAGE).collect(),
    };
    ApiError::invalid(&field, message)
}

/// The path of the first text, or name of a field, with a NUL in it.
fn with_nul(value: &Value) -> Option<String> {
    let below = |key: &str, value: &Value| {
        let inner = with_nul(value)?;
        Some(if inner.is_empty() { key.to_owned() } else { format!("{key}.{inner}") })
    };
    match value {
        Value::String(text) => text.contains('\0').then(String::new),
        Value::Array(items) => {
            items.iter().enumerate().find_map(|(index, item)| below(&index.to_string(), item))
        }
        Value::Object(fields) => fields.iter().find_map(|(key, value)| {
            if key.contains('\0') { Some(key.replace('\0', "\u{fffd}")) } else { below(key, value) }
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}

fn unstorable(field: &str) -> ApiError {
    ApiError::invalid(field, "must not hold the character U+0000: no text that is kept can")
}

/// Query parameters of the right shape.
#[derive(Debug)]
pub struct ValidQuery<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for ValidQuery<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let query = parts.uri.query().unwrap_or_default();
        if let Some((name, _)) =
            url::form_urlencoded::parse(query.as_bytes()).find(|(_, value)| value.contains('\0'))
        {
            return Err(unstorable(&name.replace('\0', "\u{fffd}")));
        }
        Query::<T>::try_from_uri(&parts.uri)
            .map(|Query(query)| Self(query))
            .map_err(|error| ApiError::bad_request("bad_query", error.body_text()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use futures::stream;
    use std::convert::Infallible;

    /// What comes of a body in such chunks, without a type, where one may be left out.
    async fn optional(chunks: &'static [&'static str]) -> Result<Option<Value>, StatusCode> {
        let chunks = chunks.iter().map(|chunk| Ok::<_, Infallible>(Bytes::from(*chunk)));
        let request = Request::new(Body::from_stream(stream::iter(chunks)));
        let read = <ValidJson<Value> as OptionalFromRequest<()>>::from_request(request, &()).await;
        read.map(|body| body.map(|ValidJson(value)| value)).map_err(|error| error.status())
    }

    #[tokio::test]
    async fn a_body_in_chunks_that_is_empty_is_one_that_was_left_out() {
        assert_eq!(optional(&[]).await, Ok(None));
        assert_eq!(optional(&["", ""]).await, Ok(None));
        assert_eq!(optional(&["{", "}"]).await, Err(StatusCode::UNSUPPORTED_MEDIA_TYPE));
    }
}
