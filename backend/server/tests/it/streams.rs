//! Streams over real sockets: hundreds of clients, two instances, Redis dying; a client that does not read.

use crate::{
    events::{Person, happen, person, project},
    support::TestApp,
};
use futures::StreamExt;
use rand::Rng;
use serde_json::json;
use std::{
    net::SocketAddr,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};
use syndarix::{
    db::{self, Author, Error, Store},
    features::{
        events::spawn_hub,
        llm::{Ledger, Models},
    },
    http::{self, Sockets},
    state::{App, Parts},
};
use syndarix_bus::{Health, Hub};
use syndarix_domain::ids::ProjectId;
use syndarix_jobs::Wake;
use syndarix_llm::{Gateway, GatewayPolicy, PriceTable};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;

/// Longest a test waits for something that must happen.
const PATIENCE: Duration = Duration::from_secs(180);

/// A real Redis on a free port, killed when dropped.
pub(crate) struct Redis {
    port: u16,
    child: Child,
}

impl Redis {
    pub(crate) fn start() -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Self { port, child: launch(port) }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn restart(&mut self) {
        self.child = launch(self.port);
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn launch(port: u16) -> Child {
    Command::new("redis-server")
        .args(["--port", &port.to_string(), "--save", "", "--appendonly", "no", "--bind", "127.0.0.1"])
        .stdout(Stdio::null())
        .spawn()
        .expect("this test needs the program redis-server (Debian and Ubuntu: apt-get install redis-server)")
}

fn gateway() -> Gateway {
    let http = syndarix_llm::http_client().unwrap();
    Gateway::new(http, PriceTable::embedded().unwrap(), GatewayPolicy::default())
}

/// Another instance over the same database, as another process would be.
fn twin(first: &TestApp) -> App {
    let app = &first.app;
    let (hub, wake) = (Hub::default(), Wake::new());
    let pool = db::connect(app.pool().connect_options().as_ref().clone(), 8);
    let (instance, store) =
        (app.store.new_id(), Store::new(pool, first.clock.clone(), hub.clone(), wake.clone()));
    App::new(Parts {
        instance,
        config: app.config.clone(),
        ledger: Ledger::new(store.clone(), instance, app.config.usage_durability),
        store,
        hub,
        wake,
        keys: app.keys.clone(),
        vault: syndarix::vault::Vault::open(&app.config).unwrap(),
        tools: app.tools.clone(),
        forge: Arc::clone(&app.forge),
        isolation: app.isolation.clone(),
        stopping: CancellationToken::new(),
        gateway: syndarix::features::gateway::Front::default(),
        models: Models::new(gateway(), app.models.groups.clone()),
    })
}

/// Serves an instance on a socket of its own, as the process does.
async fn serve(app: &App, tasks: &TaskTracker, end: &CancellationToken) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    spawn_hub(app, tasks, end.clone());
    let served = axum::serve(Sockets(listener), http::router(app.clone()))
        .with_graceful_shutdown(end.clone().cancelled_owned())
        .into_future();
    tasks.spawn(served);
    address
}

/// Follows a project's events at now one, now the other instance, leaving and resuming, until it has seen `last`.
/// Fails on any gap, repeat or reset.
async fn come_and_go(
    client: reqwest::Client,
    instances: [SocketAddr; 2],
    stays_ms: std::ops::Range<u64>,
    (project, token): (ProjectId, String),
    last: i64,
) -> u32 {
    let (mut seen, mut visits) = (0, 0);
    let started = Instant::now();
    while seen < last {
        assert!(started.elapsed() < PATIENCE, "still at {seen}");
        let instance = instances[rand::rng().random_range(0..2)];
        let stay = Duration::from_millis(rand::rng().random_range(stays_ms.clone()));
        let response = client
            .get(format!("http://{instance}/api/v1/projects/{project}/events/stream"))
            .bearer_auth(&token)
            .header("last-event-id", format!("1:{seen}"))
            .send()
            .await;
        let Ok(response) = response else { continue };
        // An instance with two hundred at its door at once may ask them to come again.
        if response.status() == 503 {
            continue;
        }
        assert_eq!(response.status(), 200);
        visits += 1;
        let mut body = response.bytes_stream();
        let (until, mut text) = (tokio::time::Instant::now() + stay, String::new());
        while let Ok(Some(Ok(chunk))) = tokio::time::timeout_at(until, body.next()).await {
            text.push_str(std::str::from_utf8(&chunk).unwrap());
            while let Some(end) = text.find("\n\n") {
                let frame: String = text.drain(..end + 2).collect();
                assert!(!frame.contains("event: reset"), "{frame}");
                if frame.starts_with("event: ") {
                    let id = frame.lines().find_map(|line| line.strip_prefix("id: 1:")).expect(&frame);
                    assert_eq!(id.parse::<i64>().unwrap(), seen + 1, "a gap or a repeat");
                    seen += 1;
                }
            }
        }
    }
    visits
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_restless_clients_of_two_instances_miss_nothing_while_redis_dies() {
    let mut redis = Redis::start();
    let url = redis.url();
    let app = TestApp::start_with(|config| config.redis_url = Some(url)).await;
    let maria = person(&app, "maria").await;
    let project = project(&app, &maria).await;
    let (tasks, end) = (TaskTracker::new(), CancellationToken::new());
    let other = twin(&app);
    let instances = [serve(&app.app, &tasks, &end).await, serve(&other, &tasks, &end).await];
    until_hints(&[&app.app, &other]).await;
    let (rounds, total) = (150, 300);
    let client = reqwest::Client::builder().pool_max_idle_per_host(0).build().unwrap();
    let clients: Vec<_> = (0..200)
        .map(|n| {
            // Half of them are restless.
            let stays_ms = if n % 2 == 0 { 300..2_800 } else { 10_000..20_000 };
            tasks.spawn(come_and_go(
                client.clone(),
                instances,
                stays_ms,
                (project, maria.token.clone()),
                total,
            ))
        })
        .collect();
    let writer = tasks.spawn({
        let stores = [app.app.store.clone(), other.store.clone()];
        async move {
            for round in 0..rounds {
                while !told(&stores[round % 2], project).await {}
                tokio::time::sleep(Duration::from_millis(40)).await;
            }
        }
    });
    tokio::time::sleep(Duration::from_secs(2)).await;
    redis.kill();
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    assert!(!writer.is_finished(), "Redis died in the middle");
    redis.restart();
    writer.await.unwrap();
    until_hints(&[&app.app, &other]).await;
    let mut visits = 0;
    for client in clients {
        visits += client.await.unwrap();
    }
    assert!(visits > 200, "only {visits} visits");
    let (status, page) = app.get(&format!("/api/v1/projects/{project}/events?after=299"), &maria.token).await;
    assert_eq!((status.as_u16(), &page["head"]), (200, &json!(total)));
    end.cancel();
}

/// Commits two events. False: no connection was free for so long that the caller is asked to come again, as a browser is.
async fn told(store: &Store, project: ProjectId) -> bool {
    let mut uow = store.begin(Author::system());
    for n in 0..2 {
        let data = json!({ "n": n });
        uow.announce(project, "agent", Uuid::from_u128(7), "agent.status_changed.v1", data);
    }
    match uow.commit().await {
        Err(Error::Database(sqlx::Error::PoolTimedOut)) => false,
        outcome => outcome.is_ok() || panic!("the events are not committed: {outcome:?}"),
    }
}

async fn until_hints(instances: &[&App]) {
    let started = Instant::now();
    while instances.iter().any(|app| app.hub.health() != Health::Hints) {
        assert!(started.elapsed() < PATIENCE, "no hints: {:?}", instances[0].hub.health());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn shout(app: &TestApp, project: ProjectId, count: usize) {
    for _ in 0..count {
        let mut uow = app.app.store.begin(Author::system());
        let data = json!({ "text": "x".repeat(100_000) });
        uow.announce(project, "agent", Uuid::from_u128(7), "agent.message.v1", data);
        uow.commit().await.unwrap();
    }
}

/// Waits until the buffers of both ends are full: what is there to be read has not grown for two seconds.
async fn until_nothing_more_comes(socket: &tokio::net::TcpStream) {
    let (mut buffer, mut before, mut since) = (vec![0; 32 * 1024 * 1024], 0, Instant::now());
    while since.elapsed() < Duration::from_secs(2) {
        let there = socket.peek(&mut buffer).await.unwrap();
        if there != before {
            (before, since) = (there, Instant::now());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Everything until the server closes the line.
async fn rest(mut socket: tokio::net::TcpStream) -> Vec<u8> {
    let (mut all, mut buffer) = (Vec::new(), vec![0; 64 * 1024]);
    let started = Instant::now();
    loop {
        // On a line that stays open there is a sign of life every few seconds.
        let left = PATIENCE.saturating_sub(started.elapsed());
        match tokio::time::timeout(left, socket.read(&mut buffer)).await.expect("the line is closed") {
            Ok(0) | Err(_) => return all,
            Ok(count) => all.extend_from_slice(&buffer[..count]),
        }
    }
}

async fn ask(address: SocketAddr, project: ProjectId, person: &Person) -> tokio::net::TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(16 * 1024).unwrap();
    let mut socket = socket.connect(address).await.unwrap();
    let request = format!(
        "GET /api/v1/projects/{project}/events/stream HTTP/1.1\r\nhost: test\r\nauthorization: Bearer {}\r\nlast-event-id: 1:0\r\n\r\n",
        person.token
    );
    socket.write_all(request.as_bytes()).await.unwrap();
    socket
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_stops_reading_is_cut_off_and_can_resume() {
    let app = TestApp::start().await;
    let maria = person(&app, "maria").await;
    let project = project(&app, &maria).await;
    let (tasks, end) = (TaskTracker::new(), CancellationToken::new());
    let address = serve(&app.app, &tasks, &end).await;
    // More than the buffers of both ends of a socket on one machine hold.
    shout(&app, project, 150).await;
    let socket = ask(address, project, &maria).await;
    until_nothing_more_comes(&socket).await;
    tokio::time::sleep(syndarix_bus::STALL + Duration::from_secs(2)).await;
    let text = String::from_utf8_lossy(&rest(socket).await).into_owned();
    let seen = text.matches("\nevent: agent.message").count();
    assert!(seen < 150, "it was cut off before the end: {seen}");

    // Whole events only count; from the last of them it goes on.
    let whole = text.rfind("\n\n").map_or("", |end| &text[..end]);
    let last = whole.lines().rev().find_map(|line| line.strip_prefix("id: ")).unwrap_or("1:0").to_owned();
    happen(&app, project, 1).await;
    let response = reqwest::Client::builder()
        .build()
        .unwrap()
        .get(format!("http://{address}/api/v1/projects/{project}/events/stream?last_event_id={last}"))
        .bearer_auth(&maria.token)
        .send()
        .await
        .unwrap();
    let (mut body, mut text) = (response.bytes_stream(), String::new());
    while !text[text.len().saturating_sub(200_000)..].contains("id: 1:151\n") {
        let chunk = tokio::time::timeout(PATIENCE, body.next()).await.expect("event 151");
        text.push_str(&String::from_utf8_lossy(&chunk.unwrap().unwrap()));
    }
    let resumed: Vec<i64> = text
        .split("event: ")
        .skip(1)
        .map(|frame| frame.lines().find_map(|line| line.strip_prefix("id: 1:")).unwrap().parse().unwrap())
        .collect();
    let from: i64 = last.strip_prefix("1:").unwrap().parse().unwrap();
    assert_eq!(resumed, (from + 1..=151).collect::<Vec<_>>());
    end.cancel();
}
