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
           case when b.project_id is null then null else to_jsonb(b) end as budget
    from approval ap
    join project p on p.id = ap.project_id
    left join pull_request pr on pr.id = (ap.state -> 'request' ->> 'pull_request')::uuid
    left join budget b on b.project_id = ap.project_id
    left join lateral (
        select sum(cost_micro_usd) filter (where not simulated) as cost,
               sum(cost_micro_usd) filter (where simulated) as simulated
        from usage
        where usage.project_id = ap.project_id and usage.run_id = (ap.state -> 'request' -> 'subject' ->> 'run')::uuid
    ) u on true";

/// The projects that a person can see.
const REACH: &str = "
    select p.id from project p
    left join project_member pm on pm.project_id = p.id and pm.user_id = $1
    left join membership m on m.organisation_id = p.organisation_id and m.user_id = $1 and m.role in ('owner', 'admin')
    where pm.user_id is not null or m.user_id is not null";

/// Which questions.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    /// Pending ones, decided ones (everything that is over), or all.
    pub(super) pending: Option<bool>,
    pub(super) project: Option<Uuid>,
    pub(super) categories: Option<Vec<String>>,
}

/// The questions of every project that this person sees, newest first, one more than the limit.
pub(super) async fn inbox(
    pool: &PgPool,
    user: UserId,
    wanted: &Wanted,
    (limit, offset): (i64, i64),
) -> Result<Vec<ApprovalView>, Error> {
    let rows: Vec<ApprovalRow> = sqlx::query_as(AssertSqlSafe(format!(
        "{APPROVAL} where ap.project_id in ({REACH}) and ($2::uuid is null or ap.project_id = $2)
           and ($3::bool is null or (ap.phase = 'pending') = $3)
           and ($4::text[] is null or ap.state -> 'request' ->> 'category' = any($4))
         order by ap.id desc limit $5 offset $6"
    )))
    .bind(user.0)
    .bind(wanted.project)
    .bind(wanted.pending)
    .bind(&wanted.categories)
    .bind(limit + 1)
    .bind(offset)
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

/// The questions of one project, newest first, one more than the limit.
pub(super) async fn of_project(
    pool: &PgPool,
    project: ProjectId,
    wanted: &Wanted,
    (limit, offset): (i64, i64),
) -> Result<Vec<ApprovalView>, Error> {
    let rows: Vec<ApprovalRow> = sqlx::query_as(AssertSqlSafe(format!(
        "{APPROVAL} where ap.project_id = $1 and ($2::bool is null or (ap.phase = 'pending') = $2)
           and ($3::text[] is null or ap.state -> 'request' ->> 'category' = any($3))
         order by ap.id desc limit $4 offset $5"
    )))
    .bind(project.0)
    .bind(wanted.pending)
    .bind(&wanted.categories)
    .bind(limit + 1)
    .bind(offset)
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
