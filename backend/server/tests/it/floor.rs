//! The floor: errors, health of the database, what a stranger sees.

use crate::{
    events::{person, project},
    support::TestApp,
};
use axum::{
    http::{Method, StatusCode},
    response::IntoResponse,
};
use serde_json::json;
use sqlx::{Connection, PgConnection, postgres::PgPoolOptions};
use std::time::{Duration, Instant};
use syndarix::{
    db::{self, Author},
    http::ApiError,
};
use uuid::Uuid;

/// Longest a test waits for something that must happen.
const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn an_unknown_endpoint_is_a_problem_document_with_a_request_id() {
    let app = TestApp::start().await;
    let (status, problem) = app.send(Method::GET, "/api/v1/nowhere", None, None).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert_eq!(problem["code"], "not_found");
    assert_eq!(problem["status"], 404);
    assert!(!problem["request_id"].as_str().unwrap_or_default().is_empty(), "{problem}");
}

#[tokio::test]
async fn a_full_disk_is_said_to_be_one() {
    let app = TestApp::start().await;
    // What PostgreSQL says when a file cannot grow.
    let full = "do $$ begin raise exception 'could not extend file' using errcode = 'disk_full'; end $$";
    let error = sqlx::query(full).execute(app.app.pool()).await.unwrap_err();
    let answer = ApiError::from(error).into_response();
    assert_eq!(answer.status(), StatusCode::INSUFFICIENT_STORAGE);
    let body = axum::body::to_bytes(answer.into_body(), 10_000).await.unwrap();
    let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(problem["code"], "disk_full", "{problem}");
}

#[tokio::test]
async fn a_missing_asset_is_not_found_and_never_the_index() {
    let app = TestApp::start().await;
    let (status, problem) = app.send(Method::GET, "/assets/of-an-older-version.js", None, None).await;
    assert_eq!((status, problem["code"].as_str()), (StatusCode::NOT_FOUND, Some("not_found")));
}

#[tokio::test]
async fn a_migration_may_wait_longer_than_any_statement_of_ours() {
    let app = TestApp::start().await;
    let options = app.app.pool().connect_options().as_ref().clone();
    let mut other = PgConnection::connect_with(&options).await.unwrap();
    let mut migrating = other.begin().await.unwrap();
    sqlx::query("lock table _sqlx_migrations").execute(&mut *migrating).await.unwrap();
    let limited = PgPoolOptions::new().connect_lazy_with(options.options([("statement_timeout", "100ms")]));
    let waiting = tokio::task::spawn(async move { db::migrate(&limited).await });
    let looked = tokio::time::timeout(Duration::from_secs(1), async {
        while !waiting.is_finished() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    assert!(looked.await.is_err(), "it waits, ten times the limit long");
    migrating.rollback().await.unwrap();
    waiting.await.unwrap().unwrap();
}

/// One more migration to apply, which changes the table of jobs.
async fn behind(app: &TestApp) {
    sqlx::raw_sql(
        "alter table job drop column waits_since;
         delete from _sqlx_migrations where version in (20261202120000, 20261202121000)",
    )
    .execute(app.app.pool())
    .await
    .unwrap();
}

/// Somebody reads the table of jobs in one long transaction.
async fn backup(app: &TestApp) -> PgConnection {
    let options = app.app.pool().connect_options().as_ref().clone().application_name("a backup");
    let mut backup = PgConnection::connect_with(&options).await.unwrap();
    let begin = "set idle_in_transaction_session_timeout = 0; begin; lock table job in access share mode";
    sqlx::raw_sql(begin).execute(&mut backup).await.unwrap();
    backup
}

#[tokio::test]
async fn whoever_needs_a_table_that_a_migration_waits_for_is_let_through_between_its_tries() {
    let app = TestApp::start().await;
    behind(&app).await;
    let mut backup = backup(&app).await;
    let pool = app.app.pool().clone();
    let migrating = tokio::task::spawn(async move { db::migrate(&pool).await });
    let waiting = "select exists (select from pg_locks l join pg_database d on d.oid = l.database
                                   where d.datname = current_database() and l.relation = 'job'::regclass
                                     and l.mode = 'AccessExclusiveLock' and not l.granted)";
    let started = Instant::now();
    while !sqlx::query_scalar::<_, bool>(waiting).fetch_one(app.app.pool()).await.unwrap() {
        assert!(started.elapsed() < PATIENCE, "nothing waits for the table");
        tokio::task::yield_now().await;
    }

    let jobs = sqlx::query("select from job").execute(app.app.pool());
    tokio::time::timeout(PATIENCE / 2, jobs).await.expect("it is let through").unwrap();

    assert!(!migrating.is_finished(), "the backup goes on all the while");
    sqlx::raw_sql("rollback").execute(&mut backup).await.unwrap();
    migrating.await.unwrap().unwrap();
    assert!(db::pending_migrations(app.app.pool()).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_migration_that_is_kept_for_too_long_says_by_whom() {
    let app = TestApp::start().await;
    behind(&app).await;
    let _backup = backup(&app).await;

    let kept = db::migrate_within(app.app.pool(), Duration::ZERO).await.unwrap_err().to_string();

    let beginning =
        "while executing migration 20261202120000: a table that it changes is in use by a backup (process ";
    assert!(kept.starts_with(beginning), "{kept}");
    assert!(kept.ends_with(" UTC); start again when that has ended"), "{kept}");
    assert_eq!(db::pending_migrations(app.app.pool()).await.unwrap().len(), 2, "nothing was changed");
}

/// As PostgreSQL answers when it cannot write another row.
const FULL: &str = "
create function full_disk() returns trigger language plpgsql as
    'begin raise exception ''could not extend file'' using errcode = ''disk_full''; end';
create trigger full_disk before insert on event for each row execute function full_disk()";

async fn an_instance_whose_writes_are_refused_is_not_ready(in_a_transaction: bool) {
    let app = TestApp::start().await;
    let maria = person(&app, "maria").await;
    let project = project(&app, &maria).await;
    sqlx::raw_sql(FULL).execute(app.app.pool()).await.unwrap();

    let noticed = async {
        loop {
            let mut uow = app.app.store.begin(Author::system());
            uow.announce(project, "agent", Uuid::now_v7(), "agent.status_changed.v1", json!({}));
            if in_a_transaction {
                uow.conn().await.unwrap();
            }
            uow.commit().await.unwrap_err();
            let (status, readiness) = app.send(Method::GET, "/readyz", None, None).await;
            if status == StatusCode::SERVICE_UNAVAILABLE {
                return readiness;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let readiness = tokio::time::timeout(PATIENCE, noticed).await.expect("it is noticed");

    let writes = json!({ "ok": false, "required": true, "detail": "refused: its disk is full" });
    assert_eq!(readiness["parts"]["writes"], writes);
}

#[tokio::test]
async fn an_instance_whose_commands_a_full_disk_refuses_again_and_again_is_not_ready() {
    an_instance_whose_writes_are_refused_is_not_ready(false).await;
}

#[tokio::test]
async fn nor_is_one_whose_transactions_it_refuses() {
    an_instance_whose_writes_are_refused_is_not_ready(true).await;
}
