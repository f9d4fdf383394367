//! What a stranger sees of somebody else's project: nothing, anywhere.

use crate::{seed::project_of, support::TestApp};
use axum::http::{Method, StatusCode};
use serde_json::{Value, json};
use syndarix::http;

/// A project id in a path.
pub(crate) const PROJECT: &str = "{project_id}";

/// Tables that hold nothing of a tenant, or hold it by another column.
const NO_PROJECT: &[(&str, &str)] = &[
    ("instance_secret", "the installation's own keys"),
    ("organisation", "is the tenant"),
    ("app_user", "people belong to organisations"),
    ("membership", "by organisation"),
    ("session", "by person"),
    ("login_attempt", "by a hash, before anybody is signed in"),
    ("project", "is what the others name"),
    ("idempotency", "by caller and path"),
    ("audit_entry", "by chain, which is the project"),
    ("audit_seal", "by chain, which is the project"),
    ("audit_block", "by chain, which is the project"),
    ("audit_cursor", "one row, no content"),
    ("audit_head", "by chain, which is the project"),
    ("audit_held", "by chain, which is the project"),
    ("audit_verification", "by chain, which is the project"),
    ("budget_window", "by budget"),
    ("usage_hour_until", "one row, no content"),
    ("reservation_holder", "processes"),
    ("worker", "processes"),
    ("leader_lease", "processes"),
    ("job_rate", "by what is limited, whosever it is"),
    ("agent_type", "by organisation"),
    ("model_group", "by organisation"),
    ("model_provider", "by organisation"),
    ("agent_type_version", "by agent type"),
    ("_sqlx_migrations", "the schema's own history"),
];

/// What the document says of an operation.
#[derive(Debug)]
pub(crate) struct Operation {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) id: String,
    /// It takes a body.
    pub(crate) with_body: bool,
    /// The parameters of its query and the fields of its body that hold an id.
    pub(crate) query_ids: Vec<String>,
    pub(crate) body_ids: Vec<String>,
}

/// Every operation of the document.
pub(crate) fn operations() -> Vec<Operation> {
    let document = serde_json::to_value(http::openapi()).unwrap();
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in ["get", "put", "post", "patch", "delete"] {
            if let Some(operation) = item.get(method) {
                found.push(read(&document, operation, (method, path)));
            }
        }
    }
    found
}

fn read(document: &Value, operation: &Value, (method, path): (&str, &str)) -> Operation {
    let is_id = |schema: &Value| schema["format"] == "uuid";
    let parameters = operation["parameters"].as_array().into_iter().flatten();
    let in_query = parameters.filter(|one| one["in"] == "query" && is_id(&one["schema"]));
    let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
    let named = schema["$ref"].as_str().and_then(|name| document.pointer(name.trim_start_matches('#')));
    let fields = named.unwrap_or(schema)["properties"].as_object().into_iter().flatten();
    Operation {
        method: method.to_uppercase().parse().unwrap(),
        path: path.to_owned(),
        id: operation["operationId"].as_str().unwrap_or_default().to_owned(),
        with_body: !schema.is_null(),
        query_ids: in_query.map(|one| one["name"].as_str().unwrap().to_owned()).collect(),
        body_ids: fields.filter(|(_, schema)| is_id(schema)).map(|(name, _)| name.clone()).collect(),
    }
}

/// The path with the project's id, and ids of nothing for the rest.
fn filled(path: &str, project: &str) -> String {
    let parts = path.split('/').map(|part| match part {
        PROJECT => project.to_owned(),
        "{number}" => "1".to_owned(),
        part if part.starts_with('{') => "01935f4e-0000-7000-8000-000000000001".to_owned(),
        part => part.to_owned(),
    });
    parts.collect::<Vec<_>>().join("/")
}

fn body_for(method: &Method) -> Option<Value> {
    (*method != Method::GET && *method != Method::DELETE).then(|| json!({}))
}

#[tokio::test]
async fn a_stranger_finds_no_project_behind_any_operation() {
    let app = TestApp::start().await;
    let owner = app.user("maria").await;
    let project = app.project(&owner).await;
    let stranger = app.user("otto").await;
    let below: Vec<_> = operations().into_iter().filter(|one| one.path.contains(PROJECT)).collect();
    assert!(below.len() > 5, "the document lists the operations: {below:?}");
    let mut failures = Vec::new();
    for Operation { method, path, id, .. } in below {
        let path = filled(&path, &project);
        let (status, problem) = app.send(method.clone(), &path, Some(&stranger), body_for(&method)).await;
        // The sentence too: a 404 about a story would mean that the project's door was open.
        let detail = problem["detail"].as_str().unwrap_or_default();
        if status != StatusCode::NOT_FOUND || detail != "there is no project with this id here" {
            failures.push(format!("{method} {path} ({id}): {status} {detail}"));
        }
        let (status, _) = app.send(method.clone(), &path, None, body_for(&method)).await;
        if status != StatusCode::UNAUTHORIZED {
            failures.push(format!("{method} {path} ({id}) without a token: {status}"));
        }
    }
    assert!(
        failures.is_empty(),
        "these operations look at something before the caller's membership; take `ProjectScope` before the body:\n{}",
        failures.join("\n")
    );
}

