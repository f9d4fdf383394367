//! The SQL of the issue tracker.

use crate::db::{Error, Uow};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::{AssertSqlSafe, FromRow, PgPool, types::Json};
use syndarix_domain::{actor::Actor, ids::ProjectId};
use uuid::Uuid;

#[derive(Debug, Clone, FromRow)]
pub(super) struct IssueRow {
    pub(super) id: Uuid,
    pub(super) project_id: Uuid,
    pub(super) number: i64,
    pub(super) title: String,
    pub(super) body: Option<String>,
    pub(super) state: String,
    pub(super) labels: Vec<String>,
    pub(super) assignee: Option<String>,
    pub(super) story_id: Option<Uuid>,
    pub(super) author: Json<Actor>,
    pub(super) comments: i64,
    pub(super) created_at: DateTime<Utc>,
    pub(super) updated_at: DateTime<Utc>,
    pub(super) closed_at: Option<DateTime<Utc>>,
    /// How well it fits the words of a search.
    #[sqlx(default)]
    pub(super) rank: f64,
}

impl IssueRow {
    pub(super) fn place(&self) -> Place {
        (self.rank, self.updated_at, self.number)
    }
}

#[derive(Debug, FromRow, Serialize, Deserialize)]
pub(super) struct CommentRow {
    pub(super) id: Uuid,
    pub(super) author: Json<Actor>,
    pub(super) body: String,
    pub(super) at: DateTime<Utc>,
}

/// Which issues.
#[derive(Debug, Default)]
pub(super) struct Wanted<'a> {
    pub(super) state: Option<&'a str>,
    pub(super) label: Option<&'a str>,
    pub(super) assignee: Option<&'a str>,
    pub(super) words: Option<&'a str>,
}

const SHOWN: &str = "id, project_id, number, title, state, labels, assignee, story_id, author, comments, \
                     created_at, updated_at, closed_at";

// Any of the words is enough, and more of them rank higher: an issue is found by a question, too.
const LIST: &str = "
    from issue, (select replace(plainto_tsquery('english', coalesce($5, ''))::text, '&', '|')::tsquery as words) query,
         lateral (select case when $5::text is null then 0 else ts_rank(search, query.words) end::float8 as rank) ranked
    where project_id = $1
      and ($2::text is null or state = $2)
      and ($3::text is null or $3 = any(labels))
      and ($4::text is null or assignee = $4)
      and ($5::text is null or search @@ query.words)
      and ($9::bigint is null or (rank, updated_at, number) < ($7, $8, $9))
    order by rank desc, updated_at desc, number desc
    limit $6";

/// Where an issue stands in the order of lists: how well it fits, its last change, its number.
pub(super) type Place = (f64, DateTime<Utc>, i64);

/// The best first where words are given, else the latest change first; one more than the limit.
pub(super) async fn list(
    pool: &PgPool,
    project: ProjectId,
    wanted: &Wanted<'_>,
    (limit, after): (i64, Option<Place>),
) -> Result<Vec<IssueRow>, Error> {
    let rows = sqlx::query_as(AssertSqlSafe(format!("select {SHOWN}, null as body, rank {LIST}")))
        .bind(project.0)
        .bind(wanted.state)
        .bind(wanted.label)
        .bind(wanted.assignee)
        .bind(wanted.words)
        .bind(limit + 1)
        .bind(after.map(|place| place.0))
        .bind(after.map(|place| place.1))
        .bind(after.map(|place| place.2))
        .fetch_all(pool)
        .await?;
    Ok(rows)
}

pub(super) async fn issue(pool: &PgPool, project: ProjectId, number: i64) -> Result<IssueRow, Error> {
    let sql = format!("select {SHOWN}, body from issue where project_id = $1 and number = $2");
    sqlx::query_as(AssertSqlSafe(sql))
        .bind(project.0)
        .bind(number)
        .fetch_optional(pool)
        .await?
        .ok_or(Error::NotFound("issue"))
}

