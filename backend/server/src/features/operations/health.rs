//! `/livez` and `/readyz`.

use super::queries::alive;
use crate::{db, state::App};
use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{MethodRouter, get},
};
use serde::Serialize;
use std::{collections::BTreeMap, future::Future, sync::Arc, time::Duration};
use syndarix_bus::Health;
use tokio::{sync::Mutex, time::Instant};

/// How long one part may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// Anybody may ask, and each answer asks the database and every tool server: it is good for this long.
const FRESH: Duration = Duration::from_secs(1);
/// The process turns.
pub(super) async fn livez() -> &'static str {
    "ok"
}

/// How this instance is.
#[derive(Debug, Clone, Serialize)]
struct Readiness {
    /// `ready`; `degraded`: it serves, and a part is ill; `not_ready`.
    status: &'static str,
    parts: BTreeMap<String, Part>,
}

/// How one part is.
#[derive(Debug, Clone, Serialize)]
struct Part {
    ok: bool,
    /// Without it this instance cannot serve.
    required: bool,
    /// In a few words; nothing that a stranger should not read.
    detail: String,
}

type Cache = Mutex<Option<(Instant, Readiness)>>;

/// The route: 200 while this instance can serve, else 503, with the parts either way.
pub(super) fn readyz() -> MethodRouter<App> {
    let cache: Arc<Cache> = Arc::default();
    get(move |State(app): State<App>| answer(app, cache))
}

async fn answer(app: App, cache: Arc<Cache>) -> Response {
    let readiness = if app.stopping.is_cancelled() { stopping() } else { remembered(&app, &cache).await };
    let status =
        if readiness.status == "not_ready" { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    (status, Json(readiness)).into_response()
}

/// Who asks while another asks waits for that answer.
async fn remembered(app: &App, cache: &Cache) -> Readiness {
    let mut last = cache.lock().await;
    match &*last {
        Some((at, readiness)) if at.elapsed() < FRESH => readiness.clone(),
        _ => {
            let readiness = look(app).await;
            *last = Some((Instant::now(), readiness.clone()));
            readiness
        }
    }
}

async fn look(app: &App) -> Readiness {
    let (database, migrations, workers, tools) =
        tokio::join!(database(app), migrations(app), workers(app), tools(app));
    let mut parts = BTreeMap::from([
        ("database".to_owned(), database),
        ("migrations".to_owned(), migrations),
        ("workers".to_owned(), workers),
        ("writes".to_owned(), writes(app)),
        hints(app),
    ]);
    parts.extend(tools);
    summed_up(parts)
}

fn summed_up(parts: BTreeMap<String, Part>) -> Readiness {
    let status = if parts.values().any(|part| part.required && !part.ok) {
        "not_ready"
    } else if parts.values().any(|part| !part.ok) {
        "degraded"
    } else {
        "ready"
    };
    Readiness { status, parts }
}

/// A load balancer looks elsewhere while the last requests are answered.
fn stopping() -> Readiness {
    let part = Part { ok: false, required: true, detail: "stopping".into() };
    summed_up(BTreeMap::from([("process".to_owned(), part)]))
}

async fn database(app: &App) -> Part {
    let started = Instant::now();
    let asked = within(sqlx::query("select 1").execute(app.pool())).await;
    let detail = match &asked {
        Ok(_) => format!("answers within {} ms", started.elapsed().as_millis() + 1),
        Err(reason) => (*reason).to_owned(),
    };
    Part { ok: asked.is_ok(), required: true, detail }
}

/// Whether the database takes what this instance writes: a server may answer and refuse that. Units of work tell, the books of
/// model calls, and what says every few seconds that the process is there.
fn writes(app: &App) -> Part {
    let refused = app.store.refusals().lasting();
    let detail = refused.map_or_else(|| "not refused".to_owned(), |why| format!("refused: {why}"));
    Part { ok: refused.is_none(), required: true, detail }
}

async fn migrations(app: &App) -> Part {
    let (ok, detail) = match within(db::pending_migrations(app.pool())).await {
        Ok(pending) if pending.is_empty() => (true, "up to date".to_owned()),
        Ok(pending) => (false, format!("{} to apply", pending.len())),
        Err(reason) => (false, reason.to_owned()),
    };
    Part { ok, required: true, detail }
}

async fn workers(app: &App) -> Part {
    let found = within(async {
        let mut conn = app.pool().acquire().await?;
        syndarix_jobs::workers(&mut conn).await
    });
    let (ok, detail) = match found.await {
        Ok(workers) => {
            let live = workers.iter().filter(|worker| alive(worker)).count();
            (live > 0, format!("{live} at work"))
        }
        Err(reason) => (false, reason.to_owned()),
    };
    Part { ok, required: false, detail }
}

/// How other instances are heard: over Redis where it is configured.
fn hints(app: &App) -> (String, Part) {
    let name = if app.config.redis_url.is_some() { "redis" } else { "notify" };
    let (ok, detail) = match app.hub.health() {
        Health::Hints => (true, "live events arrive at once"),
        Health::Polling { .. } => (false, "hints are lost: live events are polled for, none is missing"),
        Health::Alone => (false, "other instances are not heard"),
    };
    (name.to_owned(), Part { ok, required: false, detail: detail.to_owned() })
}

async fn tools(app: &App) -> BTreeMap<String, Part> {
    let part = |ok: bool, detail: &str| Part { ok, required: false, detail: detail.to_owned() };
    match tokio::time::timeout(PATIENCE, app.tools.health()).await {
        Ok(servers) => servers
            .into_iter()
            .map(|server| {
                let detail = if server.healthy { "answers" } else { "does not answer" };
                (format!("tools/{}", server.server), part(server.healthy, detail))
            })
            .collect(),
        Err(_) => BTreeMap::from([("tools".to_owned(), part(false, "no answer in time"))]),
    }
}

/// What went wrong is in the log of whoever else meets it; a stranger is told that it did.
async fn within<T>(work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, &'static str> {
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(_)) => Err("fails"),
        Err(_) => Err("no answer in time"),
    }
}
