//! Model groups as data: over the configured ones, for one organisation, in every process; and whom processes leave alone
//! together.

use crate::{gateway::chat, streams::Redis, support::TestApp};
use axum::{
    body::Body,
    http::{Method, Request, StatusCode, header},
};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use syndarix::{features, http};
use syndarix_llm::{
    BreakerState, Deployment, EndpointAccess, ModelGroup, ModelGroups, ProviderKind, Rates, scripted,
};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt;

/// Longer than any process relies on what it read.
const PATIENCE: Duration = Duration::from_secs(20);

/// Deployments of a scripted server, all of them in the configured group `code`.
async fn configured(names: &[&str], script: &str) -> (ModelGroups, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url: url::Url = format!("http://{}/v1", listener.local_addr().unwrap()).parse().unwrap();
    let script = scripted::Script::from_toml(script).unwrap();
    let mut task = JoinSet::new();
    task.spawn(async move { scripted::serve(listener, script).await.unwrap() });
    let deployment = |name: &&str| Deployment {
        model: format!("model-of-{name}"),
        prices: Some(Rates { input: 1, output: 5, ..Rates::default() }),
        context_window: 100_000,
        max_output: 4_000,
        endpoint_access: EndpointAccess::PrivateNetwork,
        ..Deployment::new(*name, ProviderKind::OpenAi, url.clone())
    };
    let chain = names.iter().map(deployment).collect();
    (ModelGroups::new(vec![ModelGroup::new("code", chain)]).unwrap(), task)
}

const SOUND: &str = "[[rule]]\nname = 'r'\nanswer.text = 'fine'\n";

/// A person's organisation, project and virtual key.
struct Owner {
    token: String,
    groups: String,
    key: String,
}

impl Owner {
    async fn of(app: &TestApp, name: &str) -> Self {
        let token = app.user(name).await;
        let project = app.project(&token).await;
        let (_, organisations) = app.get("/api/v1/organisations", &token).await;
        let organisation = organisations["items"][0]["id"].as_str().unwrap();
        let groups = format!("/api/v1/organisations/{organisation}/model-groups");
        let path = format!("/api/v1/projects/{project}/gateway-keys");
        let (status, made) = app.post(&path, &token, json!({ "name": "test" })).await;
        assert_eq!(status, StatusCode::CREATED, "{made}");
        Self { token, groups, key: made["secret"].as_str().unwrap().to_owned() }
    }

    async fn put(&self, app: &TestApp, name: &str, group: Value) -> (StatusCode, Value) {
        app.send(Method::PUT, &format!("{}/{name}", self.groups), Some(&self.token), Some(group)).await
    }

