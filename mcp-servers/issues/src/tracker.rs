//! Where the tracker is in the backend's API, and what it accepts.

use serde::{Serialize, de::DeserializeOwned};
use syndarix_mcp_kit::{ProjectCtx, ToolFailure};

/// Longest title, in characters.
pub(crate) const MAX_TITLE_CHARS: usize = 200;
/// Longest text of an issue or a comment, in bytes.
pub(crate) const MAX_BODY_BYTES: usize = 64 * 1024;
/// Most labels on an issue.
pub(crate) const MAX_LABELS: usize = 20;
/// Longest label, assignee or search, in characters.
pub(crate) const MAX_WORD_CHARS: usize = 200;
/// Issues in one answer, at most.
const MAX_LIMIT: u32 = 100;
/// Issues in one answer, unless asked otherwise.
const DEFAULT_LIMIT: u32 = 30;

/// The tracker of the call's project.
pub(crate) struct Tracker<'a> {
    ctx: &'a ProjectCtx,
    project: String,
}

impl<'a> Tracker<'a> {
    pub(crate) fn of(ctx: &'a ProjectCtx) -> Self {
        Self { ctx, project: ctx.project().to_string() }
    }

    pub(crate) async fn get<T: DeserializeOwned>(
        &self,
        below: &[&str],
        query: &[(&str, String)],
    ) -> Result<T, ToolFailure> {
        self.ctx.backend()?.get(&self.path(below), query).await
    }

    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        below: &[&str],
        body: &impl Serialize,
    ) -> Result<T, ToolFailure> {
        self.ctx.backend()?.post(&self.path(below), body).await
    }

    pub(crate) async fn patch<T: DeserializeOwned>(
        &self,
        below: &[&str],
        body: &impl Serialize,
    ) -> Result<T, ToolFailure> {
        self.ctx.backend()?.patch(&self.path(below), body).await
    }

    fn path<'b>(&'b self, below: &[&'b str]) -> Vec<&'b str> {
        [&["api", "v1", "projects", &self.project, "issues"], below].concat()
    }
}

/// A page size within bounds.
pub(crate) fn limit(asked: Option<u32>) -> u32 {
    asked.unwrap_or(DEFAULT_LIMIT).clamp(1, MAX_LIMIT)
}

pub(crate) fn check_title(title: &str) -> Result<(), ToolFailure> {
    if title.trim().is_empty() || title.chars().count() > MAX_TITLE_CHARS || title.contains('\n') {
        return Err(ToolFailure::invalid(format!(
            "The title must be one line of 1 to {MAX_TITLE_CHARS} characters."
        )));
    }
    Ok(())
}

pub(crate) fn check_body(body: &str) -> Result<(), ToolFailure> {
    if body.len() > MAX_BODY_BYTES {
        return Err(ToolFailure::too_large(format!(
            "The text is longer than {MAX_BODY_BYTES} bytes; shorten it."
        )));
    }
    Ok(())
}

pub(crate) fn check_labels(labels: &[String]) -> Result<(), ToolFailure> {
    let bad = |label: &String| label.trim().is_empty() || label.chars().count() > MAX_WORD_CHARS;
    if labels.len() > MAX_LABELS || labels.iter().any(bad) {
        return Err(ToolFailure::invalid(format!(
            "Give at most {MAX_LABELS} labels of 1 to {MAX_WORD_CHARS} characters."
        )));
    }
    Ok(())
}
