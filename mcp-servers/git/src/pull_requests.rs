//! Pull requests, which live in the backend: each tool is one call of its REST API with the caller's own token.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use syndarix_git::LogQuery;
use syndarix_mcp_kit::{ProjectCtx, ToolFailure, Trace};

use crate::state::{GitTools, current_branch, default_branch, failure};
use crate::status::changes;

/// Longest title, in characters.
const MAX_TITLE_CHARS: usize = 200;
/// Longest description or comment, in characters.
const MAX_BODY_CHARS: usize = 20_000;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateArguments {
    title: String,
    body: String,
    story_id: Option<String>,
}

#[derive(Serialize)]
struct NewPullRequest<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    story_id: Option<&'a str>,
    title: &'a str,
    body: &'a str,
    head_branch: &'a str,
}

#[derive(Debug, Serialize)]
pub(crate) struct Created {
    pull_request: Value,
    /// Work that is not part of it.
    uncommitted_files: usize,
}

pub(crate) async fn create_pull_request(
    tools: GitTools,
    ctx: ProjectCtx,
    args: CreateArguments,
) -> Result<Created, ToolFailure> {
    check_length("title", &args.title, MAX_TITLE_CHARS)?;
    check_length("body", &args.body, MAX_BODY_CHARS)?;
    let worktree = tools.worktree(&ctx)?;
    let current = current_branch(&ctx, &worktree).await?;
    let default = default_branch(&worktree).await?;
    let new = LogQuery { limit: 1, not_in: Some(default.head), ..LogQuery::default() };
    if worktree.log(&current.head, &new).await.map_err(failure)?.is_empty() {
        return Err(ToolFailure::conflict(format!(
            "The branch {} has no commits beyond {}; commit your changes first.",
            current.branch, default.branch
        )));
    }
    let uncommitted_files = changes(&worktree).await.map_err(failure)?.len();
    let body = NewPullRequest {
        story_id: args.story_id.as_deref(),
        title: &args.title,
        body: &args.body,
        head_branch: current.branch.as_str(),
    };
    let project = ctx.project().to_string();
    let pull_request = ctx.backend()?.post(&path(&project, &[]), &body).await?;
    Ok(Created { pull_request, uncommitted_files })
}

/// Whether the branch has an open pull request: it can have one only.
pub(crate) async fn trace_pull_request(
    tools: GitTools,
    ctx: ProjectCtx,
    _: CreateArguments,
) -> Result<Trace<Created>, ToolFailure> {
    let worktree = tools.worktree(&ctx)?;
    let current = current_branch(&ctx, &worktree).await?;
    let project = ctx.project().to_string();
    let listed: Value = ctx.backend()?.get(&path(&project, &[]), &[]).await?;
    let open = |found: &&Value| {
        found["head_branch"] == current.branch.as_str()
            && !matches!(found["state"].as_str(), Some("merged" | "closed"))
    };
    let found = listed["items"].as_array().and_then(|items| items.iter().find(open)).cloned();
    let Some(pull_request) = found else { return Ok(Trace::NotFound) };
    let uncommitted_files = changes(&worktree).await.map_err(failure)?.len();
    Ok(Trace::Found(Created { pull_request, uncommitted_files }))
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListArguments {
    state: Option<String>,
    story_id: Option<String>,
}

pub(crate) async fn list_pull_requests(
    _: GitTools,
    ctx: ProjectCtx,
    args: ListArguments,
) -> Result<Value, ToolFailure> {
    let query: Vec<(&str, String)> = [("state", args.state), ("story_id", args.story_id)]
        .into_iter()
        .filter_map(|(k, v)| Some((k, v?)))
        .collect();
    let project = ctx.project().to_string();
    let found: Value = ctx.backend()?.get(&path(&project, &[]), &query).await?;
    Ok(object(found, "pull_requests"))
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct GetArguments {
    id: String,
}

pub(crate) async fn get_pull_request(
    _: GitTools,
    ctx: ProjectCtx,
    args: GetArguments,
) -> Result<Value, ToolFailure> {
    let project = ctx.project().to_string();
    let found: Value = ctx.backend()?.get(&path(&project, &[&args.id]), &[]).await?;
    Ok(object(found, "pull_request"))
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CommentArguments {
    id: String,
    body: String,
}

pub(crate) async fn comment_on_pull_request(
    _: GitTools,
    ctx: ProjectCtx,
    args: CommentArguments,
) -> Result<Value, ToolFailure> {
    check_length("body", &args.body, MAX_BODY_CHARS)?;
    let project = ctx.project().to_string();
    let at = path(&project, &[&args.id, "comments"]);
    let made: Value = ctx.backend()?.post(&at, &json!({ "body": args.body })).await?;
    Ok(object(made, "comment"))
}

fn path<'a>(project: &'a str, rest: &[&'a str]) -> Vec<&'a str> {
    let mut path = vec!["api", "v1", "projects", project, "pull-requests"];
    path.extend(rest);
    path
}

/// Tools answer with objects; what is none becomes the only field of one.
fn object(value: Value, field: &str) -> Value {
    if value.is_object() { value } else { json!({ field: value }) }
}

fn check_length(what: &str, text: &str, max: usize) -> Result<(), ToolFailure> {
    match text.trim().chars().count() {
        0 => Err(ToolFailure::invalid(format!("The {what} is empty."))),
        length if length > max => {
            Err(ToolFailure::too_large(format!("The {what} has {length} characters; {max} are allowed.")))
        }
        _ => Ok(()),
    }
}
