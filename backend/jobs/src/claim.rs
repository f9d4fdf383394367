//! Claiming ready jobs: batched, fenced, fair between projects.
//!
//! One statement chooses, locks and takes; its commit comes before the first job runs. Projects take turns, the
//! one with the fewest running jobs first; inside a project priority decides, raised by waiting. Which projects
//! there are, and where their ready jobs begin, the claimer remembers in its [`Cursor`].

use std::collections::HashMap;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use crate::cursor::{Cursor, LEVELS};
use crate::{Job, Lease, Priority, survey};

/// Waiting this long is worth one level of priority: a low job is treated as urgent after three steps.
pub(crate) const AGEING_STEP: Duration = Duration::from_secs(600);

/// Lost races for a concurrency key in one claim before it is left to the next poll.
const RACES_PER_CLAIM: u32 = 3;

/// Delayed jobs made ready by one statement: bounds its locks and its run time.
const PROMOTED_PER_STATEMENT: i64 = 1_000;

const ONE_PER_KEY: &str = "job_one_running_per_key";

/// What to claim.
#[derive(Clone, Copy, Debug)]
pub struct Claim<'a> {
    /// Queue to take from.
    pub queue: &'a str,
    /// Incarnation of the worker that will own the jobs.
    pub owner: Uuid,
    /// At most this many.
    pub limit: u16,
    /// How long the first lease lasts.
    pub lease: Duration,
}

/// What was claimed.
#[derive(Debug, Default)]
pub struct Claimed {
    /// The jobs, in the order in which to start them.
    pub jobs: Vec<(Job, Lease)>,
    /// More was ready than was taken: ask again as soon as there is room.
    pub more: bool,
    /// There may be work of projects that this claim did not ask: ask again after this time.
    pub look_again: Option<Duration>,
}

// A slot is one level of one project, with the time at which its ready jobs begin; a time to come was believed before the
// clock was set back, and is believed no more. A job's round is how many of its project would run before it, for each part
// of its weight: who has nothing running is never behind who has something. `offer` names more jobs than are wanted: others
// may be locking them at this moment. The first row brings along where each slot begins now, and in which order the jobs
// are to start.
//
// The plan may have been made while the table was empty, so nothing joins the table: a join would be planned as reading
// all of it for each row. Rows are reached by key alone: one by one from `next_up`, in its order, or by an array.
//
// What has a rate asks for it last, when nothing else can keep it from starting: see `rate.rs`. The function that asks is
// called once, and not at all where nothing has a rate.
const CLAIM: &str = "
with slot as materialized (
    select tenant, seat, running, weight, level, case when since <= now() then since else '-infinity' end as since, nth
      from unnest($3::uuid[], $7::bigint[], $8::bigint[], $9::smallint[], $10::timestamptz[], $11::float8[])
           with ordinality as s (tenant, seat, running, level, since, weight, nth)
), offer as materialized (
    select o.id, slot.seat,
           (slot.running + row_number() over (partition by slot.tenant order by o.rank, o.run_at, o.id) - 1) / slot.weight as round
      from slot
     cross join lateral (
        select f.id, f.run_at,
               greatest(slot.level - greatest(floor(extract(epoch from now() - f.run_at) / $6::float8), 0), 0) as rank
          from (
            (select j.id, j.run_at from job j
              where j.queue = $1 and j.tenant = slot.tenant and j.priority = slot.level
                and j.owner is null and j.due and j.fence = 0 and j.run_at >= slot.since
                and (j.concurrency_key is null
                     or (select true from job r where r.concurrency_key = j.concurrency_key and r.owner is not null limit 1) is null)
              order by j.run_at, j.id limit $2)
            union all
            (select j.id, j.run_at from job j
              where j.queue = $1 and j.tenant = slot.tenant and j.priority = slot.level
                and j.owner is null and j.due and j.fence > 0
                and (j.concurrency_key is null
                     or (select true from job r where r.concurrency_key = j.concurrency_key and r.owner is not null limit 1) is null)
              order by j.run_at, j.id limit $2)
          ) f
     ) o
), next_up as materialized (
    select id, round, seat from offer order by round, seat limit $2 * 2
), locked as (
    select j.id, j.concurrency_key, j.rated, next_up.round, next_up.seat
      from next_up
     cross join lateral (
        select id, concurrency_key, (rate).key is not null as rated from job where id = next_up.id and owner is null and due for update skip locked
     ) j limit $2
), unlocked as materialized (
    select id, round, seat, rated
      from (select *, row_number() over (partition by concurrency_key order by round, seat) as nth from locked) l
     where case when concurrency_key is null then true
                when nth > 1 then false
                else pg_try_advisory_xact_lock(hashtextextended(concurrency_key, 7)) end
), granted as (
    select id, round, seat from unlocked
     where case when not rated then true
                else id = any ((select job_rate_sift(array(select id from unlocked where rated order by round, seat), $6))::bigint[]) end
), taken as (
    update job set owner = $4, fence = fence + 1, attempt = attempt + 1, lease_until = now() + make_interval(secs => $5),
           in_line_at = null
     where id = any (array (select id from granted))
    returning id, tenant, project_id, kind, payload, priority, attempt, rescues, max_attempts, concurrency_key,
              created_at, tick, fence, extract(epoch from now() - run_at)::float8 as waited
), nth as (
    select *, row_number() over () as nth from (select) always left join taken on true
)
select nth.*, (select count(*) from offer) as offered, now() as looked_at,
       case when nth = 1 then array (select id from granted order by round, seat) end as turns,
       case when nth = 1 then array(
            select (select j.run_at from job j
                     where j.queue = $1 and j.tenant = slot.tenant and j.priority = slot.level
                       and j.owner is null and j.due and j.fence = 0 and j.run_at >= slot.since
                     order by j.run_at, j.id limit 1)
              from slot order by slot.nth) end as begins
  from nth order by nth";

