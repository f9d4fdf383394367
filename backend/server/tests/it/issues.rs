//! The built-in issue tracker, used by a person and by an agent.

use crate::{
    seed::{Seeded, Tools, project_of},
    support::TestApp,
};
use axum::{
    body::Body,
    http::{Method, Request, StatusCode},
};
use serde_json::{Value, json};
use tower::ServiceExt;

async fn patch(app: &TestApp, path: &str, token: &str, body: Value) -> (StatusCode, Value) {
    app.send(Method::PATCH, path, Some(token), Some(body)).await
}

async fn open(app: &TestApp, seed: &Seeded, body: Value) -> i64 {
    let (status, issue) = app.post(&seed.path("issues"), &seed.user_token, body).await;
    assert_eq!(status, StatusCode::CREATED, "{issue}");
    issue["number"].as_i64().unwrap()
}

async fn numbers(app: &TestApp, seed: &Seeded, query: &str) -> Vec<i64> {
    let (status, list) = app.get(&seed.path(&format!("issues?{query}")), &seed.user_token).await;
    assert_eq!(status, StatusCode::OK, "{list}");
    list["items"].as_array().unwrap().iter().map(|issue| issue["number"].as_i64().unwrap()).collect()
}

async fn events(app: &TestApp, seed: &Seeded) -> Vec<String> {
    sqlx::query_scalar("select type from event where project_id = $1 and kind = 'issue' order by seq")
        .bind(seed.project)
        .fetch_all(app.app.pool())
        .await
        .unwrap()
}

#[tokio::test]
async fn an_agent_opens_an_issue_and_a_person_reads_who_wrote_it() {
    let app = TestApp::start().await;
    let seed = project_of(&app, "maria").await;
    let agent = seed.agent_token(&app, "issues");
    let body = json!({ "title": " Login fails ", "body": "On Safari.", "labels": ["bug", "bug", "ui"] });
    let (status, issue) = app.post(&seed.path("issues"), &agent, body).await;
    assert_eq!(status, StatusCode::CREATED, "{issue}");
    assert_eq!((&issue["number"], &issue["title"]), (&json!(1), &json!("Login fails")));
    assert_eq!(issue["labels"], json!(["bug", "ui"]));
    let (status, read) = app.get(&seed.path("issues/1"), &seed.user_token).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(read["author"]["name"], "Ada of maria");
    assert_eq!(read["body"], "On Safari.");
    assert_eq!(events(&app, &seed).await, ["issue.created.v1"]);
}

#[tokio::test]
async fn numbers_are_dense_even_when_issues_are_opened_at_once() {
    let app = TestApp::start().await;
    let seed = project_of(&app, "maria").await;
    let opened = futures::future::join_all(
        (0..12).map(|n| open(&app, &seed, json!({ "title": format!("Issue {n}") }))),
    );
    let mut numbers = opened.await;
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=12).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_repeated_key_opens_one_issue() {
    let app = TestApp::start().await;
    let seed = project_of(&app, "maria").await;
    let agent = seed.agent_token(&app, "issues");
    let mut answers = Vec::new();
    for _ in 0..2 {
        let request = Request::post(seed.path("issues"))
            .header("authorization", format!("Bearer {agent}"))
            .header("content-type", "application/json")
            .header("idempotency-key", "step-1/0")
            .body(Body::from(json!({ "title": "Once" }).to_string()))
            .unwrap();
        let response = app.router.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::CREATED);
        answers.push(axum::body::to_bytes(response.into_body(), 65536).await.unwrap());
    }
    assert_eq!(answers[0], answers[1]);
    assert_eq!(numbers(&app, &seed, "").await, [1]);
}

#[tokio::test]
async fn a_change_says_in_its_events_what_changed_and_nothing_else() {
    let app = TestApp::start().await;
    let seed = project_of(&app, "maria").await;
    open(&app, &seed, json!({ "title": "Slow search", "assignee": "Ada" })).await;
    let path = seed.path("issues/1");
    let (status, issue) = patch(&app, &path, &seed.user_token, json!({ "state": "closed" })).await;
    assert_eq!(status, StatusCode::OK, "{issue}");
    assert_eq!(issue["state"], "closed");
    assert!(issue["closed_at"].is_string());
    assert_eq!(issue["assignee"], "Ada", "what is left out stays");
    patch(&app, &path, &seed.user_token, json!({ "state": "closed" })).await;
    let (_, issue) = patch(
        &app,
        &path,
        &seed.user_token,
        json!({ "assignee": null, "labels": ["perf"], "state": "open" }),
    )
    .await;
    assert_eq!((&issue["assignee"], &issue["closed_at"]), (&Value::Null, &Value::Null));
    assert_eq!(
        events(&app, &seed).await,
        ["issue.created.v1", "issue.closed.v1", "issue.updated.v1", "issue.assigned.v1", "issue.reopened.v1"]
    );
}

