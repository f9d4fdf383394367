//! A database per test, a log to write to, and a Redis that can be killed.

use serde_json::json;
use sqlx::{
    AssertSqlSafe, ConnectOptions, Executor, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use std::{
    future::Future,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use syndarix_bus::{Cursor, Hub, Item, Log, Relay, Subscription};
use syndarix_domain::{Timestamp, actor::Actor, envelope::Envelope, ids::ProjectId};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Longest a test waits for something that must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// The two tables that the bus reads, as the application's first migration makes them.
const SCHEMA: &str = "
    create table project_log (project_id uuid primary key, head bigint not null default 0, epoch integer not null default 1);
    create table event (project_id uuid not null, seq bigint not null, id uuid not null, kind text not null,
        stream_id uuid not null, version bigint not null, type text not null, data jsonb not null,
        actor jsonb not null, command_id uuid, at timestamptz not null, primary key (project_id, seq));";

#[expect(clippy::disallowed_methods, reason = "the test database comes from the environment")]
fn server() -> PgConnectOptions {
    let url = std::env::var("TEST_DATABASE_URL").or_else(|_| std::env::var("DATABASE_URL"));
    let url = url
        .expect("no TEST_DATABASE_URL: run the tests with `make test`, which starts a PostgreSQL for them");
    url.parse().unwrap()
}

/// Runs `test` on a fresh database and drops it, whether or not the test passed.
pub(crate) fn on_database<F, T>(test: F)
where
    F: FnOnce(PgPool) -> T,
    T: Future<Output = ()> + Send + 'static,
{
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let name = format!("bus_test_{:032x}", rand::random::<u128>());
    let admin = |statement: String| async move {
        let mut conn = server().connect().await.unwrap();
        conn.execute(AssertSqlSafe(statement)).await.unwrap();
    };
    let result = runtime.block_on(async {
        admin(format!("create database {name}")).await;
        let options = server().database(&name);
        let pool = PgPoolOptions::new().max_connections(16).connect_with(options).await.unwrap();
        pool.execute(sqlx::raw_sql(SCHEMA)).await.unwrap();
        let result = runtime.spawn(test(pool)).await;
        admin(format!("drop database {name} with (force)")).await;
        result
    });
    runtime.shutdown_background();
    if let Err(failure) = result {
        std::panic::resume_unwind(failure.into_panic());
    }
}

pub(crate) fn log(pool: &PgPool) -> Log {
    Log::new(pool.clone(), |event_type, data| (event_type.to_owned(), data))
}

pub(crate) async fn project(pool: &PgPool) -> ProjectId {
    let id = Uuid::from_u128(rand::random());
    sqlx::query("insert into project_log (project_id) values ($1)").bind(id).execute(pool).await.unwrap();
    ProjectId(id)
}

/// Commits so many events at once, and says nothing to anybody.
pub(crate) async fn commit(pool: &PgPool, project: ProjectId, count: i64) -> Vec<Envelope> {
    let at: Timestamp = "2026-11-20T09:00:00Z".parse().unwrap();
    let mut tx = pool.begin().await.unwrap();
    let head: i64 =
        sqlx::query_scalar("update project_log set head = head + $2 where project_id = $1 returning head")
            .bind(project.0)
            .bind(count)
            .fetch_one(&mut *tx)
            .await
            .unwrap();
    let mut events = Vec::new();
    for seq in head - count + 1..=head {
        let (id, stream) = (Uuid::from_u128(rand::random()), Uuid::from_u128(7));
        sqlx::query(
            "insert into event values ($1, $2, $3, 'story', $4, $2, 'story.moved.v1', $5, $6, null, $7)",
        )
        .bind(project.0)
        .bind(seq)
        .bind(id)
        .bind(stream)
        .bind(json!({ "n": seq }))
        .bind(json!({ "type": "system" }))
        .bind(at)
        .execute(&mut *tx)
        .await
        .unwrap();
        events.push(Envelope {
            id,
            kind: "story.moved".into(),
            time: at,
            project_id: project,
            actor_id: Actor::System.id(),
            actor_type: "system".into(),
            subject: format!("story/{stream}"),
            seq,
            data: json!({ "n": seq }),
        });
    }
    tx.commit().await.unwrap();
    events
}

/// A hub that hears other instances, until it is dropped.
pub(crate) struct Instance {
    pub(crate) hub: Hub,
    cancel: CancellationToken,
}

impl Instance {
    pub(crate) fn start(pool: &PgPool, relay: Relay) -> Self {
        let (hub, cancel) = (Hub::default(), CancellationToken::new());
        spawn({
            let (hub, log, cancel) = (hub.clone(), log(pool), cancel.clone());
            async move { hub.run(log, relay, cancel).await }
        });
        Self { hub, cancel }
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

#[expect(clippy::disallowed_methods, reason = "a test has no task tracker: its runtime ends with it")]
pub(crate) fn spawn<F>(future: F) -> tokio::task::JoinHandle<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    tokio::spawn(future)
}

pub(crate) async fn next(subscription: &mut Subscription) -> Item {
    tokio::time::timeout(PATIENCE, subscription.next()).await.expect("an item in time").unwrap()
}

/// The next event's number; anything else than an event fails the test.
pub(crate) async fn next_seq(subscription: &mut Subscription) -> i64 {
    match next(subscription).await {
        Item::Event(event) => event.event.seq,
        other => panic!("expected an event, got {other:?}"),
    }
}

pub(crate) async fn expect_range(subscription: &mut Subscription, range: std::ops::RangeInclusive<i64>) {
    for seq in range {
        assert_eq!(next_seq(subscription).await, seq);
    }
}

pub(crate) fn at(seq: i64) -> Cursor {
    Cursor { epoch: 1, seq }
}

pub(crate) async fn until(condition: impl Fn() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < PATIENCE, "waited in vain");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A real Redis on a free port, killed when dropped.
pub(crate) struct Redis {
    port: u16,
    child: Child,
}

impl Redis {
    pub(crate) async fn start() -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let redis = Self { port, child: launch(port) };
        redis.wait().await;
        redis
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) async fn restart(&mut self) {
        self.child = launch(self.port);
        self.wait().await;
    }

    async fn wait(&self) {
        let started = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(started.elapsed() < PATIENCE, "redis-server does not listen on port {}", self.port);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn launch(port: u16) -> Child {
    Command::new("redis-server")
        .args(["--port", &port.to_string(), "--save", "", "--appendonly", "no", "--bind", "127.0.0.1"])
        .stdout(Stdio::null())
        .spawn()
        .expect("this test needs the program redis-server (Debian and Ubuntu: apt-get install redis-server)")
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
