//! What a project knows: its repository and its documents, cut into chunks and found by their words.
//!
//! Invariants: a chunk belongs to one source of one project, and goes when its source goes; what is indexed is the
//! default branch, brought up to date after every merge by content hash, so that a file that did not change costs
//! nothing; a file's old chunks are found until its new ones are, in one transaction; the index is derived and has
//! no events of its own, documents are somebody's words and have them.
//!
//! Ranking is BM25 over a posting table in plain SQL: PostgreSQL's own `ts_rank_cd` knows neither how rare a word is
//! nor how long a chunk, and asking for all words at once finds nothing for most questions. Identifiers are
//! split on both sides, and the whole name is kept.
//!
//! The vector half has its place and no more: `knowledge_chunk.embedding` with the model beside it (kept for a chunk
//! whose text did not change), and `ScoreParts::vector` in every result. Whoever adds it embeds in the indexing job
//! after a batch is stored, and fuses in `search` by min-max over the best of each half.
//!
//! Jobs: `knowledge.index` (index). Events: `knowledge.document_stored`, `knowledge.document_deleted`.

mod documents;
mod index;
mod queries;
mod query;
mod search;
mod select;
mod snippet;
mod sources;
mod store;

pub use documents::{DocumentView, PutDocument, StoreDocument};
pub use index::index_soon;
pub use search::{Hit, Hits, ScoreParts};
pub use sources::{IndexView, SourceView, Sources};

use crate::state::App;
use axum::extract::DefaultBodyLimit;
use utoipa_axum::{router::OpenApiRouter, routes};

/// The operations of this feature.
pub fn routes() -> OpenApiRouter<App> {
    let documents = OpenApiRouter::new()
        .routes(routes!(documents::store_document))
        .routes(routes!(documents::show_document, documents::put_document, documents::delete_document))
        .layer(DefaultBodyLimit::max(documents::MAX_REQUEST));
    OpenApiRouter::new()
        .routes(routes!(search::search_knowledge))
        .routes(routes!(sources::list_sources))
        .routes(routes!(sources::reindex))
        .merge(documents)
}

/// The jobs of this feature.
pub fn jobs(app: &App, registry: syndarix_jobs::Registry) -> syndarix_jobs::Registry {
    registry.with(index::KIND, index::Index::new(app))
}
