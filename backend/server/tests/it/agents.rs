//! Agent types and instances: import, spawn with leave, pause, resume, terminate, messages.

use crate::{
    scene::{Scene, hire},
    support::TestApp,
};
use axum::http::{Method, StatusCode};
use serde_json::{Value, json};
use syndarix_domain::{
    ids::ProjectId,
    run::{Phase, Wait},
    story,
};

const ENGINEER: &str = r#"
name = "Careful engineer"
role = "engineer"
model_group = "default"
capabilities = ["git:write"]
system_prompt = "Look before you change."

[limits]
max_steps = 60
"#;

async fn organisation(test: &TestApp, token: &str) -> Value {
    test.get("/api/v1/organisations", token).await.1["items"][0]["id"].clone()
}

async fn import(test: &TestApp, token: &str, toml: &str) -> (StatusCode, Value) {
    let body = json!({ "organisation_id": organisation(test, token).await, "toml": toml });
    test.post("/api/v1/agent-types", token, body).await
}

#[tokio::test]
async fn a_type_is_imported_versioned_listed_and_exported() {
    let test = TestApp::start().await;
    let token = test.user("maria").await;
    let (status, first) = import(&test, &token, ENGINEER).await;
    assert_eq!(status, StatusCode::CREATED, "{first}");
    assert_eq!((&first["version"], &first["limits"]["max_steps"]), (&json!(1), &json!(60)));
    assert_eq!(import(&test, &token, ENGINEER).await.1["version"], 1);
    let (_, second) = import(&test, &token, &ENGINEER.replace("60", "80")).await;
    assert_eq!((&second["version"], &second["id"]), (&json!(2), &first["id"]));
    let path = format!("/api/v1/agent-types/{}", first["id"].as_str().unwrap());
    let (_, versions) = test.get(&format!("{path}/versions"), &token).await;
    let steps: Vec<&Value> =
        versions["items"].as_array().unwrap().iter().map(|one| &one["limits"]["max_steps"]).collect();
    assert_eq!(steps, [80, 60]);
    let (_, list) = test.get("/api/v1/agent-types", &token).await;
    assert_eq!(list["items"].as_array().unwrap().len(), 1);
    let (status, exported) = test.text(&format!("{path}/export"), &token).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(import(&test, &token, &exported).await.1["version"], 2, "an export is the same again");
}

#[tokio::test]
async fn what_is_wrong_in_a_file_is_named_by_field_and_line() {
    let test = TestApp::start().await;
    let token = test.user("maria").await;
    let (status, problem) = import(&test, &token, &ENGINEER.replace("engineer\"", "wizard\"")).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!((&problem["errors"][0]["field"], &problem["errors"][0]["line"]), (&json!("role"), &json!(3)));
    assert!(problem["errors"][0]["message"].as_str().unwrap().starts_with("line 3: "), "{problem}");
}

#[tokio::test]
async fn a_type_belongs_to_its_organisation() {
    let test = TestApp::start().await;
    let (maria, sam) = (test.user("maria").await, test.user("sam").await);
    let (_, kind) = import(&test, &maria, ENGINEER).await;
    let path = format!("/api/v1/agent-types/{}", kind["id"].as_str().unwrap());
    for path in [path.clone(), format!("{path}/versions"), format!("{path}/export")] {
        assert_eq!(test.get(&path, &sam).await.0, StatusCode::NOT_FOUND, "{path}");
    }
    assert!(test.get("/api/v1/agent-types", &sam).await.1["items"].as_array().unwrap().is_empty());
    let body = json!({ "organisation_id": organisation(&test, &maria).await, "toml": ENGINEER });
    assert_eq!(test.post("/api/v1/agent-types", &sam, body).await.0, StatusCode::NOT_FOUND);
    let project = test.project(&sam).await;
    let spawn = json!({ "agent_type_id": kind["id"] });
    let (status, problem) = test.post(&format!("/api/v1/projects/{project}/agents"), &sam, spawn).await;
    assert_eq!(
        (status, &problem["errors"][0]["field"]),
        (StatusCode::UNPROCESSABLE_ENTITY, &json!("agent_type_id"))
    );
}

