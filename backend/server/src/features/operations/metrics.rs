//! `/metrics` in Prometheus' text format, and what is measured of every request.

use super::gauges::Gauges;
use crate::{features::llm::show_breakers, state::App};
use axum::{
    extract::{MatchedPath, Request, State},
    http::{Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
    routing::{MethodRouter, get},
};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use std::{
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Seconds: from a lookup to the longest that a request may take.
const BUCKETS: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
/// Things written together: whatever ends in this is a count, not a time.
const BATCH: &str = "_batch_size";
const BATCH_BUCKETS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0];
/// What has other buckets, and which: what Syndarix itself takes is milliseconds, and what models take may be
/// minutes.
const OTHERS: [(&str, &[f64]); 7] = [
    (BATCH, BATCH_BUCKETS),
    ("_gateway_attempts", &[1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 24.0, 48.0]),
    ("_added_seconds", FINE),
    ("_post_seconds", FINE),
    ("_upstream_seconds", LONG),
    ("_first_token_seconds", LONG),
    (
        "_tokens_per_second",
        &[1.0, 5.0, 10.0, 20.0, 30.0, 50.0, 75.0, 100.0, 150.0, 200.0, 300.0, 500.0, 1000.0],
    ),
];
const FINE: &[f64] =
    &[0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
const LONG: &[f64] =
    &[0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0];
/// How often what histograms have gathered is put into their buckets. Nobody has to scrape, and what is gathered must not
/// grow until somebody does.
const UPKEEP: Duration = Duration::from_secs(5);
/// Paths that no route has: one label for all of them, or a scanner could fill the memory.
pub const NO_ROUTE: &str = "none";

/// A process has one recorder, whatever the number of routers in it.
static RECORDER: OnceLock<Option<PrometheusHandle>> = OnceLock::new();

/// Records metrics from now on; a second time does nothing.
pub(super) fn install() {
    recorder();
}

fn recorder() -> Option<&'static PrometheusHandle> {
    let install = || {
        let built = PrometheusBuilder::new()
            .set_buckets(BUCKETS)
            .and_then(|builder| {
                OTHERS.iter().try_fold(builder, |builder, (suffix, buckets)| {
                    builder.set_buckets_for_metric(Matcher::Suffix((*suffix).to_owned()), buckets)
                })
            })
            .and_then(PrometheusBuilder::install_recorder);
        if let Err(error) = &built {
            tracing::warn!(error = error as &dyn std::error::Error, "no metrics: there is another recorder");
        }
        built.ok()
    };
    RECORDER.get_or_init(install).as_ref()
}

/// Keeps what is recorded small, until `ending`.
pub fn spawn_upkeep(tasks: &TaskTracker, ending: CancellationToken) {
    let Some(recorder) = recorder() else { return };
    tasks.spawn(async move {
        loop {
            tokio::select! {
                () = ending.cancelled() => return,
                () = tokio::time::sleep(UPKEEP) => {
                    recorder.run_upkeep();
                    give_memory_back();
                }
            }
        }
    });
}

/// The allocator looks for memory that has been free for a second when a large block is freed, and at no other time: what a
/// password's hash took (19 MiB) would stay with a process that rests. The block itself is never touched, so it costs none.
fn give_memory_back() {
    const LARGE: usize = 4 << 20;
    drop(std::hint::black_box(Vec::<u8>::with_capacity(LARGE)));
}

/// Counts requests and measures the time to the head of their answers, by route.
pub async fn measure(request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map_or(NO_ROUTE, MatchedPath::as_str).to_owned();
    let method = request.method().clone();
    let started = Instant::now();
    let response = next.run(request).await;
    measured(&method, &route, response.status(), started.elapsed());
    response
}

/// A request was answered, after so long.
pub fn measured(method: &Method, route: &str, status: StatusCode, took: Duration) {
    let (method, route): (_, Arc<str>) = (method_label(method), route.into());
    let status = status.as_u16().to_string();
    metrics::counter!("syndarix_http_requests_total",
        "method" => method, "route" => Arc::clone(&route), "status" => status)
    .increment(1);
    metrics::histogram!("syndarix_http_request_duration_seconds", "method" => method, "route" => route)
        .record(took);
}

/// A method may be any word: those that no route takes share a label.
fn method_label(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        _ => "other",
    }
}

/// The route.
pub(super) fn route() -> MethodRouter<App> {
    let gauges: Arc<Gauges> = Arc::default();
    get(move |State(app): State<App>| render(app, gauges))
}

/// Everything that was recorded.
async fn render(app: App, gauges: Arc<Gauges>) -> Response {
    gauges.refresh(&app).await;
    show_breakers(&app.models.gateway, &app.models.groups);
    let idle = u32::try_from(app.pool().num_idle()).unwrap_or(u32::MAX);
    metrics::gauge!("syndarix_database_connections").set(f64::from(app.pool().size()));
    metrics::gauge!("syndarix_database_connections_idle").set(f64::from(idle));
    let text = recorder().map(|recorder| {
        // What was gathered since the last upkeep belongs to this answer.
        recorder.run_upkeep();
        recorder.render()
    });
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text.unwrap_or_default())
        .into_response()
}
