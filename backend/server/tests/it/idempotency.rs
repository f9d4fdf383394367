//! Idempotency keys: a command is done once, whatever dies when.

use crate::{
    desk::Desk,
    scene::Scene,
    support::{TestApp, post_once},
};
use axum::{http::StatusCode, response::IntoResponse};
use futures::future::join_all;
use serde_json::{Value, json};
use std::time::Duration;
use syndarix::http::ApiError;
use tokio::time::{Instant, sleep};

/// How long anything may take to get where a test waits for it.
const SOON: Duration = Duration::from_secs(20);

const AGENT_TYPE: &str = r#"
name = "Typist"
role = "engineer"
model_group = "default"
capabilities = []
system_prompt = "Type."
"#;

/// What a process leaves that was killed between its commit and its answer.
async fn forget_answers(test: &TestApp) {
    let forgotten =
        sqlx::query("update idempotency set answer = null").execute(test.app.pool()).await.unwrap();
    assert_ne!(forgotten.rows_affected(), 0, "nothing was kept");
}

async fn until<F: Future<Output = bool>>(what: &str, condition: impl Fn() -> F) {
    let deadline = Instant::now() + SOON;
    while !condition().await {
        assert!(Instant::now() < deadline, "{what} did not happen");
        sleep(Duration::from_millis(10)).await;
    }
}

/// Somebody waits for a lock of this database.
async fn waits(test: &TestApp) -> bool {
    sqlx::query_scalar(
        "select exists (select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock')",
    )
    .fetch_one(test.app.pool())
    .await
    .unwrap()
}

async fn titles(desk: &Desk) -> Vec<Value> {
    let (_, stories) = desk.get("/stories").await;
    stories["items"].as_array().unwrap().iter().map(|story| story["title"].clone()).collect()
}

#[tokio::test]
async fn a_command_that_took_effect_is_answered_again_though_nobody_lived_to_answer_it() {
    let desk = Desk::open().await;
    let (_, organisations) = desk.app.get("/api/v1/organisations", &desk.token).await;
    let organisation = &organisations["items"][0]["id"];
    desk.app.user("sam").await;
    desk.post("/issues", json!({ "title": "It is slow" })).await;
    let commands = [
        ("/api/v1/organisations".to_owned(), json!({ "name": "Second" })),
        (
            "/api/v1/projects".to_owned(),
            json!({ "organisation_id": organisation, "name": "Twice", "repository": { "source": "empty" } }),
        ),
        ("/api/v1/agent-types".to_owned(), json!({ "organisation_id": organisation, "toml": AGENT_TYPE })),
        (desk.path("/stories"), json!({ "title": "Once only" })),
        (desk.path("/sprints"), json!({ "name": "Once only" })),
        (desk.path("/issues"), json!({ "title": "Once only" })),
        (desk.path("/issues/1/comments"), json!({ "body": "Once only" })),
        (desk.path("/messages"), json!({ "content": "Once only" })),
        (desk.path("/members"), json!({ "email": "sam@example.org", "role": "editor" })),
        (desk.path("/knowledge/documents"), json!({ "path": "notes/once.md", "content": "# Once only" })),
    ];
    for (path, body) in commands {
        let first = desk.app.post_once(&path, &desk.token, "key-1", body.clone()).await;
        assert!(first.0.is_success(), "{path}: {}", first.1);
        forget_answers(&desk.app).await;

        let again = desk.app.post_once(&path, &desk.token, "key-1", body).await;

        assert_eq!(again, first, "{path}");
    }
    assert_eq!(titles(&desk).await, ["Once only"]);
}

#[tokio::test]
async fn who_repeats_a_decision_is_not_told_that_somebody_was_quicker() {
    let test = TestApp::start().await;
    let scene = Scene::analysis(&test).await;
    let asked = scene.offer_requirements().await;
    let path = format!("{}/decision", asked.path);
    let body = json!({ "outcome": "approved", "digest": asked.digest });
    let first = test.post_once(&path, &scene.token, "key-1", body.clone()).await;
    assert_eq!(first.0, StatusCode::OK, "{}", first.1);
    forget_answers(&test).await;

    let again = test.post_once(&path, &scene.token, "key-1", body.clone()).await;

    assert_eq!(again, first);
    let (status, problem) = test.post_once(&path, &scene.token, "key-2", body).await;
    assert_eq!((status, &problem["code"]), (StatusCode::CONFLICT, &json!("approval_already_decided")));
}

