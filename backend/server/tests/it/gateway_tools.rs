//! Agents ask models through their tools: the MCP server `llm-gateway` in front of the gateway itself.

use crate::{
    fire::{Setting, World},
    gateway::{chat, deployment, serve},
    seed::{Seeded, Tools, project_of},
    support::TestApp,
};
use axum::http::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use syndarix_llm::{ModelGroup, ModelGroups, ProviderKind, scripted};
use tokio::task::JoinSet;
use uuid::Uuid;

const BLUE: &str = "[[rule]]\nname = 'r'\nanswer.text = 'blue'\nanswer.usage = { input = 70, output = 20 }\n";

/// A row of `usage`: key, agent, run, step, call, fence, state, tokens in and out.
type Booked = (Option<Uuid>, Uuid, Uuid, Option<Uuid>, Uuid, Option<i64>, String, i64, i64);

/// An agent whose type thinks with the group `code`, which names `fast` as cheaper; `dear` is there, too.
struct Place {
    app: TestApp,
    seed: Seeded,
    _provider: JoinSet<()>,
}

impl Place {
    async fn new() -> Self {
        let (address, provider) = serve(scripted::router(scripted::Script::from_toml(BLUE).unwrap())).await;
        let group = |name: &str, cheaper: Option<&str>| ModelGroup {
            cheaper: cheaper.map(str::to_owned),
            ..ModelGroup::new(name, vec![deployment(&format!("{name}-1"), ProviderKind::OpenAi, address)])
        };
        let groups = vec![group("dear", Some("code")), group("code", Some("fast")), group("fast", None)];
        let app = TestApp::with_models(ModelGroups::new(groups).unwrap()).await;
        let seed = project_of(&app, "maria").await;
        let place = Self { app, seed, _provider: provider };
        let knows = "insert into agent_type_version (agent_type_id, version, definition, created_at)
                     select id, 1, '{\"model_group\": \"code\"}', now() from agent_type where name = 'Seeded'";
        place.execute(knows.into()).await;
        place
    }

    async fn execute(&self, sql: String) {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(self.app.app.pool()).await.unwrap();
    }

    /// The tool call of the run that asks.
    async fn step(&self) -> Uuid {
        let (id, Seeded { project, run, .. }) = (self.app.app.store.new_id(), &self.seed);
        self.execute(format!(
            "insert into step (id, project_id, run_id, number, kind, server, name, call_id, status, fence, request,
                               request_hash, started_at)
             values ('{id}', '{project}', '{run}', 1, 'tool', 'llm-gateway', 'chat_completion', 'c', 'started', 7, '{{}}',
                     'h', now())"
        ))
        .await;
        id
    }

    async fn tools(&self) -> Tools {
        Tools::start(&self.app, &self.seed, syndarix_mcp_gateway::server()).await
    }

    async fn limit(&self, micro_usd: i64) {
        let body = Some(json!({ "hard_limit_micro_usd": micro_usd }));
        let path = self.seed.path("budget");
        let (status, _) = self.app.send(Method::PUT, &path, Some(&self.seed.user_token), body).await;
        assert_eq!(status, StatusCode::OK);
    }

    async fn booked(&self, project: Uuid) -> Vec<Booked> {
        sqlx::query_as(
            "select key_id, agent_id, run_id, step_id, call_id, fence, state, tokens_in, tokens_out from usage
              where project_id = $1 order by at, id",
        )
        .bind(project)
        .fetch_all(self.app.app.pool())
        .await
        .unwrap()
    }
}

fn asking(model: &str) -> Value {
    json!({ "model": model, "max_tokens": 90, "messages": [{ "role": "user", "content": "Name a colour." }] })
}

#[tokio::test]
async fn an_agents_call_is_booked_on_its_project_run_and_step_and_it_sees_what_is_left() {
    let place = Place::new().await;
    place.limit(1_000).await;
    let (tools, step) = (place.tools().await, place.step().await);
    let ask = async |step: Option<&str>| tools.client.try_call("chat_completion", asking("code"), step).await;

    let answer = ask(Some(&step.to_string())).await.unwrap();
    let elsewhere = ask(Some("step-of-nobody")).await.unwrap();

    assert_eq!((answer.is_error, &answer.value["text"]), (false, &json!("blue")), "{answer:?}");
    assert_eq!(answer.value["deployment"], "code-1");
    assert!(!elsewhere.is_error, "{elsewhere:?}");
    let (agent, run) = (place.seed.agent, place.seed.run);
    let rows = place.booked(place.seed.project).await;
    let settled = |step, call, fence| (None, agent, run, step, call, fence, "settled".to_owned(), 70, 20);
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[0], settled(Some(step), step, Some(7)));
    assert_eq!(rows[1], settled(None, rows[1].4, None), "what is no step of the run is booked on none");
    let used = tools.client.ok("get_usage", json!({ "group_by": "model" })).await;
    // At these rates a call is less than a millionth of a dollar, which is what it costs.
    let spent = 2;
    assert_eq!(used["run"], used["project"]);
    assert_eq!(used["run"]["simulated_micro_usd"], spent);
    assert_eq!(used["budgets"][0]["left_micro_usd"], 1_000 - spent, "{used:#}");
    assert_eq!(used["rows"][0]["calls"], 2);
}

