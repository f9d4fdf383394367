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

#[tokio::test]
async fn a_missing_asset_is_not_found_and_never_the_index() {
    let app = TestApp::start().await;
    let (status, problem) = app.send(Method::GET, "/assets/of-an-older-version.js", None, None).await;
    assert_eq!((status, problem["code"].as_str()), (StatusCode::NOT_FOUND, Some("not_found")));
}
