//! Budgets on the nodes of the tree, as people set them and as runs feel them.

use crate::{
    budgets::{models, models_of, request},
    ledger,
    seed::project_of,
    support::TestApp,
};
use axum::http::{Method, StatusCode};
use chrono::Duration as Span;
use serde_json::{Value, json};
use syndarix::{
    features::llm::{self, Failure, Place, Purpose},
    state::App,
};
use syndarix_domain::ids::{AgentId, CallId, ProjectId, RunId};
use syndarix_llm::{Deployment, ModelGroup, ModelGroups, Rates};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Somebody's project.
struct Seed {
    token: String,
    project: ProjectId,
}

impl Seed {
    async fn new(app: &TestApp) -> Self {
        let token = app.user("maria").await;
        let project = ProjectId(app.project(&token).await.parse().unwrap());
        Self { token, project }
    }

    fn path(&self, below: &str) -> String {
        format!("/api/v1/projects/{}/{below}", self.project)
    }
}

async fn put(app: &TestApp, seed: &Seed, node: &str, body: Value) -> (StatusCode, Value) {
    app.send(Method::PUT, &seed.path(&format!("budgets/{node}")), Some(&seed.token), Some(body)).await
}

async fn budgets(app: &TestApp, seed: &Seed) -> Vec<Value> {
    let (status, list) = app.get(&seed.path("budgets"), &seed.token).await;
    assert_eq!(status, StatusCode::OK, "{list}");
    list["items"].as_array().unwrap().clone()
}

async fn call(app: &TestApp, seed: &Seed, agent: Option<Uuid>) -> Result<(), Failure> {
    call_in(&app.app, seed, agent).await
}

/// In this process.
async fn call_in(app: &App, seed: &Seed, agent: Option<Uuid>) -> Result<(), Failure> {
    let call = CallId(app.store.new_id());
    let purpose = Purpose {
        agent: agent.map(AgentId),
        run: agent.map(RunId),
        ..Purpose::of_project(seed.project, call)
    };
    llm::complete(app, purpose, "code", &request(), &CancellationToken::new()).await.map(|_answer| ())
}

#[tokio::test]
async fn a_budget_is_set_on_a_node_shown_with_what_counts_in_it_and_taken_away() {
    let app = TestApp::with_models(models().await).await;
    app.clock.set("2100-01-31T23:55:00Z".parse().unwrap());
    let seed = Seed::new(&app).await;
    let key = json!({ "name": "For a script" });
    let (_, key) = app.post(&seed.path("gateway-keys"), &seed.token, key).await;
    let key = key["key"]["id"].as_str().unwrap();
    call(&app, &seed, None).await.unwrap();
    for (node, limits) in [
        (
            format!("project/{}/month", seed.project),
            json!({ "soft_limit_micro_usd": 10_000, "hard_limit_tokens": 5_000 }),
        ),
        (format!("key/{key}/day"), json!({ "hard_limit_micro_usd": 10_000 })),
    ] {
        let (status, answer) = put(&app, &seed, &node, limits).await;
        assert_eq!(status, StatusCode::NO_CONTENT, "{answer}");
    }
    let shown = budgets(&app, &seed).await;
    let nodes: Vec<_> =
        shown.iter().map(|one| (one["scope"].as_str().unwrap(), one["period"].as_str().unwrap())).collect();
    assert_eq!(nodes, [("project", "month"), ("project", "total"), ("key", "day")]);
    assert_eq!(shown[0]["spent_tokens"], 700, "{shown:#?}");
    assert!(shown[0]["simulated_micro_usd"].as_i64().unwrap() > 0);
    assert_eq!(shown[0]["starts_at"], "2100-01-01T00:00:00Z");
    assert_eq!(shown[0]["ends_at"], "2100-02-01T00:00:00Z");
    assert_eq!(shown[1]["ends_at"], Value::Null);
    assert_eq!((shown[2]["name"].as_str(), &shown[2]["spent_tokens"]), (Some("For a script"), &json!(0)));

    app.clock.set(app.app.clock().now() + Span::minutes(6));
    let later = &budgets(&app, &seed).await[0];
    assert_eq!((&later["spent_tokens"], &later["starts_at"]), (&json!(0), &json!("2100-02-01T00:00:00Z")));

    let gone = seed.path(&format!("budgets/key/{key}/day"));
    for expected in [StatusCode::NO_CONTENT, StatusCode::NOT_FOUND] {
        assert_eq!(app.send(Method::DELETE, &gone, Some(&seed.token), None).await.0, expected);
    }
    assert_eq!(budgets(&app, &seed).await.len(), 2);
}

