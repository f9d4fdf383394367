//! Hard budgets: reserved before the call, settled after it, never passed.

use crate::support::TestApp;
use std::sync::Arc;
use syndarix::features::llm::{self, Failure, Purpose};
use syndarix_domain::ids::{AgentId, ProjectId, RunId, StepId, StoryId};
use syndarix_llm::{ChatRequest, Deployment, Message, ModelGroup, ModelGroups, scripted};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Ten cents, in micro-USD.
const LIMIT: i64 = 100_000;
const CALLERS: usize = 64;

const SCRIPT: &str = r#"
name = "chatter"

[[rule]]
name = "answers everything, slowly enough to overlap"
when = {}
fault = { kind = "slow_stream", chunk_ms = 5 }
answer.text = "As you wish, at some length, so that there is more than one piece to stream."
answer.usage = { input = 400, output = 300 }
"#;

/// A scripted endpoint over HTTP, and the group that leads to it.
async fn models() -> ModelGroups {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let script = scripted::Script::from_toml(SCRIPT).unwrap();
    tokio::task::spawn(scripted::serve(listener, script));
    let deployment: Deployment = serde_json::from_value(serde_json::json!({
        "name": "scripted", "provider": "scripted", "base_url": format!("http://{address}/v1"),
        "model": "scripted-model", "context_window": 100_000, "max_output": 1_000,
    }))
    .unwrap();
    ModelGroups::new(vec![ModelGroup { name: "code".into(), chain: vec![deployment] }]).unwrap()
}

async fn project(app: &TestApp, hard_limit: Option<i64>) -> ProjectId {
    let (organisation, project) = (app.app.store.new_id(), app.app.store.new_id());
    let pool = app.app.pool();
    sqlx::query("insert into organisation (id, name, created_at) values ($1, 'o', now())")
        .bind(organisation)
        .execute(pool)
        .await
        .unwrap();
    sqlx::query(
        "insert into project (id, organisation_id, name, autonomy, policy, repository_state, repository_source, created_at)
         values ($1, $2, 'p', 'milestone', '{}', 'ready', '{}', now())",
    )
    .bind(project)
    .bind(organisation)
    .execute(pool)
    .await
    .unwrap();
    sqlx::query("insert into project_log (project_id) values ($1)")
        .bind(project)
        .execute(pool)
        .await
        .unwrap();
    sqlx::query("insert into budget (project_id, hard_limit_micro_usd, updated_at) values ($1, $2, now())")
        .bind(project)
        .bind(hard_limit)
        .execute(pool)
        .await
        .unwrap();
    ProjectId(project)
}

fn purpose(app: &TestApp, project: ProjectId) -> Purpose {
    let id = || app.app.store.new_id();
    Purpose {
        project,
        story: StoryId(id()),
        run: RunId(id()),
        step: StepId(id()),
        agent: AgentId(id()),
        fence: 1,
    }
}

fn request() -> ChatRequest {
    ChatRequest {
        system: "You talk.".into(),
        messages: vec![Message::user("Say something.")],
        tools: Vec::new(),
        max_output_tokens: 1_000,
        temperature: None,
        stop: Vec::new(),
    }
}