#[tokio::test]
async fn a_spawned_agent_keeps_its_version_and_its_name() {
    let test = TestApp::start().await;
    let token = test.user("maria").await;
    let agents = format!("/api/v1/projects/{}/agents", test.project(&token).await);
    let (_, kind) = import(&test, &token, ENGINEER).await;
    let (status, ada) =
        test.post(&agents, &token, json!({ "agent_type_id": kind["id"], "name": "Ada" })).await;
    assert_eq!(status, StatusCode::CREATED, "{ada}");
    assert_eq!(ada["status"], "idle");
    import(&test, &token, &ENGINEER.replace("60", "80")).await;
    let (_, other) = test.post(&agents, &token, json!({ "agent_type_id": kind["id"] })).await;
    assert_eq!((&ada["type"]["version"], &other["type"]["version"]), (&json!(1), &json!(2)));
    assert_ne!(other["name"], "Ada");
    let (status, problem) =
        test.post(&agents, &token, json!({ "agent_type_id": kind["id"], "name": "Ada" })).await;
    assert_eq!((status, &problem["code"]), (StatusCode::CONFLICT, &json!("name_taken")));
    let (_, list) = test.get(&agents, &token).await;
    assert_eq!(list["items"].as_array().unwrap().len(), 2);
    let (_, shown) = test.get(&format!("{agents}/{}", ada["id"].as_str().unwrap()), &token).await;
    assert_eq!(shown, ada);
}

#[tokio::test]
async fn full_control_asks_before_an_agent_is_spawned() {
    let test = TestApp::start().await;
    let token = test.user("maria").await;
    let project = format!("/api/v1/projects/{}", test.project(&token).await);
    let change = json!({ "autonomy": "full_control" });
    assert_eq!(test.send(Method::PATCH, &project, Some(&token), Some(change)).await.0, StatusCode::OK);
    let (_, kind) = import(&test, &token, ENGINEER).await;
    let wish = json!({ "agent_type_id": kind["id"], "name": "Ada" });
    let (status, problem) = test.post(&format!("{project}/agents"), &token, wish.clone()).await;
    assert_eq!((status, &problem["code"]), (StatusCode::CONFLICT, &json!("approval_required")), "{problem}");
    let (_, again) = test.post(&format!("{project}/agents"), &token, wish).await;
    assert_eq!(again["approval_id"], problem["approval_id"], "one question for one wish");
    let count =
        async || test.get(&format!("{project}/agents"), &token).await.1["items"].as_array().unwrap().len();
    assert_eq!(count().await, 0);
    let path = format!("{project}/approvals/{}", problem["approval_id"].as_str().unwrap());
    let (_, asked) = test.get(&path, &token).await;
    assert_eq!(asked["consequences"]["approve"], "An agent of type Careful engineer joins the project.");
    let decision = json!({ "outcome": "approved", "digest": asked["digest"] });
    let (status, answer) = test.post(&format!("{path}/decision"), &token, decision).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!(count().await, 1);
}

#[tokio::test]
async fn the_limit_of_agents_holds_when_many_are_spawned_at_once() {
    let test = TestApp::start().await;
    let token = test.user("maria").await;
    let project = test.project(&token).await;
    sqlx::query("update project set agent_limit = 3").execute(test.app.pool()).await.unwrap();
    let (_, kind) = import(&test, &token, ENGINEER).await;
    let path = format!("/api/v1/projects/{project}/agents");
    let wishes = (0..8).map(|_| test.post(&path, &token, json!({ "agent_type_id": kind["id"] })));
    let answers = futures::future::join_all(wishes).await;
    let created = answers.iter().filter(|(status, _)| *status == StatusCode::CREATED).count();
    assert_eq!(created, 3, "{answers:?}");
    assert!(
        answers.iter().all(|(status, body)| *status == StatusCode::CREATED || body["code"] == "agent_limit")
    );
}

#[tokio::test]
async fn a_paused_agent_parks_its_run_at_the_next_step_and_resumes_it() {
    let test = TestApp::start().await;
    let scene = Scene::analysis(&test).await;
    let agent = scene.path(&format!("/agents/{}", scene.agent));
    let (status, paused) = test.post(&format!("{agent}/pause"), &scene.token, json!({})).await;
    assert_eq!((status, &paused["status"]), (StatusCode::OK, &json!("paused")), "{paused}");
    assert_eq!(scene.run_state().await.phase.name(), "started", "the step under way goes on");
    scene.due().await;
    test.run_jobs().await;
    assert!(matches!(scene.run_state().await.phase, Phase::Waiting { wait: Wait::Paused { .. }, .. }));
    let (_, run) = test.get(&scene.path(&format!("/runs/{}", scene.run)), &scene.token).await;
    assert_eq!(run["waiting"]["on"], "paused");
    let (_, resumed) = test.post(&format!("{agent}/resume"), &scene.token, json!({})).await;
    assert_eq!(resumed["status"], "active");
    assert!(matches!(scene.run_state().await.phase, Phase::Thinking { .. }));
}