/// What agents do through their tools: all else that changes something is for people.
const AGENTS_WRITE: &[&str] = &[
    "comment_on_issue",
    "comment_on_pull_request",
    "create_issue",
    "create_pull_request",
    "delete_document",
    "put_document",
    "reindex_knowledge",
    "store_document",
    "update_issue",
];

#[tokio::test]
async fn an_agent_never_decides() {
    let app = TestApp::start().await;
    let seed = project_of(&app, "maria").await;
    let everything = ["git:write", "issues:write", "knowledge-base:write", "filesystem:write", "cicd:write"];
    let token = seed.agent_token_with(&app, "git", &everything);
    let mut failures = Vec::new();
    for Operation { method, path, id, .. } in operations() {
        let is_public = path.contains("/auth/");
        if method == Method::GET || is_public || AGENTS_WRITE.contains(&id.as_str()) {
            continue;
        }
        let path = filled(&path, &seed.project.to_string());
        let (status, answer) = app.send(method.clone(), &path, Some(&token), body_for(&method)).await;
        if status != StatusCode::FORBIDDEN {
            failures.push(format!("{method} {path} ({id}): {status} {answer}"));
        }
    }
    assert!(failures.is_empty(), "an agent gets further than a refusal:\n{}", failures.join("\n"));
}

#[tokio::test]
async fn an_agents_token_is_good_for_what_its_server_does_and_nothing_else() {
    let app = TestApp::start().await;
    let seed = project_of(&app, "maria").await;
    let groups = ["issues", "knowledge/sources", "pull-requests"];
    for (caps, readable, writes_issues) in [
        (&["filesystem:write"][..], [false, false, false], false),
        (&["knowledge-base:read"][..], [false, true, false], false),
        (&["git:read"][..], [false, false, true], false),
        (&["issues:read"][..], [true, false, false], false),
        (&["issues:write"][..], [true, false, false], true),
    ] {
        let token = seed.agent_token_with(&app, "filesystem", caps);
        for (group, may) in groups.iter().zip(readable) {
            let (status, _) = app.get(&seed.path(group), &token).await;
            assert_eq!(status == StatusCode::OK, may, "{caps:?} {group}: {status}");
        }
        let (status, _) = app.post(&seed.path("issues"), &token, json!({ "title": "T" })).await;
        assert_eq!(status == StatusCode::CREATED, writes_issues, "{caps:?}: {status}");
        let (status, _) = app.get(&format!("/api/v1/projects/{}", seed.project), &token).await;
        assert_eq!(status, StatusCode::OK, "{caps:?} reads its own project");
    }
}

#[tokio::test]
async fn an_agents_token_ends_with_its_run_and_with_the_agent() {
    let app = TestApp::start().await;
    let seed = project_of(&app, "maria").await;
    let token = seed.agent_token(&app, "issues");
    let status = async || app.get(&seed.path("issues"), &token).await.0;
    let set = async |sql: &str| {
        sqlx::query(sqlx::AssertSqlSafe(sql)).execute(app.app.pool()).await.unwrap();
    };
    assert_eq!(status().await, StatusCode::OK);
    for phase in ["succeeded", "failed", "stalled", "cancelled"] {
        set(&format!("update run set phase = '{phase}'")).await;
        assert_eq!(status().await, StatusCode::UNAUTHORIZED, "{phase}");
    }
    for (phase, agent, expected) in [
        ("acting", "active", StatusCode::OK),
        ("acting", "terminated", StatusCode::UNAUTHORIZED),
        // It ends the step that it is in, and no more.
        ("acting", "paused", StatusCode::OK),
        ("waiting", "paused", StatusCode::UNAUTHORIZED),
    ] {
        set(&format!("update run set phase = '{phase}'")).await;
        set(&format!("update agent set status = '{agent}'")).await;
        assert_eq!(status().await, expected, "{phase} {agent}");
    }
}

#[tokio::test]
async fn every_operation_has_a_name_of_its_own() {
    let mut names: Vec<String> = operations().into_iter().map(|one| one.id).collect();
    assert!(names.iter().all(|name| !name.is_empty()));
    let all = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), all);
}

#[tokio::test]
async fn every_table_names_its_project_or_is_listed_with_its_reason() {
    let app = TestApp::start().await;
    let without: Vec<String> = sqlx::query_scalar(
        "select t.table_name::text from information_schema.tables t
         where t.table_schema = 'public' and t.table_type = 'BASE TABLE' and not exists (
            select 1 from information_schema.columns c
             where c.table_schema = 'public' and c.table_name = t.table_name and c.column_name = 'project_id')",
    )
    .fetch_all(app.app.pool())
    .await
    .unwrap();
    let unlisted: Vec<_> =
        without.iter().filter(|table| !NO_PROJECT.iter().any(|(name, _)| name == table)).collect();
    assert!(unlisted.is_empty(), "add project_id, or list the table here with its reason: {unlisted:?}");
}
