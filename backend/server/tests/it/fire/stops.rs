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

const THINKS_LONG: &str = r#"
[[rule]]
name = "thinks for a long time, once"
when = { system_contains = "Stage: design." }
fault = { kind = "hang", seconds = 600 }
times = 1
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pausing_an_agent_whose_model_call_was_interrupted_leaves_no_step_and_no_reservation_open() {
    let mut world = World::start(Setting { rules: THINKS_LONG, ..Setting::default() }).await;
    let story = world.story("Take a longer break").await;
    let asking = "select count(*) from step s join run r on r.id = s.run_id
         where r.story_id = $1 and r.state ->> 'stage' = 'design' and s.status = 'started'";
    until("the model is asked", async || (world.count(asking, story).await == 1).then_some(())).await;
    let run = world.run_of(story).await;
    let agent = world.path(&format!("/agents/{}", run["agent"]["id"].as_str().unwrap()));
    world.client.post(&format!("{agent}/pause"), &json!({})).await.unwrap();
    world.restart().await;
    world.waiting_run(story, "paused").await;
    assert_eq!(world.count(asking, story).await, 0);
    let reserved = "select count(*) from usage where story_id = $1 and state = 'reserved'";
    assert_eq!(world.count(reserved, story).await, 0);
    world.client.post(&format!("{agent}/resume"), &json!({})).await.unwrap();
    world.done(story).await;
    world.end().await;
}

const TALKS: &str = r#"
[[rule]]
name = "thinks until somebody has written"
when = { system_contains = "Stage: design.", turn = 0 }
fault = { kind = "slow_stream", chunk_ms = 150 }
answer.text = "Let me think about this for a while, and look at what is there."
answer.tool = [{ name = "tree", arguments = {} }]

[[rule]]
name = "hears it"
when = { system_contains = "Stage: design.", turn = 1, last_contains = ["Message from Ann:", "> Mind the umlauts"] }
answer.tool = [{ name = "complete_task", arguments = { summary = "Heard.", confidence = 0.95, decision = "Umlauts are minded." } }]
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_written_to_an_agent_at_work_reaches_it_at_its_next_step() {
    let world = World::start(Setting { rules: TALKS, ..Setting::default() }).await;
    let story = world.story("Listen").await;
    let asking = "select count(*) from step s join run r on r.id = s.run_id
         where r.story_id = $1 and r.state ->> 'stage' = 'design' and s.status = 'started'";
    until("the model is asked", async || (world.count(asking, story).await == 1).then_some(())).await;
    let agent = world.run_of(story).await["agent"]["id"].clone();
    let message = json!({ "to": agent, "content": "Mind the umlauts" });
    world.client.post(&world.path("/messages"), &message).await.unwrap();
    world.done(story).await;
    let design = "select count(*) from story where id = $1 and state ->> 'design' = 'Umlauts are minded.'";
    assert_eq!(world.count(design, story).await, 1);
    let unread = "select count(*) from message where project_id = (select project_id from story where id = $1) and delivered_at is null";
    assert_eq!(world.count(unread, story).await, 0);
    world.end().await;
}
