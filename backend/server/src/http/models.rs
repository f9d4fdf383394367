//! What happens around every answer to a client of models: an id, one measurement, one line in the log. Time and errors are
//! not ours to shape here.
//!
//! One layer, where the rest of the API has one for each: at thousands of calls a second every box is felt.

use super::finish;
use crate::features::operations;
use axum::{
    extract::{MatchedPath, Request},
    http::{HeaderName, HeaderValue},
    middleware::Next,
    response::Response,
};
use std::time::Instant;
use tower_http::request_id::{MakeRequestId, MakeRequestUuid};
use tracing::Instrument;

/// Anthropic's SDKs look for the request's id under a name of their own.
const ANTHROPICS: HeaderName = HeaderName::from_static("request-id");

pub(super) async fn around(request: Request, next: Next) -> Response {
    let id = id_of(&request);
    let span = tracing::info_span!("request", request_id = id.to_str().unwrap_or_default());
    let (method, started) = (request.method().clone(), Instant::now());
    let route = request.extensions().get::<MatchedPath>().cloned();
    let mut response = async {
        let response = next.run(request).await;
        let route = route.as_ref().map_or(operations::NO_ROUTE, MatchedPath::as_str);
        operations::measured(&method, route, response.status(), started.elapsed());
        finish::log(&method, route, response.status(), started.elapsed());
        response
    }
    .instrument(span)
    .await;
    let headers = response.headers_mut();
    headers.insert(super::REQUEST_ID, id.clone());
    headers.insert(ANTHROPICS, id);
    response
}

/// The one that the client sent, or another.
fn id_of(request: &Request) -> HeaderValue {
    let sent = request.headers().get(super::REQUEST_ID).cloned();
    let made = || MakeRequestUuid.make_request_id(request).map(|id| id.header_value().clone());
    sent.or_else(made).unwrap_or(HeaderValue::from_static(""))
}
