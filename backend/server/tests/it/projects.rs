//! Projects: made with everything they need, their repository brought, their settings changed.

use crate::support::TestApp;
use axum::http::{Method, StatusCode};
use serde_json::{Value, json};
use std::{path::Path, process::Command};
use syndarix::{
    db::Author,
    features::projects::{NewProject, Source, create},
};
use syndarix_domain::{
    actor::Actor,
    ids::{OrganisationId, ProjectId, UserId},
    money::MicroUsd,
    policy::Autonomy,
};
use uuid::Uuid;

fn git(dir: &Path, args: &[&str]) {
    let done = Command::new("git").current_dir(dir).args(args).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

/// A repository with one commit on `trunk`.
fn repository() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    git(dir.path(), &["init", "--initial-branch=trunk"]);
    std::fs::write(dir.path().join("parser.py"), "def parse(): ...\n").unwrap();
    git(dir.path(), &["add", "."]);
    let author = ["-c", "user.name=Maria", "-c", "user.email=maria@example.org"];
    git(dir.path(), &[&author[..], &["commit", "--no-gpg-sign", "-m", "Parse"]].concat());
    dir
}

async fn organisation(app: &TestApp, token: &str) -> String {
    let (_, list) = app.get("/api/v1/organisations", token).await;
    list["items"][0]["id"].as_str().unwrap().to_owned()
}

async fn post_project(app: &TestApp, token: &str, repository: Value) -> (StatusCode, Value) {
    let body = json!({
        "organisation_id": organisation(app, token).await, "name": "Parser", "repository": repository,
    });
    app.post("/api/v1/projects", token, body).await
}

async fn read(app: &TestApp, token: &str, project: &Value) -> Value {
    let (status, view) =
        app.get(&format!("/api/v1/projects/{}", project["id"].as_str().unwrap()), token).await;
    assert_eq!(status, StatusCode::OK, "{view}");
    view
}

async fn events(app: &TestApp, project: &Value) -> Vec<(String, Value)> {
    let id: Uuid = project["id"].as_str().unwrap().parse().unwrap();
    sqlx::query_as("select type, data from event where project_id = $1 order by seq")
        .bind(id)
        .fetch_all(app.app.pool())
        .await
        .unwrap()
}

fn types(events: &[(String, Value)]) -> Vec<&str> {
    events.iter().map(|(name, _)| name.as_str()).collect()
}

#[tokio::test]
async fn an_empty_project_begins_with_a_readme_and_everything_it_counts_by() {
    let app = TestApp::start().await;
    let maria = app.user("maria").await;
    let (status, project) = post_project(&app, &maria, json!({ "source": "empty" })).await;
    assert_eq!(status, StatusCode::CREATED, "{project}");
    assert_eq!(project["repository"]["state"], "importing");
    app.run_jobs().await;
    let project = read(&app, &maria, &project).await;
    assert_eq!(project["repository"], json!({ "state": "ready", "detail": null, "location": null }));
    assert_eq!((&project["role"], &project["autonomy"]), (&json!("admin"), &json!("milestone")));
    assert_eq!(project["confidence_threshold"], 0.85);
    assert_eq!(project["default_branch"], "main");
    assert_eq!(project["counts"], json!({ "stories_open": 0, "approvals_pending": 0, "agents": 0 }));
    assert_eq!(project["budget"]["hard_limit_micro_usd"], Value::Null);
    let seen = events(&app, &project).await;
    assert_eq!(types(&seen), ["project.created", "project.repository_ready"]);
    let counters: i64 = sqlx::query_scalar("select count(*) from counter where value = 0")
        .fetch_one(app.app.pool())
        .await
        .unwrap();
    assert_eq!(counters, 3);
    let id = project["id"].as_str().unwrap().parse().unwrap();
    let head = app.app.forge.info(id).await.unwrap().head;
    let tree = app.app.forge.tree(id, &head).await.unwrap();
    assert_eq!(tree.len(), 1);
}

async fn allowing(roots: &[&std::path::Path]) -> TestApp {
    let roots = roots.iter().map(|root| root.display().to_string()).collect();
    TestApp::start_with(|config| config.import_from = roots).await
}

