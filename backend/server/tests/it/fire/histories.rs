//! What happens off the good path, all of it in one project: what must stay readable for every later release.
//!
//! With `SYNDARIX_RECORD_HISTORY=FILE` its events are written there, for `tests/histories` of the domain.

use super::{Setting, World, until};
use serde_json::{Value, json};
use std::fmt::Write as _;
use syndarix::config::process_env;
use uuid::Uuid;

/// What is special about a story goes by its title; the rest is done by the good agents.
const RULES: &str = r#"
[[rule]]
name = "the same look, again and again"
when = { system_contains = "Stage: design.", first_contains = ["Go round"], turn = { min = 0, max = 20 } }
answer.tool = [{ name = "tree", arguments = {} }]

[[rule]]
name = "too many requests, more often than one call is patient"
when = { system_contains = "Stage: design.", first_contains = ["Ask again later"] }
fault = { kind = "status", status = 429, retry_after_seconds = 1, message = "slow down" }
times = 4

[[rule]]
name = "what only a human knows"
when = { system_contains = "Stage: analysis.", first_contains = ["Ask me"], turn = 0 }
answer.tool = [{ name = "request_input", arguments = { question = "Which list?" } }]

[[rule]]
name = "the engineer thinks for a while"
when = { system_contains = "Stage: implementation.", first_contains = ["Spend it all"], turn = 0 }
fault = { kind = "slow_stream", chunk_ms = 120 }
answer.text = "Let me think about where this goes, and how it should be called."
answer.tool = [{ name = "create_branch", arguments = { name = "{{branch}}" } }]

[[rule]]
name = "the same file"
when = { system_contains = "Stage: implementation.", first_contains = ["Share it"], last_tool = "create_branch" }
answer.tool = [{ name = "write_file", arguments = { path = "shared.txt", content = "mine, says {{number}}" } }]

[[rule]]
name = "take it away again"
when = { system_contains = "Stage: implementation.", first_contains = ["Break it", "Feedback of round", "The earlier branch is merged"], last_tool = "create_branch" }
answer.tool = [{ name = "delete_path", arguments = { path = "broken" } }]

[[rule]]
name = "and commit"
when = { system_contains = "Stage: implementation.", first_contains = ["Break it"], last_tool = "delete_path" }
answer.tool = [{ name = "commit", arguments = { message = "Mend what was broken" } }]

[[rule]]
name = "break it"
when = { system_contains = "Stage: implementation.", first_contains = ["Break it"], last_tool = "create_branch" }
answer.tool = [{ name = "write_file", arguments = { path = "broken", content = "oops" } }]
"#;

impl World {
    async fn tell(&self, what: &str, id: &str, command: &str, body: Value) -> Value {
        self.client.post(&self.path(&format!("/{what}/{id}/{command}")), &body).await.unwrap()
    }

    /// Answers a question of nobody's story.
    async fn decide(&self, approval: &Value, outcome: &str) {
        let path = self.path(&format!("/approvals/{}", approval.as_str().unwrap()));
        let digest = &self.client.get(&path).await.unwrap()["digest"];
        let decision = json!({ "outcome": outcome, "digest": digest, "note": "because" });
        self.client.post(&format!("{path}/decision"), &decision).await.unwrap();
    }

    async fn sprint(&self, name: &str) -> String {
        let body =
            json!({ "name": name, "goal": "Exports", "starts_on": "2100-01-01", "ends_on": "2100-01-14" });
        let sprint = self.client.post(&self.path("/sprints"), &body).await.unwrap();
        sprint["id"].as_str().unwrap().to_owned()
    }

    /// Lets a timer of this stream ring now, and waits for what it tells.
    async fn ring(&self, stream: Uuid, timer: &str, event: &str) {
        let ring = format!("update timer set fire_at = now() where name = '{timer}' and stream = '{stream}'");
        self.execute(&ring).await;
        let told = format!("select count(*) from event where stream_id = $1 and type = '{event}'");
        until(event, async || (self.count(&told, stream).await == 1).then_some(())).await;
    }

    async fn blocked(&self, story: Uuid) {
        self.wait_for(story, "it is blocked", |view| view["phase"] == "blocked").await;
    }
}

async fn a_second_round(world: &World) {
    let story = world.story("Ask for more").await;
    world.answer(story, "changes_requested", "Not like this.").await;
    world.wait_for(story, "it goes round", |view| view["round"] == 1).await;
    world.answer(story, "approved", "").await;
    world.done(story).await;
}

async fn a_story_blocked_and_resumed(world: &World) {
    let story = world.story("Wait for the lawyer").await;
    world.asked(story).await;
    world.tell("stories", &story.to_string(), "block", json!({ "reason": "the lawyer is away" })).await;
    world.blocked(story).await;
    world.tell("stories", &story.to_string(), "unblock", json!({})).await;
    world.answer(story, "approved", "").await;
    world.done(story).await;
}

