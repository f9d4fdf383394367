//! Somebody who works on a project over REST.

use crate::support::TestApp;
use axum::http::{Method, StatusCode};
use serde_json::{Value, json};

/// Maria at her project.
pub struct Desk {
    pub app: TestApp,
    pub token: String,
    pub project: String,
}

impl Desk {
    pub async fn open() -> Self {
        let app = TestApp::start().await;
        let token = app.user("maria").await;
        let project = app.project(&token).await;
        Self { app, token, project }
    }

    pub fn path(&self, rest: &str) -> String {
        format!("/api/v1/projects/{}{rest}", self.project)
    }

    pub async fn get(&self, rest: &str) -> (StatusCode, Value) {
        self.app.get(&self.path(rest), &self.token).await
    }

    pub async fn post(&self, rest: &str, body: Value) -> (StatusCode, Value) {
        self.app.post(&self.path(rest), &self.token, body).await
    }

    pub async fn story(&self, title: &str) -> String {
        let (status, story) = self.post("/stories", json!({ "title": title })).await;
        assert_eq!(status, StatusCode::CREATED, "{story}");
        story["id"].as_str().unwrap().to_owned()
    }

    pub async fn post_with_key(&self, rest: &str, key: &str, body: Value) -> (StatusCode, Value) {
        self.app.post_once(&self.path(rest), &self.token, key, body).await
    }

    pub async fn patch(&self, rest: &str, body: Value) -> (StatusCode, Value) {
        self.app.send(Method::PATCH, &self.path(rest), Some(&self.token), Some(body)).await
    }

    /// How much is done without asking.
    pub async fn autonomy(&self, level: &str) {
        let (status, project) = self.patch("", json!({ "autonomy": level })).await;
        assert_eq!(status, StatusCode::OK, "{project}");
    }
}
