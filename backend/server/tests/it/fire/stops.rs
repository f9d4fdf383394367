//! Somebody stops what is under way.

use super::{Setting, World, until};
use serde_json::json;
use std::time::{Duration, Instant};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancelling_a_story_reaches_the_tests_that_run_for_it() {
    let world = World::start(Setting { test_command: "sleep 90", ..Setting::default() }).await;
    let story = world.story("Never mind").await;
    world.under_test(story).await;
    let started = Instant::now();
    let path = world.path(&format!("/stories/{story}/cancel"));
    world.client.post(&path, &json!({ "reason": "not wanted any more" })).await.unwrap();
    assert_eq!(world.view(story).await["phase"], "cancelled");
    world.nothing_is_left(story).await;
    assert!(started.elapsed() < Duration::from_secs(30), "the tests were not waited for");
    until("the worktree is gone", async || {
        (world.git(&["worktree", "list", "--porcelain"]).matches("worktree ").count() == 1).then_some(())
    })
    .await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancelling_before_the_merge_closes_the_pull_request_and_leaves_main_alone() {
    let world = World::start(Setting { autonomy: "milestone", ..Setting::default() }).await;
    let before = world.git(&["rev-parse", "main"]);
    let story = world.story("Think twice").await;
    assert_eq!(world.asked(story).await["phase"], "review");
    let path = world.path(&format!("/stories/{story}/cancel"));
    world.client.post(&path, &json!({ "reason": "too expensive" })).await.unwrap();
    world.nothing_is_left(story).await;
    let closed =
        "select count(*) from pull_request where (state ->> 'story')::uuid = $1 and phase = 'closed'";
    assert_eq!(world.count(closed, story).await, 1);
    assert_eq!(world.git(&["rev-parse", "main"]), before);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_agents_run_parks_after_its_step_and_goes_on_when_the_agent_does() {
    let world = World::start(Setting { test_command: "sleep 2", ..Setting::default() }).await;
    let story = world.story("Take a break").await;
    world.under_test(story).await;
    let run = world.run_of(story).await;
    let agent = world.path(&format!("/agents/{}", run["agent"]["id"].as_str().unwrap()));
    world.client.post(&format!("{agent}/pause"), &json!({})).await.unwrap();
    let parked = world.waiting_run(story, "paused").await;
    assert_eq!(parked["id"], run["id"]);
    let ran = "select count(*) from test_run where story_id = $1 and commit_id <> ''";
    assert_eq!(world.count(ran, story).await, 1, "the step under way was ended and recorded first");
    assert!(world.view(story).await["waiting_for"].as_str().unwrap().contains("paused"));
    world.client.post(&format!("{agent}/resume"), &json!({})).await.unwrap();
    world.done(story).await;
    assert_eq!(world.count(ran, story).await, 1, "and not done again");
    world.end().await;
}
