//! What is indexed, how far the indexing is, and having it done again.

use super::{
    index,
    queries::{self, IndexRow, SourceRow},
};
use crate::{
    db::{Author, retry_conflicts},
    http::{ApiError, Edit, List, Page, ProjectScope, ValidQuery, View},
    state::App,
};
use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use syndarix_domain::ids::ProjectId;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

/// Which sources.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Filter {
    /// Of exactly this path only.
    path: Option<String>,
    /// In this status only: queued, indexing, ready, failed.
    status: Option<String>,
    /// At most this many items, 1 to 200.
    limit: Option<i64>,
    /// Go on where the last answer's `next_cursor` said.
    cursor: Option<String>,
}

/// A file or document.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = KnowledgeSource)]
pub struct SourceView {
    /// Its path, or a document's name.
    pub path: String,
    /// repository or document.
    pub origin: String,
    /// How many chunks it has.
    pub chunks: i64,
    /// queued, indexing, ready or failed.
    pub status: String,
    /// Why it failed, or why it has no text.
    pub detail: String,
    /// The commit it was indexed at; a document has none.
    pub indexed_commit: Option<String>,
    /// When that changed.
    pub updated_at: DateTime<Utc>,
}

/// How far the repository's index is.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = KnowledgeIndex)]
pub struct IndexView {
    /// queued, indexing, ready or failed.
    pub state: String,
    /// Why it failed, or what was left out.
    pub detail: String,
    /// The commit that is wholly indexed.
    pub indexed_commit: Option<String>,
    /// Files it will have.
    pub files_total: i64,
    /// Files it has.
    pub files_done: i64,
    /// When that changed.
    pub updated_at: DateTime<Utc>,
}

/// What is indexed.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = KnowledgeSources)]
pub struct Sources {
    /// The sources, by path.
    pub items: Vec<SourceView>,
    /// Where the next page begins; null on the last.
    pub next_cursor: Option<String>,
    /// How far the repository's index is; null before it was asked for.
    pub index: Option<IndexView>,
}

impl From<SourceRow> for SourceView {
    fn from(row: SourceRow) -> Self {
        Self {
            path: row.path,
            origin: row.origin,
            chunks: row.chunks.into(),
            status: row.status,
            detail: row.detail,
            indexed_commit: row.indexed_commit,
            updated_at: row.updated_at,
        }
    }
}

impl From<IndexRow> for IndexView {
    fn from(row: IndexRow) -> Self {
        Self {
            state: row.state,
            detail: row.detail,
            indexed_commit: row.indexed_commit,
            files_total: row.files_total.into(),
            files_done: row.files_done.into(),
            updated_at: row.updated_at,
        }
    }
}

#[utoipa::path(get, path = "/projects/{project_id}/knowledge/sources", operation_id = "list_knowledge_sources", tag = "knowledge",
    params(("project_id" = Uuid, Path), Filter), responses((status = 200, body = Sources), (status = 404)))]
pub(super) async fn list_sources(
    State(app): State<App>,
    scope: ProjectScope<View>,
    ValidQuery(filter): ValidQuery<Filter>,
) -> Result<Json<Sources>, ApiError> {
    let page = Page { limit: filter.limit, cursor: filter.cursor };
    let window = (page.limit()?, page.offset()?);
    let (path, status) = (filter.path.as_deref(), filter.status.as_deref());
    let rows = queries::sources(app.pool(), scope.project(), path, status, window).await?;
    let list = List::page(rows.into_iter().map(SourceView::from).collect(), &page)?;
    let index = queries::index(app.pool(), scope.project()).await?.map(IndexView::from);
    Ok(Json(Sources { items: list.items, next_cursor: list.next_cursor, index }))
}

/// How to index again.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Reindex {
    /// Cut every file again, not only the changed ones.
    #[serde(default)]
    force: bool,
}

#[utoipa::path(post, path = "/projects/{project_id}/knowledge/reindex", operation_id = "reindex_knowledge", tag = "knowledge",
    params(("project_id" = Uuid, Path), Reindex),
    responses((status = 202, body = IndexView), (status = 404), (status = 409, description = "`repository_not_ready`")))]
pub(super) async fn reindex(
    State(app): State<App>,
    scope: ProjectScope<Edit>,
    Path(_project): Path<Uuid>,
    ValidQuery(how): ValidQuery<Reindex>,
) -> Result<(StatusCode, Json<IndexView>), ApiError> {
    let why = if how.force { "force" } else { "asked" };
    retry_conflicts(|| async {
        let mut uow = app.store.begin(Author::of(scope.actor()));
        if !has_repository(&mut uow, scope.project()).await? {
            return Err(ApiError::conflict(
                "repository_not_ready",
                "the project's repository is not there yet: it is indexed as soon as it is",
            ));
        }
        index::enqueue(&mut uow, scope.project(), why, how.force).await?;
        uow.commit().await?;
        Ok(())
    })
    .await?;
    let index = queries::index(app.pool(), scope.project()).await?;
    let index = index.ok_or_else(|| ApiError::not_found("index"))?;
    Ok((StatusCode::ACCEPTED, Json(index.into())))
}

async fn has_repository(uow: &mut crate::db::Uow, project: ProjectId) -> Result<bool, ApiError> {
    let ready = sqlx::query_scalar("select repository_state = 'ready' from project where id = $1")
        .bind(project.0)
        .fetch_one(uow.conn().await?)
        .await?;
    Ok(ready)
}
