//! The process ends while somebody is asked, and comes back before the answer.

use super::{Setting, World};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_asked_before_a_restart_is_answered_after_it_and_wakes_the_run() {
    let mut world = World::start(Setting { autonomy: "milestone", ..Setting::default() }).await;
    let story = world.story("Ask, then sleep").await;
    world.asked(story).await;
    let before = world.run_of(story).await;
    assert_eq!(before["waiting"]["on"], "approval", "{before:#}");
    world.restart().await;
    assert_eq!(world.run_of(story).await["id"], before["id"], "nothing was begun anew");
    world.answer(story, "approved", "").await;
    world.done(story).await;
    let decided = "select count(*) from event e join approval a on a.id = e.stream_id
         where a.state -> 'request' ->> 'story' = $1::text and e.type = 'approval.decided.v1'";
    let asked = "select count(*) from approval where state -> 'request' ->> 'story' = $1::text";
    assert_eq!(world.count(decided, story).await, world.count(asked, story).await, "one decision for each");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_in_the_middle_of_the_tests_is_no_end_of_the_story() {
    let setting = Setting { test_command: "sleep 4", ..Setting::default() };
    let mut world = World::start(setting).await;
    let story = world.story("Be interrupted").await;
    world.under_test(story).await;
    world.restart().await;
    world.done(story).await;
    let passed = "select count(*) from test_run where story_id = $1 and passed";
    assert_eq!(world.count(passed, story).await, 1);
    world.end().await;
}