    /// Which deployment answers for a model, or the status.
    async fn asks(&self, router: axum::Router, model: &str) -> String {
        let request = Request::post("/v1/chat/completions")
            .header(header::AUTHORIZATION, format!("Bearer {}", self.key))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(chat(model).to_string()));
        let response = router.oneshot(request.unwrap()).await.unwrap();
        let by = response.headers().get("x-syndarix-deployment").map(|by| by.to_str().unwrap().to_owned());
        by.unwrap_or_else(|| response.status().as_u16().to_string())
    }
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !holds().await {
        assert!(start.elapsed() < PATIENCE, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_group_of_an_organisation_takes_the_place_of_the_configured_one_in_every_process() {
    let (groups, _server) = configured(&["a", "b"], SOUND).await;
    let app = TestApp::with_models(groups).await;
    let (maria, otto) = (Owner::of(&app, "maria").await, Owner::of(&app, "otto").await);
    let another = http::router(app.another().await);
    assert_eq!(maria.asks(another.clone(), "code").await, "a");

    let chain = json!({ "chain": [{ "deployment": "b" }, { "deployment": "a" }] });
    let (status, group) = maria.put(&app, "code", chain.clone()).await;

    assert_eq!(
        (status, &group["source"], &group["routing"]),
        (StatusCode::OK, &json!("organisation"), &json!("order"))
    );
    assert_eq!(maria.asks(app.router.clone(), "code").await, "b", "at once where it was said");
    until("the other process hears of it", async || maria.asks(another.clone(), "code").await == "b").await;
    assert_eq!(otto.asks(app.router.clone(), "code").await, "a", "nobody else's");
    assert_eq!(maria.put(&app, "mine", chain).await.0, StatusCode::OK);
    assert_eq!(
        [maria.asks(app.router.clone(), "mine").await, otto.asks(app.router.clone(), "mine").await],
        ["b", "404"]
    );

    let (_, all) = app.get(&maria.groups, &maria.token).await;
    let sources: Vec<(&str, &str)> = all["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["name"].as_str().unwrap(), one["source"].as_str().unwrap()))
        .collect();
    assert_eq!(sources, [("code", "organisation"), ("mine", "organisation")]);

    for name in ["code", "mine"] {
        let path = format!("{}/{name}", maria.groups);
        assert_eq!(app.send(Method::DELETE, &path, Some(&maria.token), None).await.0, StatusCode::NO_CONTENT);
    }
    assert_eq!(maria.asks(app.router.clone(), "code").await, "a", "the configured one is back");
    let said: Vec<String> =
        sqlx::query_scalar("select type from audit_entry where type like 'model_group.%' order by type")
            .fetch_all(app.app.pool())
            .await
            .unwrap();
    assert_eq!(
        said,
        ["model_group.removed", "model_group.removed", "model_group.replaced", "model_group.replaced"]
    );
}

#[tokio::test]
async fn what_is_wrong_with_a_group_is_named_by_its_field() {
    let (groups, _server) = configured(&["a", "b"], SOUND).await;
    let app = TestApp::with_models(groups).await;
    let maria = Owner::of(&app, "maria").await;
    let on = |name: &str| json!({ "deployment": name });
    for (name, group, field) in [
        ("code", json!({ "chain": [] }), "chain"),
        ("code", json!({ "chain": [on("a"), on("nobody")] }), "chain[1].deployment"),
        ("code", json!({ "chain": [on("a"), on("a")] }), "chain[1].deployment"),
        ("code", json!({ "chain": [{ "deployment": "a", "weight": 1_001 }] }), "chain[0].weight"),
        ("code", json!({ "routing": "weighted", "chain": [{ "deployment": "a", "weight": 0 }] }), "chain"),
        ("code", json!({ "routing": "cheapest", "chain": [on("a")] }), "routing"),
        ("code", json!({ "hedge_after_ms": 0, "chain": [on("a")] }), "hedge_after_ms"),
        ("code", json!({ "cheaper": "code", "chain": [on("a")] }), "cheaper"),
        ("code", json!({ "cheaper": "nothing", "chain": [on("a")] }), "cheaper"),
        ("code", json!({ "chain": [{ "deployment": "a", "api_key": "k" }] }), "chain[0].api_key"),
        ("Code", json!({ "chain": [on("a")] }), "name"),
        ("a", json!({ "chain": [on("b")] }), "name"),
    ] {
        let (status, problem) = maria.put(&app, name, group.clone()).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{group}: {problem}");
        assert_eq!(problem["errors"][0]["field"], field, "{group}: {problem}");
    }
    let (_, all) = app.get(&maria.groups, &maria.token).await;
    assert_eq!(all["items"].as_array().unwrap().len(), 1, "nothing of it was written: {all}");
}

#[tokio::test]
async fn a_group_that_another_one_names_stays_and_one_whose_deployments_are_gone_is_passed_over() {
    let (groups, _server) = configured(&["a", "b"], SOUND).await;
    let app = TestApp::with_models(groups).await;
    let maria = Owner::of(&app, "maria").await;
    maria.put(&app, "small", json!({ "chain": [{ "deployment": "b" }] })).await;
    let naming = json!({ "cheaper": "small", "chain": [{ "deployment": "b" }] });
    assert_eq!(maria.put(&app, "code", naming).await.0, StatusCode::OK);
    let path = format!("{}/small", maria.groups);
    let (status, problem) = app.send(Method::DELETE, &path, Some(&maria.token), None).await;
    assert_eq!((status, &problem["code"]), (StatusCode::CONFLICT, &json!("group_in_use")));

    sqlx::query("update model_group set chain = '[{\"deployment\": \"gone\"}]' where name = 'code'")
        .execute(app.app.pool())
        .await
        .unwrap();

    until("the configured group serves", async || maria.asks(app.router.clone(), "code").await == "a").await;
    let (_, shown) = app.get(&format!("{}/code", maria.groups), &maria.token).await;
    assert_eq!(shown["chain"][0]["provider"], Value::Null, "and it shows: {shown}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_process_leaves_alone_every_other_does_over_redis() {
    let redis = Redis::start();
    let script =
        "[[rule]]\nname = 'r'\nfault = { kind = 'status', status = 429, retry_after_seconds = 600 }\n";
    let (groups, _server) = configured(&["busy"], script).await;
    let busy = groups.get("code").unwrap().chain[0].clone();
    let url = redis.url();
    let start = async || {
        TestApp::with_models_and(groups.clone(), |config| config.redis_url = Some(url.clone())).await
    };
    let (here, there) = (start().await, start().await);
    let (tasks, ending) = (TaskTracker::new(), CancellationToken::new());
    for app in [&here, &there] {
        features::llm::spawn_breakers(&app.app, &tasks, ending.clone());
    }
    let maria = Owner::of(&here, "maria").await;

    assert_eq!(maria.asks(here.router.clone(), "code").await, "429");

    let is_open =
        |state| matches!(state, BreakerState::Open { remaining } if remaining > Duration::from_secs(60));
    assert!(is_open(here.app.models.gateway.breaker_state(&busy)));
    until("the other process hears of it", async || is_open(there.app.models.gateway.breaker_state(&busy)))
        .await;
    ending.cancel();
    tasks.close();
    tasks.wait().await;
}
