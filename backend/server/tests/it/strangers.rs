//! A stranger who knows the real ids of everything that another tenant has, and tries every operation with them.
//!
//! The operations are those of the API's document: a new one is tried by itself, and the test says what it has no
//! real id or body for. Whether each request would have got through but for who sent it is what the owner's turn shows.

use crate::{
    support::TestApp,
    tenancy::{Operation, PROJECT, operations},
    tenant::{Tenant, addressed, ask, in_order},
};
use axum::http::{Method, StatusCode};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// The stranger's address.
const STRANGER: &str = "otto@example.org";

/// Ids in bodies that may be anything, as nothing is looked up by them.
const FREE_IDS: &[(&str, &str)] = &[
    ("post_message.conversation_id", "a thread's name is chosen by who writes; threads are read by project"),
    ("post_message.correlation_id", "it is kept beside the message and shown with it"),
];

/// Operations that give or take away what a name of people's own choosing stands for: in one's own project they go well,
/// whoever else uses the same name.
const BY_NAME: &[&str] = &["delete_document", "put_document"];

/// What a read across projects shows a tenant of what is theirs, by its place in a path; or why that is not asked here.
const ACROSS: &[(&str, Result<&str, &str>)] = &[
    ("inbox", Ok("approvals/{approval_id}")),
    ("list_agent_types", Ok("agent-types/{agent_type_id}")),
    ("list_jobs", Ok("jobs/{id}")),
    ("list_organisations", Ok("organisations/{organisation_id}")),
    ("list_projects", Ok("projects/{project_id}")),
    ("me", Ok("projects/{project_id}")),
    ("show_system", Err("it names nothing of a tenant; whose load it counts is proved with the queues")),
    ("stream_my_events", Err("it does not end; whose events it sends is proved with the streams")),
];

/// What is done before anybody is signed in has no stranger.
fn is_signing_in(operation: &Operation) -> bool {
    operation.path.contains("/auth/")
}

/// Operations that name something which belongs to somebody, in the path or in the body.
fn naming() -> Vec<Operation> {
    let names = |one: &Operation| one.path.contains('{') || !one.body_ids.is_empty();
    in_order(operations().into_iter().filter(|one| names(one) && !is_signing_in(one)).collect())
}

fn has_more_than_a_project(operation: &Operation) -> bool {
    operation.path.replace(PROJECT, "").contains('{')
}

/// What is wrong with the test rather than with the server: an operation that it cannot ask for in earnest.
fn gaps(tenant: &Tenant) -> Vec<String> {
    let mut gaps = Vec::new();
    for operation in naming() {
        if let Err(place) = addressed(&operation.path, tenant, tenant) {
            gaps.push(format!(
                "{}: there is no real id for `{place}`; make a row of it in `Tenant::settle` and list its id there",
                operation.id
            ));
        }
        if operation.with_body && tenant.body(&operation.id, STRANGER).is_none() {
            gaps.push(format!(
                "{}: there is no body for it; add one to `Tenant::body` that the owner could send",
                operation.id
            ));
        }
    }
    gaps
}

#[tokio::test]
async fn real_ids_of_another_tenant_lead_nowhere_and_change_nothing() {
    let app = Tenant::app().await;
    let (maria, otto) = Tenant::two(&app).await;
    assert_eq!(gaps(&maria), Vec::<String>::new());
    let before = maria.everything(&app).await;
    assert!(before.values().filter(|rows| !rows.is_empty()).count() > 25, "there is something to lose");
    let mut failures = Vec::new();
    let mut tried = 0;
    for operation in naming() {
        let body = maria.body(&operation.id, STRANGER);
        let mut paths = vec![addressed(&operation.path, &maria, &maria).unwrap()];
        let is_of_a_project = operation.path.contains(PROJECT);
        let by_name = BY_NAME.contains(&operation.id.as_str());
        if is_of_a_project && has_more_than_a_project(&operation) && !by_name {
            paths.push(addressed(&operation.path, &otto, &maria).unwrap());
        }
        for path in paths {
            let (status, answer) = ask(&app, &operation, (&path, &otto.token), body.clone()).await;
            let is_refused =
                status == StatusCode::NOT_FOUND || (status == StatusCode::FORBIDDEN && !is_of_a_project);
            tried += 1;
            if !is_refused {
                failures.push(format!("{} {path} ({}): {status} {answer}", operation.method, operation.id));
            }
        }
    }
    for operation in naming().into_iter().filter(|one| BY_NAME.contains(&one.id.as_str())) {
        let path = addressed(&operation.path, &otto, &maria).unwrap();
        let body = maria.body(&operation.id, STRANGER);
        let (status, answer) = ask(&app, &operation, (&path, &otto.token), body).await;
        assert!(status.is_success(), "{}: {status} {answer}", operation.id);
    }
    assert!(failures.is_empty(), "a stranger gets through with real ids:\n{}", failures.join("\n"));
    assert!(tried > 90, "{tried} requests");
    assert_unchanged(&app, &maria, &before).await;
}

