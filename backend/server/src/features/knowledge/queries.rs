//! The SQL of sources, chunks and progress. Ranking has its own in `search`.

use super::store::Origin;
use crate::db::{Error, Uow};
use chrono::{DateTime, Utc};
use sqlx::{FromRow, PgPool};
use std::collections::HashMap;
use syndarix_domain::ids::ProjectId;

/// A chunk that is there.
#[derive(Debug, Clone, FromRow)]
pub(super) struct StoredChunk {
    pub(super) id: i64,
    pub(super) path: String,
    pub(super) breadcrumb: String,
    pub(super) content_hash: String,
    pub(super) start_line: i32,
    pub(super) end_line: i32,
}

/// A chunk to be written, with the words it is found by.
#[derive(Debug)]
pub(super) struct NewChunk {
    pub(super) path: String,
    pub(super) kind: &'static str,
    pub(super) language: &'static str,
    pub(super) breadcrumb: String,
    pub(super) start_line: i32,
    pub(super) end_line: i32,
    pub(super) body: String,
    pub(super) content_hash: String,
    pub(super) words: String,
}

/// A source as it is to be from now on.
#[derive(Debug, Clone)]
pub(super) struct NewSource {
    pub(super) path: String,
    pub(super) content_hash: String,
    pub(super) status: &'static str,
    pub(super) detail: String,
}

/// A source, for lists.
#[derive(Debug, FromRow)]
pub(super) struct SourceRow {
    pub(super) path: String,
    pub(super) origin: String,
    pub(super) chunks: i32,
    pub(super) status: String,
    pub(super) detail: String,
    pub(super) indexed_commit: Option<String>,
    pub(super) updated_at: DateTime<Utc>,
}

/// How far the repository's index is.
#[derive(Debug, FromRow)]
pub(super) struct IndexRow {
    pub(super) state: String,
    pub(super) detail: String,
    pub(super) indexed_commit: Option<String>,
    pub(super) files_total: i32,
    pub(super) files_done: i32,
    pub(super) updated_at: DateTime<Utc>,
}

pub(super) async fn chunks_of(
    uow: &mut Uow,
    project: ProjectId,
    origin: Origin,
    paths: &[String],
) -> Result<Vec<StoredChunk>, Error> {
    let rows = sqlx::query_as(
        "select id, path, breadcrumb, content_hash, start_line, end_line from knowledge_chunk
         where project_id = $1 and origin = $2 and path = any($3) order by id",
    )
    .bind(project.0)
    .bind(origin.name())
    .bind(paths)
    .fetch_all(uow.conn().await?)
    .await?;
    Ok(rows)
}

pub(super) async fn remove_chunks(uow: &mut Uow, project: ProjectId, ids: &[i64]) -> Result<(), Error> {
    if ids.is_empty() {
        return Ok(());
    }
    sqlx::query("delete from knowledge_chunk where project_id = $1 and id = any($2)")
        .bind(project.0)
        .bind(ids)
        .execute(uow.conn().await?)
        .await?;
    Ok(())
}

pub(super) async fn move_chunks(
    uow: &mut Uow,
    project: ProjectId,
    lines: &[(i64, i32, i32)],
) -> Result<(), Error> {
    if lines.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "update knowledge_chunk chunk set start_line = moved.start_line, end_line = moved.end_line
         from unnest($2::bigint[], $3::int[], $4::int[]) moved(id, start_line, end_line)
         where chunk.project_id = $1 and chunk.id = moved.id",
    )
    .bind(project.0)
    .bind(lines.iter().map(|(id, ..)| *id).collect::<Vec<_>>())
    .bind(lines.iter().map(|(_, start, _)| *start).collect::<Vec<_>>())
    .bind(lines.iter().map(|(.., end)| *end).collect::<Vec<_>>())
    .execute(uow.conn().await?)
    .await?;
    Ok(())
}

