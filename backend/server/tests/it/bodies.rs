//! What bodies, queries and paths may hold: a mistake is named by its field, and never taken for silence.

use crate::support::TestApp;
use axum::http::{Method, StatusCode};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use syndarix::http;

/// An id of nothing.
const NOTHING: &str = "01935f4e-0000-7000-8000-000000000001";
/// Objects of any shape by nature.
const OPEN: &[(&str, &str)] = &[("Login", "OAuth clients send `grant_type` and more with the password form")];

struct Operation {
    method: Method,
    path: String,
    id: String,
    body: Value,
}

fn document() -> Value {
    serde_json::to_value(http::openapi()).unwrap()
}

/// Every operation that takes a body, with the schema of that body.
fn with_bodies(document: &Value) -> Vec<Operation> {
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let Some(content) = operation["requestBody"]["content"].as_object() else { continue };
            let body = content.values().next().unwrap()["schema"].clone();
            let id = operation["operationId"].as_str().unwrap().to_owned();
            found.push(Operation {
                method: method.to_uppercase().parse().unwrap(),
                path: path.clone(),
                id,
                body,
            });
        }
    }
    found
}

fn filled(path: &str, project: &str) -> String {
    let parts = path.split('/').map(|part| match part {
        "{project_id}" => project,
        "{number}" => "1",
        part if part.starts_with('{') => NOTHING,
        part => part,
    });
    parts.collect::<Vec<_>>().join("/")
}

/// Collects the named objects below a schema that take fields of any name.
fn open_objects(
    document: &Value,
    schema: &Value,
    name: &str,
    seen: &mut BTreeSet<String>,
    found: &mut Vec<String>,
) {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.rsplit('/').next().unwrap().to_owned();
        if seen.insert(name.clone()) {
            open_objects(document, &document["components"]["schemas"][&name], &name, seen, found);
        }
        return;
    }
    if let Some(properties) = schema["properties"].as_object() {
        if schema["additionalProperties"] != json!(false) && !OPEN.iter().any(|(open, _)| *open == name) {
            found.push(name.to_owned());
        }
        for property in properties.values() {
            open_objects(document, property, name, seen, found);
        }
    }
    open_objects_of_list(document, &schema["items"], name, seen, found);
    for several in ["oneOf", "anyOf", "allOf"] {
        for one in schema[several].as_array().into_iter().flatten() {
            open_objects(document, one, name, seen, found);
        }
    }
}

fn open_objects_of_list(
    document: &Value,
    items: &Value,
    name: &str,
    seen: &mut BTreeSet<String>,
    found: &mut Vec<String>,
) {
    if items.is_object() {
        open_objects(document, items, name, seen, found);
    }
}

#[test]
fn every_object_in_a_request_says_that_it_takes_no_other_fields() {
    let document = document();
    let (mut seen, mut found) = (BTreeSet::new(), Vec::new());

    for operation in with_bodies(&document) {
        open_objects(&document, &operation.body, &operation.id, &mut seen, &mut found);
    }

    assert!(seen.len() > 20, "{seen:?}");
    assert!(found.is_empty(), "add #[serde(deny_unknown_fields)] to: {found:?}");
}

/// The operations that take one of these bodies, or refuse it for something else than this field.
async fn not_refused(bodies: &[Value], field: &str) -> Vec<String> {
    let app = TestApp::start().await;
    let maria = app.user("maria").await;
    let project = app.project(&maria).await;
    let mut failures = Vec::new();
    for operation in with_bodies(&document()) {
        if operation.id == "login" {
            continue;
        }
        let path = filled(&operation.path, &project);
        for body in bodies {
            let (status, problem) =
                app.send(operation.method.clone(), &path, Some(&maria), Some(body.clone())).await;
            if status != StatusCode::UNPROCESSABLE_ENTITY || problem["errors"][0]["field"] != field {
                failures.push(format!("{} of {body}: {status} {problem}", operation.id));
            }
        }
    }
    failures
}

