//! `search_issues`.

use schemars::JsonSchema;
use serde::Deserialize;
use syndarix_mcp_kit::{ProjectCtx, ToolFailure};

use crate::{
    tracker::{MAX_WORD_CHARS, Tracker, limit},
    view::{Issue, IssueList, IssueState, Page},
};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SearchIssues {
    /// Words to look for.
    query: String,
    /// Only issues in this state; any by default.
    state: Option<IssueState>,
    /// At most this many, 1 to 100; 30 by default.
    limit: Option<u32>,
}

pub(crate) async fn search_issues(
    (): (),
    ctx: ProjectCtx,
    args: SearchIssues,
) -> Result<IssueList, ToolFailure> {
    if args.query.trim().is_empty() || args.query.chars().count() > MAX_WORD_CHARS {
        return Err(ToolFailure::invalid(format!(
            "Give 1 to {MAX_WORD_CHARS} characters to look for; list_issues lists without words."
        )));
    }
    let state = args.state.map_or("all", IssueState::as_str).to_owned();
    let query = [("q", args.query), ("state", state), ("limit", limit(args.limit).to_string())];
    let page: Page<Issue> = Tracker::of(&ctx).get(&[], &query).await?;
    Ok(page.into())
}
