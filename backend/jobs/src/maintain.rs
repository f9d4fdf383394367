//! What any worker may do for all: promote delayed jobs, fire timers, rescue, prune, measure.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use sqlx::{Connection, PgConnection};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::clock::{self, Watch};
use crate::outage::{CallError, Outage, STATEMENT_LIMIT};
use crate::rate::{self, LastLine};
use crate::rescue::{self, Patrol};
use crate::worker::Shared;
use crate::{Duty, Leadership, NotLeader, claim, retention, telemetry, timers};

/// Between two looks for dead workers: with a stale heartbeat of 4 s, a job is taken over within 5.
const RESCUE_EVERY: Duration = Duration::from_millis(500);

/// Between two measurements of the queues: they count rows.
const MEASURE_EVERY: Duration = Duration::from_secs(15);

/// Between two prunings of the history.
const PRUNE_EVERY: Duration = Duration::from_secs(60);
const PRUNE_DUTY: &str = "jobs.prune";

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
        patrol: Patrol::default(),
        watch: Watch::default(),
        last_line: LastLine::default(),
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
    patrol: Patrol,
    watch: Watch,
    last_line: LastLine,
    queues_seen: BTreeSet<String>,
}

async fn tick(shared: &Shared, due: &mut Due) -> Result<(), sqlx::Error> {
    let mut connection = shared.pool.acquire().await?;
    let conn = &mut *connection;
    let asked = Instant::now();
    let ripe = Ripe::look(conn, shared, due.patrol.since()).await?;
    // Every worker that lives beats within this time.
    due.watch.saw(ripe.at, (asked, Instant::now()), shared.config.heartbeat * 2);
    if ripe.set_back {
        clock::set_right(conn, shared.config.lease).await?;
    }
    if due.watch.is_set_back() && clock::set_ready_right(conn).await? == 0 {
        due.watch.put_right();
    }
    let mut woken = Vec::new();
    if ripe.delayed {
        woken.extend(claim::promote(conn).await?);
    }
    if ripe.in_line {
        woken.extend(rate::let_out(conn, &mut due.last_line).await?);
    }
    if ripe.timers {
        let fired = timers::fire_due(conn).await?;
        if fired.count > 0 {
            telemetry::timer_lag(fired.lag);
        }
        woken.extend(fired.queues);
    }
    let (limits, holder) = (shared.config.rescue(), shared.config.holder());
    if !ripe.lost && !due.patrol.is_whole_due() {
        due.patrol.found_nothing(ripe.at);
    } else if due.watch.is_trusted(Instant::now()) {
        if due.rescue.is_due() {
            woken.extend(due.patrol.rescue(conn, limits, holder).await?.queues);
        }
    } else if let Some(holder) = holder
        && due.rescue.is_due()
    {
        // Who held its place before is gone, whatever the clock says.
        woken.extend(rescue::succeed(conn, limits, holder).await?.queues);
    }
    for queue in &woken {
        shared.wake.poke(queue);
    }
    if due.measure.is_due() {
        telemetry::measure(conn, &mut due.queues_seen).await?;
    }
    Ok(())
}

/// What there is to do now. An idle system asks this a few times a second, and nothing else: a question costs less than
/// statements that would write, and find nothing to write; a rescue alone has seven.
#[derive(sqlx::FromRow)]
#[expect(clippy::struct_excessive_bools, reason = "the columns of one answer")]
struct Ripe {
    delayed: bool,
    in_line: bool,
    timers: bool,
    /// A worker is gone, or a lease ran out: see `rescue`.
    lost: bool,
    /// Something was written before the clock was set back: see `clock`.
    set_back: bool,
    at: DateTime<Utc>,
}

impl Ripe {
    async fn look(
        conn: &mut PgConnection,
        shared: &Shared,
        leases_since: Option<DateTime<Utc>>,
    ) -> Result<Self, sqlx::Error> {
        sqlx::query_as(
            "select exists (select from job where owner is null and not due and in_line_at is null and run_at <= now()) as delayed,
                    exists (select from job where owner is null and not due and in_line_at is not null) as in_line,
                    exists (select from timer where fire_at <= now()) as timers,
                    exists (select from job where lease_until >= coalesce($1, '-infinity') and lease_until < now())
                    or exists (select from worker where emptied_at is null
                                  and (last_seen < now() - make_interval(secs => $2) and lock_taken_at > pg_postmaster_start_time()
                                       or place = $3 and incarnation <> $4)) as lost,
                    exists (select from job where lease_until > now() + make_interval(secs => $5))
                    or exists (select from job where owner is null and not due and waits_since > now() + make_interval(secs => $6))
                    or exists (select from worker where last_seen > now() + make_interval(secs => $6))
                    or exists (select from timer where stream = $7 and every_seconds is not null
                                  and (fire_at > now() + make_interval(secs => every_seconds + $6)
                                       or last_tick > now() + make_interval(secs => $6))) as set_back,
                    now() as at",
        )
        .bind(leases_since)
        .bind(shared.config.stale_after.as_secs_f64())
        .bind(&shared.config.place)
        .bind(shared.config.incarnation)
        .bind((shared.config.lease + clock::NOTICED).as_secs_f64())
        .bind(clock::NOTICED.as_secs_f64())
        .bind(Uuid::nil())
        .fetch_one(conn)
        .await
    }
}

/// Prunes on one worker at a time, until the worker stops.
pub(crate) async fn prune(shared: Arc<Shared>) {
    let (pool, holder) = (shared.pool.clone(), shared.config.incarnation);
    let duty = Duty { name: PRUNE_DUTY, holder, pool };
    let work = |leadership: Leadership, ending: CancellationToken| {
        let shared = Arc::clone(&shared);
        async move { prune_now_and_then(&shared, &leadership, &ending).await }
    };
    duty.keep(work, shared.stop.clone()).await;
}

async fn prune_now_and_then(shared: &Shared, leadership: &Leadership, ending: &CancellationToken) {
    let mut outage = Outage::new("pruning the history");
    while !ending.is_cancelled() {
        let pruned = tokio::time::timeout(STATEMENT_LIMIT, prune_once(shared, leadership)).await;
        let pause = match pruned.map_err(CallError::from) {
            Ok(Ok(())) => {
                outage.over();
                PRUNE_EVERY
            }
            // Another has the duty now, and does it.
            Ok(Err(NotLeader::Moved { .. })) => return,
            Ok(Err(NotLeader::Database(error))) => outage.failed(&error),
            Err(error) => outage.failed(&error),
        };
        ending.run_until_cancelled(tokio::time::sleep(pause)).await;
    }
}

async fn prune_once(shared: &Shared, leadership: &Leadership) -> Result<(), NotLeader> {
    let mut connection = shared.pool.acquire().await?;
    let conn = &mut *connection;
    retention::keep_history(conn, leadership, shared.config.history).await?;
    let mut transaction = conn.begin().await?;
    leadership.hold(&mut transaction).await?;
    rate::forget_idle(&mut transaction).await?;
    // Never before their jobs have been moved.
    sqlx::query(
        "delete from worker where last_seen < now() - make_interval(secs => $1)
            and not exists (select from job where owner = incarnation and lease_until is not null)",
    )
    .bind(DEAD_WORKERS_SHOWN.as_secs_f64())
    .execute(&mut *transaction)
    .await?;
    Ok(transaction.commit().await?)
}
