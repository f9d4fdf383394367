//! The floor: errors, health of the database, what a stranger sees.

use crate::support::TestApp;
use axum::http::{Method, StatusCode};

#[tokio::test]
async fn an_unknown_endpoint_is_a_problem_document_with_a_request_id() {
    let app = TestApp::start().await;
    let (status, problem) = app.send(Method::GET, "/api/v1/nowhere", None, None).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert_eq!(problem["code"], "not_found");
    assert_eq!(problem["status"], 404);
    assert!(!problem["request_id"].as_str().unwrap_or_default().is_empty(), "{problem}");
}
