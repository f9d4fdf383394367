//! The SQL of stories, sprints and pull requests.

use super::{views::StoryRow, waits};
use crate::{
    db::{Error, Loaded, Uow},
    features::approvals::APPROVERS,
};
use serde::Serialize;
use sqlx::{PgPool, types::Json};
use std::collections::HashMap;
use syndarix_domain::{ids::ProjectId, pull_request::PullRequest, sprint::Sprint, story::Story};
use uuid::Uuid;

/// What a story's view needs beside the state.
const COLUMNS: &str = "
    s.version, s.state, r.state as run, a.id as agent_id, a.name as agent_name,
    (p.state ->> 'number')::bigint as pull_request_number,
    coalesce(u.cost, 0)::bigint as cost, coalesce(u.simulated, 0)::bigint as simulated";

/// Where that stands, for a story `s` whose costs count up to `s.until`: its run, its agent, its pull request.
const JOINS: &str = "
    left join run r on r.id = (s.state -> 'phase' -> 'work' ->> 'run')::uuid
    left join agent a on a.id = (r.state ->> 'agent')::uuid
    left join pull_request p on p.id = (s.state -> 'change' ->> 'pull_request')::uuid
    left join lateral (
        select sum(cost_micro_usd) filter (where not simulated) as cost,
               sum(cost_micro_usd) filter (where simulated) as simulated
        from usage
        where usage.project_id = s.project_id and usage.story_id = s.id and usage.at <= s.until
    ) u on true";

/// These stories of the project `$1` as they are now: what belongs to them is looked up for no others. Who decides is named
/// where it is one person.
fn now(which: &str) -> String {
    let (waits, job) = (waits::columns(), waits::joins());
    format!(
        "select {COLUMNS}, {waits}, d.approver
         from (select *, 'infinity'::timestamptz as until from story where project_id = $1 and {which}) s {JOINS} {job}
         left join lateral (select case when count(*) = 1 then min(name) end as approver from ({APPROVERS}) one) d
           on s.phase not in ('done', 'cancelled')"
    )
}

pub(super) async fn story(pool: &PgPool, project: ProjectId, id: Uuid) -> Result<StoryRow, Error> {
    sqlx::query_as(sqlx::AssertSqlSafe(now("id = $2")))
        .bind(project.0)
        .bind(id)
        .fetch_optional(pool)
        .await?
        .ok_or(Error::NotFound("story"))
}

/// A story as it was, with what belonged to it then: nothing of today.
pub(super) async fn story_then(pool: &PgPool, then: Loaded<Story>) -> Result<StoryRow, Error> {
    let row = sqlx::query_as(sqlx::AssertSqlSafe(format!(
        "select {COLUMNS}, null as approver
         from (select $1::uuid as project_id, $2::uuid as id, $3::bigint as version, $4::jsonb as state,
                      $5::timestamptz as until) s {JOINS}"
    )))
    .bind(then.state.project.0)
    .bind(then.state.id.0)
    .bind(then.version)
    .bind(Json(&then.state))
    .bind(then.state.updated_at)
    .fetch_one(pool)
    .await?;
    // The run's row says how far it is today.
    Ok(StoryRow { run: None, ..row })
}

/// Highest number first, after this number, one more than the limit.
pub(super) async fn stories(
    pool: &PgPool,
    project: ProjectId,
    sprint: Option<Uuid>,
    phase: Option<&str>,
    (limit, after): (i64, Option<i64>),
) -> Result<Vec<StoryRow>, Error> {
    let page = now("($2::text is null or state ->> 'sprint' = $2) and ($3::text is null or phase = $3)
           and ($5::bigint is null or (state ->> 'number')::bigint < $5)
         order by (state ->> 'number')::bigint desc limit $4");
    let page = format!("{page} order by (s.state ->> 'number')::bigint desc");
    let rows = sqlx::query_as(sqlx::AssertSqlSafe(page))
        .bind(project.0)
        .bind(sprint.map(|id| id.to_string()))
        .bind(phase)
        .bind(limit + 1)
        .bind(after)
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
    .fetch_one(uow.conn().await?)
    .await?;
    Ok(number)
}

pub(super) async fn pull_requests(
    pool: &PgPool,
    project: ProjectId,
    (limit, after): (i64, Option<i64>),
) -> Result<Vec<(i64, PullRequest)>, Error> {
    let rows: Vec<(i64, Json<PullRequest>)> = sqlx::query_as(
        "select version, state from pull_request
         where project_id = $1 and ($3::bigint is null or (state ->> 'number')::bigint < $3)
         order by (state ->> 'number')::bigint desc limit $2",
    )
    .bind(project.0)
    .bind(limit + 1)
    .bind(after)
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

/// A story of a sprint, as a question about the sprint shows it.
#[derive(Debug, sqlx::FromRow, Serialize)]
pub(super) struct SprintStory {
    pub(super) id: Uuid,
    pub(super) number: i64,
    pub(super) title: String,
    pub(super) points: Option<i64>,
    pub(super) done: bool,
}

/// The stories of a sprint, whose row is locked first: none comes or goes before the end of the transaction.
pub(super) async fn lock_stories_of_sprint(
    uow: &mut Uow,
    project: ProjectId,
    sprint: Uuid,
) -> Result<Vec<SprintStory>, Error> {
    sqlx::query("select 1 from sprint where project_id = $1 and id = $2 for update")
        .bind(project.0)
        .bind(sprint)
        .execute(uow.conn().await?)
        .await?;
    let rows = sqlx::query_as(
        "select id, (state ->> 'number')::bigint as number, state ->> 'title' as title,
                (state ->> 'points')::bigint as points, phase = 'done' as done
         from story where project_id = $1 and state ->> 'sprint' = $2 and phase <> 'cancelled' order by id",
    )
    .bind(project.0)
    .bind(sprint.to_string())
    .fetch_all(uow.conn().await?)
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
