//! Runs that use up what they may, or turn in circles.

use super::{Setting, World};
use serde_json::json;

const CIRCLES: &str = r#"
[[rule]]
name = "the same look, again and again"
when = { system_contains = "Stage: design.", turn = { min = 0, max = 20 } }
answer.tool = [{ name = "tree", arguments = {} }]
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_turns_in_circles_is_stalled_and_its_story_waits_for_a_human() {
    let world = World::start(Setting { rules: CIRCLES, ..Setting::default() }).await;
    let story = world.story("Go round").await;
    let view = world.wait_for(story, "it is blocked", |view| view["phase"] == "blocked").await;
    assert!(view["waiting_for"].as_str().unwrap().contains("stalled"), "{view:#}");
    assert_eq!(world.run_of(story).await["state"], "stalled");
    world.nothing_is_left(story).await;
    world.end().await;
}

const CHATTER: &str = r#"
[[rule]]
name = "words, no deeds"
when = { system_contains = "Stage: design." }
answer.text = "It is as good as done."
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn saying_done_without_a_result_is_not_success() {
    let world = World::start(Setting { rules: CHATTER, ..Setting::default() }).await;
    let story = world.story("Talk only").await;
    let view = world.wait_for(story, "it is blocked", |view| view["phase"] == "blocked").await;
    assert!(view["waiting_for"].as_str().unwrap().contains("without a tool call"), "{view:#}");
    world.nothing_is_left(story).await;
    world.end().await;
}

const CURIOUS: &str = r#"
[[rule]]
name = "one more look, each another"
when = { system_contains = "Stage: design.", turn = 0 }
answer.tool = [{ name = "tree", arguments = {} }]
[[rule]]
name = "and one more"
when = { system_contains = "Stage: design.", turn = 1 }
answer.tool = [{ name = "log", arguments = {} }]
[[rule]]
name = "and another"
when = { system_contains = "Stage: design.", turn = 2, last_contains = "README" }
answer.tool = [{ name = "log", arguments = { limit = 2 } }]
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_ends_at_its_limit_of_steps_and_goes_on_when_a_human_unblocks_the_story() {
    let world = World::start(Setting { rules: CURIOUS, ..Setting::default() }).await;
    world
        .execute(
            "update agent_type_version set definition = jsonb_set(definition, '{limits,max_steps}', '4')",
        )
        .await;
    let story = world.story("Look around").await;
    let view = world.wait_for(story, "it is blocked", |view| view["phase"] == "blocked").await;
    assert!(view["waiting_for"].as_str().unwrap().contains("limit of 4 steps"), "{view:#}");
    world.nothing_is_left(story).await;
    world
        .execute(
            "update agent_type_version set definition = jsonb_set(definition, '{limits,max_steps}', '100')",
        )
        .await;
    world.client.post(&world.path(&format!("/stories/{story}/unblock")), &json!({})).await.unwrap();
    world.done(story).await;
    world.end().await;
}

const GREEDY: &str = r#"
[[rule]]
name = "everything at once"
when = { system_contains = "Stage: design." }
answer.tool = [
    { name = "tree", arguments = {} }, { name = "log", arguments = {} }, { name = "log", arguments = { limit = 2 } },
    { name = "log", arguments = { limit = 3 } }, { name = "log", arguments = { limit = 4 } },
]
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_answer_cannot_pass_the_limit_of_steps_by_its_many_calls() {
    let world = World::start(Setting { rules: GREEDY, ..Setting::default() }).await;
    let limit = "update agent_type_version set definition = jsonb_set(definition, '{limits,max_steps}', '4')";
    world.execute(limit).await;
    let story = world.story("Take it all").await;
    let view = world.wait_for(story, "it is blocked", |view| view["phase"] == "blocked").await;
    assert!(view["waiting_for"].as_str().unwrap().contains("asks for 5 tool calls"), "{view:#}");
    let called = "select count(*) from step s join run r on r.id = s.run_id
         where r.story_id = $1 and r.state ->> 'stage' = 'design' and s.kind = 'tool'";
    assert_eq!(world.count(called, story).await, 0);
    world.nothing_is_left(story).await;
    world.end().await;
}
