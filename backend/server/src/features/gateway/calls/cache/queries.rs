//! All SQL about kept answers.

use crate::db::{Error, Uow};
use sqlx::{PgPool, Result};
use syndarix_domain::{Timestamp, ids::ProjectId};

/// What a project's answers take at most, in bytes, and how many they are.
const MAX_BYTES: i64 = 64 << 20;
const MAX_ANSWERS: i64 = 10_000;
/// Answers that make room at once when there is none: at their largest, what one more needs, many times over.
const MAKING_ROOM: i64 = 256;
/// Expired answers that one turn takes away.
const AT_ONCE: i64 = 5_000;

pub(super) async fn find(
    pool: &PgPool,
    project: ProjectId,
    question: [u8; 32],
    now: Timestamp,
) -> Result<Option<Vec<u8>>> {
    sqlx::query_scalar(
        "select answer from gateway_cache where project_id = $1 and question = $2 and expires_at > $3",
    )
    .bind(project.0)
    .bind(question)
    .bind(now)
    .fetch_optional(pool)
    .await
}

/// Keeps an answer; where a project has too many, those that end first make room.
pub(super) async fn keep(
    pool: &PgPool,
    project: ProjectId,
    (question, answer): ([u8; 32], &[u8]),
    until: Timestamp,
) -> Result<()> {
    let bytes = i32::try_from(answer.len()).unwrap_or(i32::MAX);
    sqlx::query(
        "delete from gateway_cache c
          using (select question from gateway_cache where project_id = $1 order by expires_at limit $5) first,
                (select coalesce(sum(bytes), 0) as bytes, count(*) as answers from gateway_cache where project_id = $1) now
          where c.project_id = $1 and c.question = first.question
            and (now.bytes + $2 > $3 or now.answers >= $4)",
    )
    .bind(project.0)
    .bind(i64::from(bytes))
    .bind(MAX_BYTES)
    .bind(MAX_ANSWERS)
    .bind(MAKING_ROOM)
    .execute(pool)
    .await?;
    sqlx::query(
        "insert into gateway_cache (project_id, question, answer, bytes, expires_at) values ($1, $2, $3, $4, $5)
         on conflict (project_id, question) do update
            set answer = excluded.answer, bytes = excluded.bytes, expires_at = excluded.expires_at",
    )
    .bind(project.0)
    .bind(question)
    .bind(answer)
    .bind(bytes)
    .bind(until)
    .execute(pool)
    .await?;
    Ok(())
}

/// Forgets what a project has kept.
pub(in crate::features::gateway) async fn forget(uow: &mut Uow, project: ProjectId) -> Result<(), Error> {
    sqlx::query("delete from gateway_cache where project_id = $1")
        .bind(project.0)
        .execute(uow.conn().await?)
        .await?;
    Ok(())
}

/// Forgets what has run out, some of it if there is much: who calls this comes again.
pub(in crate::features::gateway) async fn forget_expired(pool: &PgPool, now: Timestamp) -> Result<()> {
    sqlx::query(
        "delete from gateway_cache where (project_id, question) in (
            select project_id, question from gateway_cache where expires_at <= $1 order by expires_at limit $2)",
    )
    .bind(now)
    .bind(AT_ONCE)
    .execute(pool)
    .await?;
    Ok(())
}