#[tokio::test]
async fn a_budget_that_cannot_be_meant_is_refused_with_what_to_do() {
    let app = TestApp::start().await;
    let seed = Seed::new(&app).await;
    let (project, nobody) = (seed.project, Uuid::now_v7());
    for (node, body, status, says) in [
        (format!("project/{project}/day"), json!({}), 422, "set at least one limit, or delete the budget"),
        (format!("project/{project}/day"), json!({ "hard_limit_tokens": -1 }), 422, "is between 0 and"),
        (
            format!("project/{project}/year"),
            json!({ "hard_limit_tokens": 1 }),
            422,
            "is total, day, week or month",
        ),
        (
            format!("planet/{project}/day"),
            json!({ "hard_limit_tokens": 1 }),
            422,
            "is project, sprint, agent, run or key",
        ),
        (
            format!("organisation/{project}/day"),
            json!({ "hard_limit_tokens": 1 }),
            422,
            "is project, sprint, agent, run or key",
        ),
        (format!("project/{nobody}/day"), json!({ "hard_limit_tokens": 1 }), 404, "there is no project"),
        (format!("sprint/{nobody}/day"), json!({ "hard_limit_tokens": 1 }), 404, "there is no sprint"),
        (format!("run/{nobody}/day"), json!({ "hard_limit_tokens": 1 }), 404, "there is no run"),
    ] {
        let (answered, problem) = put(&app, &seed, &node, body.clone()).await;
        assert_eq!(answered.as_u16(), status, "{node} {body} {problem}");
        assert!(problem.to_string().contains(says), "{node} {body} {problem}");
    }
    let path = seed.path(&format!("budgets/project/{project}/total"));
    let (status, problem) = app.send(Method::DELETE, &path, Some(&seed.token), None).await;
    assert_eq!((status, problem["code"].as_str()), (StatusCode::CONFLICT, Some("budget_stays")), "{problem}");
}

#[tokio::test]
async fn the_limit_of_tokens_stays_when_the_limit_of_money_is_changed() {
    let app = TestApp::start().await;
    let seed = Seed::new(&app).await;
    let node = format!("project/{}/total", seed.project);
    put(&app, &seed, &node, json!({ "hard_limit_tokens": 77 })).await;
    let money = json!({ "hard_limit_micro_usd": 5 });
    let (status, _) = app.send(Method::PUT, &seed.path("budget"), Some(&seed.token), Some(money)).await;
    assert_eq!(status, StatusCode::OK);
    let shown = &budgets(&app, &seed).await[0];
    assert_eq!((&shown["hard_limit_tokens"], &shown["hard_limit_micro_usd"]), (&json!(77), &json!(5)));
}

#[tokio::test]
async fn an_organisations_budget_is_for_its_managers_and_binds_all_its_projects() {
    let app = TestApp::with_models(models().await).await;
    let seed = Seed::new(&app).await;
    let (_, organisations) = app.get("/api/v1/organisations", &seed.token).await;
    let path = format!("/api/v1/organisations/{}/budgets", organisations["items"][0]["id"].as_str().unwrap());
    let limits = json!({ "hard_limit_micro_usd": 10 });
    let stranger = app.user("otto").await;
    for (method, path) in [
        (Method::PUT, format!("{path}/day")),
        (Method::GET, path.clone()),
        (Method::DELETE, format!("{path}/day")),
    ] {
        let body = (method == Method::PUT).then(|| limits.clone());
        let (status, _) = app.send(method, &path, Some(&stranger), body).await;
        assert_eq!(status, StatusCode::NOT_FOUND);
    }
    let (status, answer) =
        app.send(Method::PUT, &format!("{path}/day"), Some(&seed.token), Some(limits)).await;
    assert_eq!(status, StatusCode::NO_CONTENT, "{answer}");
    let refused = call(&app, &seed, None).await;
    let Err(Failure::Budget { detail, .. }) = refused else { panic!("{refused:?}") };
    let sentence = "the organisation's hard budget for today would be passed: an owner or admin of the organisation can raise it";
    assert_eq!(detail, sentence, "its amounts are for its managers");
    assert_eq!(budgets(&app, &seed).await[0]["scope"], "organisation", "its projects see it");
    let (_, listed) = app.get(&path, &seed.token).await;
    assert_eq!(listed["items"].as_array().unwrap().len(), 2, "{listed}");
    let (status, _) = app.send(Method::DELETE, &format!("{path}/day"), Some(&seed.token), None).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    call(&app, &seed, None).await.unwrap();
    let entries: i64 =
        sqlx::query_scalar("select count(*) from audit_entry where type like 'organisation.budget_%'")
            .fetch_one(app.app.pool())
            .await
            .unwrap();
    assert_eq!(entries, 2);
}