#[tokio::test]
async fn what_is_ones_own_takes_in_nothing_of_another_tenant() {
    let app = Tenant::app().await;
    let (maria, otto) = Tenant::two(&app).await;
    let before = maria.everything(&app).await;
    let mut failures = Vec::new();
    let mut tried = 0;
    let taking = |one: &Operation| one.path.contains(PROJECT) && one.with_body;
    for operation in naming().into_iter().filter(taking) {
        let path = addressed(&operation.path, &otto, &otto).unwrap();
        let body = maria.body(&operation.id, STRANGER).unwrap();
        for field in fields_with_ids(&operation, &maria, &body) {
            if FREE_IDS.iter().any(|(free, _)| *free == format!("{}.{field}", operation.id)) {
                continue;
            }
            // The rest is his own, so that only this one id can be what is wrong.
            let mut mixed = otto.body(&operation.id, STRANGER).unwrap();
            let Some(foreign) = body.get(&field) else {
                failures.push(format!("{}: `Tenant::body` says nothing of `{field}`", operation.id));
                continue;
            };
            mixed[&field] = foreign.clone();
            let (status, answer) = ask(&app, &operation, (&path, &otto.token), Some(mixed)).await;
            tried += 1;
            if !matches!(status, StatusCode::NOT_FOUND | StatusCode::UNPROCESSABLE_ENTITY) {
                failures.push(format!("{} with a foreign {field}: {status} {answer}", operation.id));
            }
        }
    }
    assert!(failures.is_empty(), "ids of another tenant are taken:\n{}", failures.join("\n"));
    assert!(tried >= 7, "{tried} requests");
    assert_unchanged(&app, &maria, &before).await;
}

#[tokio::test]
async fn the_owner_gets_through_with_the_same_requests() {
    let app = Tenant::app().await;
    let (mut maria, _) = Tenant::two(&app).await;
    let mut failures = Vec::new();
    for operation in naming() {
        // One is redriven and another purged.
        maria.bury(&app).await;
        let path = addressed(&operation.path, &maria, &maria).unwrap();
        let body = maria.body(&operation.id, STRANGER);
        let (status, answer) = ask(&app, &operation, (&path, &maria.token), body).await;
        // A command can come too late for the state that the ones before it left.
        let is_let_through =
            status.is_success() || (status == StatusCode::CONFLICT && operation.method != Method::GET);
        if !is_let_through {
            failures.push(format!("{} {path} ({}): {status} {answer}", operation.method, operation.id));
        }
    }
    assert!(
        failures.is_empty(),
        "these requests prove nothing about strangers, as the owner gets nowhere with them either:\n{}",
        failures.join("\n")
    );
}

#[tokio::test]
async fn what_is_read_across_projects_shows_everybody_their_own() {
    let app = Tenant::app().await;
    let (maria, otto) = Tenant::two(&app).await;
    let across = |one: &Operation| one.method == Method::GET && !one.path.contains('{');
    for operation in operations().into_iter().filter(across) {
        let shown = ACROSS.iter().find(|(name, _)| *name == operation.id).map(|(_, shown)| *shown);
        let shown = shown.unwrap_or_else(|| panic!("say in ACROSS what {} shows of a tenant", operation.id));
        let (status, _) = app.send(Method::GET, &operation.path, None, None).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{} without a token", operation.id);
        let Ok(place) = shown else { continue };
        for (who, other) in [(&maria, &otto), (&otto, &maria)] {
            let (status, answer) = app.get(&operation.path, &who.token).await;
            assert_eq!(status, StatusCode::OK, "{}: {answer}", operation.id);
            let answer = answer.to_string();
            assert!(answer.contains(&who.id(place)), "{} of {}: {answer}", operation.id, who.name);
            assert!(!answer.contains(&other.id(place)), "{} of {}: {answer}", operation.id, who.name);
            assert!(!answer.contains(&other.project.to_string()), "{} of {}", operation.id, who.name);
        }
    }
}

#[tokio::test]
async fn a_filter_by_an_id_of_another_tenant_finds_nothing() {
    let app = Tenant::app().await;
    let (maria, otto) = Tenant::two(&app).await;
    let mut tried = 0;
    for operation in operations().into_iter().filter(|one| one.method == Method::GET) {
        for name in &operation.query_ids {
            let place = match name.as_str() {
                "project_id" => "projects/{project_id}",
                "sprint_id" => "sprints/{sprint_id}",
                // A story is a conversation too.
                "story_id" | "conversation_id" => "stories/{story_id}",
                "agent_id" => "agents/{agent_id}",
                "run_id" => "runs/{run_id}",
                "call_id" => "calls/{call_id}",
                other => panic!("say here what the parameter {other} of {} names", operation.id),
            };
            let path = addressed(&operation.path, &otto, &otto).unwrap();
            let path = format!("{path}?{name}={}", maria.id(place));
            let (status, answer) = app.get(&path, &otto.token).await;
            tried += 1;
            // Of an inbox inside a project the path says which project; the parameter is the other inbox's.
            if operation.path.contains(PROJECT) && name == "project_id" {
                assert!(
                    !answer.to_string().contains(&maria.id("approvals/{approval_id}")),
                    "{path}: {answer}"
                );
                continue;
            }
            let is_empty = answer["items"].as_array().is_some_and(Vec::is_empty);
            assert!(
                status == StatusCode::NOT_FOUND || (status == StatusCode::OK && is_empty),
                "{path}: {answer}"
            );
        }
    }
    assert!(tried >= 7, "{tried} requests");
}

/// The fields that the document calls ids, and those that hold one all the same.
fn fields_with_ids(operation: &Operation, tenant: &Tenant, body: &Value) -> BTreeSet<String> {
    let held = body.as_object().unwrap().iter().filter(|(_, value)| tenant.has_id(value));
    operation.body_ids.iter().cloned().chain(held.map(|(name, _)| name.clone())).collect()
}

async fn assert_unchanged(app: &TestApp, tenant: &Tenant, before: &BTreeMap<String, Vec<String>>) {
    let after = tenant.everything(app).await;
    for (table, rows) in before {
        assert_eq!(rows, &after[table], "{table} of {} was changed by a stranger", tenant.name);
    }
}