/// Claims ready jobs. Run it on its own, outside any transaction: the claim must be committed before a job starts.
pub async fn claim(
    conn: &mut PgConnection,
    wanted: Claim<'_>,
    cursor: &mut Cursor,
) -> Result<Claimed, sqlx::Error> {
    let mut races = 0;
    loop {
        match claim_once(conn, wanted, cursor).await {
            // A claimer with an older snapshot asked for a key that was just taken; a new look settles it.
            Err(error) if races < RACES_PER_CLAIM && is_key_race(&error) => races += 1,
            Err(error) if is_key_race(&error) => return Ok(Claimed { more: true, ..Claimed::default() }),
            result => {
                if let Ok(claimed) = &result
                    && !claimed.jobs.is_empty()
                {
                    crate::telemetry::claim_batch(wanted.queue, claimed.jobs.len());
                }
                return result;
            }
        }
    }
}

fn is_key_race(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|error| error.constraint()) == Some(ONE_PER_KEY)
}

/// Asks the projects that are busy; all of them, and for unknown ones, when it is time to, or when there is room left.
async fn claim_once(
    conn: &mut PgConnection,
    wanted: Claim<'_>,
    cursor: &mut Cursor,
) -> Result<Claimed, sqlx::Error> {
    if let Some(nth) = cursor.look_back_due() {
        survey::look_back(conn, wanted.queue, nth, cursor).await?;
    }
    if cursor.is_census_due() {
        survey::census(conn, wanted, cursor).await?;
    }
    if cursor.is_round_due() {
        survey::strangers(conn, wanted.queue, cursor).await?;
        let everybody = cursor.round(None);
        return take(conn, wanted, &everybody, cursor).await;
    }
    let busy = cursor.round(Some(true));
    let claimed = take(conn, wanted, &busy, cursor).await?;
    if claimed.more || claimed.jobs.len() >= usize::from(wanted.limit) {
        return Ok(claimed);
    }
    let wait = cursor.others_in();
    if !wait.is_zero() {
        return Ok(Claimed { look_again: Some(wait), ..claimed });
    }
    fill_up(conn, wanted, claimed, cursor).await
}

/// Gives the places that the busy projects left to those that were idle or unknown.
async fn fill_up(
    conn: &mut PgConnection,
    wanted: Claim<'_>,
    mut claimed: Claimed,
    cursor: &mut Cursor,
) -> Result<Claimed, sqlx::Error> {
    let room = wanted.limit.saturating_sub(u16::try_from(claimed.jobs.len()).unwrap_or(u16::MAX));
    match take_others(conn, Claim { limit: room, ..wanted }, cursor).await {
        Ok(more) => {
            claimed.jobs.extend(more.jobs);
            claimed.more = more.more;
        }
        // What was taken is committed and must be run; the next claim meets whatever went wrong here.
        Err(error) if !claimed.jobs.is_empty() => {
            tracing::debug!(error = &error as &dyn std::error::Error, "the second half of a claim failed");
            claimed.more = true;
        }
        Err(error) => return Err(error),
    }
    Ok(claimed)
}

async fn take_others(
    conn: &mut PgConnection,
    wanted: Claim<'_>,
    cursor: &mut Cursor,
) -> Result<Claimed, sqlx::Error> {
    let begun = Instant::now();
    let mut others = cursor.round(Some(false));
    if cursor.is_strangers_due() {
        others.extend(survey::strangers(conn, wanted.queue, cursor).await?);
    }
    let claimed = take(conn, wanted, &others, cursor).await?;
    cursor.idle.done(begun);
    Ok(claimed)
}

/// Slots as the columns of the statement.
#[derive(Default)]
struct Slots {
    tenants: Vec<Uuid>,
    seats: Vec<i64>,
    running: Vec<i64>,
    levels: Vec<i16>,
    since: Vec<Option<DateTime<Utc>>>,
    weights: Vec<f64>,
}

impl Slots {
    fn of(tenants: &[Uuid], cursor: &Cursor) -> Self {
        let mut slots = Self::default();
        for (seat, tenant) in (1..).zip(tenants) {
            for (level, since) in (0..).zip(cursor.since(*tenant)) {
                slots.tenants.push(*tenant);
                slots.seats.push(seat);
                slots.running.push(cursor.running(*tenant));
                slots.levels.push(level);
                slots.since.push(since);
                slots.weights.push(cursor.weight(*tenant));
            }
        }
        slots
    }
}

