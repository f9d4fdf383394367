//! Names of the metrics, in one place.

use std::collections::BTreeSet;
use std::time::Duration;

use sqlx::PgConnection;

use crate::{QueueStats, views};

pub(crate) fn lease_lost() {
    metrics::counter!("syndarix_jobs_lease_lost_total").increment(1);
}

pub(crate) fn retried() {
    metrics::counter!("syndarix_jobs_retries_total").increment(1);
}

pub(crate) fn buried(count: u64) {
    metrics::counter!("syndarix_jobs_dead_total").increment(count);
}

pub(crate) fn finished(count: u64) {
    metrics::counter!("syndarix_jobs_finished_total").increment(count);
}

pub(crate) fn rescued(count: u64) {
    metrics::counter!("syndarix_jobs_rescued_total").increment(count);
}

/// From the moment a job could run to the moment it was claimed.
pub(crate) fn claimed(queue: &str, waited: Duration) {
    metrics::histogram!("syndarix_jobs_claim_latency_seconds", "queue" => queue.to_owned())
        .record(waited.as_secs_f64());
}

/// How late the latest timer of a batch was.
pub(crate) fn timer_lag(lag: Duration) {
    metrics::gauge!("syndarix_jobs_timer_lag_seconds").set(lag.as_secs_f64());
}

/// Counts the queues and sets their gauges; `seen` remembers the names for the next time.
pub async fn measure(
    conn: &mut PgConnection,
    seen: &mut BTreeSet<String>,
) -> Result<Vec<QueueStats>, sqlx::Error> {
    let stats = views::queue_stats(conn).await?;
    queues(&stats, seen);
    Ok(stats)
}

/// Sets the gauges of every queue; `seen` remembers the names, so that a queue that ran empty reads zero.
fn queues(stats: &[QueueStats], seen: &mut BTreeSet<String>) {
    seen.extend(stats.iter().map(|stats| stats.queue.clone()));
    for name in seen.iter() {
        match stats.iter().find(|stats| stats.queue == *name) {
            Some(stats) => queue(stats),
            None => queue(&QueueStats {
                queue: name.clone(),
                ready: 0,
                delayed: 0,
                running: 0,
                dead: 0,
                oldest_ready_seconds: 0.0,
            }),
        }
    }
}

fn queue(stats: &QueueStats) {
    let label = || stats.queue.clone();
    metrics::gauge!("syndarix_jobs_ready", "queue" => label()).set(approximate(stats.ready));
    metrics::gauge!("syndarix_jobs_delayed", "queue" => label()).set(approximate(stats.delayed));
    metrics::gauge!("syndarix_jobs_running", "queue" => label()).set(approximate(stats.running));
    metrics::gauge!("syndarix_jobs_dead", "queue" => label()).set(approximate(stats.dead));
    metrics::gauge!("syndarix_jobs_oldest_ready_seconds", "queue" => label()).set(stats.oldest_ready_seconds);
}

/// A gauge is a float; counts past four thousand million may as well read as that.
fn approximate(count: i64) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}
