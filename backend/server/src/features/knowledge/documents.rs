//! Documents: what people and agents add to the knowledge base beside the repository's files.

use super::{
    queries,
    store::{self, Origin, content_hash},
};
use crate::{
    db::{Author, Uow, retry_conflicts},
    http::{ApiError, Idempotency, ProjectScope, ValidJson, View, Work, idempotent, keyed},
    state::App,
};
use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use sqlx::FromRow;
use syndarix_domain::ids::ProjectId;
use syndarix_forge::RepoPath;
use syndarix_mcp_knowledge::chunk::{Chunk, chunk};
use utoipa::ToSchema;
use uuid::Uuid;

/// The largest document, in bytes.
const MAX_CONTENT: usize = 1024 * 1024;
/// The largest request, in bytes: JSON writes some characters in several.
pub(super) const MAX_REQUEST: usize = 4 * MAX_CONTENT;
/// The longest path, in bytes.
const MAX_PATH: usize = 512;
/// Documents of one project, at most.
const MAX_DOCUMENTS: i64 = 5_000;

/// A document to be kept under its path, in place of the one that is there.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StoreDocument {
    /// Its name, like `notes/decisions.md`; the ending says how it is cut.
    pub path: String,
    /// The whole text, at most 1 MiB.
    pub content: String,
}

/// A document's text.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PutDocument {
    /// The whole text, at most 1 MiB.
    pub content: String,
}

/// A document.
#[derive(Debug, Serialize, Deserialize, FromRow, ToSchema)]
#[schema(as = KnowledgeDocument)]
pub struct DocumentView {
    /// Its name.
    pub path: String,
    /// ready: a document can be found as soon as it is stored.
    pub status: String,
    /// How many chunks it has.
    pub chunks: i32,
    /// The whole text; null in the answer to storing it.
    pub content: Option<String>,
    /// When it was stored.
    pub updated_at: DateTime<Utc>,
}

#[utoipa::path(post, path = "/projects/{project_id}/knowledge/documents", operation_id = "store_document", tag = "knowledge",
    params(("project_id" = Uuid, Path)), request_body = StoreDocument,
    responses((status = 201, body = DocumentView), (status = 404), (status = 409, description = "`path_taken`, `too_many_documents`"), (status = 422)))]
pub(super) async fn store_document(
    State(app): State<App>,
    scope: ProjectScope<Work>,
    key: Option<Idempotency>,
    ValidJson(body): ValidJson<StoreDocument>,
) -> Result<(StatusCode, Json<DocumentView>), ApiError> {
    let author = keyed(Author::of(scope.actor()), key, &body)?;
    let work = || keep(&app, author, scope.project(), (&body.path, &body.content));
    let view = idempotent(&app, author, work, |stored: DocumentView| async { Ok(stored) }).await?;
    Ok((StatusCode::CREATED, Json(view)))
}

#[utoipa::path(put, path = "/projects/{project_id}/knowledge/documents/{path}", operation_id = "put_document", tag = "knowledge",
    params(("project_id" = Uuid, Path), ("path" = String, Path, description = "Its name as one part of the URL: `/` is `%2F`")),
    request_body = PutDocument,
    responses((status = 200, body = DocumentView), (status = 404), (status = 409, description = "`path_taken`, `too_many_documents`"), (status = 422)))]
pub(super) async fn put_document(
    State(app): State<App>,
    scope: ProjectScope<Work>,
    Path((_project, path)): Path<(Uuid, String)>,
    key: Option<Idempotency>,
    ValidJson(body): ValidJson<PutDocument>,
) -> Result<Json<DocumentView>, ApiError> {
    let author = keyed(Author::of(scope.actor()), key, &body)?;
    let work = || keep(&app, author, scope.project(), (&path, &body.content));
    let view = idempotent(&app, author, work, |stored: DocumentView| async { Ok(stored) }).await?;
    Ok(Json(view))
}

#[utoipa::path(get, path = "/projects/{project_id}/knowledge/documents/{path}", operation_id = "show_document", tag = "knowledge",
    params(("project_id" = Uuid, Path), ("path" = String, Path, description = "Its name as one part of the URL: `/` is `%2F`")),
    responses((status = 200, body = DocumentView), (status = 404)))]
pub(super) async fn show_document(
    State(app): State<App>,
    scope: ProjectScope<View>,
    Path((_project, path)): Path<(Uuid, String)>,
) -> Result<Json<DocumentView>, ApiError> {
    let document = sqlx::query_as(
        "select path, status, chunks, content, updated_at from knowledge_source
         where project_id = $1 and origin = 'document' and path = $2",
    )
    .bind(scope.project().0)
    .bind(path)
    .fetch_optional(app.pool())
    .await?;
    document.map(Json).ok_or_else(no_document)
}

#[utoipa::path(delete, path = "/projects/{project_id}/knowledge/documents/{path}", operation_id = "delete_document", tag = "knowledge",
    params(("project_id" = Uuid, Path), ("path" = String, Path, description = "Its name as one part of the URL: `/` is `%2F`")),
    responses((status = 204), (status = 404)))]