#[tokio::test]
async fn only_directories_that_the_operator_named_are_imported_and_never_the_data_directory() {
    let (named, other) = (repository(), repository());
    let app = allowing(&[named.path(), "/var".as_ref()]).await;
    let maria = app.user("maria").await;
    let inside = app.app.config.data_dir.join("mail");
    std::fs::create_dir_all(&inside).unwrap();
    let way_out = named.path().join("way-out");
    std::os::unix::fs::symlink(other.path(), &way_out).unwrap();
    for refused in [other.path(), &inside, &way_out, "/etc".as_ref(), "/nowhere/at/all".as_ref()] {
        let (status, problem) =
            post_project(&app, &maria, json!({ "source": "path", "location": refused })).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{refused:?}: {problem}");
        let message = problem["errors"][0]["message"].as_str().unwrap_or_default();
        assert!(message.contains("SYNDARIX_IMPORT_FROM"), "{refused:?}: {problem}");
    }
    let (status, problem) =
        post_project(&app, &maria, json!({ "source": "path", "location": named.path() })).await;
    assert_eq!(status, StatusCode::CREATED, "{problem}");
    app.run_jobs().await;
}

#[tokio::test]
async fn a_host_of_a_private_network_is_asked_only_if_the_operator_named_it() {
    for (named, asked) in [(Vec::new(), false), (vec!["localhost".to_owned()], true)] {
        let app = TestApp::start_with(|config| config.import_from = named).await;
        let maria = app.user("maria").await;
        let source = json!({ "source": "url", "location": "https://localhost:1/x.git" });
        let (_, project) = post_project(&app, &maria, source).await;
        app.run_jobs().await;
        let view = read(&app, &maria, &project).await;
        assert_eq!(view["repository"]["state"], "failed", "{view}");
        let detail = view["repository"]["detail"].as_str().unwrap();
        assert_eq!(detail.contains("private network"), !asked, "{detail}");
    }
}

#[tokio::test]
async fn a_repository_on_this_machine_is_imported_with_its_own_default_branch() {
    let source = repository();
    let app = allowing(&[source.path()]).await;
    let maria = app.user("maria").await;
    let location = source.path().canonicalize().unwrap();
    let (status, project) =
        post_project(&app, &maria, json!({ "source": "path", "location": location })).await;
    assert_eq!(status, StatusCode::CREATED, "{project}");
    app.run_jobs().await;
    let project = read(&app, &maria, &project).await;
    assert_eq!(project["repository"]["state"], "ready", "{project}");
    assert_eq!(project["repository"]["location"], json!(location));
    assert_eq!(project["default_branch"], "trunk");
}

#[tokio::test]
async fn a_repository_that_cannot_be_read_is_told_and_tried_again_from_elsewhere() {
    let (nothing, source) = (tempfile::tempdir().unwrap(), repository());
    let app = allowing(&[nothing.path(), source.path()]).await;
    let maria = app.user("maria").await;
    let (_, project) =
        post_project(&app, &maria, json!({ "source": "path", "location": nothing.path() })).await;
    app.run_jobs().await;
    let failed = read(&app, &maria, &project).await;
    assert_eq!(failed["repository"]["state"], "failed");
    let detail = failed["repository"]["detail"].as_str().unwrap();
    assert!(detail.contains("could not be read"), "{detail}");
    let retry = format!("/api/v1/projects/{}/repository/retry", project["id"].as_str().unwrap());
    let (status, again) = app.post(&retry, &maria, json!({})).await;
    assert_eq!((status, &again["repository"]["state"]), (StatusCode::OK, &json!("importing")));
    let (status, problem) = app.post(&retry, &maria, json!({})).await;
    assert_eq!((status, &problem["code"]), (StatusCode::CONFLICT, &json!("repository_not_failed")));
    app.run_jobs().await;
    let body = json!({ "repository": { "source": "path", "location": source.path() } });
    let (status, _) = app.post(&retry, &maria, body).await;
    assert_eq!(status, StatusCode::OK);
    app.run_jobs().await;
    assert_eq!(read(&app, &maria, &project).await["repository"]["state"], "ready");
    let seen = events(&app, &project).await;
    let failures = types(&seen).iter().filter(|name| **name == "project.repository_failed").count();
    assert_eq!(failures, 2);
}

