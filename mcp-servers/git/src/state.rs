//! What all tools share: the repositories, the way to a call's worktree, and how git's failures reach a model.

use std::path::Path;
use std::sync::Arc;

use syndarix_git::{BranchName, Git, GitError, Identity, Key, ObjectId, Revision, Worktree};
use syndarix_mcp_kit::{FailureCode, ProjectCtx, ToolFailure};

/// What the names of branches that agents make start with, unless configured otherwise.
pub const DEFAULT_BRANCH_PREFIX: &str = "syndarix/";

/// The state of the git server. Cheap to clone.
#[derive(Debug, Clone)]
pub struct GitTools {
    git: Git,
    repositories: Arc<Path>,
    branch_prefix: Arc<str>,
}

impl GitTools {
    /// Works on the worktrees of the bare repositories `<repositories>/<project>.git`. A run makes only
    /// the branch that its token names, and only if that name starts with `branch_prefix`.
    pub fn new(git: Git, repositories: &Path, branch_prefix: &str) -> Self {
        Self { git, repositories: repositories.into(), branch_prefix: branch_prefix.into() }
    }

    /// The worktree of the call's run, linked to the repository of the call's project.
    pub(crate) fn worktree(&self, ctx: &ProjectCtx) -> Result<Worktree, ToolFailure> {
        let bare = self.repositories.join(format!("{}.git", ctx.project()));
        let files = ctx.worktree()?;
        Worktree::open(&self.git, &bare, files.path()).map_err(failure)
    }

    /// Takes the name of the branch that the call's run may make: its own, if agents may make one of this name at all.
    pub(crate) fn branch_to_make(&self, ctx: &ProjectCtx, name: &str) -> Result<BranchName, ToolFailure> {
        let branch = BranchName::new(name).map_err(failure)?;
        own(ctx, &branch)?;
        if branch.as_str().strip_prefix(&*self.branch_prefix).is_some_and(|rest| !rest.is_empty()) {
            return Ok(branch);
        }
        Err(ToolFailure::forbidden(format!(
            "Branches that agents make start with {:?}, and this run's branch does not.",
            self.branch_prefix
        )))
    }
}

/// The branch the worktree is on, and its commit.
#[derive(Debug)]
pub(crate) struct Current {
    pub(crate) branch: BranchName,
    pub(crate) head: ObjectId,
}

/// Refuses every branch but the one that the call's token names: a story's branch is moved by its own runs only.
fn own(ctx: &ProjectCtx, branch: &BranchName) -> Result<(), ToolFailure> {
    match ctx.branch() {
        Some(own) if own == branch.as_str() => Ok(()),
        Some(own) => Err(ToolFailure::forbidden(format!(
            "This run works on the branch {own} and moves no other; {branch} is not its own."
        ))),
        None => Err(ToolFailure::forbidden("This run looks only; it makes and moves no branch.")),
    }
}

/// The current branch, for tools that move it: the run's own, and never the default branch.
pub(crate) async fn current_branch(ctx: &ProjectCtx, worktree: &Worktree) -> Result<Current, ToolFailure> {
    let Some(branch) = worktree.current_branch().await.map_err(failure)? else {
        return Err(ToolFailure::conflict(
            "The worktree shows a commit and is on no branch; make one with create_branch first.",
        ));
    };
    if branch == worktree.default_branch().await.map_err(failure)? {
        return Err(ToolFailure::forbidden(
            "The worktree is on the default branch, which only merged pull requests move; use create_branch first.",
        ));
    }
    own(ctx, &branch)?;
    Ok(Current { branch, head: worktree.head().await.map_err(failure)? })
}

/// The run's own branch and its newest commit, whatever the worktree shows; none while there is none.
pub(crate) async fn own_branch(
    ctx: &ProjectCtx,
    worktree: &Worktree,
) -> Result<Option<Current>, ToolFailure> {
    let Some(name) = ctx.branch() else { return Ok(None) };
    let branch = BranchName::new(name).map_err(failure)?;
    let head = worktree.branch_head(&branch).await.map_err(failure)?;
    Ok(head.map(|head| Current { branch, head }))
}

