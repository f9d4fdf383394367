//! Gauges of what all instances share. They are read from the database when somebody scrapes, so that an instance
//! without a worker shows them, too, and shows them also when no worker is left to measure.

use super::queries::alive;
use crate::state::App;
use sqlx::{FromRow, PgConnection};
use std::{collections::BTreeSet, time::Duration};
use syndarix_jobs::{QueueStats, WorkerRow};
use tokio::{sync::Mutex, time::Instant};
use uuid::Uuid;

/// Counting the queues reads every live job: several scrapers share an answer that is not older than this.
const FRESH: Duration = Duration::from_secs(5);
/// A scrape does not wait longer for the database; it then shows what was known.
const PATIENCE: Duration = Duration::from_secs(2);

/// What was shown already: a queue that ran empty, or a duty that was given up, must read zero.
#[derive(Default)]
pub(super) struct Gauges(Mutex<Shown>);

#[derive(Default)]
struct Shown {
    asked: Option<Instant>,
    queues: BTreeSet<String>,
}

/// A singleton duty.
#[derive(Debug, FromRow)]
struct Duty {
    name: String,
    holder: Uuid,
    epoch: i64,
    held: bool,
}

impl Gauges {
    /// Brings the gauges up to date, unless they are.
    pub(super) async fn refresh(&self, app: &App) {
        let mut shown = self.0.lock().await;
        if shown.asked.is_some_and(|at| at.elapsed() < FRESH) {
            return;
        }
        shown.asked = Some(Instant::now());
        let looked = tokio::time::timeout(PATIENCE, async {
            let mut conn = app.pool().acquire().await?;
            look(app, &mut conn, &mut shown.queues).await
        });
        if !matches!(looked.await, Ok(Ok(()))) {
            // What went wrong is in the log of whoever else meets it.
            metrics::counter!("syndarix_metrics_refresh_failures_total").increment(1);
        }
    }
}

async fn look(app: &App, conn: &mut PgConnection, seen: &mut BTreeSet<String>) -> Result<(), sqlx::Error> {
    let stats = syndarix_jobs::measure(conn, seen).await?;
    let workers = syndarix_jobs::workers(conn).await?;
    show_workers(&workers);
    show_unpolled(&stats, &workers, seen);
    let overdue: Option<f64> =
        sqlx::query_scalar("select extract(epoch from now() - min(fire_at))::float8 from timer")
            .fetch_one(&mut *conn)
            .await?;
    metrics::gauge!("syndarix_jobs_timer_overdue_seconds").set(overdue.unwrap_or_default().max(0.0));
    let duties: Vec<Duty> = sqlx::query_as(
        "select duty as name, holder, epoch, expires_at > clock_timestamp() as held from leader_lease",
    )
    .fetch_all(conn)
    .await?;
    for duty in duties {
        show_duty(app.instance, duty);
    }
    Ok(())
}

fn show_workers(workers: &[WorkerRow]) {
    let up = workers.iter().filter(|worker| alive(worker)).count();
    metrics::gauge!("syndarix_jobs_workers", "state" => "alive").set(approximate(up));
    metrics::gauge!("syndarix_jobs_workers", "state" => "silent").set(approximate(workers.len() - up));
}

fn show_unpolled(stats: &[QueueStats], workers: &[WorkerRow], seen: &BTreeSet<String>) {
    for name in seen {
        let polled = workers.iter().any(|worker| alive(worker) && worker.polls(name));
        let ready = stats.iter().find(|queue| queue.queue == *name).map_or(0, |queue| queue.ready);
        let waiting = if polled { 0 } else { usize::try_from(ready).unwrap_or_default() };
        metrics::gauge!("syndarix_jobs_unpolled", "queue" => name.clone()).set(approximate(waiting));
    }
}

fn show_duty(instance: Uuid, duty: Duty) {
    let flag = |yes: bool| if yes { 1.0 } else { 0.0 };
    let epoch = f64::from(u32::try_from(duty.epoch).unwrap_or(u32::MAX));
    metrics::gauge!("syndarix_leader", "duty" => duty.name.clone())
        .set(flag(duty.held && duty.holder == instance));
    metrics::gauge!("syndarix_leader_vacant", "duty" => duty.name.clone()).set(flag(!duty.held));
    metrics::gauge!("syndarix_leader_epoch", "duty" => duty.name).set(epoch);
}

/// A gauge is a float; counts past four thousand million may as well read as that.
fn approximate(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}
