//! What a project lacks is said to whoever can provide it, and the story goes on once it is there.

use super::{Setting, World, until};

const ASKS: &str = r#"
[[rule]]
name = "the tests cannot be run"
when = { system_contains = "Stage: testing.", last_tool = "run_tests", last_contains = "test command" }
answer.tool = [{ name = "request_input", arguments = { question = "How are the tests run? {{last_tool}}" } }]

[[rule]]
name = "after the answer"
when = { system_contains = "Stage: testing.", last_tool = "request_input" }
answer.tool = [{ name = "run_tests", arguments = {} }]
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_project_without_a_test_command_says_so_and_nothing_is_lost_until_it_has_one() {
    let world = World::start(Setting { rules: ASKS, ..Setting::default() }).await;
    world.execute("update project set test_command = null").await;
    let story = world.story("Test me if you can").await;
    let view = world.asked(story).await;
    assert_eq!(view["phase"], "testing", "{view:#}");
    let path = world.path(&format!("/approvals/{}", view["approval_id"].as_str().unwrap()));
    let question = world.client.get(&path).await.unwrap();
    assert!(question["summary"].as_str().unwrap().contains("test command"), "{question:#}");
    world.execute("update project set test_command = 'true'").await;
    world.answer(story, "approved", "It is set now.").await;
    world.done(story).await;
    let passed = "select count(*) from test_run where story_id = $1 and passed";
    until("the passing run is on record", async || (world.count(passed, story).await == 1).then_some(()))
        .await;
    world.end().await;
}
