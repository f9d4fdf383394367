//! The heartbeat: one statement per process keeps the worker row fresh and the leases of its jobs long.
//!
//! It has a connection of its own, so that a full pool cannot silence it, and that connection holds the advisory
//! lock whose release tells the others at once that this process is gone. A line that is cut releases it, too: so
//! without a line the worker trusts itself for a shorter time than others trust its last beat.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::{ConnectOptions, Connection, PgConnection, Row};

use crate::config::WorkerConfig;
use crate::outage::{CallError, Outage, STATEMENT_LIMIT};
use crate::worker::Shared;

/// Shortest time a beat gets to come back, when the time to distrust is near.
const SHORTEST_BEAT: Duration = Duration::from_millis(20);

// Leases are extended when a third is used, not at every beat. A row that a handler's own transaction holds is
// skipped: waiting for it would let all the other leases run out.
const BEAT: &str = "
with beat as (
    update worker set last_seen = now(), emptied_at = null where incarnation = $1 returning 1
), mine as materialized (
    select job.id, fence, cancel_requested, lease_until
      from unnest($2::bigint[]) as held (id) join job on job.id = held.id where owner = $1
), short as (
    select job.id from mine join job on job.id = mine.id
     where mine.lease_until < now() + make_interval(secs => $3 * 2 / 3) and job.owner = $1
       for update of job skip locked
), longer as (
    update job set lease_until = now() + make_interval(secs => $3) from short where job.id = short.id
)
select exists (select from beat) as known, mine.id, mine.fence, mine.cancel_requested from (select) always left join mine on true";

/// The heartbeat's connection.
struct Line {
    conn: PgConnection,
    /// The advisory lock is held on it. An older connection that the server still believes in may have it.
    locked: bool,
}

/// Beats until the worker ends; says whether it gets through, and cancels what is lost.
pub(crate) async fn heartbeat(shared: Arc<Shared>) {
    let mut outage = Outage::new("heartbeat");
    let mut line = None;
    let mut heard = Instant::now();
    let mut trusted_until = heard + shared.config.distrust_after();
    while !shared.end.is_cancelled() {
        let started = Instant::now();
        let limit = time_for_beat(&shared, trusted_until.saturating_duration_since(started));
        let pause = match tokio::time::timeout(limit, beat(&shared, &mut line)).await {
            Ok(Ok(())) => {
                outage.over();
                // Counted from before the beat: the server stamped it later, never earlier.
                heard = started;
                trusted_until = heard + shared.config.distrust_after();
                shared.healthy.send_replace(true);
                shared.config.heartbeat
            }
            failed => {
                // This line is given up, so the lock may be free from now on, and peers are quicker than the lease.
                trusted_until = heard + shared.config.distrust_unlocked_after();
                if distrust_from(&shared, trusted_until) {
                    // Only when nothing runs any more may the server learn that the line is gone.
                    tokio::time::sleep(shared.config.distrust_grace()).await;
                }
                line = None;
                let error =
                    failed.map_err(CallError::from).and_then(|beat| beat.map_err(CallError::from)).err();
                let pause = error.map_or(Duration::ZERO, |error| outage.failed(&error));
                let left = trusted_until.saturating_duration_since(Instant::now());
                if left.is_zero() { pause.min(shared.config.heartbeat) } else { pause.min(left) }
            }
        };
        distrust_from(&shared, trusted_until);
        shared.end.run_until_cancelled(tokio::time::sleep(pause)).await;
    }
    if let Some(line) = line {
        // The lock goes with the connection, whether or not the goodbye arrives.
        tokio::time::timeout(SHORTEST_BEAT, line.conn.close()).await.ok();
    }
}

/// Cancels everything once this moment has come; whether it did so now.
fn distrust_from(shared: &Shared, moment: Instant) -> bool {
    let now = Instant::now() >= moment && shared.healthy.send_replace(false);
    if now {
        tracing::warn!(
            "no heartbeat for so long that others may take over: the jobs of this worker are cancelled"
        );
        shared.cancel_all();
    }
    now
}

/// A healthy worker must notice in time that it is not; one that is not has all the time to reconnect.
fn time_for_beat(shared: &Shared, trusted_for: Duration) -> Duration {
    if *shared.healthy.borrow() { trusted_for.clamp(SHORTEST_BEAT, STATEMENT_LIMIT) } else { STATEMENT_LIMIT }
}

async fn beat(shared: &Shared, line: &mut Option<Line>) -> Result<(), sqlx::Error> {
    let Line { conn, locked } = match line {
        Some(line) => line,
        None => line.insert(register(shared).await?),
    };
    if !*locked {
        *locked = lock(conn, &shared.config).await?;
    }
    let fences: HashMap<i64, i64> = shared.running().iter().map(|(id, run)| (*id, run.fence)).collect();
    let rows = sqlx::query(BEAT)
        .bind(shared.config.incarnation)
        .bind(fences.keys().copied().collect::<Vec<_>>())
        .bind(shared.config.lease.as_secs_f64())
        .fetch_all(&mut *conn)
        .await?;
    let mut known = false;
    let mut kept = HashMap::with_capacity(fences.len());
    for row in rows {
        known = row.try_get("known")?;
        if let Some(id) = row.try_get::<Option<i64>, _>("id")? {
            kept.insert(id, (row.try_get::<i64, _>("fence")?, row.try_get::<bool, _>("cancel_requested")?));
        }
    }
    cancel_lost(shared, &fences, &kept);
    if !known {
        enrol(conn, &shared.config).await?;
    }
    Ok(())
}

/// Cancels what was taken over, and what somebody asked to stop.
fn cancel_lost(shared: &Shared, asked: &HashMap<i64, i64>, kept: &HashMap<i64, (i64, bool)>) {
    for (id, run) in shared.running().iter().filter(|(id, run)| asked.get(*id) == Some(&run.fence)) {
        match kept.get(id) {
            Some((fence, false)) if *fence == run.fence => {}
            _ => run.cancel.cancel(),
        }
    }
}

/// Opens the heartbeat's connection, takes the lock on it, and enters the worker.
async fn register(shared: &Shared) -> Result<Line, sqlx::Error> {
    let mut conn = shared.pool.connect_options().connect().await?;
    // A lost heartbeat costs nothing that a crash would not: no need to wait for the disk.
    sqlx::query("set synchronous_commit = off").execute(&mut conn).await?;
    enrol(&mut conn, &shared.config).await?;
    let locked = lock(&mut conn, &shared.config).await?;
    Ok(Line { conn, locked })
}

async fn lock(conn: &mut PgConnection, config: &WorkerConfig) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("select pg_try_advisory_lock($1)").bind(config.lock_key()).fetch_one(conn).await
}

async fn enrol(conn: &mut PgConnection, config: &WorkerConfig) -> Result<(), sqlx::Error> {
    sqlx::query(
        "insert into worker (incarnation, name, lock_key, place, queues) values ($1, $2, $3, $4, $5)
         on conflict (incarnation) do update set lock_taken_at = now(), last_seen = now(), emptied_at = null",
    )
    .bind(config.incarnation)
    .bind(&config.name)
    .bind(config.lock_key())
    .bind(&config.place)
    .bind(config.polled())
    .execute(conn)
    .await
    .map(drop)
}
