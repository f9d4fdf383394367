//! A whole application for one test: a database of its own, a fixed clock, real git, the real router.

use axum::{
    Router,
    body::Body,
    http::{Method, Request, StatusCode, header},
};
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, postgres::PgConnectOptions};
use std::{str::FromStr, sync::Arc};
use syndarix::{
    clock::Clock,
    config::{Config, Flags},
    db::{self, Store},
    features::{auth::Keys, llm::Models},
    http,
    state::{App, Parts},
};
use syndarix_bus::Hub;
use syndarix_forge::{Git, LocalForge};
use syndarix_jobs::Wake;
use syndarix_llm::{Gateway, GatewayPolicy, ModelGroups, PriceTable};
use syndarix_mcp_ci::sandbox::{Isolation, Level};
use tempfile::TempDir;
use tokio::sync::OnceCell;
use tower::ServiceExt;
use uuid::Uuid;

/// The migrated database that every test's own is copied from.
static TEMPLATE: OnceCell<String> = OnceCell::const_new();

/// Makes sure that two test programs do not make the template at once.
const TEMPLATE_LOCK: i64 = 0x5359_4e44;

/// An application with everything real but the clock and the model.
pub struct TestApp {
    pub app: App,
    pub router: Router,
    pub clock: Clock,
    database: String,
    _dir: TempDir,
}

fn server() -> PgConnectOptions {
    let url = syndarix::config::process_env("TEST_DATABASE_URL")
        .or_else(|| syndarix::config::process_env("DATABASE_URL"))
        .expect("these tests need PostgreSQL: run them with `make test`, or set TEST_DATABASE_URL");
    PgConnectOptions::from_str(&url).expect("TEST_DATABASE_URL is a PostgreSQL URL")
}

async fn template() -> &'static str {
    TEMPLATE
        .get_or_init(|| async {
            let name = format!("syndarix_template_{}", std::process::id());
            let mut admin = PgConnection::connect_with(&server()).await.unwrap();
            sqlx::query("select pg_advisory_lock($1)").bind(TEMPLATE_LOCK).execute(&mut admin).await.unwrap();
            admin.execute(AssertSqlSafe(format!("drop database if exists {name}"))).await.unwrap();
            admin.execute(AssertSqlSafe(format!("create database {name}"))).await.unwrap();
            let pool = db::connect(server().database(&name), 2);
            db::migrate(&pool).await.unwrap();
            pool.close().await;
            name
        })
        .await
}

impl TestApp {
    pub async fn start() -> Self {
        let template = template().await;
        let database = format!("syndarix_test_{}", Uuid::now_v7().simple());
        let mut admin = PgConnection::connect_with(&server()).await.unwrap();
        admin
            .execute(AssertSqlSafe(format!("create database {database} template {template}")))
            .await
            .unwrap();
        let dir = tempfile::tempdir().unwrap();
        let clock = Clock::fixed("2026-11-20T09:00:00Z".parse().unwrap());
        let app = assemble(&database, &dir, clock.clone()).await;
        Self { router: http::router(app.clone()), app, clock, database, _dir: dir }
    }

    /// Sends a request and reads the answer as JSON (null when it has no body).
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        token: Option<&str>,
        body: Option<Value>,
    ) -> (StatusCode, Value) {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let body = match body {
            Some(body) => {
                request = request.header(header::CONTENT_TYPE, "application/json");
                Body::from(body.to_string())
            }
            None => Body::empty(),
        };
        let response = self.router.clone().oneshot(request.body(body).unwrap()).await.unwrap();
        let status = response.status();
        let bytes = axum::body::to_bytes(response.into_body(), 16 * 1024 * 1024).await.unwrap();
        (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }

    pub async fn get(&self, path: &str, token: &str) -> (StatusCode, Value) {
        self.send(Method::GET, path, Some(token), None).await
    }

    pub async fn post(&self, path: &str, token: &str, body: Value) -> (StatusCode, Value) {
        self.send(Method::POST, path, Some(token), Some(body)).await
    }
}

impl Drop for TestApp {
    fn drop(&mut self) {
        let database = self.database.clone();
        // A runtime of its own: the test's may be gone, or be this thread's.
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let mut admin = PgConnection::connect_with(&server()).await.unwrap();
                let sql = format!("drop database if exists {database} with (force)");
                admin.execute(AssertSqlSafe(sql)).await.unwrap();
            });
        });
        let _ = dropped.join();
    }
}

async fn assemble(database: &str, dir: &TempDir, clock: Clock) -> App {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let flags = Flags { data_dir: Some(dir.path().into()), ..Flags::default() };
    let config = Config::load(&flags, |_| None).unwrap();
    let pool = db::connect(server().database(database), 8);
    let (hub, wake) = (Hub::default(), Wake::new());
    let store = Store::new(pool.clone(), clock.clone(), hub.clone(), wake.clone());
    let git = Git::new(&dir.path().join("git-home")).unwrap();
    let forge = LocalForge::new(git, &config.repositories(), &config.workspaces()).unwrap();
    let http = syndarix_llm::http_client().unwrap();
    let gateway = Gateway::new(http, PriceTable::embedded().unwrap(), GatewayPolicy::default());
    App::new(Parts {
        instance: Uuid::now_v7(),
        keys: Keys::load(&pool, clock).await.unwrap(),
        models: Models { gateway, groups: ModelGroups::default() },
        tools: syndarix_mcp::Manager::new(Vec::new(), syndarix_mcp::Limits::default()).unwrap(),
        forge: Arc::new(forge),
        config,
        store,
        hub,
        wake,
        isolation: Isolation { level: Level::None, detail: "tests run no commands of agents".into() },
        stopping: tokio_util::sync::CancellationToken::new(),
    })
}
