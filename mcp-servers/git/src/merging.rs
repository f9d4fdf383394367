//! `update_branch` and `merge_preview`: the default branch and the agent's branch together.
//!
//! A merge with conflicts stays open in the worktree, as git leaves it: the conflicting files hold both sides between
//! marks, the agent edits them, and `commit` ends the merge with both parents.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use syndarix_git::{BranchName, Call, FileLock, GitError, MergeTree, ObjectId, Worktree, compose_message};
use syndarix_mcp_kit::{ProjectCtx, ToolFailure};

use crate::commit::{Record, advance, record};
use crate::state::{Current, GitTools, current_branch, default_branch, failure, refusal};
use crate::status::{ChangeKind, changes};

/// The files by which git remembers an open merge, the one that says so last.
const MERGE_FILES: [&str; 4] = ["MERGE_MSG", "MERGE_MODE", "AUTO_MERGE", "MERGE_HEAD"];

/// A merge that is open in a worktree.
pub(crate) struct MergeState {
    /// The commit being merged in.
    pub(crate) other: ObjectId,
}

impl MergeState {
    /// The open merge, if any.
    pub(crate) fn read(worktree: &Worktree) -> Result<Option<Self>, ToolFailure> {
        match std::fs::read_to_string(worktree.admin_dir().join("MERGE_HEAD")) {
            Ok(text) => Ok(Some(Self { other: ObjectId::new(text.trim()).map_err(failure)? })),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failure(GitError::io("reading the open merge")(error))),
        }
    }
}

