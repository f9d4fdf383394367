//! `list_branches`, `create_branch`, `checkout`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use syndarix_git::{BranchName, Call, Expected, ObjectId, RefUpdate, Worktree};
use syndarix_mcp_kit::{ProjectCtx, ToolFailure};

use crate::state::{GitTools, commit_of, date, failure, refusal};

/// Most branches in one answer.
const MAX_BRANCHES: usize = 200;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListArguments {
    contains: Option<String>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Branches {
    current: Option<String>,
    default: String,
    #[serde(rename = "branches")]
    listed: Vec<Listed>,
    truncated: bool,
}

#[derive(Debug, Serialize)]
struct Listed {
    name: String,
    head: ObjectId,
    date: String,
}

pub(crate) async fn list_branches(
    tools: GitTools,
    ctx: ProjectCtx,
    args: ListArguments,
) -> Result<Branches, ToolFailure> {
    let worktree = tools.worktree(&ctx)?;
    let mut branches = worktree.branches().await.map_err(failure)?;
    if let Some(text) = &args.contains {
        branches.retain(|branch| branch.name.as_str().contains(text.as_str()));
    }
    let truncated = branches.len() > MAX_BRANCHES;
    branches.truncate(MAX_BRANCHES);
    let list = |branch: syndarix_git::Branch| Listed {
        name: branch.name.into(),
        head: branch.head,
        date: date(branch.committed_at),
    };
    Ok(Branches {
        current: worktree.current_branch().await.map_err(failure)?.map(String::from),
        default: worktree.default_branch().await.map_err(failure)?.into(),
        listed: branches.into_iter().map(list).collect(),
        truncated,
    })
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateArguments {
    name: String,
    from: Option<String>,
}

#[derive(Debug, Serialize)]
pub(crate) struct CheckedOut {
    branch: Option<String>,
    head: ObjectId,
    created: bool,
}

pub(crate) async fn create_branch(
    tools: GitTools,
    ctx: ProjectCtx,
    args: CreateArguments,
) -> Result<CheckedOut, ToolFailure> {
    let branch = tools.branch_to_make(&ctx, &args.name)?;
    let worktree = tools.worktree(&ctx)?;
    let from = commit_of(&worktree, args.from.as_deref()).await?;
    let refs = worktree.lock().await.map_err(failure)?;
    let update = worktree.update_branch(&branch, &from, &Expected::Missing, &refs).await;
    drop(refs);
    let created = match update.map_err(|error| refusal(error, &worktree))? {
        RefUpdate::Done => true,
        // Made before, perhaps by this very step: being on it, or its holding the commit, is what was asked for.
        RefUpdate::Moved(Some(head)) if worktree.is_ancestor(&from, &head).await.map_err(failure)? => false,
        RefUpdate::Moved(_) => {
            return Err(ToolFailure::conflict(format!(
                "A branch {branch} exists already with other commits; choose another name, or checkout it."
            )));
        }
    };
    switch(&worktree, &Target::Branch(branch)).await?;
    shown(&worktree, created).await
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CheckoutArguments {
    target: String,
}

pub(crate) async fn checkout(
    tools: GitTools,
    ctx: ProjectCtx,
    args: CheckoutArguments,
) -> Result<CheckedOut, ToolFailure> {
    let worktree = tools.worktree(&ctx)?;
    let branch =
        BranchName::new(args.target.as_str()).ok().filter(|branch| ctx.branch() == Some(branch.as_str()));
    let target = match branch {
        Some(branch) if worktree.branch_head(&branch).await.map_err(failure)?.is_some() => {
            Target::Branch(branch)
        }
        // Branches of people and of other stories, the default branch above all, are looked at without being on them.
        _ => Target::Commit(commit_of(&worktree, Some(&args.target)).await?),
    };
    switch(&worktree, &target).await?;
    shown(&worktree, false).await
}

enum Target {
    Branch(BranchName),
    Commit(ObjectId),
}

async fn switch(worktree: &Worktree, target: &Target) -> Result<(), ToolFailure> {
    let lock = worktree.lock_files().await.map_err(failure)?;
    let call = Call::new("switch", worktree.place()).flags(&["--quiet", "--no-guess"]).timeout(crate::SLOW);
    let call = match target {
        Target::Branch(branch) => call.operand(branch.as_str()),
        Target::Commit(id) => call.flags(&["--detach"]).operand(id.as_str()),
    };
    let call = call.input(lock.handed_on().map_err(failure)?);
    worktree.run(call).await.map(drop).map_err(|error| refusal(error, worktree))
}

async fn shown(worktree: &Worktree, created: bool) -> Result<CheckedOut, ToolFailure> {
    Ok(CheckedOut {
        branch: worktree.current_branch().await.map_err(failure)?.map(String::from),
        head: worktree.head().await.map_err(failure)?,
        created,
    })
}
