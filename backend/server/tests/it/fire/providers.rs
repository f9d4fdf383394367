//! Models that are busy, broken, slow, or talk nonsense.

use super::{Setting, World, model};
use axum::{Router, http::StatusCode, routing::post};
use serde_json::json;
use syndarix_llm::{Deployment, ModelGroup, ModelGroups};
use tokio::net::TcpListener;
use url::Url;

async fn plays(rules: &'static str) -> World {
    World::start(Setting { rules, ..Setting::default() }).await
}

const BUSY: &str = r#"
[[rule]]
name = "too many requests, more often than one call is patient"
when = { system_contains = "Stage: design." }
fault = { kind = "status", status = 429, retry_after_seconds = 1, message = "slow down" }
times = 4
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_provider_parks_the_run_and_time_wakes_it() {
    let world = plays(BUSY).await;
    let story = world.story("Ask again later").await;
    let run = world.waiting_run(story, "rate_limit").await;
    assert!(run["waiting"]["detail"].as_str().unwrap().contains("slow down"), "{run:#}");
    assert_eq!(world.view(story).await["phase"], "design");
    world.done(story).await;
    let failed = "select count(*) from usage where story_id = $1 and state = 'failed'";
    assert_eq!(world.count(failed, story).await, 4, "every attempt is on record");
    world.end().await;
}

const CUT: &str = r#"
[[rule]]
name = "the line goes dead in the middle of the answer"
when = { system_contains = "Stage: analysis." }
fault = { kind = "cut_stream", after_chunks = 3 }
times = 1
answer.text = "I was just going to say something of importance."
answer.tool = [{ name = "complete_task", arguments = { summary = "Clear.", confidence = 0.95, acceptance_criteria = ["It is there."] } }]
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_breaks_off_is_asked_for_again() {
    let world = plays(CUT).await;
    let story = world.story("Hold the line").await;
    world.done(story).await;
    let failed = "select count(*) from usage where story_id = $1 and state = 'failed'";
    assert_eq!(world.count(failed, story).await, 1);
    let runs = "select count(*) from run where story_id = $1";
    assert_eq!(world.count(runs, story).await, 5, "the same run went on");
    let counted =
        "select sum((state -> 'usage' ->> 'simulated_cost')::bigint)::bigint from run where story_id = $1";
    let charged = "select sum(cost_micro_usd)::bigint from usage where story_id = $1";
    assert_eq!(
        world.count(counted, story).await,
        world.count(charged, story).await,
        "limits see failed attempts"
    );
    let unpriced = "select count(*) from step s join usage u on u.step_id = s.id
         where u.story_id = $1 and s.status = 'failed' and s.cost_micro_usd = 0";
    assert_eq!(world.count(unpriced, story).await, 0, "the failed step shows its cost");
    world.end().await;
}

const NONSENSE: &str = r#"
[[rule]]
name = "arguments that are no JSON"
when = { system_contains = "Stage: analysis.", turn = 0 }
fault = { kind = "malformed_tool_call" }
answer.tool = [{ name = "complete_task", arguments = { summary = "Clear.", confidence = 0.95, acceptance_criteria = ["It is there."] } }]

[[rule]]
name = "a tool that is not there"
when = { system_contains = "Stage: analysis.", turn = 1 }
answer.tool = [{ name = "make_coffee", arguments = {} }]

[[rule]]
name = "a result without what it needs"
when = { system_contains = "Stage: analysis.", turn = 2 }
answer.tool = [{ name = "complete_task", arguments = { summary = "Clear." } }]

[[rule]]
name = "a path out of the worktree"
when = { system_contains = "Stage: analysis.", turn = 3 }
answer.tool = [{ name = "filesystem__read_file", arguments = { path = "../../etc/passwd" } }]

[[rule]]
name = "a branch that is an option"
when = { system_contains = "Stage: implementation.", turn = 0 }
answer.tool = [{ name = "create_branch", arguments = { name = "--upload-pack=x" } }]

[[rule]]
name = "the right branch after all"
when = { system_contains = "Stage: implementation.", turn = 1 }
answer.tool = [{ name = "create_branch", arguments = { name = "{{branch}}" } }]
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nonsense_of_the_model_is_told_to_the_model_and_the_run_goes_on() {
    let world = plays(NONSENSE).await;
    let story = world.story("Talk nonsense").await;
    world.done(story).await;
    let said = async |name: &str| -> String {
        sqlx::query_scalar(
            "select s.result ->> 'text' from step s join run r on r.id = s.run_id
             where r.story_id = $1 and s.name = $2 and s.status = 'failed' order by s.number limit 1",
        )
        .bind(story)
        .bind(name)
        .fetch_one(world.app().pool())
        .await
        .unwrap()
    };
    assert!(said("make_coffee").await.contains("make_coffee"));
    assert!(said("read_file").await.contains(".."));
    assert!(said("create_branch").await.contains("--upload-pack=x"));
    let refused = "select count(*) from step s join run r on r.id = s.run_id
         where r.story_id = $1 and s.name = 'complete_task' and s.status = 'failed'";
    assert_eq!(world.count(refused, story).await, 2, "the malformed one and the incomplete one");
    world.end().await;
}

