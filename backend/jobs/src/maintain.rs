//! What any worker may do for all: promote delayed jobs, fire timers, rescue, prune, measure.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::PgConnection;

use crate::outage::{CallError, Outage, STATEMENT_LIMIT};
use crate::worker::Shared;
use crate::{claim, leader, rescue, telemetry, timers};

/// Between two looks for dead workers: with a stale heartbeat of 4 s, a job is taken over within 5.
const RESCUE_EVERY: Duration = Duration::from_millis(500);

/// Between two measurements of the queues: they count rows.
const MEASURE_EVERY: Duration = Duration::from_secs(15);

/// Between two prunings of the history, and how long the duty is held.
const PRUNE_EVERY: Duration = Duration::from_secs(60);
const PRUNE_LEASE: Duration = Duration::from_secs(90);
const PRUNE_DUTY: &str = "jobs.prune";

/// History rows deleted by one statement, and statements per pruning: bounds locks, run time and WAL.
const PRUNED_PER_STATEMENT: i64 = 1_000;
const PRUNE_STATEMENTS: usize = 50;

/// Dead workers stay on the list this long, for people to see.
const DEAD_WORKERS_SHOWN: Duration = Duration::from_secs(24 * 3600);

/// A duty that is due now and then.
struct Every {
    period: Duration,
    next: Instant,
}

impl Every {
    fn new(period: Duration) -> Self {
        Self { period, next: Instant::now() }
    }

    fn is_due(&mut self) -> bool {
        let due = Instant::now() >= self.next;
        if due {
            self.next = Instant::now() + self.period;
        }
        due
    }
}

/// Does the common duties until the worker stops.
pub(crate) async fn maintain(shared: Arc<Shared>) {
    let mut outage = Outage::new("job maintenance");
    let rescue_every = RESCUE_EVERY.min(shared.config.stale_after / 4);
    let mut due = Due {
        rescue: Every::new(rescue_every),
        measure: Every::new(MEASURE_EVERY),
        prune: Every::new(PRUNE_EVERY),
        queues_seen: shared.config.queues.iter().map(|queue| queue.name.clone()).collect(),
    };
    while !shared.stop.is_cancelled() {
        let pause = match tokio::time::timeout(STATEMENT_LIMIT, tick(&shared, &mut due)).await {
            Ok(Ok(())) => {
                outage.over();
                // Jitter keeps the workers from looking at the same moment.
                shared.config.tick.mul_f64(0.5 + 0.5 * rand::random::<f64>())
            }
            Ok(Err(error)) => outage.failed(&CallError::from(error)),
            Err(elapsed) => outage.failed(&CallError::from(elapsed)),
        };
        shared.stop.run_until_cancelled(tokio::time::sleep(pause)).await;
    }
}

struct Due {
    rescue: Every,
    measure: Every,
    prune: Every,
    queues_seen: BTreeSet<String>,
}

async fn tick(shared: &Shared, due: &mut Due) -> Result<(), sqlx::Error> {
    let mut connection = shared.pool.acquire().await?;
    let conn = &mut *connection;
    let mut woken = claim::promote(conn).await?;
    let fired = timers::fire_due(conn).await?;
    if fired.count > 0 {
        telemetry::timer_lag(fired.lag);
        woken.extend(fired.queues);
    }
    if due.rescue.is_due() {
        woken.extend(rescue::rescue(conn, shared.config.rescue(), shared.config.holder()).await?.queues);
    }
    for queue in &woken {
        shared.wake.poke(queue);
    }
    if due.measure.is_due() {
        telemetry::measure(conn, &mut due.queues_seen).await?;
    }
    if due.prune.is_due() {
        prune(conn, shared).await?;
    }
    Ok(())
}

async fn prune(conn: &mut PgConnection, shared: &Shared) -> Result<(), sqlx::Error> {
    if leader::lead(conn, PRUNE_DUTY, shared.config.incarnation, PRUNE_LEASE).await?.is_none() {
        return Ok(());
    }
    for _ in 0..PRUNE_STATEMENTS {
        let pruned = sqlx::query(
            "delete from job_done where id in (
                select id from job_done where ended_at < now() - make_interval(secs => $1) order by ended_at limit $2)",
        )
        .bind(shared.config.history.as_secs_f64())
        .bind(PRUNED_PER_STATEMENT)
        .execute(&mut *conn)
        .await?;
        if pruned.rows_affected() < PRUNED_PER_STATEMENT.unsigned_abs() {
            break;
        }
    }
    // Never before their jobs have been moved.
    sqlx::query(
        "delete from worker where last_seen < now() - make_interval(secs => $1)
            and not exists (select from job where owner = incarnation)",
    )
    .bind(DEAD_WORKERS_SHOWN.as_secs_f64())
    .execute(conn)
    .await
    .map(drop)
}
