//! A process that is killed while hundreds of clients read their answers, or told to end right after many: every call that
//! reached a provider has its row.

use crate::{fire, killed, support};
use axum::{
    Router,
    body::Body,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
    routing::post,
};
use futures::StreamExt;
use serde_json::json;
use sqlx::PgPool;
use std::{
    convert::Infallible,
    process::{Child, Command},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};
use syndarix::demo::client::Client;
use tempfile::TempDir;
use tokio::{net::TcpListener, task::JoinSet};
use uuid::Uuid;

const STREAMS: i64 = 200;
/// One in so many answers comes to its end; the others never do.
const ENDING: i64 = 4;

/// What the provider saw.
struct Provider {
    asked: AtomicI64,
    /// One in so many answers comes to its end.
    ending: i64,
}

/// The clients that have read something of their answer.
type Begun = Arc<AtomicI64>;

async fn answer(State(provider): State<Arc<Provider>>) -> Response {
    let n = provider.asked.fetch_add(1, Ordering::SeqCst);
    let piece = |delta: serde_json::Value| {
        let chunk = json!({
            "id": format!("c{n}"), "object": "chat.completion.chunk", "created": 1, "model": "m",
            "choices": [{ "index": 0, "delta": delta, "finish_reason": null }],
        });
        format!("data: {chunk}\n\n")
    };
    let begun = piece(json!({ "role": "assistant", "content": "Once " }));
    let end = json!({
        "id": format!("c{n}"), "object": "chat.completion.chunk", "created": 1, "model": "m",
        "choices": [{ "index": 0, "delta": {}, "finish_reason": "stop" }],
        "usage": { "prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15 },
    });
    let end = format!("data: {end}\n\ndata: [DONE]\n\n");
    let first = futures::stream::once(async move { Ok::<_, Infallible>(begun) });
    let body = if n % provider.ending == 0 {
        Body::from_stream(first.chain(futures::stream::once(async move { Ok(end) })))
    } else {
        Body::from_stream(first.chain(futures::stream::pending()))
    };
    ([(header::CONTENT_TYPE, "text/event-stream")], body).into_response()
}

/// State, estimated, cost and reservation of the rows of all calls.
async fn rows(pool: &PgPool) -> Vec<(String, bool, i64, i64)> {
    sqlx::query_as("select state, estimated, cost_micro_usd, reserved_micro_usd from usage where attempt > 0")
        .fetch_all(pool)
        .await
        .unwrap()
}

/// A real process, its database, a provider, and a key of a project.
struct Site {
    provider: Arc<Provider>,
    _served: JoinSet<()>,
    process: Child,
    dir: TempDir,
    database: String,
    url: String,
    pool: PgPool,
    ask: String,
    secret: String,
    begun: Begun,
}

impl Site {
    async fn start(durability: &str, ending: i64) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let provider = Arc::new(Provider { asked: AtomicI64::new(0), ending });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router =
            Router::new().route("/v1/chat/completions", post(answer)).with_state(Arc::clone(&provider));
        let mut served = JoinSet::new();
        served.spawn(async move { axum::serve(listener, router).await.unwrap() });

        let database = format!("syndarix_killed_{}", Uuid::now_v7().simple());
        support::admin(format!("create database {database}")).await;
        let dir = tempfile::tempdir().unwrap();
        let models = format!(
            "[[group]]\nname = \"g\"\n[[group.chain]]\nname = \"d\"\nprovider = \"openai_compatible\"\nbase_url = \"http://{address}/v1\"\n\
             model = \"m\"\nendpoint_access = \"private_network\"\ncontext_window = 100000\nmax_output = 1000\n\
             prices = {{ input = 1000000, output = 1000000, cache_read = 0, cache_write = 0 }}\n"
        );
        std::fs::write(dir.path().join("models.toml"), models).unwrap();
        let mut url = support::server_url();
        url.set_path(&database);
        let (process, at) = killed::start_with(&dir, url.as_str(), durability);
        let mut client = Client::new(at).unwrap();
        client.sign_in(killed::LOGIN, "Killed").await.unwrap();
        let pool = PgPool::connect(url.as_str()).await.unwrap();
        let me = client.get("/me").await.unwrap();
        let body = json!({
            "organisation_id": me["organisations"][0]["id"], "name": "Killed", "repository": { "source": "empty" },
        });
        let project = client.post("/projects", &body).await.unwrap();
        let project = project["id"].as_str().unwrap();
        let key =
            client.post(&format!("/projects/{project}/gateway-keys"), &json!({ "name": "k" })).await.unwrap();
        let secret = key["secret"].as_str().unwrap().to_owned();
        let (ask, url) = (format!("http://{at}/v1/chat/completions"), String::from(url));
        Self {
            provider,
            _served: served,
            process,
            dir,
            database,
            url,
            pool,
            ask,
            secret,
            begun: Begun::default(),
        }
    }

    /// A client that reads until the line is cut, or the tale is told.
    fn client(&self, n: i64) -> impl Future<Output = ()> + Send + 'static {
        let (http, ask, secret) = (reqwest::Client::new(), self.ask.clone(), self.secret.clone());
        let begun = Arc::clone(&self.begun);
        async move {
            let body = json!({ "model": "g", "stream": true, "messages": [{ "role": "user", "content": format!("Tale {n}") }] });
            let answer = http.post(ask).bearer_auth(secret).json(&body).send().await.unwrap();
            assert_eq!(answer.status(), 200);
            let mut pieces = answer.bytes_stream();
            assert!(pieces.next().await.is_some_and(|piece| piece.is_ok()));
            begun.fetch_add(1, Ordering::SeqCst);
            while let Some(Ok(_)) = pieces.next().await {}
        }
    }

    /// Spent and reserved of the project, and what all rows cost, those of leases too.
    async fn counted(&self) -> (i64, i64, i64) {
        sqlx::query_as(
            "select spent_micro_usd, reserved_micro_usd, (select sum(cost_micro_usd)::bigint from usage) from project_budget",
        )
        .fetch_one(&self.pool)
        .await
        .unwrap()
    }

    async fn end(self) {
        self.pool.close().await;
        support::admin(format!("drop database {} with (force)", self.database)).await;
    }
}

