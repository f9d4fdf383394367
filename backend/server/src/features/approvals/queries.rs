//! The SQL of questions.

use super::views::{ApprovalRow, ApprovalView};
use crate::db::Error;
use sqlx::{AssertSqlSafe, PgPool};
use std::collections::HashMap;
use syndarix_domain::ids::{ApprovalId, ProjectId, UserId};
use uuid::Uuid;

/// A question with its project, its pull request, the cost of its run, and the budget.
const APPROVAL: &str = "
    select ap.state, p.name as project_name, p.autonomy,
           (pr.state ->> 'number')::bigint as pull_request_number, pr.state ->> 'base_branch' as base_branch,
           coalesce(u.cost, 0)::bigint as cost, coalesce(u.simulated, 0)::bigint as simulated,
           o.rank, n.successor,
           case when b.project_id is null then null else to_jsonb(b) end as budget
    from approval ap
    join project p on p.id = ap.project_id
    left join pull_request pr on pr.id = (ap.state -> 'request' ->> 'pull_request')::uuid
    left join project_budget b on b.project_id = ap.project_id
    left join lateral (
        select sum(cost_micro_usd) filter (where not simulated) as cost,
               sum(cost_micro_usd) filter (where simulated) as simulated
        from usage
        where usage.project_id = ap.project_id and usage.run_id = (ap.state -> 'request' -> 'subject' ->> 'run')::uuid
    ) u on true
    -- The smallest first: open questions by when they lapse, and those that are over by age, the youngest first.
    cross join lateral (
        select case ap.phase
            when 'pending' then coalesce((extract(epoch from
                (ap.state -> 'request' ->> 'expires_at')::timestamptz) * 1000000)::bigint, 9223372036854775807)
            else -(extract(epoch from (ap.state ->> 'created_at')::timestamptz) * 1000000)::bigint
        end as rank
    ) o
    left join lateral (
        select later.id as successor from approval later
        where ap.phase = 'superseded' and later.project_id = ap.project_id and later.id > ap.id
          and later.state -> 'request' ->> 'action' = ap.state -> 'request' ->> 'action'
          and coalesce(later.state -> 'request' ->> 'pull_request', later.state -> 'request' -> 'subject' ->> 'sprint')
            = coalesce(ap.state -> 'request' ->> 'pull_request', ap.state -> 'request' -> 'subject' ->> 'sprint')
        order by later.id limit 1
    ) n on true";

/// Open questions first, then by rank. What is decided while somebody reads on moves behind them and skips nothing.
const ORDER: &str = "(ap.phase <> 'pending', o.rank, ap.id)";

/// The projects that a person can see.
const REACH: &str = "
    select p.id from project p
    left join project_member pm on pm.project_id = p.id and pm.user_id = $1
    left join membership m on m.organisation_id = p.organisation_id and m.user_id = $1 and m.role in ('owner', 'admin')
    where pm.user_id is not null or m.user_id is not null";

/// Who is asked first in the project `$1`: those who are named for it, or else those who run its organisation.
pub(crate) const APPROVERS: &str = "
    with named as (
        select user_id from project_member where project_id = $1 and role in ('approver', 'admin')
    ), managers as (
        select m.user_id from membership m join project p on p.organisation_id = m.organisation_id
        where p.id = $1 and m.role in ('owner', 'admin')
    )
    select u.id, u.name, u.email from app_user u
    where u.id in (select user_id from named)
       or (not exists (select 1 from named) and u.id in (select user_id from managers))";

/// Which questions.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    /// Pending ones, decided ones (everything that is over), or all.
    pub(super) pending: Option<bool>,
    pub(super) project: Option<Uuid>,
    pub(super) categories: Option<Vec<String>>,
}

/// Where a question stands in the order of lists: over, rank, id.
pub(super) type Place = (bool, i64, Uuid);

/// The questions of every project that this person sees, the most urgent first, one more than the limit.
pub(super) async fn inbox(
    pool: &PgPool,
    user: UserId,
    wanted: &Wanted,
    (limit, after): (i64, Option<Place>),
) -> Result<Vec<ApprovalView>, Error> {
    let rows: Vec<ApprovalRow> = sqlx::query_as(AssertSqlSafe(format!(
        "{APPROVAL} where ap.project_id in ({REACH}) and ($2::uuid is null or ap.project_id = $2)
           and ($3::bool is null or (ap.phase = 'pending') = $3)
           and ($4::text[] is null or ap.state -> 'request' ->> 'category' = any($4))
           and ($8::uuid is null or {ORDER} > ($6, $7, $8))
         order by {ORDER} limit $5"
    )))
    .bind(user.0)
    .bind(wanted.project)
    .bind(wanted.pending)
    .bind(&wanted.categories)
    .bind(limit + 1)
    .bind(after.map(|place| place.0))
    .bind(after.map(|place| place.1))
    .bind(after.map(|place| place.2))
    .fetch_all(pool)
    .await?;
    views(pool, rows).await
}

/// How many questions of all that this person sees are open.
pub(super) async fn unresolved(pool: &PgPool, user: UserId) -> Result<i64, Error> {
    let count = sqlx::query_scalar(AssertSqlSafe(format!(
        "select count(*) from approval where phase = 'pending' and project_id in ({REACH})"
    )))
    .bind(user.0)
    .fetch_one(pool)
    .await?;
    Ok(count)
}

/// The questions of one project, the most urgent first, one more than the limit.
pub(super) async fn of_project(
    pool: &PgPool,
    project: ProjectId,
    wanted: &Wanted,
    (limit, after): (i64, Option<Place>),
) -> Result<Vec<ApprovalView>, Error> {
    let rows: Vec<ApprovalRow> = sqlx::query_as(AssertSqlSafe(format!(
        "{APPROVAL} where ap.project_id = $1 and ($2::bool is null or (ap.phase = 'pending') = $2)
           and ($3::text[] is null or ap.state -> 'request' ->> 'category' = any($3))
           and ($7::uuid is null or {ORDER} > ($5, $6, $7))
         order by {ORDER} limit $4"
    )))
    .bind(project.0)
    .bind(wanted.pending)
    .bind(&wanted.categories)
    .bind(limit + 1)
    .bind(after.map(|place| place.0))
    .bind(after.map(|place| place.1))
    .bind(after.map(|place| place.2))
    .fetch_all(pool)
    .await?;
    views(pool, rows).await
}

/// One question.
pub(super) async fn approval(
    pool: &PgPool,
    project: ProjectId,
    id: ApprovalId,
) -> Result<ApprovalView, Error> {
    let rows: Vec<ApprovalRow> =
        sqlx::query_as(AssertSqlSafe(format!("{APPROVAL} where ap.project_id = $1 and ap.id = $2")))
            .bind(project.0)
            .bind(id.0)
            .fetch_all(pool)
            .await?;
    views(pool, rows).await?.pop().ok_or(Error::NotFound("approval"))
}

async fn views(pool: &PgPool, rows: Vec<ApprovalRow>) -> Result<Vec<ApprovalView>, Error> {
    let ids: Vec<Uuid> = rows.iter().flat_map(ApprovalRow::actors).collect();
    let projects: Vec<Uuid> = rows.iter().map(|row| row.state.request.project.0).collect();
    let names: HashMap<Uuid, String> = sqlx::query_as(
        "select id, name from agent where project_id = any($1) and id = any($2)
         union all select id, name from app_user where id = any($2)",
    )
    .bind(&projects)
    .bind(&ids)
    .fetch_all(pool)
    .await?
    .into_iter()
    .collect();
    Ok(rows.into_iter().map(|row| row.view(&names)).collect())
}
