//! The SQL of stories, sprints and pull requests.

use super::views::StoryRow;
use crate::db::{Error, Uow};
use sqlx::{PgConnection, PgPool, types::Json};
use std::collections::HashMap;
use syndarix_domain::{ids::ProjectId, pull_request::PullRequest, sprint::Sprint};
use uuid::Uuid;

/// A story with its run, its agent, its pull request's number and its cost.
const STORY: &str = "
    select s.version, s.state, r.state as run, a.id as agent_id, a.name as agent_name,
           (p.state ->> 'number')::bigint as pull_request_number,
           coalesce(u.cost, 0)::bigint as cost, coalesce(u.simulated, 0)::bigint as simulated
    from story s
    left join run r on r.id = (s.state -> 'phase' -> 'work' ->> 'run')::uuid
    left join agent a on a.id = (r.state ->> 'agent')::uuid
    left join pull_request p on p.id = (s.state -> 'change' ->> 'pull_request')::uuid
    left join lateral (
        select sum(cost_micro_usd) filter (where not simulated) as cost,
               sum(cost_micro_usd) filter (where simulated) as simulated
        from usage where usage.project_id = s.project_id and usage.story_id = s.id
    ) u on true
    where s.project_id = $1";

pub(super) async fn story(pool: &PgPool, project: ProjectId, id: Uuid) -> Result<StoryRow, Error> {
    sqlx::query_as(sqlx::AssertSqlSafe(format!("{STORY} and s.id = $2")))
        .bind(project.0)
        .bind(id)
        .fetch_optional(pool)
        .await?
        .ok_or(Error::NotFound("story"))
}

/// Newest number first, one more than the limit.
pub(super) async fn stories(
    pool: &PgPool,
    project: ProjectId,
    sprint: Option<Uuid>,
    phase: Option<&str>,
    (limit, offset): (i64, i64),
) -> Result<Vec<StoryRow>, Error> {
    let rows = sqlx::query_as(sqlx::AssertSqlSafe(format!(
        "{STORY} and ($2::text is null or s.state ->> 'sprint' = $2) and ($3::text is null or s.phase = $3)
         order by (s.state ->> 'number')::bigint desc limit $4 offset $5"
    )))
    .bind(project.0)
    .bind(sprint.map(|id| id.to_string()))
    .bind(phase)
    .bind(limit + 1)
    .bind(offset)
    .fetch_all(pool)
    .await?;
    Ok(rows)
}

/// The next number of a kind within the project; its row's lock keeps two from getting the same.
pub(super) async fn next_number(uow: &mut Uow, project: ProjectId, kind: &str) -> Result<i64, Error> {
    let number: i64 = sqlx::query_scalar(
        "insert into counter (project_id, name, value) values ($1, $2, 1)
         on conflict (project_id, name) do update set value = counter.value + 1 returning value",
    )
    .bind(project.0)
    .bind(kind)
    .fetch_one(uow.conn())
    .await?;
    Ok(number)
}

pub(super) async fn pull_requests(
    pool: &PgPool,
    project: ProjectId,
    (limit, offset): (i64, i64),
) -> Result<Vec<(i64, PullRequest)>, Error> {
    let rows: Vec<(i64, Json<PullRequest>)> = sqlx::query_as(
        "select version, state from pull_request where project_id = $1
         order by (state ->> 'number')::bigint desc limit $2 offset $3",
    )
    .bind(project.0)
    .bind(limit + 1)
    .bind(offset)
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(|(version, Json(pr))| (version, pr)).collect())
}

/// A sprint with what its view counts.
#[derive(Debug, sqlx::FromRow)]
pub(super) struct SprintRow {
    pub(super) version: i64,
    pub(super) state: Json<Sprint>,
    pub(super) stories: i64,
    pub(super) points_total: i64,
    pub(super) points_done: i64,
}

const SPRINT: &str = "
    select sp.version, sp.state, count(s.id) as stories,
           coalesce(sum((s.state ->> 'points')::bigint), 0)::bigint as points_total,
           coalesce(sum((s.state ->> 'points')::bigint) filter (where s.phase = 'done'), 0)::bigint as points_done
    from sprint sp
    left join story s on s.project_id = sp.project_id and s.state ->> 'sprint' = sp.id::text and s.phase <> 'cancelled'
    where sp.project_id = $1";

pub(super) async fn sprints(pool: &PgPool, project: ProjectId) -> Result<Vec<SprintRow>, Error> {
    let rows = sqlx::query_as(sqlx::AssertSqlSafe(format!(
        "{SPRINT} group by sp.id, sp.version, sp.state order by sp.id desc limit 500"
    )))
    .bind(project.0)
    .fetch_all(pool)
    .await?;
    Ok(rows)
}

pub(super) async fn sprint(pool: &PgPool, project: ProjectId, id: Uuid) -> Result<SprintRow, Error> {
    sqlx::query_as(sqlx::AssertSqlSafe(format!(
        "{SPRINT} and sp.id = $2 group by sp.id, sp.version, sp.state"
    )))
    .bind(project.0)
    .bind(id)
    .fetch_optional(pool)
    .await?
    .ok_or(Error::NotFound("sprint"))
}

/// The stories of a sprint: id, phase, points.
pub(super) async fn stories_of_sprint(
    conn: &mut PgConnection,
    project: ProjectId,
    sprint: Uuid,
) -> Result<Vec<(Uuid, String, Option<i64>)>, Error> {
    let rows = sqlx::query_as(
        "select id, phase, (state ->> 'points')::bigint from story
         where project_id = $1 and state ->> 'sprint' = $2 and phase <> 'cancelled' order by id",
    )
    .bind(project.0)
    .bind(sprint.to_string())
    .fetch_all(conn)
    .await?;
    Ok(rows)
}

/// The names behind ids of people and of the project's agents.
pub(crate) async fn names(
    pool: &PgPool,
    project: ProjectId,
    ids: &[Uuid],
) -> Result<HashMap<Uuid, String>, Error> {
    let rows: Vec<(Uuid, String)> = sqlx::query_as(
        "select id, name from agent where project_id = $1 and id = any($2)
         union all select id, name from app_user where id = any($2)",
    )
    .bind(project.0)
    .bind(ids)
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().collect())
}
