//! Whom budgets warn, of which limit, and how often.

use crate::{
    budgets::{alerts, project},
    ledger::{hard, organisation, reserve, set, settlement},
    support::TestApp,
};
use chrono::Duration as Span;
use syndarix::features::{
    costs::{Limits, Owner, Target},
    llm::Place,
};
use syndarix_domain::{
    budget::{Period, Scope},
    ids::{GatewayKeyId, ProjectId},
};
use uuid::Uuid;

#[tokio::test]
async fn people_are_alerted_once_each_when_a_soft_limit_comes_near_and_is_reached() {
    let app = TestApp::start().await;
    let project = project(&app, None).await;
    let limits = Limits { soft_micro_usd: Some(1_000), ..Limits::default() };
    set(&app.app, Target::of_project(project), limits).await;
    let mut heard = Vec::new();
    for cost in [799, 1, 50, 49, 150, 10] {
        assert!(!app.app.ledger.is_soft_reached(&Place::of_project(project)) || heard.len() == 5);
        let (open, _) = reserve(&app.app, Place::of_project(project), 1_000).await;
        app.app.ledger.settle(settlement(&app.app, &open, cost)).await.unwrap();
        heard.push(alerts(&app, project).await.len());
    }
    assert_eq!(heard, [0, 1, 1, 1, 3, 3]);
    let percents: Vec<_> = alerts(&app, project).await.into_iter().map(|(_, percent)| percent).collect();
    assert_eq!(percents, [Some(80), Some(90), Some(100)]);
    assert!(app.app.ledger.is_soft_reached(&Place::of_project(project)));
    set(&app.app, Target::of_project(project), Limits { soft_micro_usd: Some(9_000), ..Limits::default() })
        .await;
    reserve(&app.app, Place::of_project(project), 1_000).await.1.unwrap();
    assert!(!app.app.ledger.is_soft_reached(&Place::of_project(project)), "it was raised");
}

/// Makes calls that use all that is set aside for them, and says of how much people had been alerted after each.
async fn use_up(app: &TestApp, place: Place, outputs: &[u32]) -> Vec<usize> {
    let mut heard = Vec::new();
    for output in outputs {
        let (open, granted) = reserve(&app.app, place, *output).await;
        assert_eq!(granted, Ok(*output));
        let mut end = settlement(&app.app, &open, *output);
        end.outcome.usage.input = open.max_input;
        assert!(app.app.ledger.settle(end).await.unwrap());
        heard.push(alerts(app, place.project).await.len());
    }
    heard
}

/// What people were alerted with, oldest first.
async fn sentences(app: &TestApp, project: ProjectId) -> Vec<String> {
    sqlx::query_scalar(
        "select data ->> 'text' from event where project_id = $1 and type = 'cost.alert.v1' order by seq",
    )
    .bind(project.0)
    .fetch_all(app.app.pool())
    .await
    .unwrap()
}

#[tokio::test]
async fn people_are_alerted_once_each_when_the_only_limit_is_a_hard_one_and_comes_near() {
    let app = TestApp::start().await;
    let place = Place::of_project(project(&app, Some(1_000)).await);
    assert_eq!(use_up(&app, place, &[300, 300, 199, 1, 100, 50, 50]).await, [0, 0, 0, 1, 2, 2, 3]);
    let hard = |percent: i64| ("hard_limit".to_owned(), Some(percent));
    assert_eq!(alerts(&app, place.project).await, [hard(80), hard(90), hard(100)]);
    let sentence = "The project has spent $0.000800: 80 % of its hard limit of $0.001000 is reached. Calls beyond it are refused.";
    assert_eq!(sentences(&app, place.project).await[0], sentence);
    assert!(reserve(&app.app, place, 1).await.1.is_err(), "which is so");

    // Each call is 10 tokens of a prompt, too.
    let place = Place::of_project(project(&app, None).await);
    let limits = Limits { hard_tokens: Some(1_000), ..Limits::default() };
    set(&app.app, Target::of_project(place.project), limits).await;
    assert_eq!(use_up(&app, place, &[390, 389, 80, 1, 90]).await, [0, 0, 1, 2, 3]);
    let sentence = "The project has spent 889 tokens: 80 % of its hard limit of 1000 tokens is reached. Calls beyond it are refused.";
    assert_eq!(sentences(&app, place.project).await[0], sentence);
}