#[tokio::test]
async fn an_agent_asks_its_own_group_and_cheaper_ones_and_nobody_dearer() {
    let place = Place::new().await;
    let tools = place.tools().await;
    assert_eq!(tools.client.ok("list_models", json!({})).await, json!({ "models": ["code", "fast"] }));
    let counted = json!({ "model": "fast", "messages": asking("fast")["messages"] });
    assert!(tools.client.ok("count_tokens", counted).await["tokens"].as_u64().unwrap() > 0);
    assert_eq!(tools.client.ok("chat_completion", asking("fast")).await["deployment"], "fast-1");
    for (model, expected) in [
        ("dear", "its own model group and cheaper ones: code, fast"),
        ("code-1", "its own model group"),
        ("gone", "there is no model `gone`; this agent may ask for: code, fast"),
    ] {
        let sentence = tools.client.fails("chat_completion", asking(model)).await;
        assert!(sentence.contains(expected), "{sentence}");
    }
    assert_eq!(place.booked(place.seed.project).await.len(), 1, "what is refused asks nobody");
}

#[tokio::test]
async fn a_budget_that_would_be_passed_is_a_result_that_says_so_and_costs_nothing() {
    let place = Place::new().await;
    place.limit(0).await;
    let tools = place.tools().await;
    let answer = tools.client.call("chat_completion", asking("code")).await;
    assert!(answer.is_error && answer.text.contains("hard budget of $0"), "{answer:?}");
    assert_eq!(
        (&answer.value["error"], &answer.value["details"]["code"]),
        (&json!("forbidden"), &json!("budget_exceeded"))
    );
    assert_eq!(place.booked(place.seed.project).await, []);
}

#[tokio::test]
async fn a_stranger_asks_at_their_own_cost_or_not_at_all() {
    let place = Place::new().await;
    let ours = place.seed.project;
    let stranger = project_of(&place.app, "otto").await;
    let theirs = Tools::start(&place.app, &stranger, syndarix_mcp_gateway::server()).await;
    let mut posing = asking("code");
    posing["project_id"] = json!(ours);
    let refused = theirs.client.try_call("chat_completion", posing, None).await;
    assert!(refused.is_err(), "the token decides whose project it is: {refused:?}");
    let own = theirs.client.fails("chat_completion", asking("dear")).await;
    assert!(own.contains("may not ask"), "the type of their agent names no group: {own}");
    assert_eq!(place.booked(ours).await, []);

    let post = async |token: &str| place.app.post("/v1/chat/completions", token, chat("code")).await.0;
    let with = |caps: &[&str]| place.seed.agent_token_with(&place.app, "git", caps);
    assert_eq!(
        post(&with(&["git:write"])).await,
        StatusCode::FORBIDDEN,
        "a token is for what its server does"
    );
    assert_eq!(post(&with(&["llm-gateway:read"])).await, StatusCode::FORBIDDEN);
    assert_eq!(post(&place.seed.user_token).await, StatusCode::UNAUTHORIZED, "people have the playground");
    let good = with(&["llm-gateway:write"]);
    assert_eq!(post(&good).await, StatusCode::OK);
    place.execute("update run set phase = 'succeeded'".into()).await;
    assert_eq!(post(&good).await, StatusCode::UNAUTHORIZED, "it ends with the run");
}

const CURIOUS: &str = r#"
[[rule]]
name = "asked on the side"
when = { last_contains = "Name a colour." }
answer.text = "blue"
answer.usage = { input = 7000, output = 2000 }
[[rule]]
name = "an agent that asks another model"
when = { system_contains = "Stage: analysis.", turn = 0 }
answer.tool = [{ name = "chat_completion", arguments = { model = "fast-response", messages = [{ role = "user", content = "Name a colour." }] } }]
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_tool_spends_on_models_counts_for_the_run_as_its_thinking_does() {
    let world = World::start(Setting { rules: CURIOUS, ..Setting::default() }).await;
    world
        .execute(
            "update agent_type_version set definition = jsonb_insert(definition, '{capabilities,0}', '\"llm-gateway:write\"')",
        )
        .await;
    let story = world.story("Which colour?").await;

    world.done(story).await;

    let asked: (Value, i64, i64) = sqlx::query_as(
        "select s.result, s.tokens_in, s.tokens_out from step s join run r on r.id = s.run_id
          where (r.state ->> 'story')::uuid = $1 and s.name = 'chat_completion' and s.status = 'done'",
    )
    .bind(story)
    .fetch_one(world.app().pool())
    .await
    .unwrap();
    assert!(asked.0["text"].as_str().unwrap().contains("blue"), "{asked:?}");
    assert_eq!((asked.1, asked.2), (7_000, 2_000));
    let differing = "select count(*) from run r
          where (r.state ->> 'story')::uuid = $1
            and (r.state #>> '{usage,input_tokens}')::bigint
                <> (select coalesce(sum(tokens_in), 0) from usage u where u.run_id = r.id)";
    assert_eq!(world.count(differing, story).await, 0);
    world.end().await;
}