async fn take(
    conn: &mut PgConnection,
    wanted: Claim<'_>,
    tenants: &[Uuid],
    cursor: &mut Cursor,
) -> Result<Claimed, sqlx::Error> {
    if tenants.is_empty() || wanted.limit == 0 {
        return Ok(Claimed::default());
    }
    let slots = Slots::of(tenants, cursor);
    let rows = sqlx::query(CLAIM)
        .bind(wanted.queue)
        .bind(i64::from(wanted.limit))
        .bind(&slots.tenants)
        .bind(wanted.owner)
        .bind(wanted.lease.as_secs_f64())
        .bind(AGEING_STEP.as_secs_f64())
        .bind(&slots.seats)
        .bind(&slots.running)
        .bind(&slots.levels)
        .bind(&slots.since)
        .bind(&slots.weights)
        .fetch_all(conn)
        .await?;
    if let Some(first) = rows.first() {
        note_begins(first, tenants, cursor)?;
    }
    let mut claimed = Claimed::default();
    let mut offered = 0;
    for row in in_turn(&rows)? {
        offered = row.try_get("offered")?;
        if row.try_get::<Option<i64>, _>("id")?.is_some() {
            cursor.turn = row.try_get("tenant")?;
            cursor.met(cursor.turn);
            crate::telemetry::claimed(wanted.queue, waited(row)?);
            claimed.jobs.push(job_of(wanted.queue, row)?);
        }
    }
    claimed.more = i64::try_from(claimed.jobs.len()).unwrap_or(i64::MAX) < offered;
    Ok(claimed)
}

/// The rows in the order in which their jobs are to start.
fn in_turn(rows: &[PgRow]) -> Result<Vec<&PgRow>, sqlx::Error> {
    let turns: Vec<i64> = rows.first().map_or(Ok(Vec::new()), |first| first.try_get("turns"))?;
    let places: HashMap<i64, usize> = turns.into_iter().zip(0..).collect();
    let mut ordered = Vec::with_capacity(rows.len());
    for row in rows {
        let id: Option<i64> = row.try_get("id")?;
        ordered.push((id.and_then(|id| places.get(&id).copied()), row));
    }
    ordered.sort_by_key(|(place, _)| *place);
    Ok(ordered.into_iter().map(|(_, row)| row).collect())
}

/// Where nothing was ready, nothing can be from now on but what comes in.
fn note_begins(row: &PgRow, tenants: &[Uuid], cursor: &mut Cursor) -> Result<(), sqlx::Error> {
    let begins: Vec<Option<DateTime<Utc>>> = row.try_get("begins")?;
    let looked_at = row.try_get("looked_at")?;
    for (tenant, levels) in tenants.iter().zip(begins.chunks(LEVELS)) {
        for (level, begin) in levels.iter().enumerate() {
            cursor.begin(*tenant, level, begin.unwrap_or(looked_at));
        }
    }
    Ok(())
}

fn waited(row: &PgRow) -> Result<Duration, sqlx::Error> {
    Ok(Duration::try_from_secs_f64(row.try_get("waited")?).unwrap_or_default())
}

fn job_of(queue: &str, row: &PgRow) -> Result<(Job, Lease), sqlx::Error> {
    let id = row.try_get("id")?;
    let count = |column| row.try_get::<i32, _>(column).map(|n| u32::try_from(n).unwrap_or(0));
    let job = Job {
        id,
        queue: queue.to_owned(),
        project: row.try_get("project_id")?,
        kind: row.try_get("kind")?,
        payload: row.try_get("payload")?,
        priority: Priority::of_rank(row.try_get("priority")?),
        attempt: count("attempt")?,
        rescues: count("rescues")?,
        max_attempts: count("max_attempts")?,
        concurrency_key: row.try_get("concurrency_key")?,
        created_at: row.try_get("created_at")?,
        tick: row.try_get("tick")?,
    };
    Ok((job, Lease { job: id, fence: row.try_get("fence")? }))
}

/// Makes delayed jobs ready whose time has come; returns the queues that got some. Any worker may do it at any time.
///
/// Those with a rate go to its line: see [`crate::let_out`].
pub async fn promote(conn: &mut PgConnection) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar(
        "with ripe as (
            select id from job where owner is null and not due and in_line_at is null and run_at <= now()
             order by run_at limit $1 for update skip locked
         ), woken as (
            update job set due = (rate).key is null, fence = fence + 1,
                   in_line_at = case when (rate).key is not null then run_at + priority * make_interval(secs => $2) end
             where id = any (array (select id from ripe)) returning queue, due
         )
         select distinct queue from woken where due",
    )
    .bind(PROMOTED_PER_STATEMENT)
    .bind(AGEING_STEP.as_secs_f64())
    .fetch_all(conn)
    .await
}
