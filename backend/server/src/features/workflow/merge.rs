//! The merge queue: one merge at a time in each repository, each exactly once.
//!
//! The intent (`merging`) is committed before git is touched, and the merge carries a key that is looked for
//! before merging: a crash between the two finds the merge that was made.

use super::effects::queue;
use crate::{
    db::{Author, Error, retry_conflicts},
    features::{agents, job, job::payload, knowledge},
    state::App,
};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use syndarix_domain::{
    ids::{ProjectId, PullRequestId},
    pull_request::{Command, Phase, PullRequest},
};
use syndarix_forge::{BranchName, ForgeError, GitError, Identity, Key, MergeOutcome, MergeRequest, ObjectId};
use syndarix_jobs::{Handler, Job, Lease, NewJob, Outcome};
use tokio_util::sync::CancellationToken;

pub(super) const KIND: &str = "pull_request.merge";

/// Which pull request.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Payload {
    pub(super) pull_request: PullRequestId,
}

payload!(Payload);

/// The job that merges a pull request.
pub(super) fn job(project: ProjectId, pull_request: PullRequestId) -> NewJob {
    NewJob::new(queue::GIT, KIND, Payload { pull_request }.to_json())
        .for_project(project.0)
        // The merge queue: one at a time in each repository.
        .one_at_a_time(format!("merge:{project}"))
}

/// The handler of `pull_request.merge`.
pub(super) struct Merge {
    app: App,
}

impl Merge {
    pub(super) fn new(app: &App) -> Self {
        Self { app: app.clone() }
    }

    async fn merge(&self, job: &Job, lease: Lease) -> Result<Outcome, Error> {
        let (project, Payload { pull_request }): (ProjectId, Payload) = job::read(job)?;
        let Some(pr) = self.begin(project, pull_request, lease).await? else {
            return Ok(Outcome::Done);
        };
        let author = agents::author_of(self.app.pool(), &pr).await?;
        let command = match self.outcome(&pr, &author).await {
            Ok(outcome) => command(&pr, outcome),
            Err(error) if job.is_last_attempt() => {
                Command::FailMerge { reason: format!("the merge failed: {error}"), conflicts: Vec::new() }
            }
            Err(error) => return Ok(Outcome::Retry { after: None, reason: error.to_string() }),
        };
        retry_conflicts(|| async {
            let mut uow = self.app.store.begin(Author::system().within(lease));
            uow.tell::<PullRequest>(project, pull_request, &command).await?;
            if let Command::FinishMerge { commit } = &command {
                knowledge::index_soon(&mut uow, project, commit).await?;
            }
            uow.complete_job();
            uow.commit().await
        })
        .await?;
        Ok(Outcome::Completed)
    }

    /// Merges. A failure may have come after the merge was made: what the base branch holds is what counts.
    async fn outcome(&self, pr: &PullRequest, author: &str) -> Result<MergeOutcome, ForgeError> {
        let (project, request) = (pr.project.0, request(pr, author)?);
        let error = match self.app.forge.merge(project, &request).await {
            Ok(outcome) => return Ok(outcome),
            Err(error) => error,
        };
        match self.app.forge.merged(project, &request).await {
            Ok(Some(commit)) => Ok(MergeOutcome::AlreadyMerged { commit }),
            _ => Err(error),
        }
    }

    /// Commits the intent. None when there is nothing to merge any more.
    async fn begin(
        &self,
        project: ProjectId,
        id: PullRequestId,
        lease: Lease,
    ) -> Result<Option<PullRequest>, Error> {
        retry_conflicts(|| async {
            let mut uow = self.app.store.begin(Author::system().within(lease));
            let begun = uow.ask::<PullRequest>(project, id, &Command::BeginMerge).await?;
            uow.commit().await?;
            Ok(begun.ok())
        })
        .await
    }
}

fn command(pr: &PullRequest, outcome: MergeOutcome) -> Command {
    match outcome {
        MergeOutcome::Merged { commit } | MergeOutcome::AlreadyMerged { commit } => {
            Command::FinishMerge { commit: commit.to_string() }
        }
        MergeOutcome::Conflict { paths } => Command::FailMerge {
            reason: format!("{} conflicts with {}", pr.head_branch, pr.base_branch),
            conflicts: paths,
        },
        MergeOutcome::HeadMoved { .. } => Command::FailMerge {
            reason: format!("{} has other commits than the approved one", pr.head_branch),
            conflicts: Vec::new(),
        },
    }
}

pub(super) fn request(pr: &PullRequest, author: &str) -> Result<MergeRequest, GitError> {
    let head = match &pr.phase {
        Phase::Approved { head, .. } => head,
        _ => &pr.head,
    };
    Ok(MergeRequest {
        base_branch: BranchName::new(&pr.base_branch)?,
        head_branch: BranchName::new(&pr.head_branch)?,
        expected_head: ObjectId::new(head)?,
        title: format!("Merge pull request #{}: {}", pr.number, pr.title),
        body: pr.body.clone(),
        story: pr.story.map(|story| Key::new(story.to_string())).transpose()?,
        pull_request: Some(Key::new(pr.id.to_string())?),
        author: agents::commit_identity(author)?,
        committer: Identity::new("Syndarix", "merge-queue@syndarix.localhost")?,
        // Written with the intent, so that every attempt makes the very same commit.
        at: pr.updated_at.timestamp(),
        key: Key::new(format!("merge-{}", pr.id))?,
    })
}

#[async_trait]
impl Handler for Merge {
    // Deaf to its cancellation: the default branch moves in the middle of it. Dropped there, it would leave a merge that
    // nobody is told of before the story is found left behind.
    async fn run(&self, job: Job, lease: Lease, _cancel: CancellationToken) -> Outcome {
        self.merge(&job, lease).await.unwrap_or_else(|error| job::outcome_of(&error))
    }
}