/// An application whose group `code` has a cheaper one.
async fn with_a_cheaper_group() -> TestApp {
    let served = models().await;
    let chain = || served.get("code").unwrap().chain.clone();
    let dear = ModelGroup { cheaper: Some("cheap".into()), ..ModelGroup::new("code", chain()) };
    TestApp::with_models(ModelGroups::new(vec![dear, ModelGroup::new("cheap", chain())]).unwrap()).await
}

/// What was asked for, and the cheaper group that served it.
async fn served(app: &TestApp) -> Vec<(String, Option<String>)> {
    sqlx::query_as("select model_group, downgraded_to from usage order by id")
        .fetch_all(app.app.pool())
        .await
        .unwrap()
}

fn by(group: Option<&str>) -> (String, Option<String>) {
    ("code".to_owned(), group.map(str::to_owned))
}

#[tokio::test]
async fn the_very_next_call_after_a_limit_was_set_below_the_spend_is_the_cheaper_groups_in_every_process() {
    let app = with_a_cheaper_group().await;
    let seed = Seed::new(&app).await;
    call(&app, &seed, None).await.unwrap();
    let node = format!("project/{}/month", seed.project);
    put(&app, &seed, &node, json!({ "soft_limit_micro_usd": 1 })).await;
    let just_started = app.another().await;

    call(&app, &seed, None).await.unwrap();
    call_in(&just_started, &seed, None).await.unwrap();

    // Two processes number their rows at one moment: between them there is no order.
    let mut rows = served(&app).await;
    rows.sort();
    assert_eq!(rows, [by(None), by(Some("cheap")), by(Some("cheap"))], "and no row more");
    put(&app, &seed, &node, json!({ "soft_limit_micro_usd": 1, "hard_limit_micro_usd": 2 })).await;
    let refused = call_in(&app.another().await, &seed, None).await;
    assert!(matches!(refused, Err(Failure::Budget { .. })), "a hard limit stays one: {refused:?}");
}

#[tokio::test]
async fn at_a_soft_limit_the_cheaper_group_is_asked_and_the_row_says_so() {
    let app = with_a_cheaper_group().await;
    let seeded = project_of(&app, "maria").await;
    let (agent, seed) = (seeded.agent, Seed { token: seeded.user_token, project: ProjectId(seeded.project) });
    let (status, answer) =
        put(&app, &seed, &format!("agent/{agent}/week"), json!({ "soft_limit_micro_usd": 1 })).await;
    assert_eq!(status, StatusCode::NO_CONTENT, "{answer}");
    call(&app, &seed, Some(agent)).await.unwrap();
    call(&app, &seed, Some(agent)).await.unwrap();
    call(&app, &seed, None).await.unwrap();
    assert_eq!(
        served(&app).await,
        [by(None), by(Some("cheap")), by(None)],
        "that agent's, and nobody else's"
    );
}

/// So many micro-USD for each token: at a thousand, a call needs more than half a dollar.
const DEAR: i64 = 1_000;

/// Groups of deployments at one endpoint, each with what it costs for a token, in micro-USD. Each group names the next as
/// its cheaper one.
async fn priced(groups: &[(&str, &[(&str, i64)])]) -> TestApp {
    priced_at(&models().await, groups).await
}

/// The same at an endpoint that fails like this.
async fn priced_failing(how: &str, groups: &[(&str, &[(&str, i64)])]) -> TestApp {
    let script = format!("[[rule]]\nname = 'r'\nfault = {{ kind = 'status', {how} }}\n");
    priced_at(&models_of("scripted", &script).await, groups).await
}

async fn priced_at(served: &ModelGroups, groups: &[(&str, &[(&str, i64)])]) -> TestApp {
    let one = &served.get("code").unwrap().chain[0];
    let deployment = |(name, each): &(&str, i64)| {
        let rates = Rates { input: each * 1_000_000, output: each * 1_000_000, ..Rates::FREE };
        Deployment { name: (*name).to_owned(), prices: Some(rates), ..one.clone() }
    };
    let names = groups.iter().skip(1).map(|(name, _)| Some((*name).to_owned())).chain([None]);
    let chained = groups.iter().zip(names).map(|((name, chain), cheaper)| ModelGroup {
        cheaper,
        ..ModelGroup::new(*name, chain.iter().map(deployment).collect())
    });
    TestApp::with_models(ModelGroups::new(chained.collect()).unwrap()).await
}

