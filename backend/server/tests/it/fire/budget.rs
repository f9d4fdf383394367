//! Money runs out in the middle of a story.

use super::{Setting, World};
use serde_json::json;
use std::time::Duration;
use syndarix::demo::{Answers, Follow};

/// Slow enough to be stopped in the middle.
const SLOW_ENGINEER: &str = r#"
[[rule]]
name = "the engineer thinks for a while"
when = { system_contains = "Stage: implementation.", turn = 0 }
fault = { kind = "slow_stream", chunk_ms = 120 }
answer.text = "Let me think about where this goes, and how it should be called."
answer.tool = [{ name = "create_branch", arguments = { name = "{{branch}}" } }]
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_story_whose_money_ran_out_says_so_and_goes_on_when_there_is_more() {
    let world = World::start(Setting { rules: SLOW_ENGINEER, ..Setting::default() }).await;
    let story = world.story("Spend it all").await;
    world.wait_for(story, "the engineer works", |view| view["phase"] == "implementation").await;
    let budget = world.path("/budget");
    world.client.put(&budget, &json!({ "hard_limit_micro_usd": 0 })).await.unwrap();

    let run = world.waiting_run(story, "budget").await;
    let detail = run["waiting"]["detail"].as_str().unwrap();
    assert!(detail.contains("hard budget of $0"), "{detail}");
    let view = world.view(story).await;
    assert!(view["waiting_for"].as_str().unwrap().contains("waiting for budget"), "{view:#}");

    // Not enough is not enough: it waits again, and is not forgotten.
    world.client.put(&budget, &json!({ "hard_limit_micro_usd": 1 })).await.unwrap();
    world.waiting_run(story, "budget").await;
    world.client.put(&budget, &json!({ "hard_limit_micro_usd": null })).await.unwrap();
    world.done(story).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_demonstration_that_answers_itself_ends_at_once_when_the_money_is_gone_and_says_so() {
    let world = World::start(Setting::default()).await;
    world.client.put(&world.path("/budget"), &json!({ "hard_limit_micro_usd": 0 })).await.unwrap();
    let follow = Follow {
        client: &world.client,
        project: world.project,
        story: world.story("Without a penny").await,
        answers: Answers::Yes,
        url: String::new(),
        patience: None,
    };
    let end = follow.to_the_end(world.app(), |_| ());
    let ended = tokio::time::timeout(Duration::from_secs(60), end).await.unwrap();
    let said = ended.unwrap_err().to_string();
    assert!(said.contains("waits for budget") && said.contains("hard budget of $0"), "{said}");
    world.end().await;
}
