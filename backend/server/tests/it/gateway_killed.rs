//! A process that is killed while hundreds of clients read their answers: every call that reached a provider has its row.

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
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};
use syndarix::demo::client::Client;
use tokio::{net::TcpListener, task::JoinSet};
use uuid::Uuid;

const STREAMS: i64 = 200;
/// One in so many answers comes to its end; the others never do.
const ENDING: i64 = 4;

/// What the provider saw.
#[derive(Default)]
struct Provider {
    asked: AtomicI64,
}

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
    let body = if n % ENDING == 0 {
        Body::from_stream(first.chain(futures::stream::once(async move { Ok(end) })))
    } else {
        Body::from_stream(first.chain(futures::stream::pending()))
    };
    ([(header::CONTENT_TYPE, "text/event-stream")], body).into_response()
}

/// State, estimated, cost and reservation of all rows.
async fn rows(pool: &PgPool) -> Vec<(String, bool, i64, i64)> {
    sqlx::query_as("select state, estimated, cost_micro_usd, reserved_micro_usd from usage")
        .fetch_all(pool)
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_during_two_hundred_streams_loses_no_row() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let provider = Arc::new(Provider::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().route("/v1/chat/completions", post(answer)).with_state(Arc::clone(&provider));
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
    let (mut first, at) = killed::start(&dir, url.as_str());
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

    let (http, ask) = (reqwest::Client::new(), format!("http://{at}/v1/chat/completions"));
    let mut streams = JoinSet::new();
    for n in 0..STREAMS {
        let (http, ask, secret) = (http.clone(), ask.clone(), secret.clone());
        streams.spawn(async move {
            let body = json!({ "model": "g", "stream": true, "messages": [{ "role": "user", "content": format!("Tale {n}") }] });
            let answer = http.post(ask).bearer_auth(secret).json(&body).send().await.unwrap();
            assert_eq!(answer.status(), 200);
            // Read until the line is cut, or the tale is told.
            let mut pieces = answer.bytes_stream();
            while let Some(Ok(_)) = pieces.next().await {}
        });
    }
    fire::until("all are under way, and those that end have ended", async || {
        let settled = rows(&pool).await.iter().filter(|row| row.0 == "settled").count();
        (settled == usize::try_from(STREAMS / ENDING).unwrap()
            && provider.asked.load(Ordering::SeqCst) == STREAMS)
            .then_some(())
    })
    .await;
    first.kill().unwrap();
    first.wait().unwrap();
    streams.join_all().await;

    assert_eq!(i64::try_from(rows(&pool).await.len()).unwrap(), STREAMS, "every call has its row");
    let (mut second, _) = killed::start(&dir, url.as_str());
    // As a minute later, when nobody has heard of the first process for so long.
    let quiet = "update reservation_holder set last_seen = last_seen - interval '2 minutes'
                  where instance in (select instance from usage where state = 'reserved')";
    sqlx::raw_sql(quiet).execute(&pool).await.unwrap();
    fire::until("nothing is reserved any more", async || {
        sqlx::raw_sql("update timer set fire_at = now() where name = 'costs.reconcile'")
            .execute(&pool)
            .await
            .unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        (!rows(&pool).await.iter().any(|row| row.0 == "reserved")).then_some(())
    })
    .await;
    let rows = rows(&pool).await;
    let (settled, lost): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| row.0 == "settled");
    assert_eq!(i64::try_from(settled.len()).unwrap(), STREAMS / ENDING);
    assert!(settled.iter().all(|row| !row.1 && row.2 == 15), "{settled:?}");
    assert!(lost.iter().all(|row| row.0 == "interrupted" && row.1 && row.2 == row.3), "{lost:?}");
    let (spent, reserved): (i64, i64) =
        sqlx::query_as("select spent_micro_usd, reserved_micro_usd from project_budget")
            .fetch_one(&pool)
            .await
            .unwrap();
    let cost = settled.iter().chain(&lost).map(|row| row.2).sum::<i64>();
    assert_eq!((spent, reserved), (cost, 0));
    second.kill().unwrap();
    second.wait().unwrap();
    pool.close().await;
    support::admin(format!("drop database {database} with (force)")).await;
}