/// The default branch and its newest commit.
pub(crate) async fn default_branch(worktree: &Worktree) -> Result<Current, ToolFailure> {
    let branch = worktree.default_branch().await.map_err(failure)?;
    let head = worktree.branch_head(&branch).await.map_err(failure)?;
    let head = head.ok_or_else(|| ToolFailure::not_found("The default branch has no commits."))?;
    Ok(Current { branch, head })
}

/// The commit that a revision names; `HEAD` when none is given.
pub(crate) async fn commit_of(worktree: &Worktree, revision: Option<&str>) -> Result<ObjectId, ToolFailure> {
    match revision {
        None => worktree.head().await.map_err(failure),
        Some(text) => {
            let revision = Revision::new(text).map_err(failure)?;
            worktree.resolve(&revision).await.map_err(failure)
        }
    }
}

/// The author of an agent's commits: the token names the instance, so no argument can name another.
pub(crate) fn author(ctx: &ProjectCtx) -> Result<Identity, ToolFailure> {
    let id = ctx.agent().to_string();
    let short = id.rsplit('-').next().unwrap_or(&id);
    Identity::new(&format!("Syndarix agent {short}"), &format!("{id}@agents.syndarix.local")).map_err(failure)
}

/// The id of the call's step as a trailer holds it.
pub(crate) fn step_key(ctx: &ProjectCtx) -> Result<Option<Key>, ToolFailure> {
    ctx.step_key().map(Key::new).transpose().map_err(failure)
}

/// Seconds since 1970.
pub(crate) fn now() -> i64 {
    chrono::DateTime::<chrono::Utc>::from(std::time::SystemTime::now()).timestamp()
}

/// A time as models read it best.
pub(crate) fn date(seconds: i64) -> String {
    chrono::DateTime::from_timestamp(seconds, 0)
        .map(|at| at.format("%Y-%m-%dT%H:%M:%SZ").to_string())
        .unwrap_or_default()
}

/// A failure of git as a tool's answer.
#[expect(clippy::needless_pass_by_value, reason = "it is the shape that map_err wants")]
pub(crate) fn failure(error: GitError) -> ToolFailure {
    let sentence = || {
        let text = error.to_string();
        let mut chars = text.chars();
        let first: String = chars.next().map(|c| c.to_uppercase().collect()).unwrap_or_default();
        format!("{first}{}.", chars.as_str().trim_end_matches('.'))
    };
    match &error {
        GitError::Invalid(_) => ToolFailure::invalid(sentence()),
        GitError::NotFound(_) => ToolFailure::not_found(sentence()),
        GitError::BranchInUse(_) | GitError::UnrelatedHistories => ToolFailure::conflict(sentence()),
        GitError::TimedOut { .. } => ToolFailure::new(FailureCode::TimedOut, sentence()),
        GitError::TooMuchOutput { .. } => ToolFailure::too_large(sentence()),
        GitError::LockBusy { .. } => ToolFailure::unavailable(
            "Another git operation takes long in this project; try again in a moment.",
        ),
        _ => ToolFailure::internal(&error),
    }
}

/// Like [`failure`], for commands whose refusals a model can act on: git's own words, without the server's paths.
pub(crate) fn refusal(error: GitError, worktree: &Worktree) -> ToolFailure {
    match error {
        GitError::Failed { verb, stderr, .. } => {
            let places = [worktree.path(), worktree.admin_dir(), worktree.dir()];
            let words =
                places.iter().fold(stderr, |text, place| text.replace(&*place.to_string_lossy(), "."));
            ToolFailure::conflict(format!("git {verb} refused: {}", words.replace('\n', " ")))
        }
        other => failure(other),
    }
}
