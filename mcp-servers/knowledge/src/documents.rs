//! `ingest_content`, `update_content`, `delete_content`: documents that are not files of the repository.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use syndarix_mcp_kit::{ProjectCtx, RelPath, ToolFailure};

use crate::{api, list_sources::Page, project};

/// Largest document, in bytes: more is not a document but an archive.
const MAX_CONTENT_BYTES: usize = 1024 * 1024;
/// Longest path, in bytes: it is a name in lists and breadcrumbs.
const MAX_PATH_BYTES: usize = 512;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Document {
    /// Its name, like notes/decisions.md; the ending says how it is cut.
    path: String,
    /// The whole text.
    content: String,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeleteContent {
    /// Its name, as list_sources gives it.
    path: String,
}

/// What became of a document.
#[derive(Debug, Serialize)]
pub(crate) struct Stored {
    path: String,
    /// queued, indexing or ready: it is found once it is ready.
    status: String,
}

/// A document that is gone.
#[derive(Debug, Serialize)]
pub(crate) struct Deleted {
    path: String,
    deleted: bool,
}

pub(crate) async fn ingest_content((): (), ctx: ProjectCtx, args: Document) -> Result<Stored, ToolFailure> {
    store(&ctx, args).await
}

pub(crate) async fn update_content((): (), ctx: ProjectCtx, args: Document) -> Result<Stored, ToolFailure> {
    let path = checked_path(&args.path)?;
    let query = [("path", path.clone())];
    let page: Page = ctx.backend()?.get(&api(&project(&ctx), &["sources"]), &query).await?;
    if !page.items.iter().any(|source| source.path == path) {
        return Err(ToolFailure::not_found(format!(
            "There is no document `{path}`; add it with ingest_content, or see list_sources."
        )));
    }
    store(&ctx, args).await
}

pub(crate) async fn delete_content(
    (): (),
    ctx: ProjectCtx,
    args: DeleteContent,
) -> Result<Deleted, ToolFailure> {
    let path = checked_path(&args.path)?;
    let _: Value = ctx.backend()?.delete(&api(&project(&ctx), &["documents", &path])).await?;
    Ok(Deleted { path, deleted: true })
}

async fn store(ctx: &ProjectCtx, document: Document) -> Result<Stored, ToolFailure> {
    let path = checked_path(&document.path)?;
    if document.content.trim().is_empty() {
        return Err(ToolFailure::invalid("The content is empty; delete_content removes a document."));
    }
    if document.content.len() > MAX_CONTENT_BYTES {
        return Err(ToolFailure::too_large(format!(
            "The content is larger than {MAX_CONTENT_BYTES} bytes; divide it into several documents."
        )));
    }
    let body = json!({ "path": path, "content": document.content });
    let answer: Value = ctx.backend()?.post(&api(&project(ctx), &["documents"]), &body).await?;
    let status = answer.get("status").and_then(Value::as_str).unwrap_or("queued").to_owned();
    Ok(Stored { path, status })
}

/// The path in its one plain form.
fn checked_path(path: &str) -> Result<String, ToolFailure> {
    let plain = RelPath::parse(path)?;
    if plain.is_root() || path.len() > MAX_PATH_BYTES || path.chars().any(char::is_control) {
        return Err(ToolFailure::invalid(format!(
            "The path must be a plain name of at most {MAX_PATH_BYTES} bytes, like notes/decisions.md."
        )));
    }
    Ok(plain.to_string())
}