pub(super) async fn add_chunks(
    uow: &mut Uow,
    project: ProjectId,
    origin: Origin,
    chunks: &[NewChunk],
) -> Result<(), Error> {
    if chunks.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "insert into knowledge_chunk (project_id, origin, path, kind, language, breadcrumb, start_line, end_line, body,
                                      content_hash, search, length)
         select $1, $2, new.path, new.kind, new.language, new.breadcrumb, new.start_line, new.end_line, new.body,
                new.hash, analysed.search,
                (select coalesce(sum(cardinality(word.positions)), 0) from unnest(analysed.search) word)
         from unnest($3::text[], $4::text[], $5::text[], $6::text[], $7::int[], $8::int[], $9::text[], $10::text[],
                     $11::text[]) new(path, kind, language, breadcrumb, start_line, end_line, body, hash, words)
         cross join lateral (select to_tsvector('english', new.words) as search) analysed",
    )
    .bind(project.0)
    .bind(origin.name())
    .bind(column(chunks, |chunk| chunk.path.as_str()))
    .bind(column(chunks, |chunk| chunk.kind))
    .bind(column(chunks, |chunk| chunk.language))
    .bind(column(chunks, |chunk| chunk.breadcrumb.as_str()))
    .bind(column(chunks, |chunk| chunk.start_line))
    .bind(column(chunks, |chunk| chunk.end_line))
    .bind(column(chunks, |chunk| chunk.body.as_str()))
    .bind(column(chunks, |chunk| chunk.content_hash.as_str()))
    .bind(column(chunks, |chunk| chunk.words.as_str()))
    .execute(uow.conn().await?)
    .await?;
    Ok(())
}

fn column<'a, T, V>(items: &'a [T], field: impl Fn(&'a T) -> V) -> Vec<V> {
    items.iter().map(field).collect()
}

/// Writes sources of the repository; the chunks they have are left alone.
pub(super) async fn put_sources(
    uow: &mut Uow,
    project: ProjectId,
    commit: Option<&str>,
    sources: &[NewSource],
) -> Result<(), Error> {
    let now = uow.now();
    sqlx::query(
        "insert into knowledge_source (project_id, origin, path, content_hash, status, detail, indexed_commit, updated_at)
         select $1, 'repository', new.path, new.hash, new.status, new.detail, $6, $7
         from unnest($2::text[], $3::text[], $4::text[], $5::text[]) new(path, hash, status, detail)
         on conflict (project_id, origin, path) do update
             set content_hash = excluded.content_hash, status = excluded.status, detail = excluded.detail,
                 indexed_commit = coalesce(excluded.indexed_commit, knowledge_source.indexed_commit),
                 updated_at = excluded.updated_at",
    )
    .bind(project.0)
    .bind(column(sources, |source| source.path.as_str()))
    .bind(column(sources, |source| source.content_hash.as_str()))
    .bind(column(sources, |source| source.status))
    .bind(column(sources, |source| source.detail.as_str()))
    .bind(commit)
    .bind(now)
    .execute(uow.conn().await?)
    .await?;
    Ok(())
}

/// Writes how many chunks sources have, once those are written.
pub(super) async fn count_chunks(
    uow: &mut Uow,
    project: ProjectId,
    origin: Origin,
    paths: &[String],
) -> Result<(), Error> {
    sqlx::query(
        "update knowledge_source source set chunks =
             (select count(*) from knowledge_chunk chunk
              where chunk.project_id = source.project_id and chunk.origin = source.origin and chunk.path = source.path)
         where project_id = $1 and origin = $2 and path = any($3)",
    )
    .bind(project.0)
    .bind(origin.name())
    .bind(paths)
    .execute(uow.conn().await?)
    .await?;
    Ok(())
}

/// Removes sources with everything that was made of them. True when there was one.
pub(super) async fn remove_sources(
    uow: &mut Uow,
    project: ProjectId,
    origin: Origin,
    paths: &[String],
) -> Result<bool, Error> {
    let removed =
        sqlx::query("delete from knowledge_source where project_id = $1 and origin = $2 and path = any($3)")
            .bind(project.0)
            .bind(origin.name())
            .bind(paths)
            .execute(uow.conn().await?)
            .await?;
    Ok(removed.rows_affected() > 0)
}

