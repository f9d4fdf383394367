//! `update_issue`: also closes, reopens, labels and assigns.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use syndarix_mcp_kit::{ProjectCtx, ToolFailure};

use crate::{
    tracker::{MAX_WORD_CHARS, Tracker, check_body, check_labels, check_title},
    view::{Issue, IssueLine, IssueState},
};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct UpdateIssue {
    /// The issue's number.
    number: u64,
    /// New title, one line.
    title: Option<String>,
    /// New text; replaces the old one.
    body: Option<String>,
    /// open or closed.
    state: Option<IssueState>,
    /// All labels it shall have; replaces the old ones.
    labels: Option<Vec<String>>,
    /// Who shall do it; empty for nobody.
    assignee: Option<String>,
}

pub(crate) async fn update_issue(
    (): (),
    ctx: ProjectCtx,
    args: UpdateIssue,
) -> Result<IssueLine, ToolFailure> {
    let number = args.number.to_string();
    let changes = changes(args)?;
    let issue: Issue = Tracker::of(&ctx).patch(&[&number], &changes).await?;
    Ok(issue.into())
}

fn changes(args: UpdateIssue) -> Result<Map<String, Value>, ToolFailure> {
    let mut changes = Map::new();
    let mut put = |name: &str, value: Value| changes.insert(name.to_owned(), value);
    if let Some(title) = args.title {
        check_title(&title)?;
        put("title", json!(title));
    }
    if let Some(body) = args.body {
        check_body(&body)?;
        put("body", json!(body));
    }
    if let Some(state) = args.state {
        put("state", json!(state));
    }
    if let Some(labels) = args.labels {
        check_labels(&labels)?;
        put("labels", json!(labels));
    }
    if let Some(assignee) = args.assignee {
        if assignee.chars().count() > MAX_WORD_CHARS {
            return Err(ToolFailure::invalid("The assignee's name is too long."));
        }
        put("assignee", if assignee.is_empty() { Value::Null } else { json!(assignee) });
    }
    if changes.is_empty() {
        return Err(ToolFailure::invalid("Nothing to change: give title, body, state, labels or assignee."));
    }
    Ok(changes)
}