pub(super) async fn delete_document(
    State(app): State<App>,
    scope: ProjectScope<Work>,
    Path((_project, path)): Path<(Uuid, String)>,
    key: Option<Idempotency>,
) -> Result<StatusCode, ApiError> {
    let author = keyed(Author::of(scope.actor()), key, &())?;
    let work = || remove(&app, author, scope.project(), &path);
    idempotent(&app, author, work, |()| async { Ok(()) }).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn no_document() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "not_found", "there is no document of this path here")
}

async fn keep(
    app: &App,
    author: Author,
    project: ProjectId,
    (path, content): (&str, &str),
) -> Result<DocumentView, ApiError> {
    let path = checked_path(path)?;
    let content = checked_content(content)?;
    let (name, text) = (path.clone(), content.clone());
    let chunks = tokio::task::spawn_blocking(move || chunk(&name, &text)).await;
    let chunks = chunks.map_err(|error| ApiError::internal(&error))?;
    retry_conflicts(|| async {
        let mut uow = app.store.begin(author);
        let view = write(&mut uow, project, (&path, &content), chunks.clone()).await?;
        Ok(uow.commit_with(view).await?)
    })
    .await
}

/// The path in its one plain form.
fn checked_path(path: &str) -> Result<String, ApiError> {
    let plain = path.len() <= MAX_PATH && !path.chars().any(char::is_control) && !path.contains('\\');
    match RepoPath::new(path) {
        Ok(path) if plain => Ok(path.as_str().to_owned()),
        _ => Err(ApiError::invalid("path", "must be a plain relative path, like notes/decisions.md")),
    }
}

fn checked_content(content: &str) -> Result<String, ApiError> {
    if content.trim().is_empty() {
        return Err(ApiError::invalid("content", "is empty"));
    }
    if content.len() > MAX_CONTENT {
        return Err(ApiError::invalid("content", format!("has more than {MAX_CONTENT} bytes: divide it")));
    }
    // PostgreSQL's text holds no NUL.
    Ok(content.replace('\0', "\u{fffd}"))
}

async fn write(
    uow: &mut Uow,
    project: ProjectId,
    (path, content): (&str, &str),
    chunks: Vec<Chunk>,
) -> Result<DocumentView, ApiError> {
    refuse_if_full_or_taken(uow, project, path).await?;
    let now = uow.now();
    let hash = content_hash(&hex::encode(Sha256::digest(content)));
    let count = i32::try_from(chunks.len()).unwrap_or(i32::MAX);
    let before: Option<String> = sqlx::query_scalar(
        "select content_hash from knowledge_source
         where project_id = $1 and origin = 'document' and path = $2 for update",
    )
    .bind(project.0)
    .bind(path)
    .fetch_optional(uow.conn().await?)
    .await?;
    sqlx::query(
        "insert into knowledge_source (project_id, origin, path, content_hash, content, chunks, status, updated_at)
         values ($1, 'document', $2, $3, $4, $5, 'ready', $6)
         on conflict (project_id, origin, path) do update
             set content_hash = excluded.content_hash, content = excluded.content, chunks = excluded.chunks,
                 status = excluded.status, updated_at = excluded.updated_at",
    )
    .bind(project.0)
    .bind(path)
    .bind(&hash)
    .bind(content)
    .bind(count)
    .bind(now)
    .execute(uow.conn().await?)
    .await?;
    // The same text again is no news.
    if before.as_ref() != Some(&hash) {
        store::replace(uow, project, Origin::Document, &[path.to_owned()], chunks).await?;
        let data = json!({ "path": path, "bytes": content.len(), "chunks": count, "new": before.is_none() });
        uow.announce(project, "knowledge", project, "knowledge.document_stored.v1", data);
    }
    Ok(DocumentView {
        path: path.to_owned(),
        status: "ready".into(),
        chunks: count,
        content: None,
        updated_at: now,
    })
}

async fn refuse_if_full_or_taken(uow: &mut Uow, project: ProjectId, path: &str) -> Result<(), ApiError> {
    let (taken, full): (bool, bool) = sqlx::query_as(
        "select exists (select from knowledge_source where project_id = $1 and origin = 'repository' and path = $2),
                (select count(*) from knowledge_source where project_id = $1 and origin = 'document' and path <> $2) >= $3",
    )
    .bind(project.0)
    .bind(path)
    .bind(MAX_DOCUMENTS)
    .fetch_one(uow.conn().await?)
    .await?;
    if taken {
        let detail = "this is a file of the repository: change it there, or choose another path";
        return Err(ApiError::conflict("path_taken", detail));
    }
    if full {
        let detail = format!("a project keeps at most {MAX_DOCUMENTS} documents: delete some first");
        return Err(ApiError::conflict("too_many_documents", detail));
    }
    Ok(())
}

async fn remove(app: &App, author: Author, project: ProjectId, path: &str) -> Result<(), ApiError> {
    retry_conflicts(|| async {
        let mut uow = app.store.begin(author);
        let paths = [path.to_owned()];
        if !queries::remove_sources(&mut uow, project, Origin::Document, &paths).await? {
            return Err(no_document());
        }
        let data = json!({ "path": path });
        uow.announce(project, "knowledge", project, "knowledge.document_deleted.v1", data);
        uow.commit().await?;
        Ok(())
    })
    .await
}