/// Forgets an open merge whose commit was made; a kill can come between the two.
pub(crate) async fn clear_finished_merge(worktree: &Worktree, head: &ObjectId) -> Result<(), ToolFailure> {
    let Some(merge) = MergeState::read(worktree)? else { return Ok(()) };
    if worktree.is_ancestor(&merge.other, head).await.map_err(failure)? {
        for name in MERGE_FILES {
            // Some of them are there only for some merges.
            let _ = std::fs::remove_file(worktree.admin_dir().join(name));
        }
    }
    Ok(())
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct UpdateArguments {
    abort: Option<bool>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Updated {
    outcome: Outcome,
    head: ObjectId,
    conflicts: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<&'static str>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    UpToDate,
    Merged,
    Conflicts,
    Aborted,
}

pub(crate) async fn update_branch(
    tools: GitTools,
    ctx: ProjectCtx,
    args: UpdateArguments,
) -> Result<Updated, ToolFailure> {
    let worktree = tools.worktree(&ctx)?;
    let lock = worktree.lock_files().await.map_err(failure)?;
    let current = current_branch(&ctx, &worktree).await?;
    clear_finished_merge(&worktree, &current.head).await?;
    if args.abort == Some(true) {
        return abort(&worktree, current, &lock).await;
    }
    if MergeState::read(&worktree)?.is_none() {
        let default = default_branch(&worktree).await?;
        if worktree.is_ancestor(&default.head, &current.head).await.map_err(failure)? {
            return Ok(Updated {
                outcome: Outcome::UpToDate,
                head: current.head,
                conflicts: vec![],
                next: None,
            });
        }
        start(&worktree, &default.head, &lock).await?;
    }
    finish(&ctx, &worktree, current, &lock).await
}

async fn abort(worktree: &Worktree, current: Current, lock: &FileLock) -> Result<Updated, ToolFailure> {
    if MergeState::read(worktree)?.is_none() {
        return Err(ToolFailure::conflict("No merge is under way; there is nothing to abort."));
    }
    let call =
        Call::new("merge", worktree.place()).flags(&["--abort"]).input(lock.handed_on().map_err(failure)?);
    worktree.run(call).await.map_err(|error| refusal(error, worktree))?;
    Ok(Updated { outcome: Outcome::Aborted, head: current.head, conflicts: vec![], next: None })
}

/// Merges into index and files, and leaves the commit to [`finish`].
async fn start(worktree: &Worktree, other: &ObjectId, lock: &FileLock) -> Result<(), ToolFailure> {
    let changed = changes(worktree).await.map_err(failure)?;
    if changed.iter().any(|change| !matches!(change.kind, ChangeKind::New | ChangeKind::NestedRepository)) {
        return Err(ToolFailure::conflict(
            "There are uncommitted changes; commit them first, then update the branch.",
        ));
    }
    let call = Call::new("merge", worktree.place())
        .flags(&["--no-commit", "--no-ff", "--no-edit", "--quiet", "--no-stat", "--no-autostash"])
        .operand(other.as_str())
        .accept(&[0, 1])
        .timeout(crate::SLOW)
        .input(lock.handed_on().map_err(failure)?);
    let output = worktree.run(call).await.map_err(|error| refusal(error, worktree))?;
    if output.code == 1 && MergeState::read(worktree)?.is_none() {
        // Nothing was merged, for instance because a new file stands where the default branch has one.
        let error = GitError::Failed { verb: "merge", code: 1, stderr: output.stderr };
        return Err(refusal(error, worktree));
    }
    Ok(())
}

/// Commits an open merge without conflicts, or lists the conflicts.
async fn finish(
    ctx: &ProjectCtx,
    worktree: &Worktree,
    current: Current,
    lock: &FileLock,
) -> Result<Updated, ToolFailure> {
    let Some(merge) = MergeState::read(worktree)? else {
        return Err(ToolFailure::internal(&"git merged without leaving an open merge"));
    };
    let changed = changes(worktree).await.map_err(failure)?;
    let conflicts: Vec<String> =
        changed.into_iter().filter(|c| c.kind == ChangeKind::Conflict).map(|c| c.path).collect();
    if !conflicts.is_empty() {
        let next = Some("Edit the files between the conflict marks, then commit; or abort.");
        return Ok(Updated { outcome: Outcome::Conflicts, head: current.head, conflicts, next });
    }
    let call = Call::new("write-tree", worktree.place());
    let tree = worktree.run(call).await.map_err(failure)?.text();
    let tree = ObjectId::new(tree.trim()).map_err(failure)?;
    let default = worktree.default_branch().await.map_err(failure)?;
    let message = compose_message(&format!("Merge {default} into {}", current.branch), "", &[]);
    let parents = vec![current.head.clone(), merge.other];
    let id = record(ctx, worktree, &Record { tree, parents, message }).await?;
    advance(worktree, &current, &id, lock).await?;
    clear_finished_merge(worktree, &id).await?;
    Ok(Updated { outcome: Outcome::Merged, head: id, conflicts, next: None })
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PreviewArguments {
    branch: Option<String>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Preview {
    clean: bool,
    conflicts: Vec<String>,
    ahead: u64,
    behind: u64,
}

pub(crate) async fn merge_preview(
    tools: GitTools,
    ctx: ProjectCtx,
    args: PreviewArguments,
) -> Result<Preview, ToolFailure> {
    let worktree = tools.worktree(&ctx)?;
    let head = match args.branch.as_deref() {
        None => worktree.head().await.map_err(failure)?,
        Some(name) => head_of(&worktree, name).await?,
    };
    let base = default_branch(&worktree).await?.head;
    let (behind, ahead) = worktree.distance(&base, &head).await.map_err(failure)?;
    let conflicts = match worktree.merge_tree(&base, &head).await.map_err(failure)? {
        MergeTree::Clean(_) => Vec::new(),
        MergeTree::Conflicts(paths) => paths,
    };
    Ok(Preview { clean: conflicts.is_empty(), conflicts, ahead, behind })
}

async fn head_of(worktree: &Worktree, name: &str) -> Result<ObjectId, ToolFailure> {
    let branch = BranchName::new(name).map_err(failure)?;
    let head = worktree.branch_head(&branch).await.map_err(failure)?;
    head.ok_or_else(|| ToolFailure::not_found(format!("There is no branch {branch}; see list_branches.")))
}
