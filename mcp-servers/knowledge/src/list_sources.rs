//! `list_sources`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use syndarix_mcp_kit::{ProjectCtx, ToolFailure};

use crate::{api, project};

/// Sources in one answer, at most.
const MAX_LIMIT: u32 = 200;
/// Sources in one answer, unless asked otherwise.
const DEFAULT_LIMIT: u32 = 100;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListSources {
    /// At most this many, 1 to 200; 100 by default.
    limit: Option<u32>,
    /// The `next_cursor` of the answer before.
    cursor: Option<String>,
}

/// An indexed file or document.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Source {
    pub(crate) path: String,
    chunks: u64,
    status: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    indexed_commit: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Page {
    pub(crate) items: Vec<Source>,
    #[serde(default)]
    next_cursor: Option<String>,
}

/// A list of sources.
#[derive(Debug, Serialize)]
pub(crate) struct Sources {
    sources: Vec<Source>,
    /// Give it as `cursor` to go on.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

pub(crate) async fn list_sources((): (), ctx: ProjectCtx, args: ListSources) -> Result<Sources, ToolFailure> {
    let limit = args.limit.unwrap_or(DEFAULT_LIMIT).clamp(1, MAX_LIMIT);
    let mut query = vec![("limit", limit.to_string())];
    query.extend(args.cursor.map(|cursor| ("cursor", cursor)));
    let page: Page = ctx.backend()?.get(&api(&project(&ctx), &["sources"]), &query).await?;
    Ok(Sources { sources: page.items, next_cursor: page.next_cursor })
}
