//! Looks around that a claim does not need every time: who else has work, what others run, and what came in late.

use std::time::Instant;

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use crate::cursor::{Cursor, LEVELS, LOOKS_BACK, Paced};
use crate::{Claim, share};

/// Strangers that one look finds in a gap; as it stands in the statement.
const STRANGERS_AT_ONCE: usize = 32;

// From one project to the next by index, in the gaps between the known ones: no entry of a known project is walked. At
// most 32 in each gap; the next look goes on. Ids are never all ones.
const STRANGERS: &str = "
with recursive stranger (tenant, until, nth) as (
    select next.tenant, gap.until, 1
      from unnest($2::uuid[], $3::uuid[]) as gap (since, until)
     cross join lateral (
        (select tenant from job where queue = $1 and owner is null and due and fence = 0
            and tenant > gap.since and tenant < gap.until order by tenant limit 1)
        union all
        (select tenant from job where queue = $1 and owner is null and due and fence > 0
            and tenant > gap.since and tenant < gap.until order by tenant limit 1)
        order by tenant limit 1
     ) next
  union all
    select next.tenant, stranger.until, stranger.nth + 1
      from stranger
     cross join lateral (
        (select tenant from job where queue = $1 and owner is null and due and fence = 0
            and tenant > stranger.tenant and tenant < stranger.until order by tenant limit 1)
        union all
        (select tenant from job where queue = $1 and owner is null and due and fence > 0
            and tenant > stranger.tenant and tenant < stranger.until order by tenant limit 1)
        order by tenant limit 1
     ) next
     where stranger.nth < 32
)
select tenant from stranger";

/// Finds projects with work that are not known.
pub(crate) async fn strangers(
    conn: &mut PgConnection,
    queue: &str,
    cursor: &mut Cursor,
) -> Result<Vec<Uuid>, sqlx::Error> {
    let begun = Instant::now();
    cursor.strangers.begin();
    let (since, until) = cursor.gaps();
    let found: Vec<Uuid> =
        sqlx::query_scalar(STRANGERS).bind(queue).bind(since).bind(until).fetch_all(conn).await?;
    // After a full hand there are more of them behind it, and the next claim goes on.
    if found.len() < STRANGERS_AT_ONCE {
        cursor.strangers.done(begun);
    } else {
        cursor.strangers = Paced::default();
    }
    for tenant in &found {
        cursor.met(*tenant);
    }
    cursor.forget_some();
    Ok(found)
}

/// Counts what runs, by project: all of it, or what others run when the owner knows what it runs itself.
pub(crate) async fn census(
    conn: &mut PgConnection,
    wanted: Claim<'_>,
    cursor: &mut Cursor,
) -> Result<(), sqlx::Error> {
    let begun = Instant::now();
    cursor.census.begin();
    // Leases that ran out are nobody's.
    let counts: Vec<(Uuid, i64)> = sqlx::query_as(
        "select tenant, count(*) from job
          where lease_until > now() and queue = $1 and ($2::uuid is null or owner <> $2)
          group by tenant",
    )
    .bind(wanted.queue)
    .bind(cursor.own.as_ref().map(|_| wanted.owner))
    .fetch_all(&mut *conn)
    .await?;
    cursor.others = counts.into_iter().collect();
    cursor.weights = share::weights(conn).await?;
    cursor.census.done(begun);
    Ok(())
}

// One probe for each level of each project; the range has an end, so that nothing already known is walked.
const LATE: &str = "
select slot.tenant, slot.level, late.run_at
  from unnest($2::uuid[], $3::smallint[], $4::timestamptz[], $5::timestamptz[]) as slot (tenant, level, since, until)
 cross join lateral (
    select run_at from job
     where queue = $1 and tenant = slot.tenant and priority = slot.level and owner is null and due and fence = 0
       and run_at >= coalesce(slot.since, '-infinity') and run_at < slot.until
     order by run_at, id limit 1
 ) late";

/// Looks for jobs that became visible before the place where the ready ones were believed to begin.
pub(crate) async fn look_back(
    conn: &mut PgConnection,
    queue: &str,
    nth: usize,
    cursor: &mut Cursor,
) -> Result<(), sqlx::Error> {
    let begun = Instant::now();
    if let Some(look) = cursor.looks_back.get_mut(nth) {
        look.begin();
    }
    let reach = LOOKS_BACK.get(nth).and_then(|(reach, _)| *reach);
    let (mut tenants, mut levels, mut since, mut until) = (vec![], vec![], vec![], vec![]);
    for tenant in cursor.round(None) {
        for (level, begin) in cursor.begins(tenant).into_iter().enumerate() {
            if let Some(begin) = begin {
                tenants.push(tenant);
                levels.push(i16::try_from(level).unwrap_or(i16::MAX));
                since.push(reach.map(|reach| begin - reach));
                until.push(begin);
            }
        }
    }
    let rows = sqlx::query(LATE)
        .bind(queue)
        .bind(&tenants)
        .bind(&levels)
        .bind(&since)
        .bind(&until)
        .fetch_all(conn)
        .await?;
    for row in rows {
        let (tenant, at): (Uuid, DateTime<Utc>) = (row.try_get("tenant")?, row.try_get("run_at")?);
        let level = usize::try_from(row.try_get::<i16, _>("level")?).unwrap_or(LEVELS);
        cursor.met(tenant);
        cursor.begin(tenant, level, at);
    }
    cursor.looked_back(nth, begun);
    Ok(())
}
