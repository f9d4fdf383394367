//! `comment_issue`.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;
use syndarix_mcp_kit::{ProjectCtx, ToolFailure};

use crate::{
    tracker::{Tracker, check_body},
    view::{Comment, CommentView},
};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CommentIssue {
    /// The issue's number.
    number: u64,
    /// The comment. Markdown.
    body: String,
}

pub(crate) async fn comment_issue(
    (): (),
    ctx: ProjectCtx,
    args: CommentIssue,
) -> Result<CommentView, ToolFailure> {
    if args.body.trim().is_empty() {
        return Err(ToolFailure::invalid("The comment is empty."));
    }
    check_body(&args.body)?;
    let number = args.number.to_string();
    let comment: Comment =
        Tracker::of(&ctx).post(&[&number, "comments"], &json!({ "body": args.body })).await?;
    Ok(comment.into())
}
