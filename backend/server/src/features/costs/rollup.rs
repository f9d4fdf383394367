//! Sums usage up by the hour. An hour is summed up once, when none of its attempts is under way any more, in the
//! transaction that moves the mark: each attempt is counted either in the sums or beside them (`usage_sum`), never in both.

use crate::{db::Error, state::App};
use chrono::{DurationRound, TimeDelta};
use sqlx::PgConnection;
use syndarix_domain::Timestamp;

/// So long after its end an hour is summed up: longer than any attempt lasts.
const SETTLED_AFTER: TimeDelta = TimeDelta::hours(1);
/// Hours with usage that are summed up in one turn.
const HOURS: usize = 200;

/// Sums up what is due.
pub(super) async fn roll_up(app: &App, now: Timestamp) -> Result<(), Error> {
    let Ok(due) = (now - SETTLED_AFTER).duration_trunc(TimeDelta::hours(1)) else { return Ok(()) };
    for _ in 0..HOURS {
        let mut tx = app.pool().begin().await?;
        let until: Timestamp =
            sqlx::query_scalar("select until from usage_hour_until for update").fetch_one(&mut *tx).await?;
        let more = until < due && one_hour(&mut tx, until, due).await?;
        tx.commit().await?;
        if !more {
            break;
        }
    }
    Ok(())
}

/// Sums up the next hour in which there is something, or moves the mark to where nothing is left. Whether to go on.
async fn one_hour(conn: &mut PgConnection, until: Timestamp, due: Timestamp) -> Result<bool, Error> {
    let next: Option<Timestamp> =
        sqlx::query_scalar("select date_trunc('hour', min(at), 'UTC') from usage where at >= $1 and at < $2")
            .bind(until)
            .bind(due)
            .fetch_one(&mut *conn)
            .await?;
    let Some(hour) = next else {
        move_to(conn, due).await?;
        return Ok(false);
    };
    let end = hour + TimeDelta::hours(1);
    let under_way: bool = sqlx::query_scalar(
        "select exists (select from usage where at >= $1 and at < $2 and state = 'reserved')",
    )
    .bind(hour)
    .bind(end)
    .fetch_one(&mut *conn)
    .await?;
    if under_way {
        // Whoever ends what nobody comes back to will come by.
        return Ok(false);
    }
    sqlx::query(
        "insert into usage_hour (project_id, hour, agent_id, key_id, story_id, provider, model, simulated, calls, failures,
                                 tokens_in, tokens_out, tokens_cached, tokens_reasoning, cost_micro_usd)
         select project_id, $1, agent_id, key_id, story_id, provider, model, simulated, count(*),
                count(*) filter (where state = 'failed'), sum(tokens_in), sum(tokens_out), sum(tokens_cached),
                sum(tokens_reasoning), sum(cost_micro_usd)
           from usage where at >= $1 and at < $2
          group by project_id, agent_id, key_id, story_id, provider, model, simulated",
    )
    .bind(hour)
    .bind(end)
    .execute(&mut *conn)
    .await?;
    move_to(conn, end).await?;
    Ok(true)
}

async fn move_to(conn: &mut PgConnection, until: Timestamp) -> Result<(), Error> {
    sqlx::query("update usage_hour_until set until = $1").bind(until).execute(conn).await?;
    Ok(())
}
