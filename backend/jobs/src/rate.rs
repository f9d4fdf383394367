//! Limits on how often jobs of one key start, over all workers and by the database's clock.
//!
//! The latest starts of a key are a row, and the claim itself adds to it: what a claim takes has started when it
//! commits, also when its worker dies a moment later. In no window does more start than the limit, bursts included.
//!
//! Jobs with a rate do not wait in the queue's indexes but in a line of their own, out of which as many are let as may
//! start. So a long line holds up nobody, and no claimer walks past it. Projects that share a line are served in turns.

use std::time::Duration;

use sqlx::{PgConnection, Row};
use uuid::Uuid;

/// Most starts in a window: so many are remembered. Who needs more names a shorter window.
pub(crate) const MAX_COUNT: u16 = 200;

const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);

/// Lines of one project in one key that one statement looks at; the next one goes on.
const LINES_PER_STATEMENT: i64 = 500;

/// Forgotten keys per statement: bounds its locks and run time.
const FORGOTTEN_PER_STATEMENT: i64 = 1_000;

/// Advisory lock that keeps the workers from letting out the same jobs. Any number would do, all must use the same.
const LINE_LOCK: i64 = 0x5379_6e4a_6f62_0002;

/// At most `count` jobs of `key` start in any time of the length `per`. All jobs of a key must name the same limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// What is limited. Projects that are not to wait for each other need keys of their own.
    pub key: String,
    /// Starts in a window, from 1 to 200.
    pub count: u16,
    /// Length of the window, from a second to a week.
    pub per: Duration,
}

impl RateLimit {
    pub(crate) fn is_possible(&self) -> bool {
        (1..=MAX_COUNT).contains(&self.count) && (SHORTEST..=LONGEST).contains(&self.per)
    }
}

/// The line that was looked at last; the next look goes on behind it.
#[derive(Clone, Debug, Default)]
pub struct LastLine {
    key: String,
    project: Uuid,
}

// From one line to the next by index. Jobs that were let out and did not start yet count as if they had. The claim
// decides; here it is only kept short what it has to decide about.
const LET_OUT: &str = "
with recursive line (rate_key, tenant, nth) as (
    (select (rate).key, tenant, 1::bigint from job
      where in_line_at is not null and owner is null and not due and ((rate).key, tenant) > ($1, $2) and (select pg_try_advisory_xact_lock($4))
      order by (rate).key, tenant limit 1)
  union all
    select next.rate_key, next.tenant, line.nth + 1
      from line
     cross join lateral (
        select (rate).key as rate_key, tenant from job
         where in_line_at is not null and owner is null and not due and ((rate).key, tenant) > (line.rate_key, line.tenant)
         order by (rate).key, tenant limit 1
     ) next
     where line.nth < $3
), open as materialized (
    select k.rate_key, r.most - started.count - out.count as room
      from (select distinct rate_key from line) k
     cross join lateral (
        select (rate).count as most, (rate).seconds from job
         where in_line_at is not null and owner is null and not due and (rate).key = k.rate_key limit 1
     ) r
     cross join lateral (
        -- Those that are ahead of a clock that was set back are the claim's to judge: it brings them to its own time.
        select count(*) from job_rate, unnest(starts) as start
         where key = k.rate_key and start > now() - make_interval(secs => r.seconds) and start <= clock_timestamp()
     ) started
     cross join lateral (
        select count(*) from (select from job where owner is null and due and (rate).key = k.rate_key limit r.most) j
     ) out
), first as materialized (
    select j.id, line.rate_key, open.room,
           row_number() over (partition by line.rate_key, line.tenant order by j.in_line_at, j.id) as round
      from line
      join open on open.rate_key = line.rate_key and open.room > 0
     cross join lateral (
        select id, in_line_at from job
         where in_line_at is not null and owner is null and not due and (rate).key = line.rate_key and tenant = line.tenant
         order by in_line_at, id limit open.room
     ) j
), chosen as materialized (
    -- By lot between projects: with room for one at a time, the first in order would always be the same.
    select id, row_number() over (partition by rate_key order by round, random()) <= room as may_leave from first
), locked as materialized (
    select j.id from chosen
     cross join lateral (select id from job where id = chosen.id and in_line_at is not null and owner is null and not due for update skip locked) j
     where may_leave
), left_line as (
    update job set due = true, in_line_at = null, fence = fence + 1
     where id = any (array (select id from locked)) returning queue
)
select (select array_agg(distinct queue) from left_line) as queues, rate_key, tenant, nth
  from line order by nth desc limit 1";

/// Lets as many jobs out of the lines as may start; returns the queues that got some. Any worker may do it at any time.
pub async fn let_out(conn: &mut PgConnection, last: &mut LastLine) -> Result<Vec<String>, sqlx::Error> {
    let row = sqlx::query(LET_OUT)
        .bind(&last.key)
        .bind(last.project)
        .bind(LINES_PER_STATEMENT)
        .bind(LINE_LOCK)
        .fetch_optional(conn)
        .await?;
    *last = LastLine::default();
    let Some(row) = row else { return Ok(Vec::new()) };
    if row.try_get::<i64, _>("nth")? == LINES_PER_STATEMENT {
        *last = LastLine { key: row.try_get("rate_key")?, project: row.try_get("tenant")? };
    }
    Ok(row.try_get::<Option<Vec<String>>, _>("queues")?.unwrap_or_default())
}

/// Forgets keys that a long time ago nobody started anything of.
pub(crate) async fn forget_idle(conn: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query(
        "delete from job_rate where key = any (array (
            select key from job_rate where idle_from < now() limit $1 for update skip locked)) and idle_from < now()",
    )
    .bind(FORGOTTEN_PER_STATEMENT)
    .execute(conn)
    .await
    .map(drop)
}
