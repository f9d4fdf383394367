//! Names of the metrics, in one place.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sqlx::PgConnection;

use crate::{QueueStats, views};

pub(crate) fn lease_lost() {
    metrics::counter!("syndarix_jobs_lease_lost_total").increment(1);
}

pub(crate) fn finished(queue: String, count: u64) {
    metrics::counter!("syndarix_jobs_finished_total", "queue" => queue).increment(count);
}

/// What a transaction does to jobs. It is counted once that is committed: one that failed is tried again.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    finished: BTreeMap<String, u64>,
    retried: BTreeMap<String, u64>,
    buried: BTreeMap<String, u64>,
    rescued: BTreeMap<String, u64>,
    leases_lost: usize,
}

impl Tally {
    /// Jobs of these queues are done.
    pub(crate) fn finished(&mut self, queues: impl IntoIterator<Item = String>) {
        add(&mut self.finished, queues);
    }

    /// An attempt of a job of this queue failed, and it is tried again.
    pub(crate) fn retried(&mut self, queue: String) {
        add(&mut self.retried, [queue]);
    }

    /// Jobs of these queues went to the dead letters.
    pub(crate) fn buried(&mut self, queues: impl IntoIterator<Item = String>) {
        add(&mut self.buried, queues);
    }

    /// Jobs of these queues were taken over from a lost worker.
    pub(crate) fn rescued(&mut self, queues: impl IntoIterator<Item = String>) {
        add(&mut self.rescued, queues);
    }

    /// So many results were dropped.
    pub(crate) fn leases_lost(&mut self, count: usize) {
        self.leases_lost += count;
    }

    /// The transaction is committed.
    pub(crate) fn committed(self) {
        self.finished.into_iter().for_each(|(queue, count)| finished(queue, count));
        for (queue, count) in self.retried {
            metrics::counter!("syndarix_jobs_retries_total", "queue" => queue).increment(count);
        }
        for (queue, count) in self.buried {
            metrics::counter!("syndarix_jobs_dead_total", "queue" => queue).increment(count);
        }
        for (queue, count) in self.rescued {
            metrics::counter!("syndarix_jobs_rescued_total", "queue" => queue).increment(count);
        }
        (0..self.leases_lost).for_each(|_| lease_lost());
    }
}

fn add(counts: &mut BTreeMap<String, u64>, queues: impl IntoIterator<Item = String>) {
    for queue in queues {
        *counts.entry(queue).or_default() += 1;
    }
}

/// From the moment a job could run to the moment it was claimed.
pub(crate) fn claimed(queue: &str, waited: Duration) {
    metrics::histogram!("syndarix_jobs_claim_latency_seconds", "queue" => queue.to_owned())
        .record(waited.as_secs_f64());
}

/// Jobs that one claim took; claims that found nothing are not shown.
pub(crate) fn claim_batch(queue: &str, jobs: usize) {
    metrics::histogram!("syndarix_jobs_claim_batch_size", "queue" => queue.to_owned()).record(size(jobs));
}

/// Ends of attempts that shared a transaction.
pub(crate) fn finish_batch(ends: usize) {
    metrics::histogram!("syndarix_jobs_finish_batch_size").record(size(ends));
}

fn size(batch: usize) -> f64 {
    f64::from(u32::try_from(batch).unwrap_or(u32::MAX))
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
