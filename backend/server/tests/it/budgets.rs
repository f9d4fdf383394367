//! Hard budgets: reserved before the call, settled after it, never passed.

use crate::{ledger::reservation, support::TestApp};
use std::{net::SocketAddr, sync::Arc, time::Duration};
use syndarix::{
    db::{
        Author,
        audit::{EventEntry, Severity},
    },
    features::{
        self,
        costs::{self, Limits, Target},
        llm::{self, Failure, Lost, Place, Purpose, Reservation},
    },
};
use syndarix_bus::Item;
use syndarix_domain::ids::{AgentId, CallId, ProjectId, RunId, StepId, StoryId};
use syndarix_llm::{ChatRequest, Deployment, Message, ModelGroup, ModelGroups, Rates, scripted};
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
pub(crate) async fn models() -> ModelGroups {
    models_of("scripted", SCRIPT).await
}

pub(crate) async fn models_of(provider: &str, script: &str) -> ModelGroups {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let script = scripted::Script::from_toml(script).unwrap();
    tokio::task::spawn(scripted::serve(listener, script));
    models_at(address, provider)
}

fn models_at(address: SocketAddr, provider: &str) -> ModelGroups {
    let deployment: Deployment = serde_json::from_value(serde_json::json!({
        "name": "scripted", "provider": provider, "base_url": format!("http://{address}/v1"),
        "model": "scripted-model", "context_window": 100_000, "max_output": 1_000, "endpoint_access": "private_network",
    }))
    .unwrap();
    ModelGroups::new(vec![ModelGroup::new("code", vec![deployment])]).unwrap()
}

pub(crate) async fn project(app: &TestApp, hard_limit: Option<i64>) -> ProjectId {
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
    let project = ProjectId(project);
    let mut uow = app.app.store.begin(Author::system());
    let limits = Limits { hard_micro_usd: hard_limit, ..Limits::default() };
    costs::set_limits(&mut uow, Target::of_project(project), limits).await.unwrap();
    uow.commit().await.unwrap();
    project
}

fn purpose(app: &TestApp, project: ProjectId) -> Purpose {
    let id = || app.app.store.new_id();
    let step = id();
    Purpose {
        story: Some(StoryId(id())),
        run: Some(RunId(id())),
        step: Some((StepId(step), 1)),
        agent: Some(AgentId(id())),
        thinks: true,
        ..Purpose::of_project(project, CallId(step))
    }
}

pub(crate) fn request() -> ChatRequest {
    ChatRequest {
        system: "You talk.".into(),
        messages: vec![Message::user("Say something.")],
        tools: Vec::new(),
        max_output_tokens: 1_000,
        temperature: None,
        stop: Vec::new(),
        options: syndarix_llm::Options::default(),
    }
}

