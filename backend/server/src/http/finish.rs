//! What happens to every answer on its way out: a time limit, problem documents with the request's id, one line in
//! the log.

use super::ApiError;
use axum::{
    extract::{MatchedPath, Request},
    http::{HeaderMap, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use std::{
    any::Any,
    time::{Duration, Instant},
};
use tower_http::request_id::RequestId;
use tracing::Instrument;

/// The longest a request may take; streams are exempt because their head is sent at once.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Larger error documents come from elsewhere and are passed on as they are.
const MAX_PROBLEM: usize = 64 * 1024;
/// What a probe asks every few seconds is no news while the answer is good.
const PROBES: [&str; 3] = ["/livez", "/readyz", "/metrics"];

/// Puts the request's id on everything that is logged while it is worked on, bounds the time to the head of the
/// answer, makes every error a problem document, and logs the one line.
pub(super) async fn finish(request: Request, next: Next) -> Response {
    let id = id_of(&request);
    let span = tracing::info_span!("request", request_id = %id);
    answer(request, next, &id).instrument(span).await
}

fn id_of(request: &Request) -> String {
    let id = request.extensions().get::<RequestId>();
    id.and_then(|id| id.header_value().to_str().ok()).unwrap_or_default().to_owned()
}

/// Never the path itself: what people name things is none of the log's business.
fn route_of(request: &Request) -> String {
    let route = request.extensions().get::<MatchedPath>();
    route.map_or_else(|| "none".to_owned(), |route| route.as_str().to_owned())
}

async fn answer(request: Request, next: Next, id: &str) -> Response {
    let (method, started, route) = (request.method().clone(), Instant::now(), route_of(&request));
    // Nothing that is kept has a NUL in its name.
    let response = if request.uri().path().contains("%00") {
        ApiError::not_found("thing").into_response()
    } else {
        tokio::time::timeout(REQUEST_TIMEOUT, next.run(request)).await.unwrap_or_else(|_| {
            ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "too_slow", "the request took too long: try again")
                .into_response()
        })
    };
    let response = as_problem(response, id).await;
    log(&method, &route, response.status(), started.elapsed());
    response
}

pub(super) fn log(method: &Method, route: &str, status: StatusCode, took: Duration) {
    let (status_code, milliseconds) = (status.as_u16(), took.as_millis());
    if PROBES.contains(&route) && !status.is_server_error() {
        tracing::debug!(%method, route, status = status_code, milliseconds, "answered");
    } else {
        tracing::info!(%method, route, status = status_code, milliseconds, "answered");
    }
}

/// An error is a problem document with the request's id, also one that a library wrote as plain text.
async fn as_problem(response: Response, id: &str) -> Response {
    let status = response.status();
    if !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    match kind(response.headers()) {
        "application/problem+json" => with_request_id(response, id).await,
        "" | "text/plain" => Box::pin(with_request_id(translated(response).await, id)).await,
        _ => response,
    }
}

fn kind(headers: &HeaderMap) -> &str {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.split(';').next().unwrap_or_default().trim()
}

/// What a library refused, in our words: an id in a path that is none names nothing.
async fn translated(response: Response) -> Response {
    let status = response.status();
    let (parts, body) = response.into_parts();
    let said = axum::body::to_bytes(body, MAX_PROBLEM).await.unwrap_or_default();
    let said = String::from_utf8_lossy(&said);
    let error = match status {
        StatusCode::BAD_REQUEST if said.starts_with("Invalid URL") => ApiError::not_found("thing"),
        StatusCode::INTERNAL_SERVER_ERROR => {
            tracing::error!(error = %said, "a request failed outside its handler");
            ApiError::new(status, "internal", super::error::OUR_FAULT)
        }
        status => {
            let detail = if said.is_empty() { status.canonical_reason().unwrap_or("refused") } else { &said };
            ApiError::new(status, "refused_request", detail)
        }
    };
    let mut answer = error.into_response();
    for (name, value) in &parts.headers {
        if name != header::CONTENT_TYPE && name != header::CONTENT_LENGTH {
            answer.headers_mut().append(name, value.clone());
        }
    }
    answer
}

async fn with_request_id(response: Response, id: &str) -> Response {
    let (mut parts, body) = response.into_parts();
    let Ok(bytes) = axum::body::to_bytes(body, MAX_PROBLEM).await else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let mut problem: serde_json::Value = serde_json::from_slice(&bytes).unwrap_or_default();
    if let Some(problem) = problem.as_object_mut() {
        problem.insert("request_id".into(), id.into());
    }
    parts.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(parts, problem.to_string().into())
}

/// A handler that panicked is our fault like any other: logged once, told without its words.
#[expect(clippy::needless_pass_by_value, reason = "the layer hands the panic over")]
pub(super) fn panicked(panic: Box<dyn Any + Send>) -> Response {
    let said = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no text");
    tracing::error!(panic = said, "a request's handler panicked");
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", super::error::OUR_FAULT).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::{Router, body::Body, extract::Path, middleware, routing::get};
    use std::sync::{Arc, Mutex};
    use tower::ServiceExt;
    use tower_http::{
        catch_panic::CatchPanicLayer,
        request_id::{MakeRequestUuid, SetRequestIdLayer},
    };

    /// What was logged, as text.
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    async fn breaks() -> &'static str {
        panic!("a secret of the handler")
    }

    async fn ask(path: &str) -> (StatusCode, serde_json::Value, String) {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt().json().with_writer(move || writer.clone()).finish();
        let router: Router = Router::new()
            .route("/breaks", get(breaks))
            .route("/things/{id}", get(|Path(id): Path<uuid::Uuid>| async move { id.to_string() }))
            .layer(CatchPanicLayer::custom(panicked))
            .layer(middleware::from_fn(finish))
            .layer(SetRequestIdLayer::x_request_id(MakeRequestUuid));
        let request = axum::http::Request::get(path).header("x-request-id", "id-of-the-test");
        let guard = tracing::subscriber::set_default(subscriber);
        let response = router.oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        drop(guard);
        let status = response.status();
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
        let bytes = axum::body::to_bytes(response.into_body(), 10_000).await.unwrap();
        let logged = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        (status, serde_json::from_slice(&bytes).unwrap(), logged)
    }

    #[tokio::test]
    async fn a_panic_is_a_problem_whose_request_id_leads_to_its_line_in_the_log() {
        let (status, problem, logged) = ask("/breaks").await;

        assert_eq!((status, &problem["code"]), (StatusCode::INTERNAL_SERVER_ERROR, &"internal".into()));
        assert_eq!(problem["request_id"], "id-of-the-test");
        assert!(!problem.to_string().contains("secret"), "{problem}");
        let line = logged.lines().find(|line| line.contains("a secret of the handler")).unwrap();
        assert!(line.contains("id-of-the-test"), "{line}");
    }

    #[tokio::test]
    async fn an_id_that_is_none_names_nothing_and_every_request_is_one_line_with_its_id() {
        let (status, problem, logged) = ask("/things/no-id").await;

        assert_eq!((status, &problem["code"]), (StatusCode::NOT_FOUND, &"not_found".into()));
        assert_eq!(problem["request_id"], "id-of-the-test");
        let lines: Vec<&str> = logged.lines().filter(|line| line.contains("answered")).collect();
        assert_eq!(lines.len(), 1, "{logged}");
        for part in ["id-of-the-test", "/things/{id}", "404"] {
            assert!(lines[0].contains(part), "{}", lines[0]);
        }
        assert!(!logged.contains("no-id"), "the path itself is not logged: {logged}");
    }
}
