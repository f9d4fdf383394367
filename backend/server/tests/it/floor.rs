//! The floor: errors, health of the database, what a stranger sees.

use crate::support::TestApp;
use axum::{
    http::{Method, StatusCode},
    response::IntoResponse,
};
use sqlx::{Connection, PgConnection, postgres::PgPoolOptions};
use std::time::Duration;
use syndarix::{db, http::ApiError};

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
async fn a_full_disk_is_said_to_be_one() {
    let app = TestApp::start().await;
    // What PostgreSQL says when a file cannot grow.
    let full = "do $$ begin raise exception 'could not extend file' using errcode = 'disk_full'; end $$";
    let error = sqlx::query(full).execute(app.app.pool()).await.unwrap_err();
    let answer = ApiError::from(error).into_response();
    assert_eq!(answer.status(), StatusCode::INSUFFICIENT_STORAGE);
    let body = axum::body::to_bytes(answer.into_body(), 10_000).await.unwrap();
    let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(problem["code"], "disk_full", "{problem}");
}

#[tokio::test]
async fn a_missing_asset_is_not_found_and_never_the_index() {
    let app = TestApp::start().await;
    let (status, problem) = app.send(Method::GET, "/assets/of-an-older-version.js", None, None).await;
    assert_eq!((status, problem["code"].as_str()), (StatusCode::NOT_FOUND, Some("not_found")));
}

#[tokio::test]
async fn a_migration_may_wait_longer_than_any_statement_of_ours() {
    let app = TestApp::start().await;
    let options = app.app.pool().connect_options().as_ref().clone();
    let mut other = PgConnection::connect_with(&options).await.unwrap();
    let mut migrating = other.begin().await.unwrap();
    sqlx::query("lock table _sqlx_migrations").execute(&mut *migrating).await.unwrap();
    let limited = PgPoolOptions::new().connect_lazy_with(options.options([("statement_timeout", "100ms")]));
    let waiting = tokio::task::spawn(async move { db::migrate(&limited).await });
    let looked = tokio::time::timeout(Duration::from_secs(1), async {
        while !waiting.is_finished() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    assert!(looked.await.is_err(), "it waits, ten times the limit long");
    migrating.rollback().await.unwrap();
    waiting.await.unwrap().unwrap();
}
