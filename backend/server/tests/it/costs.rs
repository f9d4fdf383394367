//! What was spent, as people look at it: the tree of budgets, sums by virtual key, an organisation's month.

use crate::{
    seed::{Seeded, project_of},
    support::TestApp,
};
use axum::http::{Method, StatusCode};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use uuid::Uuid;

/// A settled attempt.
#[derive(Default)]
struct Spent<'a> {
    project: &'a str,
    key: Option<Uuid>,
    at: &'a str,
    micro_usd: i64,
    simulated: bool,
}

async fn spend(app: &TestApp, spent: Spent<'_>) {
    sqlx::query(
        "insert into usage (id, project_id, key_id, attempt, deployment, provider, model, state, reserved_micro_usd,
                            cost_micro_usd, simulated, tokens_in, tokens_out, at)
         values ($1, $2, $3, 1, 'd', 'openai', 'm', 'settled', 0, $4, $5, 70, 20, $6::text::timestamptz)",
    )
    .bind(app.app.store.new_id())
    .bind(spent.project.parse::<Uuid>().unwrap())
    .bind(spent.key)
    .bind(spent.micro_usd)
    .bind(spent.simulated)
    .bind(spent.at)
    .execute(app.app.pool())
    .await
    .unwrap();
}

/// The organisation of a person's projects, as a path.
async fn organisation(app: &TestApp, token: &str) -> String {
    let (_, organisations) = app.get("/api/v1/organisations", token).await;
    format!("/api/v1/organisations/{}", organisations["items"][0]["id"].as_str().unwrap())
}

/// Puts the seeded agent to work on a story in a new sprint, and returns the sprint.
async fn at_work_in_a_sprint(app: &TestApp, seed: &Seeded) -> String {
    let (status, sprint) =
        app.post(&seed.path("sprints"), &seed.user_token, json!({ "name": "Sprint 7" })).await;
    assert_eq!(status, StatusCode::CREATED, "{sprint}");
    let story = json!({ "title": "Export", "sprint_id": sprint["id"] });
    let (status, story) = app.post(&seed.path("stories"), &seed.user_token, story).await;
    assert_eq!(status, StatusCode::CREATED, "{story}");
    sqlx::query(
        "update run set state = jsonb_build_object('story', $2::text, 'agent', $3::text) where id = $1",
    )
    .bind(seed.run)
    .bind(story["id"].as_str().unwrap())
    .bind(seed.agent.to_string())
    .execute(app.app.pool())
    .await
    .unwrap();
    sqlx::query("update agent set current_run_id = $2 where id = $1")
        .bind(seed.agent)
        .bind(seed.run)
        .execute(app.app.pool())
        .await
        .unwrap();
    sprint["id"].as_str().unwrap().to_owned()
}