/// The issue, held against other changes until the commit.
pub(super) async fn lock(uow: &mut Uow, project: ProjectId, number: i64) -> Result<IssueRow, Error> {
    let sql = format!("select {SHOWN}, body from issue where project_id = $1 and number = $2 for update");
    sqlx::query_as(AssertSqlSafe(sql))
        .bind(project.0)
        .bind(number)
        .fetch_optional(uow.conn().await?)
        .await?
        .ok_or(Error::NotFound("issue"))
}

/// The next number within the project; its row's lock keeps two from getting the same.
pub(super) async fn next_number(uow: &mut Uow, project: ProjectId) -> Result<i64, Error> {
    let number = sqlx::query_scalar(
        "insert into counter (project_id, name, value) values ($1, 'issue', 1)
         on conflict (project_id, name) do update set value = counter.value + 1 returning value",
    )
    .bind(project.0)
    .fetch_one(uow.conn().await?)
    .await?;
    Ok(number)
}

pub(super) async fn has_story(uow: &mut Uow, project: ProjectId, story: Uuid) -> Result<bool, Error> {
    let found = sqlx::query_scalar("select exists (select from story where project_id = $1 and id = $2)")
        .bind(project.0)
        .bind(story)
        .fetch_one(uow.conn().await?)
        .await?;
    Ok(found)
}

pub(super) async fn insert(uow: &mut Uow, issue: &IssueRow) -> Result<(), Error> {
    sqlx::query(
        "insert into issue (project_id, number, id, title, body, labels, assignee, story_id, author, created_at, updated_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $10)",
    )
    .bind(issue.project_id)
    .bind(issue.number)
    .bind(issue.id)
    .bind(&issue.title)
    .bind(&issue.body)
    .bind(&issue.labels)
    .bind(&issue.assignee)
    .bind(issue.story_id)
    .bind(issue.author)
    .bind(issue.created_at)
    .execute(uow.conn().await?)
    .await?;
    Ok(())
}

pub(super) async fn update(uow: &mut Uow, issue: &IssueRow) -> Result<(), Error> {
    sqlx::query(
        "update issue set title = $3, body = $4, state = $5, labels = $6, assignee = $7, updated_at = $8, closed_at = $9
         where project_id = $1 and number = $2",
    )
    .bind(issue.project_id)
    .bind(issue.number)
    .bind(&issue.title)
    .bind(&issue.body)
    .bind(&issue.state)
    .bind(&issue.labels)
    .bind(&issue.assignee)
    .bind(issue.updated_at)
    .bind(issue.closed_at)
    .execute(uow.conn().await?)
    .await?;
    Ok(())
}

/// Adds a comment to an issue that [`lock`] holds.
pub(super) async fn comment(uow: &mut Uow, issue: &IssueRow, comment: &CommentRow) -> Result<(), Error> {
    sqlx::query(
        "insert into issue_comment (id, project_id, number, author, body, at) values ($1, $2, $3, $4, $5, $6)",
    )
    .bind(comment.id)
    .bind(issue.project_id)
    .bind(issue.number)
    .bind(comment.author)
    .bind(&comment.body)
    .bind(comment.at)
    .execute(uow.conn().await?)
    .await?;
    sqlx::query(
        "update issue set comments = comments + 1, updated_at = $3 where project_id = $1 and number = $2",
    )
    .bind(issue.project_id)
    .bind(issue.number)
    .bind(comment.at)
    .execute(uow.conn().await?)
    .await?;
    Ok(())
}

/// Oldest first, one more than the limit.
pub(super) async fn comments(
    pool: &PgPool,
    project: ProjectId,
    number: i64,
    (limit, offset): (i64, i64),
) -> Result<Vec<CommentRow>, Error> {
    let rows = sqlx::query_as(
        "select id, author, body, at from issue_comment where project_id = $1 and number = $2
         order by at, id limit $3 offset $4",
    )
    .bind(project.0)
    .bind(number)
    .bind(limit + 1)
    .bind(offset)
    .fetch_all(pool)
    .await?;
    Ok(rows)
}