/// The repository's sources that are done, by path: those that failed for good are done, too.
pub(super) async fn settled(pool: &PgPool, project: ProjectId) -> Result<HashMap<String, String>, Error> {
    let rows: Vec<(String, String, bool)> = sqlx::query_as(
        "select path, content_hash, status in ('ready', 'failed') from knowledge_source
         where project_id = $1 and origin = 'repository'",
    )
    .bind(project.0)
    .fetch_all(pool)
    .await?;
    let hash = |(path, hash, done): (String, String, bool)| (path, if done { hash } else { String::new() });
    Ok(rows.into_iter().map(hash).collect())
}

/// Says that the index waits for its job.
pub(super) async fn queue_index(uow: &mut Uow, project: ProjectId) -> Result<(), Error> {
    let now = uow.now();
    sqlx::query(
        "insert into knowledge_index (project_id, state, updated_at) values ($1, 'queued', $2)
         on conflict (project_id) do update set state = 'queued', detail = '', updated_at = excluded.updated_at
         where knowledge_index.state <> 'indexing'",
    )
    .bind(project.0)
    .bind(now)
    .execute(uow.conn().await?)
    .await?;
    Ok(())
}

/// Says where the index is.
pub(super) async fn set_index(
    uow: &mut Uow,
    project: ProjectId,
    state: &str,
    detail: &str,
    (total, done): (usize, usize),
) -> Result<(), Error> {
    let now = uow.now();
    sqlx::query(
        "insert into knowledge_index (project_id, state, detail, files_total, files_done, updated_at)
         values ($1, $2, $3, $4, $5, $6)
         on conflict (project_id) do update
             set state = excluded.state, detail = excluded.detail, files_total = excluded.files_total,
                 files_done = excluded.files_done, updated_at = excluded.updated_at",
    )
    .bind(project.0)
    .bind(state)
    .bind(detail)
    .bind(i32::try_from(total).unwrap_or(i32::MAX))
    .bind(i32::try_from(done).unwrap_or(i32::MAX))
    .bind(now)
    .execute(uow.conn().await?)
    .await?;
    Ok(())
}

/// Says which commit is wholly indexed.
pub(super) async fn set_commit(uow: &mut Uow, project: ProjectId, commit: &str) -> Result<(), Error> {
    sqlx::query("update knowledge_index set indexed_commit = $2 where project_id = $1")
        .bind(project.0)
        .bind(commit)
        .execute(uow.conn().await?)
        .await?;
    Ok(())
}

/// Says why the index is not up to date; how far it came stays.
pub(super) async fn fail_index(
    uow: &mut Uow,
    project: ProjectId,
    state: &str,
    detail: &str,
) -> Result<(), Error> {
    let now = uow.now();
    sqlx::query(
        "insert into knowledge_index (project_id, state, detail, updated_at) values ($1, $2, $3, $4)
         on conflict (project_id) do update
             set state = excluded.state, detail = excluded.detail, updated_at = excluded.updated_at",
    )
    .bind(project.0)
    .bind(state)
    .bind(detail)
    .bind(now)
    .execute(uow.conn().await?)
    .await?;
    Ok(())
}

pub(super) async fn index(pool: &PgPool, project: ProjectId) -> Result<Option<IndexRow>, Error> {
    let row = sqlx::query_as(
        "select state, detail, indexed_commit, files_total, files_done, updated_at from knowledge_index
         where project_id = $1",
    )
    .bind(project.0)
    .fetch_optional(pool)
    .await?;
    Ok(row)
}

/// Sources by path, one more than the limit.
pub(super) async fn sources(
    pool: &PgPool,
    project: ProjectId,
    path: Option<&str>,
    status: Option<&str>,
    (limit, offset): (i64, i64),
) -> Result<Vec<SourceRow>, Error> {
    let rows = sqlx::query_as(
        "select path, origin, chunks, status, detail, indexed_commit, updated_at from knowledge_source
         where project_id = $1 and ($2::text is null or path = $2) and ($3::text is null or status = $3)
         order by path, origin limit $4 offset $5",
    )
    .bind(project.0)
    .bind(path)
    .bind(status)
    .bind(limit + 1)
    .bind(offset)
    .fetch_all(pool)
    .await?;
    Ok(rows)
}
