//! What should not happen, does: a job is lost for good, a wake-up passes a run by. The reconcilers find it.

use super::{Setting, World, until};
use uuid::Uuid;

/// Long enough to take its job away.
const LONG_TESTS: &str = "sleep 3";

async fn under_test() -> (World, Uuid) {
    let world = World::start(Setting { test_command: LONG_TESTS, ..Setting::default() }).await;
    let story = world.story("Be forgotten").await;
    world.under_test(story).await;
    (world, story)
}

/// As if it had all happened a while ago, and now is the time to look.
async fn look(world: &World, kind: &str) {
    world
        .execute(&format!(
            "update run set updated_at = now() - interval '1 minute'; update story set updated_at = now() - interval '1 minute';
             update timer set fire_at = now() where name = '{kind}'"
        ))
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_whose_job_was_lost_gets_another() {
    let (world, story) = under_test().await;
    // Not even the worker that has it can write its end any more.
    world.execute("delete from job where kind = 'run.advance'").await;
    look(&world, "runs.reconcile").await;
    world.done(story).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_whose_job_was_given_up_fails_with_the_reason_and_the_story_says_so() {
    let (world, story) = under_test().await;
    world
        .execute(
            "with gone as (delete from job where kind = 'run.advance' returning *)
             insert into job_dead (id, queue, project_id, kind, payload, priority, concurrency_key, attempt, max_attempts,
                                   rescues, fence, reason, errors, created_at)
             select id, queue, project_id, kind, payload, priority, concurrency_key, attempt, max_attempts, rescues, fence,
                    'worker lost', errors, created_at from gone",
        )
        .await;
    look(&world, "runs.reconcile").await;
    let view = world.wait_for(story, "it is blocked", |view| view["phase"] == "blocked").await;
    assert!(view["waiting_for"].as_str().unwrap().contains("given up: worker lost"), "{view:#}");
    world.execute("delete from job_dead").await;
    world.nothing_is_left(story).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_story_whose_stage_nobody_was_given_is_given_again() {
    let world = World::start(Setting::default()).await;
    // No agent may be hired, so the stage waits; then its job is lost.
    world.execute("update project set agent_limit = 0").await;
    let story = world.story("Wait in vain").await;
    until("the stage's job is there", async || {
        let live =
            "select count(*) from job where kind = 'stage.work' and owner is null and $1::uuid is not null";
        (world.count(live, story).await == 1).then_some(())
    })
    .await;
    world.execute("delete from job where kind = 'stage.work'; update project set agent_limit = 50").await;
    look(&world, "stories.reconcile").await;
    world.done(story).await;
    world.end().await;
}
