//! A process that is told to stop while it is busy: it ends within its limit, says when it had to leave something behind,
//! and whatever it was at goes on afterwards. The real binary, SIGTERM, real tools.

use crate::{fire, killed::Killable, race};
use uuid::Uuid;

/// A file that the long call leaves as soon as it is under way.
const BEGUN: &str = "begun";

/// A story whose tests take longer than any stop, and are under way; whoever begins them again has them at once.
async fn in_a_long_call(killable: &Killable) -> Uuid {
    killable.test_command(&format!("touch {BEGUN} && sleep 600")).await;
    let story = killable.story("Take long").await;
    fire::until("the tests run", async || killable.worktrees_have(BEGUN).then_some(())).await;
    killable.test_command("true").await;
    story
}

/// It was begun by two processes, and has one end.
async fn ended_by_another(killable: &Killable, story: Uuid) {
    killable.done(story).await;
    assert_eq!(killable.step("run_tests").await, (2, "done".into(), Some("repeated".into())));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_in_a_long_tool_call_hands_the_run_back_in_time_and_the_next_process_goes_on_with_it() {
    let mut killable = Killable::start("").await;
    let story = in_a_long_call(&killable).await;

    let ended = killable.stop().await.expect("it ends in time");

    assert_eq!(ended.code(), Some(0), "nothing was left behind: {}", killable.last_words());
    killable.serve_again().await;
    ended_by_another(&killable, story).await;
    killable.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_in_a_long_tool_call_while_the_database_hangs_ends_in_time_too_and_is_no_success() {
    let home = tempfile::tempdir().unwrap();
    let postgres = syndarix_postgres::start(race::options(home.path())).await.unwrap();
    let mut killable = Killable::start_on(&postgres.url().parse().unwrap(), "").await;
    let story = in_a_long_call(&killable).await;

    race::signal_all(&postgres, "-STOP");
    let ended = killable.stop().await;
    race::signal_all(&postgres, "-CONT");

    let said = killable.last_words();
    assert_eq!(ended.expect("it ends in time").code(), Some(1), "{said}");
    assert!(said.contains("not in good order: jobs could not be handed back"), "{said}");
    killable.serve_again().await;
    ended_by_another(&killable, story).await;
    killable.end().await;
    postgres.stop().await.unwrap();
}
