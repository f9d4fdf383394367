//! `log` and `show`: the commits behind a revision.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use syndarix_git::{LogEntry, LogQuery, ObjectId};
use syndarix_mcp_kit::{ProjectCtx, ToolFailure, take_text};

use crate::diff::{DiffPage, page, parse_paths};
use crate::state::{GitTools, commit_of, date, failure};

/// Commits in one answer unless asked otherwise, and at most.
const DEFAULT_COMMITS: u32 = 20;
const MAX_COMMITS: u32 = 100;
/// Bytes of a message's body in a list, and when one commit is shown.
const LIST_BODY_BYTES: usize = 300;
const SHOWN_BODY_BYTES: usize = 8 * 1024;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LogArguments {
    revision: Option<String>,
    path: Option<String>,
    #[schemars(with = "Option<i64>")]
    limit: Option<u32>,
    #[schemars(with = "Option<i64>")]
    skip: Option<u32>,
}

#[derive(Debug, Serialize)]
pub(crate) struct LogPage {
    commits: Vec<Commit>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_skip: Option<u32>,
}

#[derive(Debug, Serialize)]
struct Commit {
    id: ObjectId,
    parents: Vec<ObjectId>,
    author: String,
    date: String,
    subject: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    body: String,
}

impl Commit {
    fn of(entry: LogEntry, max_body: usize) -> Self {
        Self {
            id: entry.id,
            parents: entry.parents,
            author: entry.author,
            date: date(entry.authored_at),
            subject: entry.subject,
            body: take_text(&entry.body, 0, max_body).text,
        }
    }
}

pub(crate) async fn log(
    tools: GitTools,
    ctx: ProjectCtx,
    args: LogArguments,
) -> Result<LogPage, ToolFailure> {
    let worktree = tools.worktree(&ctx)?;
    let from = commit_of(&worktree, args.revision.as_deref()).await?;
    let limit = args.limit.unwrap_or(DEFAULT_COMMITS).clamp(1, MAX_COMMITS);
    let skip = args.skip.unwrap_or(0);
    let paths = parse_paths(args.path.as_ref().map(std::slice::from_ref))?;
    // One more than asked tells whether there are more.
    let query = LogQuery { limit: limit + 1, skip, paths, not_in: None };
    let mut entries = worktree.log(&from, &query).await.map_err(failure)?;
    let more = entries.len() > limit as usize;
    entries.truncate(limit as usize);
    Ok(LogPage {
        commits: entries.into_iter().map(|entry| Commit::of(entry, LIST_BODY_BYTES)).collect(),
        next_skip: more.then_some(skip.saturating_add(limit)),
    })
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ShowArguments {
    revision: String,
    #[schemars(with = "Option<i64>")]
    offset: Option<usize>,
}

#[derive(Debug, Serialize)]
pub(crate) struct ShownCommit {
    commit: Commit,
    diff: DiffPage,
}

pub(crate) async fn show(
    tools: GitTools,
    ctx: ProjectCtx,
    args: ShowArguments,
) -> Result<ShownCommit, ToolFailure> {
    let worktree = tools.worktree(&ctx)?;
    let id = commit_of(&worktree, Some(&args.revision)).await?;
    let entry = worktree.commit(&id).await.map_err(failure)?;
    let from = match entry.parents.first() {
        Some(parent) => parent.clone(),
        None => worktree.empty_tree().await.map_err(failure)?,
    };
    let diff = page(&worktree, &from, Some(&id), args.offset, &[]).await?;
    Ok(ShownCommit { commit: Commit::of(entry, SHOWN_BODY_BYTES), diff })
}
