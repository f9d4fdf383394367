//! The run's own git worktree: made before its first step, removed after its last.

use super::advance::Turn;
use crate::{
    db::Error,
    features::job::{self, payload},
    state::App,
};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use syndarix_domain::{
    ids::{ProjectId, RunId},
    pull_request::PullRequest,
    stage::StageName,
    story::{Phase, Stage, Story},
};
use syndarix_forge::{BranchName, ForgeError, ObjectId, WorktreeTarget};
use syndarix_jobs::{Handler, Job, Lease, NewJob, Outcome};
use tokio_util::sync::CancellationToken;

pub(super) const REMOVE: &str = "worktree.remove";

/// Whose worktree.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Payload {
    run: RunId,
}

payload!(Payload);

/// Why there is no worktree.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoWorktree {
    #[error(transparent)]
    Forge(#[from] ForgeError),
    #[error(transparent)]
    Git(#[from] syndarix_forge::GitError),
    #[error(transparent)]
    Store(#[from] Error),
    #[error("the story is not in this stage any more")]
    Moot,
}

/// The job that removes a finished run's worktree.
pub(super) fn removal(project: ProjectId, run: RunId) -> NewJob {
    NewJob::new("git", REMOVE, Payload { run }.to_json()).for_project(project.0)
}

/// Makes the worktree, or finds it with the work in it.
pub(super) async fn ensure(turn: &Turn) -> Result<(), NoWorktree> {
    let story = turn.app.store.read::<Story>(turn.project, turn.run.story).await?.state;
    let target = target(turn, &story).await?;
    if let WorktreeTarget::Branch(_) = target {
        remove_earlier(turn).await?;
    }
    turn.app.forge.add_worktree(turn.project.0, turn.run.id.0, &target).await?;
    Ok(())
}

/// Makes the worktree anew, exactly as its commit is: what was built, changed or left in it before is gone.
pub(super) async fn renew(turn: &Turn) -> Result<(), NoWorktree> {
    turn.app.forge.remove_worktree(turn.project.0, turn.run.id.0).await?;
    ensure(turn).await
}

/// What the stage looks at: the story's branch, the offered head, the merge commit, or the default branch as it is.
async fn target(turn: &Turn, story: &Story) -> Result<WorktreeTarget, NoWorktree> {
    match (turn.run.stage, &story.phase) {
        (StageName::Implementation, _) if story.change.is_some() => {
            let branch = story.change.as_ref().map(|change| change.branch.clone()).unwrap_or_default();
            Ok(WorktreeTarget::Branch(BranchName::new(branch)?))
        }
        (StageName::Review, _) => {
            let change = story.change.as_ref().ok_or(NoWorktree::Moot)?;
            let pr = turn.app.store.read::<PullRequest>(turn.project, change.pull_request).await?.state;
            Ok(WorktreeTarget::Commit(ObjectId::new(pr.head)?))
        }
        (StageName::Testing, Phase::Working { stage: Stage::Testing { commit }, .. }) => {
            Ok(WorktreeTarget::Commit(ObjectId::new(commit.clone())?))
        }
        (StageName::Testing, _) => Err(NoWorktree::Moot),
        _ => Ok(WorktreeTarget::Commit(turn.app.forge.info(turn.project.0).await?.head)),
    }
}

/// A branch is shown by one worktree only; an earlier run of the story may not have been cleaned up yet.
async fn remove_earlier(turn: &Turn) -> Result<(), NoWorktree> {
    let earlier: Vec<uuid::Uuid> = sqlx::query_scalar(
        "select id from run where project_id = $1 and story_id = $2 and id <> $3
           and state ->> 'stage' = 'implementation' order by id desc limit 20",
    )
    .bind(turn.project.0)
    .bind(turn.run.story.0)
    .bind(turn.run.id.0)
    .fetch_all(turn.app.pool())
    .await
    .map_err(Error::from)?;
    for run in earlier {
        turn.app.forge.remove_worktree(turn.project.0, run).await?;
    }
    Ok(())
}

/// The handler of `worktree.remove`.
pub(super) struct Remove {
    app: App,
}

impl Remove {
    pub(super) fn new(app: &App) -> Self {
        Self { app: app.clone() }
    }

    async fn remove(&self, job: &Job) -> Result<Outcome, Error> {
        let (project, Payload { run }): (ProjectId, Payload) = job::read(job)?;
        Ok(match self.app.forge.remove_worktree(project.0, run.0).await {
            Ok(()) => Outcome::Done,
            Err(error) => Outcome::Retry { after: None, reason: error.to_string() },
        })
    }
}

#[async_trait]
impl Handler for Remove {
    async fn run(&self, job: Job, _lease: Lease, cancel: CancellationToken) -> Outcome {
        job::until_cancelled(&cancel, self.remove(&job)).await
    }
}
