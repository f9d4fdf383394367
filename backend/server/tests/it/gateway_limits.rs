//! Limits of a minute: of a key, however often its secret changes, and of all processes together where there is Redis.

use crate::{
    fire::until,
    gateway::{Desk, SOUND, chat, held},
    streams::Redis,
};
use axum::{
    Router,
    body::Body,
    http::{Request, StatusCode},
};
use serde_json::{Value, json};
use std::sync::atomic::Ordering;
use syndarix::{features::gateway::share_limits, http, state::App};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt;

/// Two processes over one database and one Redis.
struct Pair {
    desk: Desk,
    redis: Redis,
    routers: [Router; 2],
    carriers: TaskTracker,
    ending: CancellationToken,
}

impl Pair {
    async fn start() -> Self {
        Self::before(Desk::scripted(SOUND).await).await
    }

    async fn before(desk: Desk) -> Self {
        let redis = Redis::start();
        let (carriers, ending) = (TaskTracker::new(), CancellationToken::new());
        let other = desk.app.another().await;
        let apps: [&App; 2] = [&desk.app.app, &other];
        for app in apps {
            share_limits(app, redis.url(), &carriers, ending.clone());
        }
        until("both processes have found Redis", async || {
            apps.iter().all(|app| app.gateway.are_limits_shared()).then_some(())
        })
        .await;
        let routers = apps.map(|app| http::router(app.clone()));
        Self { desk, redis, routers, carriers, ending }
    }

    async fn ask(&self, process: usize, key: &str) -> StatusCode {
        let request = Request::post("/v1/chat/completions")
            .header("x-api-key", key)
            .body(Body::from(chat("openai").to_string()));
        let response = self.routers[process].clone().oneshot(request.unwrap()).await.unwrap();
        let status = response.status();
        axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        status
    }

    async fn end(self) {
        self.ending.cancel();
        self.carriers.close();
        self.carriers.wait().await;
    }
}

async fn rotated(desk: &Desk, id: &str) -> String {
    let path = format!("/api/v1/projects/{}/gateway-keys/{id}/rotate", desk.project);
    let (status, rotated): (_, Value) = desk.app.post(&path, &desk.token, json!({})).await;
    assert_eq!(status, StatusCode::OK, "{rotated}");
    rotated["secret"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn processes_together_let_through_what_a_key_may_take_in_a_minute_whatever_its_secret() {
    let pair = Pair::start().await;
    let (id, key) = pair.desk.make(json!({ "name": "shared", "requests_per_minute": 2 })).await;
    let mut statuses = Vec::new();
    for n in 0..6 {
        statuses.push(pair.ask(n % 2, &key).await);
    }
    let passed = statuses.iter().filter(|status| **status == StatusCode::OK).count();
    // Half a minute fills it by one: without Redis it would be four.
    assert!((2..=3).contains(&passed), "{statuses:?}");
    let fresh = rotated(&pair.desk, &id).await;
    for process in 0..2 {
        assert_eq!(pair.ask(process, &fresh).await, StatusCode::TOO_MANY_REQUESTS);
    }

    let (_, few) = pair.desk.make(json!({ "name": "few", "tokens_per_minute": 190 })).await;
    assert_eq!(pair.ask(0, &few).await, StatusCode::OK);
    assert_eq!(pair.ask(1, &few).await, StatusCode::TOO_MANY_REQUESTS);
    pair.end().await;
}

#[tokio::test]
async fn calls_at_once_in_two_processes_do_not_pass_the_tokens_of_a_minute_together() {
    let (provider, may_answer, asked) = held();
    let pair = Pair::before(Desk::over(provider).await).await;
    let (_, key) = pair.desk.make(json!({ "name": "few", "tokens_per_minute": 400 })).await;
    let meanwhile = async {
        until("both are at the provider", async || (asked.load(Ordering::SeqCst) == 2).then_some(())).await;
        let refused = [pair.ask(0, &key).await, pair.ask(1, &key).await];
        may_answer.add_permits(3);
        refused
    };

    let (here, there, refused) = tokio::join!(pair.ask(0, &key), pair.ask(1, &key), meanwhile);

    assert_eq!([here, there], [StatusCode::OK; 2]);
    assert_eq!(refused, [StatusCode::TOO_MANY_REQUESTS; 2]);
    assert_eq!(pair.ask(1, &key).await, StatusCode::OK, "what neither of them used is back at once");
    pair.end().await;
}

#[tokio::test]
async fn tokens_are_set_aside_by_each_process_for_itself_while_redis_is_away() {
    let mut pair = Pair::start().await;
    let (_, key) = pair.desk.make(json!({ "name": "few", "tokens_per_minute": 190 })).await;
    assert_eq!(pair.ask(0, &key).await, StatusCode::OK);
    assert_eq!(pair.ask(1, &key).await, StatusCode::TOO_MANY_REQUESTS);
    pair.redis.kill();
    assert_eq!(pair.ask(1, &key).await, StatusCode::OK, "it has used none itself");
    assert_eq!(pair.ask(0, &key).await, StatusCode::TOO_MANY_REQUESTS, "it has counted its own all along");
    pair.end().await;
}

#[tokio::test]
async fn without_redis_every_process_counts_for_itself_and_refuses_nobody_for_that() {
    let mut pair = Pair::start().await;
    let (_, key) = pair.desk.make(json!({ "name": "shared", "requests_per_minute": 2 })).await;
    assert_eq!(pair.ask(0, &key).await, StatusCode::OK);
    assert_eq!(pair.ask(0, &key).await, StatusCode::OK);
    assert_eq!(pair.ask(1, &key).await, StatusCode::TOO_MANY_REQUESTS);
    pair.redis.kill();
    assert_eq!(pair.ask(1, &key).await, StatusCode::OK, "it has let through none itself");
    assert_eq!(pair.ask(0, &key).await, StatusCode::TOO_MANY_REQUESTS, "it has counted its own all along");
    pair.end().await;
}

#[tokio::test]
async fn a_key_that_is_rotated_or_changed_goes_on_counting() {
    let desk = Desk::scripted(SOUND).await;
    let (id, key) = desk.make(json!({ "name": "slow", "requests_per_minute": 1 })).await;
    let ask = async |key: &str| desk.ask("/v1/chat/completions", key, &chat("openai")).await.0;
    assert_eq!(ask(&key).await, StatusCode::OK);
    let fresh = rotated(&desk, &id).await;
    assert_eq!(ask(&fresh).await, StatusCode::TOO_MANY_REQUESTS);
    let path = format!("/api/v1/projects/{}/gateway-keys/{id}", desk.project);
    let same = Some(json!({ "name": "renamed", "requests_per_minute": 1 }));
    assert_eq!(
        desk.app.send(axum::http::Method::PUT, &path, Some(&desk.token), same).await.0,
        StatusCode::OK
    );
    assert_eq!(ask(&fresh).await, StatusCode::TOO_MANY_REQUESTS);
}