#[tokio::test]
async fn a_command_whose_caller_left_before_its_commit_leaves_the_key_free() {
    let desk = Desk::open().await;
    let mut lock = desk.app.app.pool().begin().await.unwrap();
    sqlx::query("select 1 from counter where name = 'story' for update").execute(&mut *lock).await.unwrap();
    let path = desk.path("/stories");
    let body = json!({ "title": "Once only" });
    let (router, token, sent) = (desk.app.router.clone(), desk.token.clone(), body.clone());
    let gone = tokio::spawn(async move { post_once(router, path, token, "key-1", sent).await });
    until("the command waiting for its number", || waits(&desk.app)).await;

    let (status, problem) = desk.post_with_key("/stories", "key-1", body.clone()).await;
    assert_eq!((status, &problem["code"]), (StatusCode::CONFLICT, &json!("in_progress")));
    gone.abort();
    lock.rollback().await.unwrap();
    until("the key being free", || async {
        desk.post_with_key("/stories", "key-1", body.clone()).await.0 == StatusCode::CREATED
    })
    .await;

    assert_eq!(titles(&desk).await, ["Once only"]);
}

#[tokio::test]
async fn of_many_at_once_with_one_key_one_does_it_and_all_get_its_answer() {
    let desk = Desk::open().await;
    let body = json!({ "title": "Once only" });
    let twins = join_all((0..8).map(|_| desk.post_with_key("/stories", "key-1", body.clone()))).await;
    let (_, again) = desk.post_with_key("/stories", "key-1", body).await;
    for (status, answer) in twins {
        match status {
            StatusCode::CREATED => assert_eq!(answer, again),
            _ => assert_eq!((status, &answer["code"]), (StatusCode::CONFLICT, &json!("in_progress"))),
        }
    }
    assert_eq!(titles(&desk).await, ["Once only"]);
}

#[tokio::test]
async fn twins_whose_command_is_one_statement_all_get_the_answer_of_the_one_that_was_done() {
    let desk = Desk::open().await;
    let body = json!({ "name": "Once only" });
    let twins = join_all((0..8).map(|_| desk.post_with_key("/sprints", "key-1", body.clone()))).await;
    assert_eq!(twins[0].0, StatusCode::CREATED, "{}", twins[0].1);
    assert!(twins.iter().all(|twin| *twin == twins[0]), "{twins:?}");
    let (status, problem) = desk.post_with_key("/sprints", "key-1", json!({ "name": "Another" })).await;
    assert_eq!(
        (status, &problem["code"]),
        (StatusCode::UNPROCESSABLE_ENTITY, &json!("idempotency_key_reused"))
    );
    let (_, sprints) = desk.get("/sprints").await;
    assert_eq!(sprints["items"].as_array().unwrap().len(), 1, "{sprints}");
}

#[tokio::test]
async fn a_command_that_was_refused_leaves_its_key_for_the_next_attempt() {
    let desk = Desk::open().await;
    let body = json!({ "email": "sam@example.org", "role": "editor" });
    let (refused, _) = desk.post_with_key("/members", "key-1", body.clone()).await;
    assert_eq!(refused, StatusCode::UNPROCESSABLE_ENTITY);
    desk.app.user("sam").await;
    let (done, member) = desk.post_with_key("/members", "key-1", body).await;
    assert_eq!(done, StatusCode::CREATED, "{member}");
}

#[tokio::test]
async fn a_key_from_before_ids_got_the_id_that_it_has_now() {
    let desk = Desk::open().await;
    desk.post_with_key("/stories", "key-1", json!({ "title": "Once only" })).await;
    let (_, me) = desk.app.get("/api/v1/me", &desk.token).await;
    let (who, path) = (me["user"]["id"].as_str().unwrap(), desk.path("/stories"));
    let key = format!("{who} POST {}\nkey-1", path.strip_prefix("/api/v1").unwrap());
    // As the migration computes it.
    let known: bool = sqlx::query_scalar(
        "select exists (select 1 from idempotency
         where id = encode(substring(sha256(convert_to($1, 'UTF8')) for 16), 'hex')::uuid)",
    )
    .bind(key)
    .fetch_one(desk.app.app.pool())
    .await
    .unwrap();
    assert!(known);
}

#[tokio::test]
async fn a_key_is_forgotten_after_a_day() {
    let desk = Desk::open().await;
    let body = json!({ "title": "Again" });
    desk.post_with_key("/stories", "key-1", body.clone()).await;
    sqlx::query("update idempotency set created_at = now() - interval '25 hours'")
        .execute(desk.app.app.pool())
        .await
        .unwrap();

    desk.post_with_key("/stories", "key-1", body).await;

    assert_eq!(titles(&desk).await, ["Again", "Again"]);
}

#[tokio::test]
async fn whoever_waited_too_long_for_another_is_told_to_come_again() {
    let desk = Desk::open().await;
    let pool = desk.app.app.pool();
    let row = "select 1 from counter for update";
    desk.post_with_key("/stories", "key-1", json!({ "title": "It makes the counter" })).await;
    let mut holder = pool.begin().await.unwrap();
    sqlx::query(row).execute(&mut *holder).await.unwrap();
    for limit in ["set local statement_timeout = 50", "set local lock_timeout = 50"] {
        let mut waits = pool.begin().await.unwrap();
        sqlx::query(limit).execute(&mut *waits).await.unwrap();
        let given_up = sqlx::query(row).execute(&mut *waits).await.unwrap_err();
        let answer = ApiError::from(given_up).into_response();
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE, "{limit}");
    }
}