/// What the budgets of the project are in, from the top, by what they are on.
async fn places(app: &TestApp, seed: &Seeded) -> BTreeMap<String, Vec<String>> {
    let (status, list) = app.get(&seed.path("budgets"), &seed.user_token).await;
    assert_eq!(status, StatusCode::OK, "{list}");
    let above = |node: &Value| -> Vec<String> {
        let places = node["above"].as_array().unwrap();
        places.iter().map(|place| place["scope"].as_str().unwrap().to_owned()).collect()
    };
    list["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|node| (node["scope"].as_str().unwrap().to_owned(), above(node)))
        .collect()
}

#[tokio::test]
async fn every_budget_says_what_it_is_in_from_the_organisation_down() {
    let app = TestApp::start().await;
    let seed = project_of(&app, "maria").await;
    let sprint = at_work_in_a_sprint(&app, &seed).await;
    let (_, key) = app.post(&seed.path("gateway-keys"), &seed.user_token, json!({ "name": "script" })).await;
    let key = key["key"]["id"].as_str().unwrap().to_owned();
    let limits = json!({ "hard_limit_micro_usd": 10_000 });
    for (scope, id) in [("sprint", sprint), ("run", seed.run.to_string()), ("key", key)] {
        let path = seed.path(&format!("budgets/{scope}/{id}/total"));
        let (status, answer) =
            app.send(Method::PUT, &path, Some(&seed.user_token), Some(limits.clone())).await;
        assert_eq!(status, StatusCode::NO_CONTENT, "{answer}");
    }

    let working = places(&app, &seed).await;

    let below = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    assert_eq!(working["project"], below(&["organisation"]));
    assert_eq!(working["sprint"], below(&["organisation", "project"]));
    assert_eq!(working["key"], below(&["organisation", "project"]));
    let agent = below(&["organisation", "project", "sprint", "agent"]);
    assert_eq!(working["run"], agent, "the agent has no budget, and is named all the same");
    sqlx::query("update agent set current_run_id = null").execute(app.app.pool()).await.unwrap();
    let idle = places(&app, &seed).await;
    assert_eq!(
        idle["run"],
        below(&["organisation", "project", "agent"]),
        "who does not work is in no sprint"
    );
}

#[tokio::test]
async fn a_runs_budget_is_called_by_its_story_and_its_agents_role() {
    let app = TestApp::start().await;
    let seed = project_of(&app, "maria").await;
    at_work_in_a_sprint(&app, &seed).await;
    let path = seed.path(&format!("budgets/run/{}/total", seed.run));
    let limits = json!({ "hard_limit_micro_usd": 10_000 });
    let (status, answer) = app.send(Method::PUT, &path, Some(&seed.user_token), Some(limits)).await;
    assert_eq!(status, StatusCode::NO_CONTENT, "{answer}");

    let (_, list) = app.get(&seed.path("budgets"), &seed.user_token).await;

    let run = list["items"].as_array().unwrap().iter().find(|node| node["scope"] == "run").unwrap();
    assert_eq!(run["name"], "#1 Export (engineer)", "{list}");
}

#[tokio::test]
async fn costs_are_summed_up_by_virtual_key_and_every_exported_line_names_its_key() {
    let app = TestApp::start().await;
    let token = app.user("maria").await;
    let project = app.project(&token).await;
    let path = |below: &str| format!("/api/v1/projects/{project}/{below}");
    let mut keys: Vec<Uuid> = Vec::new();
    for _ in 0..2 {
        let (_, made) = app.post(&path("gateway-keys"), &token, json!({ "name": "script" })).await;
        keys.push(made["key"]["id"].as_str().unwrap().parse().unwrap());
    }
    for (key, micro_usd) in [(Some(keys[0]), 300), (Some(keys[0]), 200), (Some(keys[1]), 40), (None, 7)] {
        let at = "2100-01-01T08:00:00Z";
        spend(&app, Spent { project: &project, key, at, micro_usd, ..Spent::default() }).await;
    }

    let (status, sums) = app.get(&path("usage?group_by=key"), &token).await;
    let (_, csv) = app.text(&path("usage/export"), &token).await;

    assert_eq!(status, StatusCode::OK, "{sums}");
    let rows = sums["rows"].as_array().unwrap();
    let row = |key: &str| rows.iter().find(|row| row["key"] == key).unwrap();
    let (first, second) = (row(&keys[0].to_string()), row(&keys[1].to_string()));
    assert_eq!((&first["cost_micro_usd"], &first["calls"]), (&json!(500), &json!(2)), "{sums}");
    assert_eq!((&second["cost_micro_usd"], &second["label"]), (&json!(40), &json!("script")), "{sums}");
    assert_eq!((&row("")["cost_micro_usd"], &row("")["label"]), (&json!(7), &json!("no key")), "{sums}");
    let lines: Vec<Vec<&str>> = csv.lines().map(|line| line.split(',').collect()).collect();
    let column = |name: &str| lines[0].iter().position(|head| *head == name).unwrap();
    let (id, cost) = (column("gateway_key_id"), column("cost_micro_usd"));
    let mut by_key: BTreeMap<&str, i64> = BTreeMap::new();
    for line in &lines[1..] {
        *by_key.entry(line[id]).or_default() += line[cost].parse::<i64>().unwrap();
    }
    let (first, second) = (keys[0].to_string(), keys[1].to_string());
    let expected = BTreeMap::from([("", 7), (first.as_str(), 500), (second.as_str(), 40)]);
    assert_eq!(by_key, expected, "two keys of one name stay two");
}

#[tokio::test]
async fn an_organisations_month_is_the_sum_of_its_projects_and_goes_on_at_their_pace() {
    let app = TestApp::start().await;
    app.clock.set("2100-01-10T12:00:00Z".parse().unwrap());
    let (maria, otto) = (app.user("maria").await, app.user("otto").await);
    let (shop, site) = (app.project(&maria).await, app.project(&maria).await);
    let elsewhere = app.project(&otto).await;
    for (project, at, micro_usd, simulated) in [
        (&shop, "2099-12-20T12:00:00Z", 7_000_000, false),
        (&shop, "2100-01-09T12:00:00Z", 3_000_000, false),
        (&site, "2100-01-10T06:00:00Z", 1_000_000, false),
        (&site, "2100-01-10T06:00:00Z", 500_000, true),
        (&elsewhere, "2100-01-10T06:00:00Z", 50_000_000, false),
    ] {
        spend(&app, Spent { project, at, micro_usd, simulated, ..Spent::default() }).await;
    }
    let path = format!("{}/usage", organisation(&app, &maria).await);

    let (status, usage) = app.get(&path, &maria).await;

    assert_eq!(status, StatusCode::OK, "{usage}");
    // Four dollars in a day and a half; twenty-one and a half days are left.
    let month = json!({
        "to_date_micro_usd": 4_000_000, "simulated_micro_usd": 500_000, "forecast_micro_usd": 61_333_333,
    });
    assert_eq!(usage["month"], month);
    assert_eq!(
        (&usage["total_micro_usd"], &usage["simulated_micro_usd"]),
        (&json!(11_000_000), &json!(500_000))
    );
    assert_eq!((&usage["tokens_in"], &usage["tokens_out"]), (&json!(280), &json!(80)));
    let listed = usage["projects"].as_array().unwrap().iter().map(|one| {
        let field = |name: &str| one[name].as_i64().unwrap();
        (one["project_id"].as_str().unwrap(), field("to_date_micro_usd"), field("simulated_micro_usd"))
    });
    assert_eq!(
        listed.collect::<Vec<_>>(),
        [(shop.as_str(), 3_000_000, 0), (site.as_str(), 1_000_000, 500_000)],
        "the month's, the dearest first, and of nobody else's project"
    );
    assert_eq!(usage["projects_left_out"], 0);
    assert_eq!(app.get(&path, &otto).await.0, StatusCode::NOT_FOUND, "it is for who manages it");
}

#[tokio::test]
async fn the_dearest_projects_of_a_month_are_listed_and_how_many_more_there_are_is_said() {
    let app = TestApp::start().await;
    app.clock.set("2100-01-10T12:00:00Z".parse().unwrap());
    let token = app.user("maria").await;
    app.project(&token).await;
    let spent = "with more as (
                     insert into project (id, organisation_id, name, autonomy, policy, repository_state,
                                          repository_source, created_at)
                     select gen_random_uuid(), organisation_id, 'copy ' || n, autonomy, policy, repository_state,
                            repository_source, created_at
                       from project, generate_series(1, 203) n
                     returning id, split_part(name, ' ', 2)::bigint as n)
                 insert into usage (id, project_id, attempt, deployment, provider, model, state, reserved_micro_usd,
                                    cost_micro_usd, simulated, tokens_in, tokens_out, at)
                 select gen_random_uuid(), id, 1, 'd', 'openai', 'm', 'settled', 0, n, false, 70, 20,
                        '2100-01-09T12:00:00Z'::timestamptz
                   from more";
    sqlx::raw_sql(spent).execute(app.app.pool()).await.unwrap();

    let (status, usage) = app.get(&format!("{}/usage", organisation(&app, &token).await), &token).await;

    assert_eq!(status, StatusCode::OK, "{usage}");
    let listed = usage["projects"].as_array().unwrap();
    let of =
        |one: &Value| (one["name"].as_str().unwrap().to_owned(), one["to_date_micro_usd"].as_i64().unwrap());
    let (first, last) = (of(&listed[0]), of(&listed[listed.len() - 1]));
    assert_eq!((listed.len(), first, last), (200, ("copy 203".into(), 203), ("copy 4".into(), 4)));
    assert_eq!(usage["projects_left_out"], 3);
}