async fn limit(app: &TestApp, seed: &Seed, micro_usd: i64) {
    let node = format!("project/{}/total", seed.project);
    let (status, answer) = put(app, seed, &node, json!({ "hard_limit_micro_usd": micro_usd })).await;
    assert_eq!(status, StatusCode::NO_CONTENT, "{answer}");
}

#[tokio::test]
async fn a_group_that_a_hard_limit_would_not_pay_for_is_served_by_its_cheaper_one_until_that_is_too_dear() {
    let app = priced(&[("code", &[("dear", DEAR)]), ("cheap", &[("cheap-1", 1)])]).await;
    let seed = Seed::new(&app).await;
    limit(&app, &seed, 6_000).await;

    call(&app, &seed, None).await.unwrap();

    assert_eq!(served(&app).await, [by(Some("cheap"))], "what was not paid for has no row");
    // The answer has cost 700.
    limit(&app, &seed, 800).await;
    let refused = call(&app, &seed, None).await;
    let Err(Failure::Budget { detail, needed, .. }) = refused else { panic!("{refused:?}") };
    assert!(needed.money.0 < 1_000, "what the cheaper one needs wakes who waits: {detail}");
    assert!(detail.contains(&format!("this call may cost {}", needed.money)), "{detail}");
}

#[tokio::test]
async fn a_free_model_later_in_the_chain_is_asked_where_a_hard_limit_would_not_pay_for_the_first() {
    let app = priced(&[("code", &[("dear", DEAR), ("local", 0)]), ("cheap", &[("cheap-1", 1)])]).await;
    let seed = Seed::new(&app).await;
    limit(&app, &seed, 6_000).await;

    call(&app, &seed, None).await.unwrap();

    let rows: Vec<(String, i32, Option<String>)> =
        sqlx::query_as("select deployment, attempt, downgraded_to from usage")
            .fetch_all(app.app.pool())
            .await
            .unwrap();
    assert_eq!(rows, [("local".to_owned(), 1, None)], "of the group that was asked for, and nobody else's");
    app.app.gateway.close().await;
    let passed_over: Vec<(String, String)> =
        sqlx::query_as("select deployment, kind from usage_skip").fetch_all(app.app.pool()).await.unwrap();
    assert_eq!(passed_over, [("dear".to_owned(), "over_budget".to_owned())]);
}

#[tokio::test]
async fn where_the_cheaper_group_cannot_answer_a_run_waits_for_the_budget_of_the_first_and_does_not_fail() {
    for how in ["status = 401", "status = 404", "status = 400"] {
        let groups: [(&str, &[(&str, i64)]); 2] = [("code", &[("dear", DEAR)]), ("cheap", &[("cheap-1", 1)])];
        let app = priced_failing(how, &groups).await;
        let seed = Seed::new(&app).await;
        limit(&app, &seed, 6_000).await;

        let refused = call(&app, &seed, None).await;

        let Err(Failure::Budget { needed, .. }) = refused else { panic!("{how}: {refused:?}") };
        assert!(needed.money.0 > 6_000, "{how}: what the first needs wakes who waits: {needed:?}");
        assert_eq!(served(&app).await, [by(Some("cheap"))], "{how}");
    }
}

#[tokio::test]
async fn where_a_free_model_is_only_busy_a_run_asks_again_when_it_is_back_and_does_not_wait_for_money() {
    let how = "status = 429, retry_after_seconds = 90";
    let app = priced_failing(how, &[("code", &[("dear", DEAR), ("local", 0)])]).await;
    let seed = Seed::new(&app).await;
    limit(&app, &seed, 6_000).await;

    let refused = call(&app, &seed, None).await;

    let Err(Failure::Later { until, detail, .. }) = refused else { panic!("{refused:?}") };
    assert_eq!(until, app.clock.now() + Span::seconds(90), "{detail}");
    assert!(detail.contains("dear: it is too dear") && detail.contains("local: rate_limited"), "{detail}");
}

#[tokio::test]
async fn a_run_keeps_its_model_where_only_others_reservations_are_in_its_way() {
    let app = priced(&[("code", &[("code-1", 1), ("local", 0)]), ("cheap", &[("free", 0)])]).await;
    let seed = Seed::new(&app).await;
    limit(&app, &seed, 1_000).await;
    let (_, held) = ledger::reserve(&app.app, Place::of_project(seed.project), 900).await;
    assert!(held.unwrap() > 500);

    let run = Purpose { thinks: true, ..Purpose::of_project(seed.project, CallId(app.app.store.new_id())) };
    let asked = llm::complete(&app.app, run, "code", &request(), &CancellationToken::new()).await;

    assert!(matches!(asked, Err(Failure::Later { .. })), "{asked:?}");
    assert_eq!(served(&app).await.len(), 1, "nobody was asked");
}
