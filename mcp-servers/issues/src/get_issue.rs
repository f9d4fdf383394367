//! `get_issue`.

use schemars::JsonSchema;
use serde::Deserialize;
use syndarix_mcp_kit::{ProjectCtx, ToolFailure};

use crate::{
    tracker::Tracker,
    view::{Comment, Issue, IssueView, Page},
};

/// Comments that are shown: the discussion's end is what matters.
const COMMENTS_SHOWN: usize = 20;
/// Comments that are read from the backend to find the latest.
const COMMENTS_READ: usize = 100;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct GetIssue {
    /// The issue's number.
    number: u64,
}

pub(crate) async fn get_issue((): (), ctx: ProjectCtx, args: GetIssue) -> Result<IssueView, ToolFailure> {
    let tracker = Tracker::of(&ctx);
    let number = args.number.to_string();
    let issue: Issue = tracker.get(&[&number], &[]).await?;
    let limit = [("limit", COMMENTS_READ.to_string())];
    let page: Page<Comment> = tracker.get(&[&number, "comments"], &limit).await?;
    let mut comments = page.items;
    let earlier = comments.len().saturating_sub(COMMENTS_SHOWN);
    comments.drain(..earlier);
    Ok(IssueView::new(issue, comments, earlier > 0 || page.next_cursor.is_some()))
}
