//! The journal of a run's steps: what is written with a transition is there once, and what is large is kept apart.

use super::{Setting, World};

const TELL: &str = r#"
[[rule]]
name = "a message"
when = { system_contains = "Stage: analysis.", turn = 0 }
answer.tool = [{ name = "send_message", arguments = { text = "I begin." } }]
"#;

/// The first commit of a message fails at its very end, as if the database had chosen it to give way. Sequences are not
/// rolled back, so they count the attempts.
const FAILS_ONCE: &str = "
create sequence message_commits;
create function fail_once() returns trigger language plpgsql as $$
begin
    if nextval('message_commits') = 1 then
        raise exception 'gives way' using errcode = '40001';
    end if;
    return null;
end $$;
create constraint trigger fail_once after insert on message deferrable initially deferred
    for each row execute function fail_once();";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_is_sent_once_with_its_step_however_often_its_transaction_is_tried() {
    let world = World::start(Setting { rules: TELL, ..Setting::default() }).await;
    world.execute(FAILS_ONCE).await;
    let story = world.story("Say it once").await;
    world.done(story).await;
    let tries = "select last_value from message_commits where $1::uuid is not null";
    assert_eq!(world.count(tries, story).await, 2, "the first was rolled back with everything in it");
    let sent = "select count(*) from message where content::text like '%I begin.%' and $1::uuid is not null";
    assert_eq!(world.count(sent, story).await, 1);
    let steps = "select count(*) from step where name = 'send_message' and status = 'done' and attempt = 1
         and $1::uuid is not null";
    assert_eq!(world.count(steps, story).await, 1);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_answer_is_kept_apart_and_read_whole() {
    let long = "0123456789".repeat(4_000);
    let rules = format!(
        "[[rule]]\nname = \"long\"\nwhen = {{ system_contains = \"Stage: implementation.\", last_tool = \"create_branch\" }}\n\
         answer.tool = [{{ name = \"write_file\", arguments = {{ path = \"long.txt\", content = \"{long}\" }} }}]\n"
    );
    let world = World::start(Setting { rules: rules.leak(), ..Setting::default() }).await;
    let story = world.story("Write a lot").await;
    world.done(story).await;
    assert_eq!(world.git(&["show", "main:long.txt"]), long, "the call is made from what was kept");
    let apart = "select count(*) from step s join step_result r on r.project_id = s.project_id and r.hash = s.result_hash
         where $1::uuid is not null and s.kind = 'model' and r.bytes > 40000 and length(s.result::text) < 200";
    assert_eq!(world.count(apart, story).await, 1);
    let in_rows = "select count(*) from step where length(result::text) > 32768 and $1::uuid is not null";
    assert_eq!(world.count(in_rows, story).await, 0);
    let timeline = world.client.get(&world.path(&format!("/stories/{story}/timeline"))).await.unwrap();
    assert!(timeline.to_string().contains("0123456789"), "people see its beginning");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_is_not_the_one_that_was_begun_is_not_made_and_a_human_is_asked() {
    let mut world = World::start(Setting { test_command: "sleep 90", ..Setting::default() }).await;
    let story = world.story("Begin one thing").await;
    world.under_test(story).await;
    world
        .execute(
            "update step set request_hash = 'of another request' where name = 'run_tests' and status = 'started'",
        )
        .await;

    world.restart().await;

    world.waiting_run(story, "unknown_outcome").await;
    let doubted = "select count(*) from step s join run r on r.id = s.run_id
         where r.story_id = $1 and s.name = 'run_tests' and s.status = 'unknown' and s.error like 'what was begun is not%'";
    assert_eq!(world.count(doubted, story).await, 1);
    let ran = "select count(*) from test_run where story_id = $1";
    assert_eq!(world.count(ran, story).await, 0);
    world.end().await;
}
