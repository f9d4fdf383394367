//! The SQL of reading runs.

use super::{
    views::{RunRow, RunView, StepView, TestRunView, TimelineItem},
    waiting,
};
use crate::db::{Error, Loaded};
use sqlx::{AssertSqlSafe, PgPool, types::Json};
use std::collections::HashMap;
use syndarix_domain::{
    ids::{ProjectId, RunId},
    run::Run,
};
use uuid::Uuid;

/// The output of a step that one answer shows, in characters: 200 steps of it are a few megabytes.
const MAX_OUTPUT: i32 = 16_000;
/// The same in a story's timeline, where many runs come together.
const MAX_TIMELINE_OUTPUT: i32 = 2_000;
/// The newest runs that a timeline shows: eight rounds of five stages, and retries.
const MAX_RUNS: i64 = 60;
/// Test runs that are shown, newest first.
const MAX_TEST_RUNS: i64 = 50;

const RUN: &str = "
    select r.version, r.state, a.name as agent_name, a.role as agent_role,
           coalesce(u.tokens_in, 0)::bigint as tokens_in, coalesce(u.tokens_out, 0)::bigint as tokens_out,
           coalesce(u.cost, 0)::bigint as cost, coalesce(u.simulated, 0)::bigint as simulated";
/// What a run `r` had used up until then.
const USAGE: &str = "
    left join agent a on a.id = (r.state ->> 'agent')::uuid
    left join lateral (
        select sum(tokens_in) as tokens_in, sum(tokens_out) as tokens_out,
               sum(cost_micro_usd) filter (where not simulated) as cost,
               sum(cost_micro_usd) filter (where simulated) as simulated
        from usage where usage.project_id = r.project_id and usage.run_id = r.id and usage.at <= r.until
    ) u on true";
/// The runs as they are.
const NOW: &str = "(select *, 'infinity'::timestamptz as until from run) r";
/// One run as it was, with nothing of today: no job waits for what is past.
const THEN: &str =
    "(select $1::uuid as project_id, $2::uuid as id, $3::bigint as version, $4::jsonb as state,
                            $5::timestamptz as until, 'then' as phase) r";

/// What every question about runs reads; `$1` is the project.
fn reading(runs: &str) -> String {
    let (columns, job) = (waiting::COLUMNS, waiting::joins_of_run());
    format!("{RUN}, {columns} from {runs} {USAGE} {job} where r.project_id = $1")
}

/// Which runs.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    pub(super) story: Option<Uuid>,
    pub(super) agent: Option<Uuid>,
    pub(super) state: Option<String>,
}

/// Newest first, one more than the limit.
pub(super) async fn runs(
    pool: &PgPool,
    project: ProjectId,
    wanted: &Wanted,
    (limit, offset): (i64, i64),
) -> Result<Vec<RunRow>, Error> {
    let rows = sqlx::query_as(AssertSqlSafe(format!(
        "{} and ($2::uuid is null or r.story_id = $2)
           and ($3::uuid is null or (r.state ->> 'agent')::uuid = $3)
           and ($4::text is null or r.phase = $4)
         order by r.id desc limit $5 offset $6",
        reading(NOW)
    )))
    .bind(project.0)
    .bind(wanted.story)
    .bind(wanted.agent)
    .bind(&wanted.state)
    .bind(limit + 1)
    .bind(offset)
    .fetch_all(pool)
    .await?;
    Ok(rows)
}

/// One run.
pub(super) async fn run(pool: &PgPool, project: ProjectId, run: RunId) -> Result<RunView, Error> {
    let row: Option<RunRow> = sqlx::query_as(AssertSqlSafe(format!("{} and r.id = $2", reading(NOW))))
        .bind(project.0)
        .bind(run.0)
        .fetch_optional(pool)
        .await?;
    row.map(RunView::from).ok_or(Error::NotFound("run"))
}

/// A run as it was.
pub(super) async fn run_then(pool: &PgPool, then: Loaded<Run>) -> Result<RunView, Error> {
    let row: RunRow = sqlx::query_as(AssertSqlSafe(reading(THEN)))
        .bind(then.state.project.0)
        .bind(then.state.id.0)
        .bind(then.version)
        .bind(Json(&then.state))
        .bind(then.state.updated_at)
        .fetch_one(pool)
        .await?;
    Ok(row.into())
}

/// The steps of a run, in order, long outputs cut.
pub(super) async fn steps(pool: &PgPool, project: ProjectId, run: RunId) -> Result<Vec<StepView>, Error> {
    steps_of(pool, project, &[run.0], MAX_OUTPUT).await
}

async fn steps_of(
    pool: &PgPool,
    project: ProjectId,
    runs: &[Uuid],
    max_output: i32,
) -> Result<Vec<StepView>, Error> {
    // A tool's result is its text; a model's is its answer, shown as it is unless it is too long for that.
    let rows = sqlx::query_as(
        "select id, run_id, number, kind, name, server, status, recovery, resolution, started_at, ended_at, attempt, cost_micro_usd, simulated,
                tokens_in, tokens_out, error, target, additions, deletions, request as input,
                (extract(epoch from ended_at - started_at) * 1000)::bigint as duration_ms,
                case when shown is null or whole = 'null' then null
                     when length(shown) > $3
                         then to_jsonb(left(shown, $3) || E'\\n[... ' || length(shown) - $3 || ' characters more]')
                     when whole ->> 'text' is not null then to_jsonb(shown)
                     else whole end as output
         from (select step.*, whole, coalesce(whole ->> 'text', whole::text) as shown
                 from step
                 left join step_result large on large.project_id = step.project_id and large.hash = step.result_hash
                cross join lateral (select coalesce(large.body, step.result) as whole) either
                where step.project_id = $1 and step.run_id = any($2)) step
         order by run_id, number",
    )
    .bind(project.0)
    .bind(runs)
    .bind(max_output)
    .fetch_all(pool)
    .await?;
    Ok(rows)
}

/// The newest runs of a story with their steps, oldest first.
pub(super) async fn timeline(
    pool: &PgPool,
    project: ProjectId,
    story: Uuid,
) -> Result<Vec<TimelineItem>, Error> {
    let wanted = Wanted { story: Some(story), ..Wanted::default() };
    let rows = runs(pool, project, &wanted, (MAX_RUNS - 1, 0)).await?;
    let views: Vec<RunView> = rows.into_iter().rev().map(RunView::from).collect();
    let ids: Vec<Uuid> = views.iter().map(|run| run.id).collect();
    let mut steps: HashMap<Uuid, Vec<StepView>> = HashMap::new();
    for step in steps_of(pool, project, &ids, MAX_TIMELINE_OUTPUT).await? {
        steps.entry(step.run_id).or_default().push(step);
    }
    Ok(views
        .into_iter()
        .map(|run| TimelineItem { steps: steps.remove(&run.id).unwrap_or_default(), run })
        .collect())
}

/// The recorded test runs of a story, newest first.
pub(super) async fn test_runs(
    pool: &PgPool,
    project: ProjectId,
    story: Uuid,
) -> Result<Vec<TestRunView>, Error> {
    let rows = sqlx::query_as(
        "select id, run_id, commit_id as commit, command, passed, exit_code, duration_ms, output, at,
                coalesce(isolation ->> 'level', isolation #>> '{}', '') as isolation
         from test_run where project_id = $1 and story_id = $2 order by at desc, id desc limit $3",
    )
    .bind(project.0)
    .bind(story)
    .bind(MAX_TEST_RUNS)
    .fetch_all(pool)
    .await?;
    Ok(rows)
}