#[tokio::test]
async fn terminating_ends_a_working_run_at_its_next_step_and_a_parked_one_at_once() {
    let test = TestApp::start().await;
    let scene = Scene::analysis(&test).await;
    let path = scene.path(&format!("/agents/{}/terminate", scene.agent));
    let (_, gone) = test.post(&path, &scene.token, json!({})).await;
    assert_eq!(gone["status"], "terminated");
    assert_eq!(scene.run_state().await.phase.name(), "started");
    test.run_jobs().await;
    assert_eq!(scene.run_state().await.phase.name(), "cancelled");
    let story::Phase::Blocked { reason, .. } = scene.story_state().await.phase else { unreachable!() };
    assert_eq!(reason, "the run was cancelled: the agent was terminated");
    let (status, problem) = test.post(&path.replace("terminate", "resume"), &scene.token, json!({})).await;
    assert_eq!((status, &problem["code"]), (StatusCode::CONFLICT, &json!("terminated")));

    let second = ProjectId(test.project(&scene.token).await.parse().unwrap());
    let parked = Scene::in_project(&test, scene.token.clone(), second).await;
    let asked = parked.offer_requirements().await;
    test.post(&parked.path(&format!("/agents/{}/terminate", parked.agent)), &scene.token, json!({})).await;
    assert_eq!(parked.run_state().await.phase.name(), "cancelled");
    assert_eq!(test.get(&asked.path, &scene.token).await.1["state"], "cancelled");
}

#[tokio::test]
async fn viewers_do_not_command_agents() {
    let test = TestApp::start().await;
    let scene = Scene::analysis(&test).await;
    let viewer = scene.member("vera", "viewer").await;
    for command in ["pause", "resume", "terminate"] {
        let path = scene.path(&format!("/agents/{}/{command}", scene.agent));
        assert_eq!(test.post(&path, &viewer, json!({})).await.0, StatusCode::FORBIDDEN);
    }
    assert_eq!(test.get(&scene.path("/agents"), &viewer).await.0, StatusCode::OK);
}

#[tokio::test]
async fn messages_keep_their_order_within_a_conversation() {
    let test = TestApp::start().await;
    let token = test.user("maria").await;
    let project = ProjectId(test.project(&token).await.parse().unwrap());
    let agent = hire(&test, project, "engineer").await;
    let path = format!("/api/v1/projects/{project}/messages");
    let talk = uuid::Uuid::now_v7();
    for n in 0..5 {
        let body = json!({ "to": agent, "type": "request", "action": "look", "priority": "high", "content": format!("{n}"), "conversation_id": talk });
        let (status, message) = test.post(&path, &token, body).await;
        assert_eq!(status, StatusCode::CREATED, "{message}");
        assert_eq!((&message["routing"], &message["to"]["id"]), (&json!("direct"), &json!(agent)));
        assert_eq!(message["from"]["name"], "maria");
    }
    let (_, role) =
        test.post(&path, &token, json!({ "to": "role:qa", "content": { "text": "hello" } })).await;
    assert_eq!(
        (&role["to"], &role["routing"], &role["type"]),
        (&json!("role:qa"), &json!("role"), &json!("notification"))
    );
    let (_, list) = test.get(&format!("{path}?conversation_id={talk}"), &token).await;
    let said: Vec<&Value> = list["items"].as_array().unwrap().iter().map(|one| &one["content"]).collect();
    assert_eq!(said, ["0", "1", "2", "3", "4"]);
    let (_, all) = test.get(&path, &token).await;
    assert_eq!(all["items"][0]["id"], role["id"], "the newest first");
    for (body, field) in [
        (json!({ "to": "nobody", "content": "x" }), "to"),
        (json!({ "to": uuid::Uuid::now_v7(), "content": "x" }), "to"),
        (json!({ "type": "shout", "content": "x" }), "type"),
        (json!({ "priority": "now", "content": "x" }), "priority"),
        (json!({ "content": " " }), "content"),
    ] {
        let (status, problem) = test.post(&path, &token, body).await;
        assert_eq!(
            (status, &problem["errors"][0]["field"]),
            (StatusCode::UNPROCESSABLE_ENTITY, &json!(field))
        );
    }
}