#[tokio::test]
async fn an_import_whose_job_was_given_up_can_be_tried_again() {
    let app = TestApp::start().await;
    let maria = app.user("maria").await;
    let (_, project) = post_project(&app, &maria, json!({ "source": "empty" })).await;
    let retry = format!("/api/v1/projects/{}/repository/retry", project["id"].as_str().unwrap());
    assert_eq!(app.post(&retry, &maria, json!({})).await.0, StatusCode::CONFLICT, "it is on its way");
    sqlx::query("delete from job").execute(app.app.pool()).await.unwrap();
    assert_eq!(app.post(&retry, &maria, json!({})).await.0, StatusCode::OK);
    app.run_jobs().await;
    assert_eq!(read(&app, &maria, &project).await["repository"]["state"], "ready");
}

#[tokio::test]
async fn a_location_that_cannot_be_one_is_refused_before_anything_is_made() {
    let app = allowing(&["/".as_ref()]).await;
    let maria = app.user("maria").await;
    let own = app.app.config.repositories();
    let wrong = [
        json!({ "source": "url", "location": "ext::sh -c id" }),
        json!({ "source": "url", "location": "http://example.org/x.git" }),
        json!({ "source": "url", "location": "/etc" }),
        json!({ "source": "path", "location": "relative/path" }),
        json!({ "source": "path", "location": "/nowhere/at/all" }),
        json!({ "source": "path", "location": own }),
        json!({ "source": "path" }),
        json!({ "source": "empty", "location": "/tmp" }),
    ];
    for repository in wrong {
        let (status, problem) = post_project(&app, &maria, repository.clone()).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{repository}: {problem}");
        assert_eq!(problem["errors"][0]["field"], "repository.location", "{repository}");
    }
    let (_, list) = app.get("/api/v1/projects", &maria).await;
    assert_eq!(list["items"], json!([]));
}

#[tokio::test]
async fn another_projects_repository_cannot_be_imported_through_a_link() {
    let app = allowing(&["/".as_ref()]).await;
    let (maria, otto) = (app.user("maria").await, app.user("otto").await);
    let victim = app.project(&maria).await;
    let inside = std::fs::read_dir(app.app.config.repositories()).unwrap();
    let bare =
        inside.map(|entry| entry.unwrap().path()).find(|path| path.to_string_lossy().contains(&victim));
    let outside = tempfile::tempdir().unwrap();
    let link = outside.path().join("innocent");
    std::os::unix::fs::symlink(bare.unwrap(), &link).unwrap();
    let (status, problem) = post_project(&app, &otto, json!({ "source": "path", "location": link })).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{problem}");
}

#[tokio::test]
async fn credentials_of_an_address_are_neither_shown_nor_told_nor_audited() {
    let app = TestApp::start().await;
    let maria = app.user("maria").await;
    let location = "https://maria:hunter2hunter2@127.0.0.1:1/x.git";
    let (status, project) =
        post_project(&app, &maria, json!({ "source": "url", "location": location })).await;
    assert_eq!(status, StatusCode::CREATED, "{project}");
    app.run_jobs().await;
    let view = read(&app, &maria, &project).await;
    assert_eq!(view["repository"]["state"], "failed");
    let told: String = sqlx::query_scalar(
        "select concat((select string_agg(e.data::text, '') from event e),
                (select string_agg(encode(a.payload, 'escape'), '') from audit_entry a),
                (select string_agg(j::text, '') from job_dead j), (select string_agg(j::text, '') from job j))",
    )
    .fetch_one(app.app.pool())
    .await
    .unwrap();
    for text in [project.to_string(), view.to_string(), told] {
        assert!(!text.contains("hunter2"), "{text}");
    }
}

