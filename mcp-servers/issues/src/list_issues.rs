//! `list_issues`.

use schemars::JsonSchema;
use serde::Deserialize;
use syndarix_mcp_kit::{ProjectCtx, ToolFailure};

use crate::{
    tracker::{Tracker, limit},
    view::{Issue, IssueList, IssueState, Page},
};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListIssues {
    /// Only issues in this state; open by default.
    state: Option<IssueState>,
    /// Only issues with this label.
    label: Option<String>,
    /// Only issues of this assignee.
    assignee: Option<String>,
    /// At most this many, 1 to 100; 30 by default.
    limit: Option<u32>,
    /// The `next_cursor` of the answer before.
    cursor: Option<String>,
}

pub(crate) async fn list_issues((): (), ctx: ProjectCtx, args: ListIssues) -> Result<IssueList, ToolFailure> {
    let state = args.state.unwrap_or(IssueState::Open).as_str();
    let mut query = vec![("state", state.to_owned()), ("limit", limit(args.limit).to_string())];
    let optional = [("label", args.label), ("assignee", args.assignee), ("cursor", args.cursor)];
    query.extend(optional.into_iter().filter_map(|(name, value)| Some((name, value?))));
    let page: Page<Issue> = Tracker::of(&ctx).get(&[], &query).await?;
    Ok(page.into())
}
