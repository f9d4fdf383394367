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
