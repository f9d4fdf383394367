//! `search_knowledge`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use syndarix_mcp_kit::{ProjectCtx, ToolFailure, take_text};

use crate::{api, chunk::ChunkKind, project};

/// Longest question, in characters.
const MAX_QUERY_CHARS: usize = 1_000;
/// Results at most: more than a model reads with care.
const MAX_LIMIT: u32 = 30;
/// Results unless asked otherwise.
const DEFAULT_LIMIT: u32 = 8;
/// Longest piece of text of one result, in bytes; the file can be read for the rest.
const MAX_SNIPPET_BYTES: usize = 1_500;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SearchKnowledge {
    /// A question, or words such as names in the code.
    query: String,
    /// At most this many results, 1 to 30; 8 by default.
    limit: Option<u32>,
    /// Only code, or only documents.
    kind: Option<Kind>,
}

#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Code,
    Doc,
}

impl From<Kind> for ChunkKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Code => Self::Code,
            Kind::Doc => Self::Doc,
        }
    }
}

/// A place that was found.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Hit {
    path: String,
    start_line: u64,
    end_line: u64,
    kind: String,
    #[serde(default)]
    breadcrumb: String,
    snippet: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    truncated: bool,
    score: f64,
}

/// What was found, best first.
#[derive(Debug, Serialize)]
pub(crate) struct Hits {
    results: Vec<Hit>,
}

#[derive(Deserialize)]
struct Page {
    items: Vec<Hit>,
}

pub(crate) async fn search_knowledge(
    (): (),
    ctx: ProjectCtx,
    args: SearchKnowledge,
) -> Result<Hits, ToolFailure> {
    if args.query.trim().is_empty() || args.query.chars().count() > MAX_QUERY_CHARS {
        return Err(ToolFailure::invalid(format!("Give 1 to {MAX_QUERY_CHARS} characters to look for.")));
    }
    let limit = args.limit.unwrap_or(DEFAULT_LIMIT).clamp(1, MAX_LIMIT);
    let mut query = vec![("q", args.query), ("limit", limit.to_string())];
    query.extend(args.kind.map(|kind| ("kind", ChunkKind::from(kind).as_str().to_owned())));
    let page: Page = ctx.backend()?.get(&api(&project(&ctx), &["search"]), &query).await?;
    Ok(Hits { results: page.items.into_iter().map(shortened).collect() })
}

fn shortened(hit: Hit) -> Hit {
    let piece = take_text(&hit.snippet, 0, MAX_SNIPPET_BYTES);
    Hit { snippet: piece.text, truncated: piece.truncated, ..hit }
}
