//! `create_issue`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use syndarix_mcp_kit::{ProjectCtx, ToolFailure};

use crate::{
    tracker::{Tracker, check_body, check_labels, check_title},
    view::{Issue, IssueLine},
};

#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateIssue {
    /// One line, at most 200 characters.
    title: String,
    /// What is the case, what should be, how to see it. Markdown.
    #[serde(default)]
    body: String,
    /// Labels, at most 20.
    #[serde(default)]
    labels: Vec<String>,
}

pub(crate) async fn create_issue(
    (): (),
    ctx: ProjectCtx,
    args: CreateIssue,
) -> Result<IssueLine, ToolFailure> {
    check_title(&args.title)?;
    check_body(&args.body)?;
    check_labels(&args.labels)?;
    let issue: Issue = Tracker::of(&ctx).post(&[], &args).await?;
    Ok(issue.into())
}
