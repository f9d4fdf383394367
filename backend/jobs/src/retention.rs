//! The history in days: made ahead, and dropped whole when old. Nothing is deleted row by row but what fell into the
//! partition for times that nobody made a day for.

use std::time::Duration;

use chrono::{DateTime, Days, NaiveDate, TimeDelta, Utc};
use sqlx::PgConnection;

use crate::{Leadership, NotLeader};

/// Days made ahead: so long may no leader run before rows fall into the rest.
const DAYS_AHEAD: u64 = 3;

/// Rows of the rest deleted by one statement: bounds its locks and run time.
const DELETED_PER_STATEMENT: i64 = 1_000;

// Each in one statement that checks the lease, takes the lock and commits: see the migration that made them.
const MAKE_DAY: &str = "select job_done_make_day($1, $2, $3, $4)";
const DROP_DAY: &str = "select job_done_drop_day($1, $2, $3, $4)";

/// Makes the days to come and drops those that ended before the history's length. Returns how many were dropped.
pub async fn keep_history(
    conn: &mut PgConnection,
    leadership: &Leadership,
    history: Duration,
) -> Result<usize, NotLeader> {
    let now: DateTime<Utc> = sqlx::query_scalar("select now()").fetch_one(&mut *conn).await?;
    let have = days(conn).await?;
    let coming = (0..=DAYS_AHEAD).filter_map(|ahead| now.date_naive().checked_add_days(Days::new(ahead)));
    for day in coming.filter(|day| !have.contains(day)) {
        as_leader(conn, leadership, MAKE_DAY, day).await?;
    }
    let oldest = TimeDelta::from_std(history).ok().and_then(|history| now.checked_sub_signed(history));
    let old = have.into_iter().filter(|day| oldest.is_some_and(|oldest| *day < oldest.date_naive()));
    let mut dropped = 0;
    for day in old {
        dropped += usize::from(as_leader(conn, leadership, DROP_DAY, day).await?);
    }
    delete_rest(conn, leadership, history).await?;
    Ok(dropped)
}

async fn days(conn: &mut PgConnection) -> Result<Vec<NaiveDate>, sqlx::Error> {
    sqlx::query_scalar(
        "select to_date(right(relname, 8), 'YYYYMMDD') from pg_inherits join pg_class on pg_class.oid = inhrelid
          where inhparent = 'job_done'::regclass and relname ~ '^job_done_[0-9]{8}$' order by 1",
    )
    .fetch_all(conn)
    .await
}

/// False: left for the next time.
async fn as_leader(
    conn: &mut PgConnection,
    leadership: &Leadership,
    statement: &'static str,
    day: NaiveDate,
) -> Result<bool, NotLeader> {
    let (duty, holder) = leadership.by();
    let done: Option<bool> = sqlx::query_scalar(statement)
        .bind(day)
        .bind(duty)
        .bind(holder)
        .bind(leadership.epoch)
        .fetch_one(conn)
        .await?;
    tracing::debug!(%day, ?done, statement, "a day of the history");
    done.ok_or_else(|| leadership.moved())
}

/// One statement, so that a leader that freezes holds nothing; who leads no more deletes nothing.
async fn delete_rest(
    conn: &mut PgConnection,
    leadership: &Leadership,
    history: Duration,
) -> Result<(), sqlx::Error> {
    let (duty, holder) = leadership.by();
    sqlx::query(
        "with leads as materialized (
            select from leader_lease
             where duty = $3 and holder = $4 and epoch = $5 and expires_at > clock_timestamp() for share
         )
         delete from job_done_rest where exists (select from leads) and ctid = any (array (
            select ctid from job_done_rest where ended_at < now() - make_interval(secs => $1) limit $2))",
    )
    .bind(history.as_secs_f64())
    .bind(DELETED_PER_STATEMENT)
    .bind(duty)
    .bind(holder)
    .bind(leadership.epoch)
    .execute(conn)
    .await
    .map(drop)
}
