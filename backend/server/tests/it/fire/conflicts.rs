//! Two stories change the same lines; a merge that the tests do not pass.

use super::{Setting, World};

/// Both stories write the same file; the one that comes second resolves the conflict as a good engineer does.
const SAME_FILE: &str = r#"
[[rule]]
name = "the same file"
when = { system_contains = "Stage: implementation.", last_tool = "create_branch" }
answer.tool = [{ name = "write_file", arguments = { path = "shared.txt", content = "mine, says {{number}}" } }]
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_second_of_two_conflicting_stories_goes_round_with_the_paths_and_is_merged() {
    let world = World::start(Setting { rules: SAME_FILE, autonomy: "milestone", ..Setting::default() }).await;
    let (first, second) = (world.story("Write it").await, world.story("Write it, too").await);
    world.asked(first).await;
    world.asked(second).await;
    world.answer(first, "approved", "").await;
    world.done(first).await;
    world.answer(second, "approved", "").await;
    world.wait_for(second, "it went round", |view| view["round"] == 1).await;
    world.asked(second).await;
    world.answer(second, "approved", "").await;
    world.done(second).await;
    assert_eq!(world.git(&["show", "main:shared.txt"]).trim(), "both, says 2");
    let conflicts: i64 = world
        .count(
            "select count(*) from event e join pull_request p on p.id = e.stream_id
             where (p.state ->> 'story')::uuid = $1 and e.data::jsonb::text like '%\"conflicts\": [\"shared.txt\"]%'",
            second,
        )
        .await;
    assert_eq!(conflicts, 1, "the pull request says which paths conflict");
    let pull_requests = "select count(*) from pull_request where (state ->> 'story')::uuid = $1";
    assert_eq!(world.count(pull_requests, second).await, 1);
    world.end().await;
}

/// The first attempt breaks something that only the whole shows; the second one removes it.
const BREAKS: &str = r#"
[[rule]]
name = "take it away again"
when = { system_contains = "Stage: implementation.", first_contains = ["Feedback of round", "The earlier branch is merged"], last_tool = "create_branch" }
answer.tool = [{ name = "delete_path", arguments = { path = "broken" } }]

[[rule]]
name = "and commit"
when = { system_contains = "Stage: implementation.", last_tool = "delete_path" }
answer.tool = [{ name = "commit", arguments = { message = "Mend what was broken" } }]

[[rule]]
name = "break it"
when = { system_contains = "Stage: implementation.", last_tool = "create_branch" }
answer.tool = [{ name = "write_file", arguments = { path = "broken", content = "oops" } }]
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_merge_that_fails_the_tests_goes_back_with_the_report_and_a_second_pull_request_mends_it() {
    let test_command = "if test -e broken; then echo something is broken here; exit 1; fi";
    let world = World::start(Setting { rules: BREAKS, test_command, ..Setting::default() }).await;
    let story = world.story("Break and mend").await;
    let view = world.done(story).await;
    assert_eq!(view["round"], 1, "{view:#}");
    let merged =
        "select count(*) from pull_request where (state ->> 'story')::uuid = $1 and phase = 'merged'";
    assert_eq!(world.count(merged, story).await, 2);
    let tests = "select count(*) from test_run where story_id = $1 and passed is not distinct from ";
    assert_eq!(world.count(&format!("{tests} false"), story).await, 1);
    assert_eq!(world.count(&format!("{tests} true"), story).await, 1);
    let told = "select count(*) from run_brief b join run r on r.id = b.run_id
         where r.story_id = $1 and b.task like '%something is broken here%'";
    assert_eq!(world.count(told, story).await, 1, "the report reached the engineer");
    world.end().await;
}
