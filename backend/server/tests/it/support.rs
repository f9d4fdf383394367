//! A whole application for one test: a database of its own, a fixed clock, real git, the real router.

use axum::{
    Router,
    body::Body,
    http::{Method, Request, StatusCode, header},
};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, postgres::PgConnectOptions};
use std::{str::FromStr, sync::Arc, time::Duration};
use syndarix::{
    clock::Clock,
    config::{Config, Flags},
    db::{self, Store},
    features::{
        self,
        auth::Keys,
        llm::{Ledger, Models},
    },
    http,
    state::{App, Parts},
    vault::Vault,
};
use syndarix_bus::Hub;
use syndarix_forge::{Git, LocalForge};
use syndarix_jobs::{QueueConfig, QueueStats, Registry, Wake, Worker, WorkerConfig};
use syndarix_llm::{Gateway, GatewayPolicy, ModelGroups, PriceTable};
use syndarix_mcp_ci::sandbox::{Isolation, Level};
use tempfile::TempDir;
use tokio::sync::OnceCell;
use tower::ServiceExt;
use uuid::Uuid;

/// The migrated database that every test's own is copied from.
static TEMPLATE: OnceCell<String> = OnceCell::const_new();

/// The password of everybody that a test registers.
pub const PASSWORD: &str = "correct horse battery";

/// Every queue that a feature puts jobs into.
const QUEUES: [&str; 4] = ["agent", "default", "git", "index"];

/// How long jobs may take to come to rest.
const REST_DEADLINE: Duration = Duration::from_secs(60);

/// Makes sure that two test programs do not make the template at once.
const TEMPLATE_LOCK: i64 = 0x5359_4e44;

/// An application with everything real but the clock and the model.
pub struct TestApp {
    pub app: App,
    pub router: Router,
    pub clock: Clock,
    /// The handlers of this process: they know how far their rounds have come.
    handlers: Registry,
    database: String,
    dir: TempDir,
}

/// The server that tests make their databases on.
pub fn server_url() -> url::Url {
    let url = syndarix::config::process_env("TEST_DATABASE_URL")
        .or_else(|| syndarix::config::process_env("DATABASE_URL"))
        .expect("these tests need PostgreSQL: run them with `make test`, or set TEST_DATABASE_URL");
    url.parse().expect("TEST_DATABASE_URL is a URL")
}

