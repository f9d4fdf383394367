//! Search: BM25 over the project's chunks.

use super::{
    query::{MAX_QUERY, Query},
    snippet::snippet,
};
use crate::{
    http::{ApiError, ProjectScope, ValidQuery, View},
    state::App,
};
use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use sqlx::{FromRow, PgPool};
use syndarix_domain::ids::ProjectId;
use utoipa::{IntoParams, ToSchema};

/// Results in one answer, at most.
const MAX_LIMIT: i64 = 100;
/// Results when nothing is said.
const DEFAULT_LIMIT: i64 = 10;
/// How soon a word's repetition stops adding (the usual value).
const K1: f64 = 1.2;
/// How much a long chunk is discounted (the usual value).
const B: f64 = 0.75;
/// Postings after which one search takes no further word: rare words come first, and what is in every third chunk
/// tells next to nothing.
const POSTINGS: i64 = 60_000;

/// What to look for.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// A question or names: any word is enough, rare ones count more; `"a phrase"` must be there, `-word` must not.
    q: String,
    /// At most this many results, 1 to 100; 10 when nothing is said.
    limit: Option<i64>,
    /// Only `code` or only `doc`.
    #[param(inline)]
    kind: Option<Kind>,
    /// Only this language, such as rust or markdown.
    language: Option<String>,
    /// Only paths that begin like this.
    path: Option<String>,
}

/// Code or prose.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    /// Source code, configuration, data.
    Code,
    /// Text for people.
    Doc,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Code => "code",
            Self::Doc => "doc",
        }
    }
}

/// What was found, best first.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = KnowledgeHits)]
pub struct Hits {
    /// The places.
    pub items: Vec<Hit>,
}

/// A place that was found.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = KnowledgeHit)]
pub struct Hit {
    /// The file or document.
    pub path: String,
    /// repository or document.
    pub origin: String,
    /// First line of the chunk, from 1.
    pub start_line: i64,
    /// Last line of the chunk.
    pub end_line: i64,
    /// code or doc.
    pub kind: String,
    /// The language, lower case.
    pub language: String,
    /// Where in the file: `src/a.rs > impl Store > open`.
    pub breadcrumb: String,
    /// The part that shows why it was found.
    pub snippet: String,
    /// The snippet's first line in the file.
    pub snippet_line: i64,
    /// How well it fits; comparable within one answer only.
    pub score: f64,
    /// What the score is made of.
    pub score_parts: ScoreParts,
}

/// What a score is made of.
#[derive(Debug, Serialize, ToSchema)]
pub struct ScoreParts {
    /// BM25 of the words.
    pub keyword: f64,
    /// Nearness in meaning; null while no embeddings are configured.
    pub vector: Option<f64>,
}

#[derive(Debug, FromRow)]
struct Row {
    path: String,
    origin: String,
    start_line: i32,
    end_line: i32,
    kind: String,
    language: String,
    breadcrumb: String,
    body: String,
    score: f64,
}

#[utoipa::path(get, path = "/projects/{project_id}/knowledge/search", operation_id = "search_knowledge", tag = "knowledge",
    params(("project_id" = uuid::Uuid, Path), Wanted),
    responses((status = 200, body = Hits), (status = 404), (status = 422)))]
pub(super) async fn search_knowledge(
    State(app): State<App>,
    scope: ProjectScope<View>,
    ValidQuery(wanted): ValidQuery<Wanted>,
) -> Result<Json<Hits>, ApiError> {
    let limit = wanted.limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(ApiError::invalid("limit", format!("must be from 1 to {MAX_LIMIT}")));
    }
    if wanted.q.trim().is_empty() || wanted.q.chars().count() > MAX_QUERY {
        return Err(ApiError::invalid("q", format!("must have 1 to {MAX_QUERY} characters")));
    }
    let query = Query::parse(&wanted.q);
    let rows = ranked(app.pool(), scope.project(), &wanted, &query, limit).await?;
    Ok(Json(Hits { items: rows.into_iter().map(|row| hit(row, &query)).collect() }))
}

fn hit(row: Row, query: &Query) -> Hit {
    let shown = snippet(&row.body, &query.words);
    Hit {
        snippet_line: i64::from(row.start_line) + i64::try_from(shown.offset).unwrap_or_default(),
        snippet: shown.text,
        path: row.path,
        origin: row.origin,
        start_line: row.start_line.into(),
        end_line: row.end_line.into(),
        kind: row.kind,
        language: row.language,
        breadcrumb: row.breadcrumb,
        score: row.score,
        score_parts: ScoreParts { keyword: row.score, vector: None },
    }
}

// Scores are rounded before they are compared: floats are added in no particular order, and equal chunks must come
// in the same order every time. Without a filter the best hundred are enough to fetch texts for.
const RANKED: &str = "
    with word as (
        select lexeme as term from unnest(to_tsvector('english', $2))
    ), known as (
        select word.term, seen.n
        from word cross join lateral (
            select count(*) as n from (
                select from knowledge_posting posting
                where posting.project_id = $1 and posting.term = word.term limit $10
            ) bounded
        ) seen
        where seen.n > 0
    ), chosen as (
        select term, n from (
            select term, n, sum(n) over (order by n, term) - n as read_before from known
        ) counted
        where read_before < $10
    ), corpus as (
        select chunks::float8 as chunks, words::float8 / greatest(chunks, 1) as average_length
        from knowledge_statistics where project_id = $1
    ), scored as (
        select posting.chunk,
               round(sum(
                   ln(1 + (corpus.chunks - chosen.n + 0.5) / (chosen.n + 0.5))
                   * posting.frequency * ($11 + 1)
                   / (posting.frequency
                      + $11 * (1 - $12 + $12 * posting.length / corpus.average_length))
               )::numeric, 4)::float8 as score
        from chosen
        join knowledge_posting posting on posting.project_id = $1 and posting.term = chosen.term
        cross join corpus
        group by posting.chunk
    ), best as (
        select chunk, score from scored order by score desc, chunk limit $9
    )
    select chunk.path, chunk.origin, chunk.start_line, chunk.end_line, chunk.kind, chunk.language, chunk.breadcrumb,
           chunk.body, best.score
    from best join knowledge_chunk chunk on chunk.id = best.chunk and chunk.project_id = $1
    where ($3::text is null or chunk.kind = $3)
      and ($4::text is null or chunk.language = $4)
      and ($5::text is null or starts_with(chunk.path, $5))
      and chunk.body ilike all ($6)
      and ($7::text is null
           or not chunk.search @@ replace(plainto_tsquery('english', $7)::text, '&', '|')::tsquery)
    order by best.score desc, chunk.path, chunk.start_line, chunk.origin
    limit $8";

async fn ranked(
    pool: &PgPool,
    project: ProjectId,
    wanted: &Wanted,
    query: &Query,
    limit: i64,
) -> Result<Vec<Row>, ApiError> {
    let filtered = wanted.kind.is_some()
        || wanted.language.is_some()
        || wanted.path.is_some()
        || !query.phrases.is_empty()
        || query.excluded.is_some();
    let rows = sqlx::query_as(RANKED)
        .bind(project.0)
        .bind(&query.words)
        .bind(wanted.kind.map(Kind::name))
        .bind(wanted.language.as_deref())
        .bind(wanted.path.as_deref())
        .bind(&query.phrases)
        .bind(query.excluded.as_deref())
        .bind(limit)
        .bind((!filtered).then_some(MAX_LIMIT))
        .bind(POSTINGS)
        .bind(K1)
        .bind(B)
        .fetch_all(pool)
        .await?;
    Ok(rows)
}
