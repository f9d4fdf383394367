//! The ends of reservations, many in one statement, which holds the books still and reads what is needed of them as well.

use super::{
    Settlement,
    book::{self, Counted},
    rows::{CANCELLED, Ended, EndedRow, Failed, bind_outcomes},
};
use crate::db::Error;
use sqlx::{FromRow, PgConnection, Row as _};
use std::collections::HashMap;
use syndarix_domain::ids::ProjectId;
use uuid::Uuid;

/// Completes the rows of settlements, then locks the books, then reads the budgets above those rows and above other calls.
/// Rows that somebody else has ended before are left alone, and not among the answers.
pub(super) async fn settle(
    conn: &mut PgConnection,
    project: ProjectId,
    settlements: &[&Settlement],
    others: &[Counted],
) -> Result<(HashMap<Uuid, Ended>, Vec<book::Row>), Error> {
    if settlements.is_empty() {
        return Ok((HashMap::new(), book::hold(conn, project, others).await?));
    }
    let (scopes, ids) = book::nodes_above(project, others);
    let found = bind_outcomes(sqlx::query(SETTLE), settlements)
        .bind(project.0)
        .bind(scopes)
        .bind(ids)
        .bind(book::first(others))
        .fetch_all(conn)
        .await?;
    let (mut ended, mut budgets) = (HashMap::new(), Vec::new());
    for row in &found {
        if row.try_get::<Option<String>, _>("scope")?.is_some() {
            budgets.push(book::Row::from_row(row)?);
        } else {
            let row = EndedRow::from_row(row)?;
            ended.insert(row.id, row.ended(project));
        }
    }
    Ok((ended, budgets))
}

/// The books are locked after all rows, as everywhere: what they are asked for is made of the rows. In the answer a line
/// without a scope is a usage row, any other a budget in a window.
const SETTLE: &str = "
with ended as (
    update usage u
       set state = s.state, cost_micro_usd = s.cost, tokens_in = s.tokens_in, tokens_out = s.tokens_out,
           tokens_cached = s.cached, tokens_reasoning = s.reasoning, latency_ms = s.latency, estimated = s.estimated,
           simulated = s.simulated, error = s.error, model = s.model, settled_at = s.at,
           tokens_cache_write = s.cache_write, rate_input = s.rate_input, rate_output = s.rate_output,
           rate_cache_read = s.rate_cache_read, rate_cache_write = s.rate_cache_write, price_version = s.version,
           first_content_ms = s.first_content, error_kind = s.error_kind, unpriced = u.unpriced or s.unpriced,
           tokens_cache_write_1h = s.hour, rate_cache_write_1h = s.rate_hour, other_classes = s.other_classes
      from unnest($1::uuid[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[],
                  $8::bigint[], $9::bool[], $10::bool[], $11::text[], $12::text[], $13::timestamptz[], $14::bigint[],
                  $15::bigint[], $16::bigint[], $17::bigint[], $18::bigint[], $19::text[], $20::bigint[], $21::text[],
                  $22::bool[], $23::bigint[], $24::bigint[], $25::jsonb[])
           as s (id, state, cost, tokens_in, tokens_out, cached, reasoning, latency, estimated, simulated, error, model,
                 at, cache_write, rate_input, rate_output, rate_cache_read, rate_cache_write, version,
                 first_content, error_kind, unpriced, hour, rate_hour, other_classes)
     where u.id = s.id and u.project_id = $26 and u.state = 'reserved'
    returning u.id, u.at, u.sprint_id, u.agent_id, u.run_id, u.key_id, u.reserved_micro_usd, u.reserved_tokens),
nodes as (
    select 'sprint'::text as scope, e.sprint_id as id from ended e
    union select 'agent'::text, e.agent_id from ended e
    union select 'run'::text, e.run_id from ended e
    union select 'key'::text, e.key_id from ended e
    union select o.scope, o.id from unnest($27::text[], $28::uuid[]) as o (scope, id)),
asked as materialized (
    select array_agg(n.scope) as scopes, array_agg(n.id) as ids,
           coalesce(least((select min(e.at) from ended e), $29::timestamptz), 'epoch'::timestamptz) as since
      from nodes n where n.id is not null)
select e.id, e.at, e.sprint_id, e.agent_id, e.run_id, e.key_id, e.reserved_micro_usd, e.reserved_tokens,
       null::text as scope, null::uuid as scope_id, null::text as period,
       null::bigint as hard_limit_micro_usd, null::bigint as soft_limit_micro_usd, null::bigint as hard_limit_tokens,
       null::bigint as soft_limit_tokens, null::timestamptz as starts_at, null::bigint as spent_micro_usd,
       null::bigint as simulated_micro_usd, null::bigint as spent_tokens
  from ended e
union all
select b.id, null, null, null, null, null, b.reserved_micro_usd, b.reserved_tokens,
       b.scope, b.scope_id, b.period,
       b.hard_limit_micro_usd, b.soft_limit_micro_usd, b.hard_limit_tokens,
       b.soft_limit_tokens, b.starts_at, b.spent_micro_usd,
       b.simulated_micro_usd, b.spent_tokens
  from asked a cross join lateral hold_books($26::uuid, a.scopes, a.ids, a.since) b";

/// Keeps the last failure of each deployment where it is looked up.
pub(super) async fn note_failures(
    conn: &mut PgConnection,
    project: ProjectId,
    settlements: &[&Settlement],
    ended: &HashMap<Uuid, Ended>,
) -> Result<(), Error> {
    let is_failure = |failed: &Failed| failed.kind != CANCELLED;
    let failed = settlements.iter().filter(|row| row.outcome.error.as_ref().is_some_and(is_failure));
    let ids: Vec<Uuid> = failed.map(|row| row.id).filter(|id| ended.contains_key(id)).collect();
    if ids.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "insert into deployment_failure (project_id, deployment, at, kind, message)
         select distinct on (deployment) project_id, deployment, at, error_kind, error
           from usage where id = any($1) and project_id = $2 order by deployment, at desc
         on conflict (project_id, deployment) do update
            set at = excluded.at, kind = excluded.kind, message = excluded.message
          where deployment_failure.at <= excluded.at",
    )
    .bind(ids)
    .bind(project.0)
    .execute(conn)
    .await?;
    Ok(())
}