async fn a_question_and_a_busy_provider(world: &World) {
    let asking = world.story("Ask me").await;
    world.answer(asking, "approved", "The long one.").await;
    world.wait_for(asking, "it goes on", |view| view["phase"] == "review").await;
    world.answer(asking, "approved", "").await;
    world.done(asking).await;
    let parked = world.story("Ask again later").await;
    world.waiting_run(parked, "rate_limit").await;
    world.answer(parked, "approved", "").await;
    world.done(parked).await;
}

async fn a_cancelled_story(world: &World) {
    let story = world.story("Think twice").await;
    world.asked(story).await;
    world.ring(story, "story.deadline", "story.deadline_passed.v1").await;
    world.tell("stories", &story.to_string(), "cancel", json!({ "reason": "too expensive" })).await;
}

async fn a_stalled_run(world: &World) {
    let story = world.story("Go round").await;
    world.blocked(story).await;
}

async fn no_money_for_a_while(world: &World) {
    let story = world.story("Spend it all").await;
    world.wait_for(story, "the engineer works", |view| view["phase"] == "implementation").await;
    world.client.put(&world.path("/budget"), &json!({ "hard_limit_micro_usd": 0 })).await.unwrap();
    world.waiting_run(story, "budget").await;
    world.client.put(&world.path("/budget"), &json!({ "hard_limit_micro_usd": null })).await.unwrap();
    world.answer(story, "approved", "").await;
    world.done(story).await;
}

async fn declined_and_expired(world: &World) {
    let declined = world.story("Ask in vain").await;
    world.answer(declined, "rejected", "Never.").await;
    let unanswered = world.story("Nobody answers").await;
    let approval: Uuid = world.asked(unanswered).await["approval_id"].as_str().unwrap().parse().unwrap();
    world.ring(approval, "approval.remind", "approval.reminded.v1").await;
    world.ring(approval, "approval.expire", "approval.expired.v1").await;
}

async fn carried_over_and_a_cancelled_sprint(world: &World) {
    let (alpha, beta) = (world.sprint("Alpha").await, world.sprint("Beta").await);
    let body = json!({ "title": "Carry me over", "sprint_id": alpha });
    world.client.post(&world.path("/stories"), &body).await.unwrap();
    world.tell("sprints", &alpha, "start", json!({})).await;
    // Not what was asked about any more: the question is superseded.
    let goal = json!({ "goal": "Exports, and quickly" });
    world.client.patch(&world.path(&format!("/sprints/{alpha}")), &goal).await.unwrap();
    let asked = world.tell("sprints", &alpha, "start", json!({})).await;
    world.decide(&asked["approval_id"], "rejected").await;
    let asked = world.tell("sprints", &alpha, "start", json!({})).await;
    world.decide(&asked["approval_id"], "approved").await;
    world.tell("sprints", &alpha, "request-review", json!({})).await;
    let asked = world.tell("sprints", &alpha, "complete", json!({ "carry_over_to": beta })).await;
    world.decide(&asked["approval_id"], "approved").await;
    world.tell("sprints", &beta, "cancel", json!({ "reason": "the client left" })).await;
}

async fn a_merge_conflict(world: &World) {
    let (first, second) = (world.story("Share it").await, world.story("Share it, too").await);
    world.asked(first).await;
    world.asked(second).await;
    world.answer(first, "approved", "").await;
    world.done(first).await;
    world.answer(second, "approved", "").await;
    world.wait_for(second, "it went round", |view| view["round"] == 1).await;
    world.answer(second, "approved", "").await;
    world.done(second).await;
}

async fn a_merge_that_fails_the_tests(world: &World) {
    let story = world.story("Break it").await;
    world.answer(story, "approved", "").await;
    world.wait_for(story, "the tests failed", |view| view["round"] == 1).await;
    world.answer(story, "approved", "").await;
    world.done(story).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_happens_off_the_good_path_is_the_replay_of_its_events() {
    let test_command = "if test -e broken; then echo something is broken here; exit 1; fi";
    let world = World::start(Setting { rules: RULES, test_command, autonomy: "milestone" }).await;

    a_second_round(&world).await;
    a_story_blocked_and_resumed(&world).await;
    a_question_and_a_busy_provider(&world).await;
    a_cancelled_story(&world).await;
    a_stalled_run(&world).await;
    no_money_for_a_while(&world).await;
    declined_and_expired(&world).await;
    carried_over_and_a_cancelled_sprint(&world).await;
    a_merge_conflict(&world).await;
    a_merge_that_fails_the_tests(&world).await;

    let rebuilt = world.app().store.rebuild(false).await.unwrap();
    assert_eq!(rebuilt.different, Vec::<String>::new());
    record(&world).await;
    world.end().await;
}

/// Writes the events down, where somebody wants to keep them.
async fn record(world: &World) {
    let Some(file) = process_env("SYNDARIX_RECORD_HISTORY") else { return };
    let events: Vec<Value> = sqlx::query_scalar(
        "select jsonb_build_object('kind', kind, 'stream', stream_id, 'version', version, 'type', type, 'data', data)
           from event where version > 0 order by project_id, seq",
    )
    .fetch_all(world.app().pool())
    .await
    .unwrap();
    let mut lines = String::new();
    for event in events {
        writeln!(lines, "{event}").unwrap();
    }
    std::fs::write(file, lines).unwrap();
}