#[tokio::test]
async fn what_an_organisation_spends_is_shown_in_a_project_to_those_who_manage_it_only() {
    let app = TestApp::start().await;
    let seed = project_of(&app, "maria").await;
    let organisation = organisation(&app, &seed.user_token).await;
    let path = format!("{organisation}/budgets/month");
    let limits = json!({ "hard_limit_micro_usd": 10_000 });
    let (status, answer) = app.send(Method::PUT, &path, Some(&seed.user_token), Some(limits)).await;
    assert_eq!(status, StatusCode::NO_CONTENT, "{answer}");
    let sam = app.user("sam").await;
    let member = json!({ "email": "sam@example.org", "role": "admin" });
    let (status, answer) = app.post(&seed.path("members"), &seed.user_token, member).await;
    assert!(status.is_success(), "{answer}");

    let is_shown = async |token: &str| {
        let (status, list) = app.get(&seed.path("budgets"), token).await;
        assert_eq!(status, StatusCode::OK, "{list}");
        list["items"].as_array().unwrap().iter().any(|node| node["scope"] == "organisation")
    };
    assert!(is_shown(&seed.user_token).await && !is_shown(&sam).await);
    for (role, manages) in [("member", false), ("admin", true)] {
        let member = json!({ "email": "sam@example.org", "role": role });
        let (status, answer) = app.post(&format!("{organisation}/members"), &seed.user_token, member).await;
        assert_eq!(status, StatusCode::CREATED, "{answer}");
        let lists = app.get(&format!("{organisation}/budgets"), &sam).await.0 == StatusCode::OK;
        assert_eq!((is_shown(&sam).await, lists), (manages, manages), "{role}");
    }
}