const RELAXED: &str = "relaxed";

/// Where durability is relaxed the streams begin one after the other: the first make the key busy, and the others are granted
/// from memory.
const APART: Duration = Duration::from_millis(5);

async fn a_kill_loses_no_row(durability: &str) {
    let relaxed = durability == RELAXED;
    let apart = if relaxed { APART } else { Duration::ZERO };
    let mut site = Site::start(durability, ENDING).await;
    let mut streams = JoinSet::new();
    for n in 0..STREAMS {
        let client = site.client(n);
        streams.spawn(async move {
            tokio::time::sleep(apart * u32::try_from(n).unwrap()).await;
            client.await;
        });
    }
    fire::until("all are under way, and those that end have ended", async || {
        let rows = rows(&site.pool).await;
        let settled = rows.iter().filter(|row| row.0 == "settled").count();
        (settled == usize::try_from(STREAMS / ENDING).unwrap()
            && (!relaxed || rows.len() == usize::try_from(STREAMS).unwrap())
            && site.provider.asked.load(Ordering::SeqCst) == STREAMS
            && site.begun.load(Ordering::SeqCst) == STREAMS)
            .then_some(())
    })
    .await;
    site.process.kill().unwrap();
    site.process.wait().unwrap();
    streams.join_all().await;

    assert_eq!(i64::try_from(rows(&site.pool).await.len()).unwrap(), STREAMS, "every call has its row");
    let (mut second, _) = killed::start_with(&site.dir, &site.url, durability);
    // As a minute later, when nobody has heard of the first process for so long.
    let quiet = "update reservation_holder set last_seen = last_seen - interval '2 minutes'
                  where instance in (select instance from usage where state = 'reserved')";
    sqlx::raw_sql(quiet).execute(&site.pool).await.unwrap();
    fire::until("nothing is reserved any more", async || {
        sqlx::raw_sql("update timer set fire_at = now() where name = 'costs.reconcile'")
            .execute(&site.pool)
            .await
            .unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        (site.counted().await.1 == 0).then_some(())
    })
    .await;
    let rows = rows(&site.pool).await;
    let (settled, lost): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| row.0 == "settled");
    assert_eq!(i64::try_from(settled.len()).unwrap(), STREAMS / ENDING);
    assert!(settled.iter().all(|row| !row.1 && row.2 == 15), "{settled:?}");
    assert!(lost.iter().all(|row| row.0 == "interrupted" && row.1 && row.2 == row.3), "{lost:?}");
    let (spent, reserved, cost) = site.counted().await;
    assert_eq!((spent, reserved), (cost, 0));
    second.kill().unwrap();
    second.wait().unwrap();
    site.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_during_two_hundred_streams_loses_no_row() {
    a_kill_loses_no_row("full").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_does_it_where_durability_is_relaxed_and_the_streams_have_begun() {
    a_kill_loses_no_row(RELAXED).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_is_told_to_end_writes_what_it_has_only_in_memory() {
    let mut site = Site::start(RELAXED, 1).await;
    let mut clients = JoinSet::new();
    for n in 0..8 {
        let calls: Vec<_> = (0..STREAMS / 8).map(|_| site.client(n)).collect();
        clients.spawn(async move {
            for call in calls {
                call.await;
            }
        });
    }
    clients.join_all().await;
    Command::new("kill").arg(site.process.id().to_string()).status().unwrap();
    site.process.wait().unwrap();

    let rows = rows(&site.pool).await;
    assert_eq!(i64::try_from(rows.len()).unwrap(), STREAMS);
    assert!(rows.iter().all(|row| row.0 == "settled" && row.2 == 15), "{rows:?}");
    assert_eq!(site.counted().await, (STREAMS * 15, 0, STREAMS * 15), "and gives back what it kept ready");
    site.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_is_told_to_end_cuts_endless_streams_off_in_time_records_them_and_is_no_success() {
    const OPEN: i64 = 20;
    let mut site = Site::start("full", ENDING).await;
    let mut streams = JoinSet::new();
    for n in 0..OPEN {
        streams.spawn(site.client(n));
    }
    fire::until("all are under way", async || (site.begun.load(Ordering::SeqCst) == OPEN).then_some(()))
        .await;

    let ended = killed::stop(&mut site.process).await.expect("it ends in time");

    assert_eq!(ended.code(), Some(1), "somebody was cut off");
    streams.join_all().await;
    let rows = rows(&site.pool).await;
    assert_eq!(i64::try_from(rows.len()).unwrap(), OPEN);
    assert!(rows.iter().all(|row| row.0 != "reserved"), "{rows:?}");
    site.end().await;
}