#[tokio::test]
async fn people_are_alerted_of_a_keys_hard_limit_anew_in_each_window() {
    let app = TestApp::start().await;
    let (project, key) = (project(&app, None).await, Uuid::now_v7());
    let place = Place { key: Some(GatewayKeyId(key)), ..Place::of_project(project) };
    let target = Target { on: Owner::Project(project, Scope::Key, key), period: Period::Day };
    set(&app.app, target, hard(1_000)).await;
    assert_eq!(use_up(&app, place, &[400, 400]).await, [0, 1]);
    assert_eq!(use_up(&app, Place::of_project(project), &[400, 400]).await, [1, 1], "not with that key");
    app.clock.set(app.app.clock().now() + Span::days(1));
    assert_eq!(use_up(&app, place, &[400, 400, 100]).await, [1, 2, 3]);
    let told = sentences(&app, project).await;
    let sentence = "The key has spent $0.000800 today: 80 % of its hard limit of $0.001000 is reached. Calls beyond it are refused.";
    assert_eq!((told[0].as_str(), told[1].as_str()), (sentence, sentence));
    let mails: i64 = sqlx::query_scalar(
        "select count(distinct payload ->> 'kind') from job where kind = 'people.notify' and project_id = $1",
    )
    .bind(project.0)
    .fetch_one(app.app.pool())
    .await
    .unwrap();
    assert_eq!(mails, 3, "nobody's mail of a day is taken for that of another");
}

#[tokio::test]
async fn with_a_soft_limit_people_are_alerted_of_that_one_alone() {
    let app = TestApp::start().await;
    let place = Place::of_project(project(&app, None).await);
    let limits = Limits { soft_micro_usd: Some(500), ..hard(1_000) };
    set(&app.app, Target::of_project(place.project), limits).await;
    assert_eq!(use_up(&app, place, &[400, 400, 200]).await, [1, 3, 3]);
    let soft = |percent: i64| ("soft_limit".to_owned(), Some(percent));
    assert_eq!(alerts(&app, place.project).await, [soft(80), soft(90), soft(100)]);
    assert!(!sentences(&app, place.project).await.concat().contains("refused"));

    // Of money, which says nothing of tokens: each call is 10 of a prompt, too.
    let place = Place::of_project(project(&app, None).await);
    let limits = Limits { soft_micro_usd: Some(100_000), hard_tokens: Some(1_000), ..Limits::default() };
    set(&app.app, Target::of_project(place.project), limits).await;
    assert_eq!(use_up(&app, place, &[390, 390]).await, [0, 1]);
    assert_eq!(alerts(&app, place.project).await, [("hard_limit".to_owned(), Some(80))]);
}

#[tokio::test]
async fn a_projects_people_are_alerted_of_its_organisations_limits_without_the_amounts() {
    let app = TestApp::start().await;
    let place = Place::of_project(project(&app, None).await);
    let on = Owner::Organisation(organisation(&app.app, place.project).await);
    let limits = Limits { hard_tokens: Some(1_000), ..hard(1_000) };
    set(&app.app, Target { on, period: Period::Month }, limits).await;
    assert_eq!(use_up(&app, place, &[400, 400]).await, [0, 2]);
    let expected = [
        "80 % of the organisation's hard limit this month is reached. Calls beyond it are refused.",
        "80 % of the organisation's hard limit of tokens this month is reached. Calls beyond it are refused.",
    ];
    assert_eq!(sentences(&app, place.project).await, expected);
    let mailed: Vec<String> = sqlx::query_scalar(
        "select payload ->> 'sentence' from job where kind = 'people.notify' and project_id = $1 order by id",
    )
    .bind(place.project.0)
    .fetch_all(app.app.pool())
    .await
    .unwrap();
    assert_eq!(mailed, expected);
    let fields: Vec<String> = sqlx::query_scalar(
        "select distinct field from event, json_object_keys(data) field
          where project_id = $1 and type = 'cost.alert.v1' order by field",
    )
    .bind(place.project.0)
    .fetch_all(app.app.pool())
    .await
    .unwrap();
    assert_eq!(fields, ["percent", "period", "reason", "scope", "scope_id", "text"]);
}