#[tokio::test]
async fn the_same_key_makes_one_project() {
    let app = TestApp::start().await;
    let maria = app.user("maria").await;
    let (_, first) = post_project(&app, &maria, json!({ "source": "empty" })).await;
    let (status, problem) = post_project(&app, &maria, json!({ "source": "empty" })).await;
    assert_eq!((status, &problem["code"]), (StatusCode::CONFLICT, &json!("name_taken")));
    assert_eq!(problem["errors"][0]["field"], "name");
    let (_, list) = app.get("/api/v1/projects?limit=1", &maria).await;
    assert_eq!(list["items"].as_array().unwrap().len(), 1);
    assert_eq!(list["items"][0]["id"], first["id"]);
    assert_eq!(list["next_cursor"], Value::Null);
}

#[tokio::test]
async fn nobody_makes_a_project_in_somebody_elses_organisation() {
    let app = TestApp::start().await;
    let (maria, otto) = (app.user("maria").await, app.user("otto").await);
    let body = json!({
        "organisation_id": organisation(&app, &maria).await, "name": "X", "repository": { "source": "empty" },
    });
    assert_eq!(app.post("/api/v1/projects", &otto, body).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_project_is_made_without_http_and_with_a_budget() {
    let app = TestApp::start().await;
    let maria = app.user("maria").await;
    let (_, me) = app.get("/api/v1/me", &maria).await;
    let id = |value: &Value| value["id"].as_str().unwrap().parse::<Uuid>().unwrap();
    let new = NewProject {
        organisation: OrganisationId(id(&me["organisations"][0])),
        creator: UserId(id(&me["user"])),
        name: "Demo".into(),
        source: Source::Empty,
        test_command: Some("python -m pytest".into()),
        autonomy: Autonomy::Autonomous,
        hard_limit: Some(MicroUsd(5_000_000)),
    };
    let author = Author::of(Actor::User(new.creator));
    let ProjectId(project) = create(&app.app, author, new.clone()).await.unwrap();
    let (_, view) = app.get(&format!("/api/v1/projects/{project}"), &maria).await;
    assert_eq!(view["budget"]["hard_limit_micro_usd"], 5_000_000);
    assert_eq!(
        (&view["autonomy"], &view["test_command"]),
        (&json!("autonomous"), &json!("python -m pytest"))
    );
    let empty = NewProject { name: "Other".into(), test_command: Some(" ".into()), ..new };
    assert_eq!(create(&app.app, author, empty).await.unwrap_err().code(), "invalid");
}

#[tokio::test]
async fn settings_change_one_by_one_and_leave_their_trace() {
    let app = TestApp::start().await;
    let maria = app.user("maria").await;
    let project = app.project(&maria).await;
    let path = format!("/api/v1/projects/{project}");
    let change = |body: Value| app.send(Method::PATCH, &path, Some(&maria), Some(body));
    let (status, view) = change(json!({ "autonomy": "full_control", "confidence_threshold": 0.9 })).await;
    assert_eq!(status, StatusCode::OK, "{view}");
    assert_eq!((&view["autonomy"], &view["confidence_threshold"]), (&json!("full_control"), &json!(0.9)));
    let (_, view) = change(json!({ "test_command": "make test", "name": "Renamed" })).await;
    assert_eq!((&view["test_command"], &view["name"]), (&json!("make test"), &json!("Renamed")));
    let (_, view) = change(json!({ "name": "Renamed" })).await;
    assert_eq!(view["test_command"], "make test", "what is left out stays");
    let (_, view) = change(json!({ "test_command": null })).await;
    assert_eq!(view["test_command"], Value::Null);
    for (field, wrong) in
        [("confidence_threshold", json!(1.2)), ("test_command", json!("")), ("name", json!(""))]
    {
        let (status, problem) = change(json!({ field: wrong })).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(problem["errors"][0]["field"], field);
    }
    let audited: Vec<(String, String)> = sqlx::query_as(
        "select type, category from audit_entry where category in ('permission', 'configuration')
         and chain <> '00000000-0000-0000-0000-000000000000' order by ordinal",
    )
    .fetch_all(app.app.pool())
    .await
    .unwrap();
    let expected = [
        ("project.autonomy_changed", "permission"),
        ("project.threshold_changed", "permission"),
        ("project.renamed", "configuration"),
        ("project.test_command_changed", "configuration"),
        ("project.test_command_changed", "configuration"),
    ];
    assert_eq!(audited, expected.map(|(name, category)| (name.to_owned(), category.to_owned())));
}

#[tokio::test]
async fn the_policy_is_replaced_as_a_whole() {
    let app = TestApp::start().await;
    let maria = app.user("maria").await;
    let project = app.project(&maria).await;
    let path = format!("/api/v1/projects/{project}/policy");
    let (_, mut policy) = app.get(&path, &maria).await;
    let merge =
        policy["rows"].as_array().unwrap().iter().position(|row| row["action"] == "pull_request_merge");
    policy["rows"][merge.unwrap()]["milestone"] = "auto".into();
    policy["threshold"] = 0.5.into();
    let (status, stored) = app.send(Method::PUT, &path, Some(&maria), Some(policy.clone())).await;
    assert_eq!(status, StatusCode::OK, "{stored}");
    assert_eq!(stored["rows"][merge.unwrap()]["category"], "routine");
    assert_eq!(app.get(&path, &maria).await.1, stored);
    policy["rows"].as_array_mut().unwrap().pop();
    let (status, problem) = app.send(Method::PUT, &path, Some(&maria), Some(policy)).await;
    assert_eq!((status, &problem["errors"][0]["field"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!("rows")));
}

#[tokio::test]
async fn members_come_and_go_and_an_admin_stays() {
    let app = TestApp::start().await;
    let maria = app.user("maria").await;
    let otto = app.user("otto").await;
    let project = app.project(&maria).await;
    let members = format!("/api/v1/projects/{project}/members");
    let view = format!("/api/v1/projects/{project}");
    let add = |email: &str, role: &str| app.post(&members, &maria, json!({ "email": email, "role": role }));
    assert_eq!(app.get(&view, &otto).await.0, StatusCode::NOT_FOUND);
    let (status, member) = add("Otto@example.org", "viewer").await;
    assert_eq!((status, &member["role"]), (StatusCode::CREATED, &json!("viewer")));
    assert_eq!(app.get(&view, &otto).await.1["role"], "viewer");
    let (status, problem) =
        app.send(Method::PATCH, &view, Some(&otto), Some(json!({ "name": "Mine" }))).await;
    assert_eq!((status, &problem["code"]), (StatusCode::FORBIDDEN, &json!("forbidden")));
    let (status, problem) = add("maria@example.org", "viewer").await;
    assert_eq!((status, &problem["code"]), (StatusCode::CONFLICT, &json!("last_admin")));
    assert_eq!(add("nobody@example.org", "viewer").await.1["errors"][0]["field"], "email");
    assert_eq!(add("otto@example.org", "boss").await.1["errors"][0]["field"], "role");
    assert_eq!(add("otto@example.org", "admin").await.0, StatusCode::CREATED);
    let (_, list) = app.get(&members, &maria).await;
    let roles: Vec<_> = list["items"].as_array().unwrap().iter().map(|m| (&m["name"], &m["role"])).collect();
    assert_eq!(roles, [(&json!("maria"), &json!("admin")), (&json!("otto"), &json!("admin"))]);
    let (_, me) = app.get("/api/v1/me", &maria).await;
    let path = |user: &Value| format!("{members}/{}", user.as_str().unwrap());
    assert_eq!(
        app.send(Method::DELETE, &path(&me["user"]["id"]), Some(&otto), None).await.0,
        StatusCode::NO_CONTENT
    );
    assert_eq!(
        app.send(Method::DELETE, &path(&me["user"]["id"]), Some(&otto), None).await.0,
        StatusCode::NOT_FOUND
    );
    let himself = path(&member["user_id"]);
    assert_eq!(app.send(Method::DELETE, &himself, Some(&otto), None).await.1["code"], "last_admin");
    assert_eq!(app.get(&view, &maria).await.1["role"], "admin", "she still owns the organisation");
}
