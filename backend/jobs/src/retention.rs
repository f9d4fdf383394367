//! The history in days: made ahead, and dropped whole when old. Nothing is deleted row by row but what fell into the
//! partition for times that nobody made a day for.

use std::time::Duration;

use chrono::{DateTime, Days, NaiveDate, TimeDelta, Utc};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::{Leadership, NotLeader};

/// Days made ahead: so long may no leader run before rows fall into the rest.
const DAYS_AHEAD: u64 = 3;

/// Rows of the rest deleted by one statement: bounds its locks and run time.
const DELETED_PER_STATEMENT: i64 = 1_000;

/// Dropping a day locks the history for a moment; behind somebody's long transaction it is left to the next time.
const LOCK_LIMIT: &str = "set local lock_timeout = '500ms'";

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
        make(conn, leadership, day).await?;
    }
    let oldest = TimeDelta::from_std(history).ok().and_then(|history| now.checked_sub_signed(history));
    let old = have.into_iter().filter(|day| oldest.is_some_and(|oldest| *day < oldest.date_naive()));
    let mut dropped = 0;
    for day in old {
        dropped += usize::from(drop_day(conn, leadership, day).await?);
    }
    delete_rest(conn, leadership, history).await?;
    Ok(dropped)
}

fn partition(day: NaiveDate) -> String {
    format!("job_done_{}", day.format("%Y%m%d"))
}

async fn days(conn: &mut PgConnection) -> Result<Vec<NaiveDate>, sqlx::Error> {
    sqlx::query_scalar(
        "select to_date(right(relname, 8), 'YYYYMMDD') from pg_inherits join pg_class on pg_class.oid = inhrelid
          where inhparent = 'job_done'::regclass and relname ~ '^job_done_[0-9]{8}$' order by 1",
    )
    .fetch_all(conn)
    .await
}

async fn make(conn: &mut PgConnection, leadership: &Leadership, day: NaiveDate) -> Result<(), NotLeader> {
    let name = partition(day);
    let Some(next) = day.succ_opt() else { return Ok(()) };
    let mut transaction = conn.begin().await?;
    leadership.hold(&mut transaction).await?;
    // Made apart and then attached: that does not keep anybody from writing to the history.
    let make = format!(
        "{LOCK_LIMIT}; create table {name} (like job_done including all);
         alter table job_done attach partition {name} for values from ('{day} 00:00:00+00') to ('{next} 00:00:00+00')"
    );
    match sqlx::raw_sql(AssertSqlSafe(make)).execute(&mut *transaction).await {
        Ok(_) => Ok(transaction.commit().await?),
        // Rows of this day are in the rest already, or the table is busy: the rest takes the day, or the next time does.
        Err(error) if is_left_for_later(&error) => {
            tracing::debug!(%day, error = &error as &dyn std::error::Error, "no partition for this day");
            Ok(transaction.rollback().await?)
        }
        Err(error) => Err(error.into()),
    }
}

async fn drop_day(
    conn: &mut PgConnection,
    leadership: &Leadership,
    day: NaiveDate,
) -> Result<bool, NotLeader> {
    let mut transaction = conn.begin().await?;
    leadership.hold(&mut transaction).await?;
    let statement = format!("{LOCK_LIMIT}; drop table if exists {}", partition(day));
    match sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut *transaction).await {
        Ok(_) => {
            transaction.commit().await?;
            tracing::info!(%day, "the history of this day is dropped");
            Ok(true)
        }
        Err(error) if is_left_for_later(&error) => {
            transaction.rollback().await?;
            Ok(false)
        }
        Err(error) => Err(error.into()),
    }
}

async fn delete_rest(
    conn: &mut PgConnection,
    leadership: &Leadership,
    history: Duration,
) -> Result<(), NotLeader> {
    let mut transaction = conn.begin().await?;
    leadership.hold(&mut transaction).await?;
    sqlx::query(
        "delete from job_done_rest where ctid = any(array(
            select ctid from job_done_rest where ended_at < now() - make_interval(secs => $1) limit $2))",
    )
    .bind(history.as_secs_f64())
    .bind(DELETED_PER_STATEMENT)
    .execute(&mut *transaction)
    .await?;
    Ok(transaction.commit().await?)
}

/// A check that rows violate, and a lock that was not to be had in time.
fn is_left_for_later(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    code.is_some_and(|code| matches!(code.as_ref(), "23514" | "55P03"))
}