#[tokio::test]
async fn the_list_filters_by_state_label_assignee_and_words() {
    let app = TestApp::start().await;
    let seed = project_of(&app, "maria").await;
    open(&app, &seed, json!({ "title": "Login fails", "body": "The session expires.", "labels": ["bug"] }))
        .await;
    open(&app, &seed, json!({ "title": "Session list", "assignee": "Ada", "labels": ["bug", "ui"] })).await;
    open(&app, &seed, json!({ "title": "Dark mode", "labels": ["ui"] })).await;
    patch(&app, &seed.path("issues/3"), &seed.user_token, json!({ "state": "closed" })).await;
    assert_eq!(numbers(&app, &seed, "").await, [2, 1]);
    assert_eq!(numbers(&app, &seed, "state=all").await.len(), 3);
    assert_eq!(numbers(&app, &seed, "state=closed&label=ui").await, [3]);
    assert_eq!(numbers(&app, &seed, "label=ui").await, [2]);
    assert_eq!(numbers(&app, &seed, "assignee=Ada").await, [2]);
    assert_eq!(numbers(&app, &seed, "q=why+do+sessions+get+lost").await, [2, 1], "the title weighs more");
    assert!(numbers(&app, &seed, "q=%27%26%7C%21%3A*").await.is_empty(), "operators are only characters");
    let (_, list) = app.get(&seed.path("issues?limit=1"), &seed.user_token).await;
    assert_eq!(list["items"][0]["body"], Value::Null, "lists carry no texts");
    let next = list["next_cursor"].as_str().unwrap();
    assert_eq!(numbers(&app, &seed, &format!("limit=1&cursor={next}")).await, [1]);
}

#[tokio::test]
async fn comments_are_listed_in_order_with_their_authors() {
    let app = TestApp::start().await;
    let seed = project_of(&app, "maria").await;
    open(&app, &seed, json!({ "title": "Slow search" })).await;
    let path = seed.path("issues/1/comments");
    let (status, _) =
        app.post(&path, &seed.agent_token(&app, "issues"), json!({ "body": "I see 400 ms." })).await;
    assert_eq!(status, StatusCode::CREATED);
    app.post(&path, &seed.user_token, json!({ "body": "Me too." })).await;
    let (_, list) = app.get(&path, &seed.user_token).await;
    let said: Vec<(&str, &str)> = list["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|comment| (comment["author"]["name"].as_str().unwrap(), comment["body"].as_str().unwrap()))
        .collect();
    assert_eq!(said, [("Ada of maria", "I see 400 ms."), ("maria", "Me too.")]);
    let (_, issue) = app.get(&seed.path("issues/1"), &seed.user_token).await;
    assert_eq!(issue["comments"], 2);
}

#[tokio::test]
async fn strangers_and_bad_input_are_refused_with_the_reason() {
    let app = TestApp::start().await;
    let seed = project_of(&app, "maria").await;
    let other = project_of(&app, "otto").await;
    open(&app, &seed, json!({ "title": "Ours" })).await;
    for token in [&other.user_token, &other.agent_token(&app, "issues")] {
        assert_eq!(app.get(&seed.path("issues/1"), token).await.0, StatusCode::NOT_FOUND);
        assert_eq!(
            app.post(&seed.path("issues"), token, json!({ "title": "x" })).await.0,
            StatusCode::NOT_FOUND
        );
    }
    assert_eq!(app.get(&seed.path("issues/2"), &seed.user_token).await.0, StatusCode::NOT_FOUND);
    for bad in [json!({ "title": "" }), json!({ "title": "a\nb" }), json!({ "title": "a", "body": "x\u{0}" })]
    {
        let (status, problem) = app.post(&seed.path("issues"), &seed.user_token, bad).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{problem}");
        assert!(problem["errors"][0]["field"].is_string(), "{problem}");
    }
    let foreign = json!({ "title": "About theirs", "story_id": app.app.store.new_id() });
    let (status, _) = app.post(&seed.path("issues"), &seed.user_token, foreign).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
}

#[tokio::test]
async fn an_agent_keeps_issues_through_its_tools() {
    let app = TestApp::start().await;
    let seed = project_of(&app, "maria").await;
    let tools = Tools::start(&app, &seed, syndarix_mcp_issues::server()).await;
    let new = json!({ "title": "Login fails", "body": "On Safari.", "labels": ["bug"] });
    for _ in 0..2 {
        let opened = tools.client.try_call("create_issue", new.clone(), Some("step-7")).await.unwrap();
        assert_eq!(opened.value["number"], 1, "a repeated step opens nothing new: {opened:?}");
    }
    tools.client.ok("comment_issue", json!({ "number": 1, "body": "I look into it." })).await;
    let change = json!({ "number": 1, "assignee": "Ada", "state": "closed" });
    assert_eq!(tools.client.ok("update_issue", change).await["state"], "closed");
    assert_eq!(tools.client.ok("list_issues", json!({})).await["issues"], json!([]));
    let found = tools.client.ok("search_issues", json!({ "query": "who cannot login" })).await;
    assert_eq!(found["issues"][0]["number"], 1);
    let issue = tools.client.ok("get_issue", json!({ "number": 1 })).await;
    assert_eq!((&issue["assignee"], &issue["author"]), (&json!("Ada"), &json!("Ada of maria")));
    assert_eq!(issue["comments"][0]["body"], "I look into it.");
    let sentence = tools.client.fails("get_issue", json!({ "number": 2 })).await;
    assert!(sentence.contains("no issue"), "{sentence}");
}
