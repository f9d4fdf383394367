//! `GET /projects/{project_id}/events/stream` and `GET /events/stream`: events as they happen, over SSE.

use super::{
    access::{Access, Of},
    feed::Feed,
};
use crate::{
    http::{ApiError, ValidQuery},
    state::App,
};
use axum::{
    body::Body,
    extract::State,
    http::{HeaderName, HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use utoipa::IntoParams;

/// Tells nginx and its kin not to hold events back.
const BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Where to go on, for clients that cannot send the `Last-Event-ID` header, which goes before.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Resume {
    /// The id of the last event seen.
    last_event_id: Option<String>,
}

/// Follow a project's events. The event's name is its type, its id `epoch:seq`, its data the event; `run.delta` has
/// no id; `reset` says that the stream could not be resumed and that everything must be loaded again.
#[utoipa::path(get, path = "/projects/{project_id}/events/stream", operation_id = "stream_project_events",
    tag = "events",
    params(("project_id" = uuid::Uuid, Path), Resume,
        ("last-event-id" = Option<String>, Header, description = "The id of the last event seen")),
    responses(
        (status = 200, description = "Events as they happen", content_type = "text/event-stream", body = String),
        (status = 401, description = "Nobody is signed in"),
        (status = 404, description = "No such project here"),
    ))]
pub(super) async fn stream_project_events(
    State(app): State<App>,
    parts: Parts,
    ValidQuery(resume): ValidQuery<Resume>,
) -> Result<Response, ApiError> {
    respond(Access::new(app, parts, Of::Project), resume).await
}

/// Follow the events of all projects that the caller may see. Ids are opaque.
#[utoipa::path(get, path = "/events/stream", operation_id = "stream_my_events", tag = "events",
    params(Resume, ("last-event-id" = Option<String>, Header, description = "The id of the last event seen")),
    responses(
        (status = 200, description = "Events as they happen", content_type = "text/event-stream", body = String),
        (status = 401, description = "Nobody is signed in"),
        (status = 403, description = "Agents follow their own project only"),
    ))]
pub(super) async fn stream_my_events(
    State(app): State<App>,
    parts: Parts,
    ValidQuery(resume): ValidQuery<Resume>,
) -> Result<Response, ApiError> {
    respond(Access::new(app, parts, Of::Person), resume).await
}

async fn respond(access: Access, resume: Resume) -> Result<Response, ApiError> {
    if access.app.stopping.is_cancelled() {
        let detail = "this instance is stopping: connect again in a moment";
        return Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "stopping", detail));
    }
    let header = access.header(&LAST_EVENT_ID);
    let last = header.or(resume.last_event_id).filter(|id| !id.is_empty());
    let feed = Feed::open(access, last.as_deref()).await?;
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (BUFFERING, HeaderValue::from_static("no")),
    ];
    Ok((headers, Body::from_stream(feed.into_body())).into_response())
}
