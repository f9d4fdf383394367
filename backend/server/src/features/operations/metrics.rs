//! `/metrics` in Prometheus' text format, and what is measured of every request.

use super::gauges::Gauges;
use crate::state::App;
use axum::{
    extract::{MatchedPath, Request, State},
    http::header,
    middleware::Next,
    response::{IntoResponse, Response},
    routing::{MethodRouter, get},
};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use std::{
    sync::{Arc, OnceLock},
    time::Instant,
};

/// Seconds: from a lookup to the longest that a request may take.
const BUCKETS: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
/// Things written together: whatever ends in this is a count, not a time.
const BATCH: &str = "_batch_size";
const BATCH_BUCKETS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0];
/// Paths that no route has: one label for all of them, or a scanner could fill the memory.
const NO_ROUTE: &str = "none";

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
                builder.set_buckets_for_metric(Matcher::Suffix(BATCH.to_owned()), BATCH_BUCKETS)
            })
            .and_then(PrometheusBuilder::install_recorder);
        if let Err(error) = &built {
            tracing::warn!(error = error as &dyn std::error::Error, "no metrics: there is another recorder");
        }
        built.ok()
    };
    RECORDER.get_or_init(install).as_ref()
}

/// Counts requests and measures the time to the head of their answers, by route.
pub async fn measure(request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map_or(NO_ROUTE, MatchedPath::as_str).to_owned();
    let method = method(request.method());
    let started = Instant::now();
    let response = next.run(request).await;
    let status = response.status().as_u16().to_string();
    metrics::counter!("syndarix_http_requests_total", "method" => method, "route" => route.clone(), "status" => status)
        .increment(1);
    metrics::histogram!("syndarix_http_request_duration_seconds", "method" => method, "route" => route)
        .record(started.elapsed());
    response
}

/// A method may be any word: those that no route takes share a label.
fn method(method: &axum::http::Method) -> &'static str {
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
    let idle = u32::try_from(app.pool().num_idle()).unwrap_or(u32::MAX);
    metrics::gauge!("syndarix_database_connections").set(f64::from(app.pool().size()));
    metrics::gauge!("syndarix_database_connections_idle").set(f64::from(idle));
    let text = recorder().map(|recorder| {
        // Histograms gather until somebody drains them; nobody else does.
        recorder.run_upkeep();
        recorder.render()
    });
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text.unwrap_or_default())
        .into_response()
}
