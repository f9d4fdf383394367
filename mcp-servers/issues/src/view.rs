//! Issues as a model gets to see them: little, bounded, and without invisible characters.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use syndarix_mcp_kit::take_text;

/// Longest text of an issue that is shown, in bytes.
const MAX_BODY_SHOWN: usize = 24 * 1024;
/// Longest text of a comment that is shown, in bytes.
const MAX_COMMENT_SHOWN: usize = 4 * 1024;

/// Open or closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum IssueState {
    Open,
    Closed,
}

impl IssueState {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closed => "closed",
        }
    }
}

/// An issue, as far as the backend's is needed.
#[derive(Debug, Deserialize)]
pub(crate) struct Issue {
    number: u64,
    title: String,
    #[serde(default)]
    body: Option<String>,
    state: String,
    #[serde(default, deserialize_with = "names")]
    labels: Vec<String>,
    #[serde(default, deserialize_with = "name")]
    assignee: Option<String>,
    #[serde(default, deserialize_with = "name")]
    author: Option<String>,
    #[serde(default)]
    updated_at: Option<String>,
}

/// A page of the backend.
#[derive(Debug, Deserialize)]
pub(crate) struct Page<T> {
    pub(crate) items: Vec<T>,
    #[serde(default)]
    pub(crate) next_cursor: Option<String>,
}

/// A comment, as far as the backend's is needed.
#[derive(Debug, Deserialize)]
pub(crate) struct Comment {
    #[serde(default, deserialize_with = "name")]
    author: Option<String>,
    body: String,
    #[serde(default, alias = "created_at")]
    at: Option<String>,
}

/// One line of a list.
#[derive(Debug, Serialize)]
pub(crate) struct IssueLine {
    number: u64,
    title: String,
    state: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    labels: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    assignee: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    updated_at: Option<String>,
}

/// A list of issues.
#[derive(Debug, Serialize)]
pub(crate) struct IssueList {
    issues: Vec<IssueLine>,
    /// Give it as `cursor` to go on.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

/// One issue in full.
#[derive(Debug, Serialize)]
pub(crate) struct IssueView {
    #[serde(flatten)]
    line: IssueLine,
    #[serde(skip_serializing_if = "Option::is_none")]
    author: Option<String>,
    body: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    body_truncated: bool,
    comments: Vec<CommentView>,
    /// Earlier comments that are not shown.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    more_comments: bool,
}

/// One comment.
#[derive(Debug, Serialize)]
pub(crate) struct CommentView {
    #[serde(skip_serializing_if = "Option::is_none")]
    author: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<String>,
    body: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    truncated: bool,
}

impl From<Issue> for IssueLine {
    fn from(issue: Issue) -> Self {
        Self {
            number: issue.number,
            title: visible(&issue.title),
            state: issue.state,
            labels: issue.labels,
            assignee: issue.assignee,
            updated_at: issue.updated_at,
        }
    }
}

impl From<Page<Issue>> for IssueList {
    fn from(page: Page<Issue>) -> Self {
        Self { issues: page.items.into_iter().map(IssueLine::from).collect(), next_cursor: page.next_cursor }
    }
}

impl From<Comment> for CommentView {
    fn from(comment: Comment) -> Self {
        let body = take_text(&visible(&comment.body), 0, MAX_COMMENT_SHOWN);
        Self { author: comment.author, at: comment.at, body: body.text, truncated: body.truncated }
    }
}

impl IssueView {
    pub(crate) fn new(mut issue: Issue, comments: Vec<Comment>, more_comments: bool) -> Self {
        let body = take_text(&visible(&issue.body.take().unwrap_or_default()), 0, MAX_BODY_SHOWN);
        Self {
            author: issue.author.take(),
            line: issue.into(),
            body: body.text,
            body_truncated: body.truncated,
            comments: comments.into_iter().map(CommentView::from).collect(),
            more_comments,
        }
    }
}

/// The text without what nobody can see: instructions hide in such characters.
fn visible(text: &str) -> String {
    text.chars().filter(|c| !is_hidden(*c)).collect()
}

fn is_hidden(c: char) -> bool {
    let control = c.is_control() && !matches!(c, '\n' | '\t');
    // Zero width, direction overrides, invisible operators, soft hyphen, fillers, tags, selectors.
    control
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{180e}' | '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}'
            | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

/// A name, given as text or as an object that has one.
fn name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(name_in(&Value::deserialize(deserializer)?))
}

fn names<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let values = Vec::<Value>::deserialize(deserializer)?;
    Ok(values.iter().filter_map(name_in).collect())
}

fn name_in(value: &Value) -> Option<String> {
    let name = value.as_str().or_else(|| value.get("name")?.as_str())?;
    Some(visible(name)).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_seen_is_taken_out_and_writing_stays() {
        let text = "Fix\u{200b} the\u{202e} bug\u{e0041}\u{0}\r\n\tplease: né, 日本, 👍, עברית";
        assert_eq!(visible(text), "Fix the bug\n\tplease: né, 日本, 👍, עברית");
    }
}