#[tokio::test]
async fn a_misspelt_field_is_refused_by_every_operation() {
    let failures = not_refused(&[json!({ "surprise": 1 })], "surprise").await;
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[tokio::test]
async fn a_list_is_refused_by_every_operation_that_takes_an_object() {
    let failures = not_refused(&[json!([]), json!(["a reason"])], "body").await;
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[tokio::test]
async fn a_budget_without_its_limit_takes_no_limit_away() {
    let app = TestApp::start().await;
    let maria = app.user("maria").await;
    let path = format!("/api/v1/projects/{}/budget", app.project(&maria).await);
    let put = async |body: Value| app.send(Method::PUT, &path, Some(&maria), Some(body)).await;
    assert_eq!(put(json!({ "hard_limit_micro_usd": 5_000_000 })).await.0, StatusCode::OK);

    for body in [json!({}), json!({ "hard_limit": 1 }), json!({ "soft_limit_micro_usd": 1 })] {
        let (status, problem) = put(body).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{problem}");
    }

    assert_eq!(app.get(&path, &maria).await.1["hard_limit_micro_usd"], 5_000_000);
    let (status, budget) = put(json!({ "hard_limit_micro_usd": null })).await;
    assert_eq!((status, &budget["hard_limit_micro_usd"]), (StatusCode::OK, &Value::Null));
}

#[tokio::test]
async fn a_field_of_the_wrong_shape_is_named_by_its_path() {
    let app = TestApp::start().await;
    let maria = app.user("maria").await;
    let project = app.project(&maria).await;
    let repository = json!({ "organisation_id": NOTHING, "name": "x", "repository": { "source": 7 } });
    for (path, body, field) in [
        ("/api/v1/projects".to_owned(), repository, "repository.source"),
        (format!("/api/v1/projects/{project}/stories"), json!({ "title": 7 }), "title"),
        (format!("/api/v1/projects/{project}/stories"), json!({}), "title"),
        (format!("/api/v1/projects/{project}/stories/{NOTHING}/move"), json!({}), "sprint_id"),
    ] {
        let (status, problem) = app.post(&path, &maria, body).await;
        assert_eq!((status, &problem["code"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!("invalid")));
        assert_eq!(problem["errors"][0]["field"], field, "{problem}");
    }
}

#[tokio::test]
async fn a_text_with_a_nul_is_refused_by_its_field_wherever_it_stands() {
    let app = TestApp::start().await;
    let maria = app.user("maria").await;
    let project = format!("/api/v1/projects/{}", app.project(&maria).await);
    for (path, body, field) in [
        (format!("{project}/stories"), json!({ "title": "a\0b" }), "title"),
        (format!("{project}/messages"), json!({ "content": { "deep": ["x", "\0"] } }), "content.deep.1"),
        (format!("{project}/messages"), json!({ "content": { "k\0": 1 } }), "content.k\u{fffd}"),
    ] {
        let (status, problem) = app.post(&path, &maria, body).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{path}: {problem}");
        assert_eq!(problem["errors"][0]["field"], field, "{problem}");
    }
    let (status, problem) = app.get(&format!("{project}/audit?q=a%00b"), &maria).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{problem}");
    assert_eq!(problem["errors"][0]["field"], "q");
    let (status, _) = app.get(&format!("{project}/documents/a%00b"), &maria).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let harmless = json!({ "title": "the text \\u0000 written out" });
    assert_eq!(app.post(&format!("{project}/stories"), &maria, harmless).await.0, StatusCode::CREATED);
}

#[tokio::test]
async fn what_the_database_cannot_keep_is_the_callers_mistake() {
    let app = TestApp::start().await;
    for sql in ["select '\"\\u0000\"'::jsonb ->> 0", "select convert_from('\\x00'::bytea, 'UTF8')"] {
        let error = sqlx::query(sql).fetch_one(app.app.pool()).await.unwrap_err();
        assert_eq!(http::ApiError::from(error).status(), StatusCode::UNPROCESSABLE_ENTITY, "{sql}");
    }
}

#[tokio::test]
async fn every_error_of_every_operation_is_described_as_a_problem_and_an_id_that_is_none_is_not_found() {
    let app = TestApp::start().await;
    let maria = app.user("maria").await;
    let project = app.project(&maria).await;
    let document = document();
    assert!(document["components"]["schemas"]["Problem"]["properties"]["request_id"].is_object());
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let described = &operation["responses"]["default"]["content"]["application/problem+json"];
            assert!(described.is_object(), "{method} {path}");
        }
        let Some(before) = path.strip_suffix("_id}").and_then(|path| path.rsplit_once('/')) else { continue };
        let path = filled(&format!("{}/no-id", before.0), &project);
        if item.get("get").is_some() {
            let (status, problem) = app.get(&path, &maria).await;
            assert_eq!((status, &problem["code"]), (StatusCode::NOT_FOUND, &json!("not_found")), "{path}");
            assert!(problem["request_id"].is_string(), "{path}: {problem}");
        }
    }
}