const NULS: &str = r#"
[[rule]]
name = "a character that the database does not take"
when = { system_contains = "Stage: analysis.", turn = 0 }
answer.text = "Let me \u0000 see."
answer.tool = [{ name = "filesystem__read_file", arguments = { path = "a\u0000b" } }, { name = "no\u0000tool", arguments = {} }]
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_nul_character_from_a_model_or_a_tool_is_replaced_and_the_story_goes_on() {
    let setting = Setting { rules: NULS, test_command: "printf 'all\\000well'", ..Setting::default() };
    let world = World::start(setting).await;
    let story = world.story("Nothing to see").await;
    world.done(story).await;
    let asked = "select count(*) from step s join run r on r.id = s.run_id
         where r.story_id = $1 and s.kind = 'tool' and s.target = 'a\u{fffd}b'";
    assert_eq!(world.count(asked, story).await, 1);
    let printed = "select count(*) from test_run where story_id = $1 and output like '%all\u{fffd}well%'";
    assert!(world.count(printed, story).await > 0);
    let again = "select count(*) from step s join run r on r.id = s.run_id
         where r.story_id = $1 and s.attempt > 1";
    assert_eq!(world.count(again, story).await, 0, "nothing was paid for twice");
    world.end().await;
}

/// Breaks off in words that are no JSON once, and is then nobody that answers.
async fn garbling() -> (Url, tokio::task::JoinHandle<()>) {
    let asked = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let answer = move || {
        let first = !asked.swap(true, std::sync::atomic::Ordering::SeqCst);
        async move {
            let body = "data: {\"model\":\"m\",\"choices\":[{\"delta\":{\"content\":\"I was\"}}]}\n\ndata: {oops\n\n";
            if first { (StatusCode::OK, body) } else { (StatusCode::UNAUTHORIZED, "{}") }
        }
    };
    let router = Router::new().route("/v1/chat/completions", post(answer));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap()).parse().unwrap();
    (url, tokio::task::spawn(async move { axum::serve(listener, router).await.unwrap() }))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_cannot_be_read_is_asked_for_again() {
    let ((garbled, server), sound) = (garbling().await, model("").await);
    let chain = vec![deployment(0, &garbled), deployment(1, &sound.base_url)];
    let group = |name: &str| ModelGroup::new(name, chain.clone());
    let groups = ["high-reasoning", "code", "fast-response", "cost-optimized"].map(group).into();
    let world = World::with_models(Setting::default(), ModelGroups::new(groups).unwrap(), vec![sound]).await;
    let story = world.story("Say again").await;
    world.done(story).await;
    let garbled = "select count(*) from usage where story_id = $1 and error_kind = 'malformed'";
    assert_eq!(world.count(garbled, story).await, 1);
    server.abort();
    world.end().await;
}

const DOWN: &str = r#"
[[rule]]
name = "out of order"
when = {}
fault = { kind = "status", status = 503, retry_after_seconds = 60, message = "out of order" }
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_deployment_answers_when_the_first_does_not() {
    let (broken, slow, sound) = (model(DOWN).await, model(HANGING).await, model("").await);
    let urls = [&broken.base_url, &slow.base_url, &sound.base_url];
    let chain: Vec<Deployment> = urls.into_iter().enumerate().map(|(n, url)| deployment(n, url)).collect();
    let group = |name: &str| ModelGroup::new(name, chain.clone());
    let groups = ["high-reasoning", "code", "fast-response", "cost-optimized"].map(group).into();
    let groups = ModelGroups::new(groups).unwrap();
    let world = World::with_models(Setting::default(), groups, vec![broken, slow, sound]).await;
    let story = world.story("Fail over").await;
    world.done(story).await;
    let by = async |name: &str| -> i64 {
        sqlx::query_scalar(
            "select count(*) from usage where story_id = $1 and deployment = $2 and state = 'settled'",
        )
        .bind(story)
        .bind(name)
        .fetch_one(world.app().pool())
        .await
        .unwrap()
    };
    assert_eq!((by("d0").await, by("d1").await), (0, 0));
    assert!(by("d2").await > 5);
    world.end().await;
}

const HANGING: &str = r#"
[[rule]]
name = "no answer at all"
when = {}
fault = { kind = "hang", seconds = 600 }
"#;

/// One that is not waited for for long.
fn deployment(n: usize, url: &Url) -> Deployment {
    serde_json::from_value(json!({
        "name": format!("d{n}"), "provider": "scripted", "base_url": url, "model": "m",
        "context_window": 100_000, "max_output": 4_000, "endpoint_access": "private_network",
        "limits": { "first_byte_ms": 400, "idle_ms": 5_000, "total_ms": 10_000, "max_body_bytes": 1 << 20, "max_event_bytes": 1 << 20 },
    }))
    .unwrap()
}