/// What is spent, simulated and reserved together.
async fn held(app: &TestApp, project: ProjectId) -> i64 {
    sqlx::query_scalar(
        "select spent_micro_usd + simulated_micro_usd + reserved_micro_usd from budget where project_id = $1",
    )
    .bind(project.0)
    .fetch_one(app.app.pool())
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_calls_at_once_never_pass_a_hard_budget_of_ten_cents() {
    let app = Arc::new(TestApp::with_models(models().await).await);
    let project = project(&app, Some(LIMIT)).await;
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let app = Arc::clone(&app);
        callers.spawn(async move {
            let (mut answered, mut refused) = (0, 0);
            for _ in 0..3 {
                let cancel = CancellationToken::new();
                match llm::complete(&app.app, purpose(&app, project), "code", &request(), &cancel).await {
                    Ok(_) => answered += 1,
                    // Later: what is in the way is only reserved, and most of it comes back.
                    Err(Failure::Budget { .. } | Failure::Later { .. }) => refused += 1,
                    Err(other) => panic!("{other:?}"),
                }
                assert!(held(&app, project).await <= LIMIT, "the limit was passed");
            }
            (answered, refused)
        });
    }
    let outcomes = callers.join_all().await;
    let answered: i32 = outcomes.iter().map(|(answered, _)| answered).sum();
    let refused: i32 = outcomes.iter().map(|(_, refused)| refused).sum();
    assert!(answered > 0 && refused > 0, "{answered} answered, {refused} refused");

    let (spent, simulated, reserved): (i64, i64, i64) = sqlx::query_as(
        "select spent_micro_usd, simulated_micro_usd, reserved_micro_usd from budget where project_id = $1",
    )
    .bind(project.0)
    .fetch_one(app.app.pool())
    .await
    .unwrap();
    assert_eq!((spent, reserved), (0, 0), "what a scripted endpoint answers is never real money");
    let rows: i64 = sqlx::query_scalar("select sum(cost_micro_usd)::bigint from usage where project_id = $1")
        .bind(project.0)
        .fetch_one(app.app.pool())
        .await
        .unwrap();
    assert_eq!(rows, simulated, "the budget is the sum of its usage rows");
}

#[tokio::test]
async fn a_refused_call_says_which_budget_and_by_how_much() {
    let app = TestApp::with_models(models().await).await;
    let project = project(&app, Some(10)).await;
    let cancel = CancellationToken::new();
    let refused = llm::complete(&app.app, purpose(&app, project), "code", &request(), &cancel).await;
    let Err(Failure::Budget { detail, .. }) = refused else { panic!("{refused:?}") };
    assert!(detail.contains("hard budget of $0.000010"), "{detail}");
    assert_eq!(held(&app, project).await, 0, "a refusal reserves nothing");
}

#[tokio::test]
async fn an_attempt_whose_worker_was_lost_is_charged_what_was_reserved_and_marked_estimated() {
    let app = TestApp::start().await;
    let project = project(&app, None).await;
    let step = app.app.store.new_id();
    sqlx::query("update budget set reserved_micro_usd = 700 where project_id = $1")
        .bind(project.0)
        .execute(app.app.pool())
        .await
        .unwrap();
    sqlx::query(
        "insert into usage (id, project_id, step_id, attempt, deployment, provider, model, state, reserved_micro_usd, fence, at)
         values ($1, $2, $3, 1, 'd', 'openai', 'm', 'reserved', 700, 1, now())",
    )
    .bind(app.app.store.new_id())
    .bind(project.0)
    .bind(step)
    .execute(app.app.pool())
    .await
    .unwrap();
    for _ in 0..2 {
        let mut conn = app.app.pool().acquire().await.unwrap();
        let now = app.app.clock().now();
        llm::settle_interrupted(&mut conn, project, StepId(step), now).await.unwrap();
    }
    let row: (String, i64, bool) =
        sqlx::query_as("select state, cost_micro_usd, estimated from usage where step_id = $1")
            .bind::<Uuid>(step)
            .fetch_one(app.app.pool())
            .await
            .unwrap();
    assert_eq!(row, ("interrupted".into(), 700, true));
    assert_eq!(held(&app, project).await, 700, "settled once, however often it is looked at");
}

#[tokio::test]
async fn a_model_group_that_is_not_configured_is_named_with_those_that_are() {
    let app = TestApp::with_models(models().await).await;
    let project = project(&app, None).await;
    let cancel = CancellationToken::new();
    let failed = llm::complete(&app.app, purpose(&app, project), "poetry", &request(), &cancel).await;
    let Err(Failure::Fatal { detail }) = failed else { panic!("{failed:?}") };
    assert!(detail.contains("`poetry`") && detail.contains("code"), "{detail}");
}
