//! `commit`: the worktree's changes as one commit, once per step.
//!
//! The order: look for the step's commit, refuse what must not be stored, prepare index and tree aside, write the
//! commit object, put the index in place, move the branch. Killed before the last, the changes are staged and the branch
//! is where it was; killed after it, the repeated step finds its commit.

use std::io::Read as _;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use syndarix_git::{
    ChangeStatus, Expected, FileChange, FileLock, NewCommit, ObjectId, RefUpdate, RepoPath, Trailer,
    Worktree, compose_message,
};
use syndarix_mcp_kit::{ProjectCtx, RelPath, ToolFailure, Trace};

use crate::diff::parse_paths;
use crate::merging::{MergeState, clear_finished_merge};
use crate::stage::ScratchIndex;
use crate::state::{Current, GitTools, author, current_branch, failure, now, own_branch, step_key};
use crate::status::{Change, ChangeKind, changes};

/// Name of the trailer that holds the step's id.
const STEP_TRAILER: &str = "Syndarix-Step";
/// Commits searched for the step's id: more than a run makes.
const STEP_SEARCH_DEPTH: u32 = 200;
/// Largest file that is stored, in bytes: what is larger is a build product or data, and stays in the history for ever.
const MAX_FILE_BYTES: u64 = 32 * 1024 * 1024;
/// Bytes of a conflicting file searched for conflict marks.
const MAX_MARK_SEARCH: u64 = 4 * 1024 * 1024;
/// Files named in the answer.
const MAX_LISTED: usize = 50;
/// The mode of a repository inside a repository.
const GITLINK_MODE: &str = "160000";

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CommitArguments {
    message: String,
    paths: Option<Vec<String>>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Committed {
    commit: ObjectId,
    branch: String,
    /// The step had made this commit before.
    repeated: bool,
    files: Vec<FileChange>,
    files_truncated: bool,
}

pub(crate) async fn commit(
    tools: GitTools,
    ctx: ProjectCtx,
    args: CommitArguments,
) -> Result<Committed, ToolFailure> {
    if args.message.trim().is_empty() {
        return Err(ToolFailure::invalid("The message is empty; say what changes and why."));
    }
    let worktree = tools.worktree(&ctx)?;
    let paths = parse_paths(args.paths.as_deref())?;
    let lock = worktree.lock_files().await.map_err(failure)?;
    let current = current_branch(&ctx, &worktree).await?;
    clear_finished_merge(&worktree, &current.head).await?;
    if let Some(found) = commit_of_step(&ctx, &worktree, &current).await? {
        return answer(&worktree, &current, found, true).await;
    }
    let merge = MergeState::read(&worktree)?;
    let changes = changes_to_commit(&ctx, &worktree, merge.as_ref(), &paths).await?;
    let scratch = ScratchIndex::copy_of(&worktree)?;
    if merge.is_none() {
        // What somebody staged, or a kill left staged, is not part of "these paths".
        scratch.reset_to(&current.head).await?;
    }
    scratch.stage(changes.iter().map(|change| change.path.as_str())).await?;
    let tree = tree_to_commit(&scratch, &current, merge.is_some()).await?;
    let mut parents = vec![current.head.clone()];
    parents.extend(merge.map(|merge| merge.other));
    let message = message(&ctx, &args.message)?;
    let id = record(&ctx, &worktree, &Record { tree, parents, message }).await?;
    scratch.install(&lock)?;
    advance(&worktree, &current, &id, &lock).await?;
    clear_finished_merge(&worktree, &id).await?;
    answer(&worktree, &current, id, false).await
}

/// Whether the step has its commit: on the run's own branch, which is the only one that it moves.
pub(crate) async fn trace_commit(
    tools: GitTools,
    ctx: ProjectCtx,
    _: CommitArguments,
) -> Result<Trace<Committed>, ToolFailure> {
    let worktree = tools.worktree(&ctx)?;
    // While a commit is being made, nobody can say.
    let _lock = worktree.lock_files().await.map_err(failure)?;
    let Some(own) = own_branch(&ctx, &worktree).await? else { return Ok(Trace::NotFound) };
    match commit_of_step(&ctx, &worktree, &own).await? {
        Some(found) => Ok(Trace::Found(answer(&worktree, &own, found, true).await?)),
        None => Ok(Trace::NotFound),
    }
}

/// The commit an earlier attempt of this step made on the current branch.
async fn commit_of_step(
    ctx: &ProjectCtx,
    worktree: &Worktree,
    current: &Current,
) -> Result<Option<ObjectId>, ToolFailure> {
    let Some(key) = step_key(ctx)? else { return Ok(None) };
    let hits = worktree.find_trailer(&current.head, STEP_TRAILER, &key, STEP_SEARCH_DEPTH, false).await;
    Ok(hits.map_err(failure)?.into_iter().next().map(|hit| hit.id))
}

/// The changes that are wanted. Refuses what must not be stored, before anything is written.
async fn changes_to_commit(
    ctx: &ProjectCtx,
    worktree: &Worktree,
    merge: Option<&MergeState>,
    paths: &[RepoPath],
) -> Result<Vec<Change>, ToolFailure> {
    if merge.is_some() && !paths.is_empty() {
        return Err(ToolFailure::invalid("A merge is under way and is committed whole; leave paths out."));
    }
    let wanted = |change: &Change| {
        let within = |path: &RepoPath| {
            change
                .path
                .strip_prefix(path.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        paths.is_empty() || paths.iter().any(within)
    };
    let mut changes = changes(worktree).await.map_err(failure)?;
    changes.retain(wanted);
    if changes.is_empty() && merge.is_none() {
        return Err(nothing_to_commit());
    }
    if let Some(nested) = changes.iter().find(|change| change.kind == ChangeKind::NestedRepository) {
        return Err(nested_repository(&nested.path));
    }
    let worktree = worktree.clone();
    ctx.blocking(move |ctx| check_files(ctx, &worktree, &changes).map(|()| changes)).await
}

fn nothing_to_commit() -> ToolFailure {
    ToolFailure::conflict(
        "There is nothing to commit: no file (or none of these paths) differs from HEAD; see status.",
    )
}

fn check_files(ctx: &ProjectCtx, worktree: &Worktree, changes: &[Change]) -> Result<(), ToolFailure> {
    for change in changes {
        ctx.check_cancelled()?;
        if change.path.contains(char::REPLACEMENT_CHARACTER) {
            return Err(ToolFailure::invalid(format!(
                "The name {:?} is not valid UTF-8; rename the file.",
                change.path
            )));
        }
        let size = std::fs::symlink_metadata(worktree.path().join(&change.path)).map_or(0, |file| file.len());
        if size > MAX_FILE_BYTES {
            return Err(ToolFailure::too_large(format!(
                "{} has {size} bytes, more than the 32 MiB a file may have; remove it or add it to .gitignore.",
                change.path
            )));
        }
        if change.kind == ChangeKind::Conflict && has_conflict_marks(ctx, &change.path)? {
            return Err(ToolFailure::conflict(format!(
                "{} still holds conflict marks (<<<<<<<, >>>>>>>); edit it first.",
                change.path
            )));
        }
    }
    Ok(())
}

fn has_conflict_marks(ctx: &ProjectCtx, path: &str) -> Result<bool, ToolFailure> {
    // Deleting the file is a way to end its conflict.
    let Ok((file, _)) = ctx.worktree()?.open_file(&RelPath::parse(path)?) else { return Ok(false) };
    let mut bytes = Vec::new();
    file.take(MAX_MARK_SEARCH).read_to_end(&mut bytes).map_err(|error| ToolFailure::internal(&error))?;
    let starts = |mark: &[u8]| bytes.split(|b| *b == b'\n').any(|line| line.starts_with(mark));
    Ok(starts(b"<<<<<<< ") && starts(b">>>>>>> "))
}

fn nested_repository(path: &str) -> ToolFailure {
    ToolFailure::conflict(format!(
        "{path} holds a git repository of its own, which cannot be committed; remove its .git, or add it to .gitignore."
    ))
}

/// The staged tree, when it differs from the current commit's and holds no new repository inside.
async fn tree_to_commit(
    scratch: &ScratchIndex,
    current: &Current,
    merging: bool,
) -> Result<ObjectId, ToolFailure> {
    let tree = scratch.write_tree().await?;
    let (files, _) =
        scratch.worktree().changed_files(&current.head, Some(&tree), &[]).await.map_err(failure)?;
    let is_nested = |file: &&FileChange| file.mode == GITLINK_MODE && file.status != ChangeStatus::Deleted;
    // A merge may bring in the submodules of the default branch.
    if let Some(nested) = files.iter().find(is_nested).filter(|_| !merging) {
        return Err(nested_repository(&nested.path));
    }
    if files.is_empty() && !merging {
        return Err(nothing_to_commit());
    }
    Ok(tree)
}

fn message(ctx: &ProjectCtx, text: &str) -> Result<String, ToolFailure> {
    let text = text.trim();
    let (subject, body) = text.split_once('\n').unwrap_or((text, ""));
    let trailer = step_key(ctx)?.map(|value| Trailer { name: STEP_TRAILER, value });
    Ok(compose_message(subject, body, trailer.as_slice()))
}

/// What a new commit holds.
pub(crate) struct Record {
    pub(crate) tree: ObjectId,
    pub(crate) parents: Vec<ObjectId>,
    pub(crate) message: String,
}

/// Writes a commit object in the agent's name.
pub(crate) async fn record(
    ctx: &ProjectCtx,
    worktree: &Worktree,
    record: &Record,
) -> Result<ObjectId, ToolFailure> {
    let author = author(ctx)?;
    let commit = NewCommit {
        tree: &record.tree,
        parents: &record.parents,
        message: &record.message,
        author: &author,
        committer: &author,
        at: now(),
    };
    worktree.write_commit(&commit).await.map_err(failure)
}

/// Moves the current branch to its new commit.
pub(crate) async fn advance(
    worktree: &Worktree,
    current: &Current,
    to: &ObjectId,
    _held: &FileLock,
) -> Result<(), ToolFailure> {
    let refs = worktree.lock().await.map_err(failure)?;
    let expected = Expected::At(current.head.clone());
    match worktree.update_branch(&current.branch, to, &expected, &refs).await.map_err(failure)? {
        RefUpdate::Done => Ok(()),
        RefUpdate::Moved(_) => Err(ToolFailure::conflict(format!(
            "The branch {} was moved meanwhile; try again.",
            current.branch
        ))),
    }
}

async fn answer(
    worktree: &Worktree,
    current: &Current,
    commit: ObjectId,
    repeated: bool,
) -> Result<Committed, ToolFailure> {
    let parents = worktree.commit(&commit).await.map_err(failure)?.parents;
    let from = parents.first().unwrap_or(&current.head);
    let (mut files, cut) = worktree.changed_files(from, Some(&commit), &[]).await.map_err(failure)?;
    let files_truncated = cut || files.len() > MAX_LISTED;
    files.truncate(MAX_LISTED);
    Ok(Committed { commit, branch: current.branch.to_string(), repeated, files, files_truncated })
}