/// What is spent, simulated and reserved together.
async fn held(app: &TestApp, project: ProjectId) -> i64 {
    sqlx::query_scalar(
        "select spent_micro_usd + simulated_micro_usd + reserved_micro_usd from project_budget where project_id = $1",
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
        "select spent_micro_usd, simulated_micro_usd, reserved_micro_usd from project_budget where project_id = $1",
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
    sqlx::query("update budget_window set reserved_micro_usd = 700").execute(app.app.pool()).await.unwrap();
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
        let mut uow = app.app.store.begin(Author::system());
        llm::give_back(&mut uow, project, Lost::OfStep(StepId(step))).await.unwrap();
        uow.commit().await.unwrap();
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
async fn a_call_that_is_dropped_half_way_is_charged_what_was_reserved_at_once() {
    let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let app = TestApp::with_models(models_at(upstream.local_addr().unwrap(), "anthropic")).await;
    let project = project(&app, None).await;
    let purpose = Purpose::of_project(project, CallId(app.app.store.new_id()));
    let (request, cancel) = (request(), CancellationToken::new());
    let _silent = tokio::select! {
        answered = llm::complete(&app.app, purpose, "code", &request, &cancel) => panic!("{answered:?}"),
        asked = upstream.accept() => asked.unwrap(),
    };
    let held_before = held(&app, project).await;

    app.app.ledger.close().await;

    let (state, kind, estimated, again): (String, String, bool, i64) = sqlx::query_as(
        "select state, error_kind, estimated, ceil((tokens_in::numeric * rate_input + tokens_out * rate_output) / 1000000)::bigint
           from usage where project_id = $1 and cost_micro_usd = $2",
    )
    .bind(project.0)
    .bind(held_before)
    .fetch_one(app.app.pool())
    .await
    .unwrap();
    assert_eq!((state.as_str(), kind.as_str(), estimated, again), ("failed", "cancelled", true, held_before));
    assert_eq!(held(&app, project).await, held_before, "it counts once");
}

#[tokio::test]
async fn a_call_without_a_run_that_nobody_ends_is_charged_what_was_reserved_when_it_has_expired() {
    let app = TestApp::start().await;
    let project = project(&app, None).await;
    let reservation = Reservation {
        rates: Rates { input: 3_000_000, output: 15_000_000, cache_write: 3_750_000, ..Rates::FREE },
        choices: 2,
        ..reservation(&app.app, Place::of_project(project), 700)
    };
    app.app.ledger.reserve(&reservation, Duration::ZERO).await.unwrap().unwrap();
    let held_before = held(&app, project).await;
    costs::schedule(&app.app).await.unwrap();
    for (state, hours) in [("reserved", 23), ("interrupted", 25)] {
        llm::beat(app.app.pool(), app.app.instance).await.unwrap();
        sqlx::query("update usage set at = $2 where project_id = $1")
            .bind(project.0)
            .bind(app.app.clock().now() - chrono::Duration::hours(hours))
            .execute(app.app.pool())
            .await
            .unwrap();
        app.ring(Uuid::nil(), "costs.reconcile").await;
        let row: (String, Uuid, bool, bool) = sqlx::query_as(
            "select state, call_id, estimated, run_id is null from usage where project_id = $1",
        )
        .bind(project.0)
        .fetch_one(app.app.pool())
        .await
        .unwrap();
        assert_eq!(row, (state.to_owned(), reservation.attempt.call.0, state == "interrupted", true));
    }
    assert_eq!(held(&app, project).await, held_before, "it costs what was reserved");
    let (cost, again, output): (i64, i64, i64) = sqlx::query_as(
        "select cost_micro_usd, ceil((tokens_in::numeric * rate_input + tokens_out * rate_output) / 1000000)::bigint, tokens_out
           from usage where project_id = $1",
    )
    .bind(project.0)
    .fetch_one(app.app.pool())
    .await
    .unwrap();
    assert_eq!(
        (cost, again, output),
        (held_before, held_before, 1_400),
        "its row says how its cost comes about"
    );
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

const DEAR: &str = r#"
name = "dear"

[[rule]]
name = "counts a hundred times what it was sent, and all classes of tokens"
when = {}
answer.text = "Yes."
answer.usage = { input = 900000, output = 30000, cache_read = 700, cache_write = 11000, cache_write_1h = 4000, reasoning = 20 }
"#;

async fn ask(app: &TestApp, project: ProjectId) -> Purpose {
    let purpose = purpose(app, project);
    llm::complete(&app.app, purpose, "code", &request(), &CancellationToken::new()).await.unwrap();
    purpose
}

#[tokio::test]
async fn the_cost_of_a_call_can_be_computed_again_from_its_row_alone() {
    let app = TestApp::with_models(models_of("anthropic", DEAR).await).await;
    let project = project(&app, None).await;
    ask(&app, project).await;
    let (cost, again, cached, written, version): (i64, i64, i64, i64, String) = sqlx::query_as(
        "select cost_micro_usd,
                ceil(((tokens_in - tokens_cached - tokens_cache_write)::numeric * rate_input + tokens_out * rate_output
                      + tokens_cached * rate_cache_read + (tokens_cache_write - tokens_cache_write_1h) * rate_cache_write
                      + tokens_cache_write_1h * rate_cache_write_1h) / 1000000)::bigint,
                tokens_cached, tokens_cache_write_1h, price_version
         from usage where project_id = $1",
    )
    .bind(project.0)
    .fetch_one(app.app.pool())
    .await
    .unwrap();
    assert_eq!((cost, cached, written), (again, 700, 4_000));
    assert!(cost > 0);
    assert_eq!(version, app.app.models.gateway.price_version(&models().await.get("code").unwrap().chain[0]));
}

/// What people were alerted of, oldest first: the reasons with their percentages.
pub(crate) async fn alerts(app: &TestApp, project: ProjectId) -> Vec<(String, Option<i64>)> {
    sqlx::query_as(
        "select data ->> 'reason', (data ->> 'percent')::bigint from event
         where project_id = $1 and type = 'cost.alert.v1' order by seq",
    )
    .bind(project.0)
    .fetch_all(app.app.pool())
    .await
    .unwrap()
}

#[tokio::test]
async fn a_provider_that_charges_more_than_the_worst_case_is_on_record_and_people_are_alerted() {
    let app = TestApp::with_models(models_of("scripted", DEAR).await).await;
    let project = project(&app, Some(500_000_000)).await;
    ask(&app, project).await;
    assert_eq!(alerts(&app, project).await, [("overrun".to_owned(), None)]);
    let alert: EventEntry = sqlx::query_as(
        "select project_id, seq, id, kind, stream_id, version, type, data::text as data, actor, at from event
          where project_id = $1 and type = 'cost.alert.v1'",
    )
    .bind(project.0)
    .fetch_one(app.app.pool())
    .await
    .unwrap();
    assert_eq!(alert.severity(), Severity::Warning);
    let told: i64 = sqlx::query_scalar("select count(*) from job where kind = 'people.notify'")
        .fetch_one(app.app.pool())
        .await
        .unwrap();
    assert_eq!(told, 1);
    let (cost, reserved): (i64, i64) =
        sqlx::query_as("select cost_micro_usd, reserved_micro_usd from usage where project_id = $1")
            .bind(project.0)
            .fetch_one(app.app.pool())
            .await
            .unwrap();
    assert!(cost > reserved, "{cost} {reserved}");
    assert_eq!(held(&app, project).await, cost, "what was charged is what is counted");
}

#[tokio::test]
async fn what_a_scripted_endpoint_says_is_marked_as_it_is_said_whoever_it_pretends_to_be() {
    let app = TestApp::with_models(models_of("openai_compatible", SCRIPT).await).await;
    let project = project(&app, None).await;
    let log = features::events::log(&app.app);
    let mut listener = app.app.hub.subscribe(&log, project, None).await.unwrap();
    let (asked, heard) = tokio::join!(ask(&app, project), async {
        loop {
            if let Item::Ephemeral(delta) = listener.next().await.unwrap() {
                let known: bool = sqlx::query_scalar("select simulated from usage where project_id = $1")
                    .bind(project.0)
                    .fetch_one(app.app.pool())
                    .await
                    .unwrap();
                return (delta.kind.clone(), delta.data["simulated"].clone(), known);
            }
        }
    });
    assert_eq!(heard, ("run.delta".to_owned(), serde_json::json!(true), true));
    let real: i64 = sqlx::query_scalar("select spent_micro_usd from project_budget where project_id = $1")
        .bind(asked.project.0)
        .fetch_one(app.app.pool())
        .await
        .unwrap();
    assert_eq!(real, 0);
}
