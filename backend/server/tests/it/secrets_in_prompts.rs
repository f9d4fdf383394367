//! Credentials in prompts: sent, reported or taken out, as the project wants it; counted, and never repeated.

use crate::gateway::{Desk, deployment, serve};
use axum::{Router, body::Bytes, extract::State, http::Method, http::StatusCode, routing::post};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use syndarix::features::llm::{Purpose, complete};
use syndarix_domain::ids::{CallId, ProjectId};
use syndarix_llm::{ChatRequest, Message, ModelGroup, Options, ProviderKind};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const TOKEN: &str = "ghp_abcdefghijklmnopqrstuvwxyz0123456789";
const PATHS: [(&str, &str); 2] = [("/v1/chat/completions", "openai"), ("/v1/messages", "anthropic")];

/// What the providers were sent.
type Sent = Arc<Mutex<Vec<String>>>;

/// Providers of both formats, that refuse and keep what they were asked.
async fn desk() -> (Desk, Sent, JoinSet<()>) {
    async fn keep(State(sent): State<Sent>, body: Bytes) -> StatusCode {
        sent.lock().unwrap().push(String::from_utf8(body.to_vec()).unwrap());
        StatusCode::BAD_REQUEST
    }
    let sent = Sent::default();
    let router = Router::new()
        .route("/v1/chat/completions", post(keep))
        .route("/v1/messages", post(keep))
        .with_state(Arc::clone(&sent));
    let (address, task) = serve(router).await;
    let group =
        |name: &str, kind| ModelGroup::new(format!("group-{name}"), vec![deployment(name, kind, address)]);
    let groups =
        vec![group("openai", ProviderKind::OpenAiCompatible), group("anthropic", ProviderKind::Anthropic)];
    (Desk::with(groups).await, sent, task)
}

/// A conversation with a token in what a tool has answered.
fn conversation(path: &str, model: &str) -> Value {
    let messages = if path == "/v1/messages" {
        json!([
            { "role": "user", "content": "go" },
            { "role": "assistant", "content": [{ "type": "tool_use", "id": "t", "name": "cat", "input": {} }] },
            { "role": "user", "content": [{ "type": "tool_result", "tool_use_id": "t", "content": format!("a {TOKEN}\n") }] },
        ])
    } else {
        json!([
            { "role": "user", "content": "go" },
            { "role": "assistant", "tool_calls": [
                { "id": "t", "type": "function", "function": { "name": "cat", "arguments": "{}" } },
            ] },
            { "role": "tool", "tool_call_id": "t", "content": format!("a {TOKEN}\n") },
        ])
    };
    json!({ "model": model, "max_tokens": 90, "messages": messages, "unheard_of": TOKEN })
}

async fn set(desk: &Desk, mode: &str) {
    let path = format!("/api/v1/projects/{}", desk.project);
    let body = json!({ "secrets_in_prompts": mode });
    let (status, project) = desk.app.send(Method::PATCH, &path, Some(&desk.token), Some(body)).await;
    assert_eq!((status, &project["secrets_in_prompts"]), (StatusCode::OK, &json!(mode)), "{project}");
}

/// What the audit says of prompts, in order.
async fn reports(desk: &Desk) -> Vec<Value> {
    let said: Vec<String> = sqlx::query_scalar(
        "select convert_from(payload, 'utf8') from audit_entry where type = 'prompt.secrets_found' order by id",
    )
    .fetch_all(desk.app.app.pool())
    .await
    .unwrap();
    said.iter().map(|said| serde_json::from_str(said).unwrap()).collect()
}

#[tokio::test]
async fn a_token_in_a_conversation_is_sent_reported_or_taken_out_as_the_project_wants() {
    let (desk, sent, _task) = desk().await;
    for (mode, leaves, recorded) in [("off", true, 0), ("report", true, 6), ("redact", false, 12)] {
        set(&desk, mode).await;
        for (path, _) in PATHS {
            for (_, provider) in PATHS {
                desk.ask(path, &desk.key, &conversation(path, provider)).await;
                let body = sent.lock().unwrap().pop().unwrap();
                assert_eq!(body.contains(TOKEN), leaves, "{mode} {path} {provider}: {body}");
                assert_eq!(
                    body.contains("[redacted: GitHub token]"),
                    !leaves,
                    "{mode} {path} {provider}: {body}"
                );
            }
        }
        for group in ["group-openai", "group-anthropic"] {
            agents_call(&desk, group).await;
            let body = sent.lock().unwrap().pop().unwrap();
            assert_eq!(body.contains(TOKEN), leaves, "{mode}, an agent at {group}: {body}");
        }
        let reports = reports(&desk).await;
        assert_eq!(reports.len(), recorded, "{mode}");
        if let Some(last) = reports.last() {
            assert_eq!((&last["mode"], &last["found"]), (&json!(mode), &json!({ "GitHub token": 1 })));
        }
    }
    let repeated: i64 = sqlx::query_scalar(
        "select count(*) from audit_entry where action || convert_from(payload || header, 'utf8') like '%' || $1 || '%'",
    )
    .bind(TOKEN)
    .fetch_one(desk.app.app.pool())
    .await
    .unwrap();
    assert_eq!(repeated, 0, "the audit repeats no token");
}

/// A call as a step of an agent makes it.
async fn agents_call(desk: &Desk, group: &str) {
    let project = ProjectId(desk.project.parse::<Uuid>().unwrap());
    let request = ChatRequest {
        system: "Be good.".into(),
        messages: vec![Message::user(format!("it is {TOKEN}"))],
        tools: Vec::new(),
        max_output_tokens: 50,
        temperature: None,
        stop: Vec::new(),
        options: Options::default(),
    };
    let purpose = Purpose::of_project(project, CallId(desk.app.app.store.new_id()));
    let answer = complete(&desk.app.app, purpose, group, &request, &CancellationToken::new()).await;
    assert!(answer.is_err(), "they refuse");
}

#[tokio::test]
async fn what_holds_no_credential_goes_out_as_it_came_and_a_virtual_key_does_not() {
    let (desk, sent, _task) = desk().await;
    set(&desk, "redact").await;
    let plain = json!({ "model": "openai", "max_tokens": 5, "messages": [{ "role": "user", "content": "sk- \u{e9}" }], "n": 1 });
    desk.ask(PATHS[0].0, &desk.key, &plain).await;
    set(&desk, "off").await;
    desk.ask(PATHS[0].0, &desk.key, &plain).await;
    {
        let sent = sent.lock().unwrap();
        assert_eq!(sent[0], sent[1], "byte for byte");
    }
    assert!(reports(&desk).await.is_empty());
    let (status, problem) = desk
        .app
        .send(
            Method::PATCH,
            &format!("/api/v1/projects/{}", desk.project),
            Some(&desk.token),
            Some(json!({ "secrets_in_prompts": "hide" })),
        )
        .await;
    assert_eq!(
        (status, &problem["errors"][0]["field"]),
        (StatusCode::UNPROCESSABLE_ENTITY, &json!("secrets_in_prompts"))
    );
    // Virtual keys of this platform have a form, too.
    set(&desk, "redact").await;
    let with_key =
        json!({ "model": "openai", "messages": [{ "role": "user", "content": format!("K={}", desk.key) }] });
    desk.ask(PATHS[0].0, &desk.key, &with_key).await;
    let body = sent.lock().unwrap().pop().unwrap();
    assert!(body.contains("[redacted: Syndarix key]") && !body.contains(&desk.key), "{body}");
}