/// Runs a statement on that server, such as making a database.
pub async fn admin(sql: String) {
    let mut admin = PgConnection::connect_with(&server()).await.unwrap();
    admin.execute(AssertSqlSafe(sql)).await.unwrap();
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
        Self::start_with(|_| ()).await
    }

    /// Starts with other settings than the usual ones.
    pub async fn start_with(settings: impl FnOnce(&mut Config)) -> Self {
        Self::made(settings, ModelGroups::default()).await
    }

    /// Starts with model groups of the test's own.
    pub async fn with_models(groups: ModelGroups) -> Self {
        Self::made(|_| (), groups).await
    }

    /// Both.
    pub async fn with_models_and(groups: ModelGroups, settings: impl FnOnce(&mut Config)) -> Self {
        Self::made(settings, groups).await
    }

    async fn made(settings: impl FnOnce(&mut Config), groups: ModelGroups) -> Self {
        let template = template().await;
        let database = format!("syndarix_test_{}", Uuid::now_v7().simple());
        let mut admin = PgConnection::connect_with(&server()).await.unwrap();
        admin
            .execute(AssertSqlSafe(format!("create database {database} template {template}")))
            .await
            .unwrap();
        let dir = tempfile::tempdir().unwrap();
        // Far ahead of the database's clock: what is set for later than this moment never rings by itself in a test.
        let clock = Clock::fixed("2100-01-01T09:00:00Z".parse().unwrap());
        let app = assemble(server().database(&database), &dir, clock.clone(), settings, groups).await;
        Self { router: http::router(app.clone()), handlers: features::jobs(&app), app, clock, database, dir }
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

    /// Reads an answer that is not JSON.
    pub async fn text(&self, path: &str, token: &str) -> (StatusCode, String) {
        let request = Request::get(path).header(header::AUTHORIZATION, format!("Bearer {token}"));
        let response = self.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let status = response.status();
        let bytes = axum::body::to_bytes(response.into_body(), 16 * 1024 * 1024).await.unwrap();
        (status, String::from_utf8(bytes.to_vec()).unwrap())
    }

    pub async fn post(&self, path: &str, token: &str, body: Value) -> (StatusCode, Value) {
        self.send(Method::POST, path, Some(token), Some(body)).await
    }

    /// The same with an idempotency key.
    pub async fn post_once(&self, path: &str, token: &str, key: &str, body: Value) -> (StatusCode, Value) {
        post_once(self.router.clone(), path.into(), token.into(), key, body).await
    }

    /// Another process over the same database and data, as after a restart.
    pub async fn another(&self) -> App {
        self.another_by(server().database(&self.database)).await
    }

    /// The same, with another way to the database.
    pub async fn another_by(&self, way: PgConnectOptions) -> App {
        assemble(way, &self.dir, self.clock.clone(), |_| (), self.app.models.groups.clone()).await
    }

    /// Lets a timer of this stream ring now, and works on what follows.
    pub async fn ring(&self, stream: Uuid, name: &str) {
        let moved = sqlx::query(
            "update timer set fire_at = now() - interval '1 second' where stream = $1 and name = $2",
        )
        .bind(stream)
        .bind(name)
        .execute(self.app.pool())
        .await
        .unwrap();
        assert_eq!(moved.rows_affected(), 1, "there is no timer {name}");
        let mut conn = self.app.pool().acquire().await.unwrap();
        assert_eq!(syndarix_jobs::fire_due(&mut conn).await.unwrap().count, 1);
        drop(conn);
        self.run_jobs().await;
    }

    /// Registers `name@example.org` and returns the access token.
    pub async fn user(&self, name: &str) -> String {
        let account = json!({ "email": format!("{name}@example.org"), "name": name, "password": PASSWORD });
        let (status, session) = self.send(Method::POST, "/api/v1/auth/register", None, Some(account)).await;
        assert_eq!(status, StatusCode::CREATED, "{session}");
        session["access_token"].as_str().unwrap().to_owned()
    }

    /// Makes a project with a repository of one README in the first organisation of this person, and returns its id.
    pub async fn project(&self, token: &str) -> String {
        let (_, organisations) = self.get("/api/v1/organisations", token).await;
        let name = format!("Project {}", Uuid::now_v7().simple());
        let body = json!({
            "organisation_id": organisations["items"][0]["id"], "name": name, "repository": { "source": "empty" },
        });
        let (status, project) = self.post("/api/v1/projects", token, body).await;
        assert_eq!(status, StatusCode::CREATED, "{project}");
        self.run_jobs().await;
        let id = project["id"].as_str().unwrap().to_owned();
        let (_, project) = self.get(&format!("/api/v1/projects/{id}"), token).await;
        assert_eq!(project["repository"]["state"], "ready", "{project}");
        id
    }

    /// Works on jobs until none is ready or running. Jobs and timers whose time has not come by the database's clock
    /// are left alone.
    pub async fn run_jobs(&self) {
        let queues = QUEUES.map(|name| QueueConfig::new(name, 4)).to_vec();
        let mut config = WorkerConfig::new("test", Uuid::now_v7(), queues);
        config.poll = Duration::from_millis(40);
        config.tick = Duration::from_millis(40);
        let handlers = self.handlers.clone();
        let worker = Worker::new(self.app.pool().clone(), handlers, config, self.app.wake.clone()).start();
        let rested = tokio::time::timeout(REST_DEADLINE, self.rest()).await;
        let left = self.at_work().await;
        worker.shutdown(Duration::from_secs(5)).await;
        assert!(rested.is_ok(), "jobs did not come to rest: {left:?}");
    }

    async fn rest(&self) {
        while !self.at_work().await.is_empty() {
            tokio::time::sleep(Duration::from_millis(15)).await;
        }
    }

    /// The queues with ready or running jobs.
    async fn at_work(&self) -> Vec<QueueStats> {
        let mut conn = self.app.pool().acquire().await.unwrap();
        let stats = syndarix_jobs::queue_stats(&mut conn).await.unwrap();
        stats.into_iter().filter(|queue| queue.ready + queue.running > 0).collect()
    }
}

/// Sends a command with an idempotency key, as a task of its own can do it.
pub async fn post_once(
    router: Router,
    path: String,
    token: String,
    key: &str,
    body: Value,
) -> (StatusCode, Value) {
    let request = Request::post(path)
        .header(header::AUTHORIZATION, format!("Bearer {token}"))
        .header(header::CONTENT_TYPE, "application/json")
        .header("idempotency-key", key)
        .body(Body::from(body.to_string()));
    let response = router.oneshot(request.unwrap()).await.unwrap();
    let status = response.status();
    let bytes = axum::body::to_bytes(response.into_body(), 16 * 1024 * 1024).await.unwrap();
    (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
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

async fn assemble(
    database: PgConnectOptions,
    dir: &TempDir,
    clock: Clock,
    settings: impl FnOnce(&mut Config),
    groups: ModelGroups,
) -> App {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let flags = Flags { data_dir: Some(dir.path().into()), ..Flags::default() };
    let mut config = Config::load(&flags, |_| None).unwrap();
    settings(&mut config);
    let pool = db::connect(database, 8);
    let (hub, wake) = (Hub::default(), Wake::new());
    let store = Store::new(pool.clone(), clock.clone(), hub.clone(), wake.clone());
    let git = Git::new(&dir.path().join("git-home")).unwrap();
    let forge = LocalForge::new(git, &config.repositories(), &config.workspaces()).unwrap();
    let http = syndarix_llm::http_client().unwrap();
    let gateway = Gateway::new(http, PriceTable::embedded().unwrap(), GatewayPolicy::default());
    let instance = Uuid::now_v7();
    App::new(Parts {
        instance,
        ledger: Ledger::new(store.clone(), instance, config.usage_durability),
        keys: Keys::load(&pool, clock).await.unwrap(),
        vault: Vault::open(&config).unwrap(),
        gateway: syndarix::features::gateway::Front::default(),
        models: Models::new(gateway, groups),
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
