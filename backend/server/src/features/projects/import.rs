//! The job `repository.import`: brings a project's repository, and says how that went.

use super::{
    places,
    repository::{Source, awaited},
};
use crate::{
    db::{Author, Error},
    features::{job, knowledge},
    state::App,
};
use async_trait::async_trait;
use serde_json::json;
use sqlx::types::Json as Jsonb;
use syndarix_domain::{Timestamp, ids::ProjectId};
use syndarix_forge::{ForgeError, Identity, InitialCommit, RepoPath, RepositoryInfo};
use syndarix_jobs::{Handler, Job, Lease, NewJob, Outcome};
use tokio_util::sync::CancellationToken;

pub(super) const KIND: &str = "repository.import";
/// Attempts while the failure may pass by itself; any other failure is told at once.
const ATTEMPTS: u16 = 3;
/// What is kept of an explanation, in characters: git's last words, not its whole output.
const MAX_DETAIL: usize = 1000;

/// The job that brings a project's repository.
pub(super) fn job(project: ProjectId) -> NewJob {
    NewJob::new("git", KIND, json!({}))
        .for_project(project.0)
        .one_at_a_time(format!("import:{project}"))
        .with_attempts(ATTEMPTS)
}

/// The handler of `repository.import`.
pub(super) struct Import {
    app: App,
}

/// How the attempt went, in a form that people read.
enum Brought {
    Ready(RepositoryInfo),
    Failed { detail: String, passes: bool },
}

impl Import {
    pub(super) fn new(app: &App) -> Self {
        Self { app: app.clone() }
    }

    async fn import(&self, job: &Job, lease: Lease) -> Result<Outcome, Error> {
        let project = job.project.map(ProjectId).ok_or(Error::NotFound("project"))?;
        let Some((source, name, at)) = awaited(&self.app, project).await? else { return Ok(Outcome::Done) };
        match self.bring(project, &source, (&name, at)).await {
            Brought::Failed { detail, passes: true } if !job.is_last_attempt() => {
                return Ok(Outcome::Retry { after: None, reason: detail });
            }
            Brought::Failed { detail, .. } => self.failed(project, &detail, lease).await?,
            Brought::Ready(info) => self.ready(project, &source, &info, lease).await?,
        }
        Ok(Outcome::Completed)
    }

    async fn bring(&self, project: ProjectId, source: &Source, new: (&str, Timestamp)) -> Brought {
        let brought = match source.remote(&self.app.config) {
            Err(detail) => return Brought::Failed { detail, passes: false },
            Ok(Some(remote)) => match places::check_host(&remote, &self.app.config).await {
                Err(detail) => return Brought::Failed { detail, passes: false },
                Ok(()) => self.app.forge.import_repository(project.0, &remote).await,
            },
            Ok(None) => match first_commit(new) {
                Ok(commit) => self.app.forge.create_repository(project.0, &[commit]).await,
                Err(error) => Err(error),
            },
        };
        match brought {
            Ok(info) => Brought::Ready(info),
            Err(error) => Brought::Failed { detail: error.to_string(), passes: error.is_transient() },
        }
    }

    async fn ready(
        &self,
        project: ProjectId,
        source: &Source,
        info: &RepositoryInfo,
        lease: Lease,
    ) -> Result<(), Error> {
        let mut uow = self.app.store.begin(Author::system().within(lease));
        sqlx::query(
            "update project set repository_state = 'ready', repository_detail = '', default_branch = $2,
                    repository_source = $3
             where id = $1 and repository_state = 'importing'",
        )
        .bind(project.0)
        .bind(info.default_branch.as_str())
        .bind(Jsonb(source.without_credentials()))
        .execute(uow.conn().await?)
        .await?;
        let data = json!({ "default_branch": info.default_branch.as_str(), "head": info.head.to_string() });
        uow.announce(project, "project", project, "project.repository_ready", data);
        knowledge::index_soon(&mut uow, project, info.head.as_str()).await?;
        uow.complete_job();
        uow.commit().await.map(drop)
    }

    async fn failed(&self, project: ProjectId, detail: &str, lease: Lease) -> Result<(), Error> {
        let detail: String = detail.chars().take(MAX_DETAIL).collect();
        let mut uow = self.app.store.begin(Author::system().within(lease));
        sqlx::query(
            "update project set repository_state = 'failed', repository_detail = $2
             where id = $1 and repository_state = 'importing'",
        )
        .bind(project.0)
        .bind(&detail)
        .execute(uow.conn().await?)
        .await?;
        let data = json!({ "detail": detail });
        uow.announce(project, "project", project, "project.repository_failed", data);
        uow.complete_job();
        uow.commit().await.map(drop)
    }
}

/// What a new repository begins with. The time is the project's: every attempt makes the very same commit.
fn first_commit((name, at): (&str, Timestamp)) -> Result<InitialCommit, ForgeError> {
    Ok(InitialCommit {
        message: "Begin".into(),
        author: Identity::new("Syndarix", "syndarix@syndarix.localhost")?,
        at: at.timestamp(),
        files: vec![(RepoPath::new("README.md")?, format!("# {name}\n").into_bytes())],
    })
}

#[async_trait]
impl Handler for Import {
    // A repository is made aside and then renamed: of one that is dropped in the middle nothing is seen.
    async fn run(&self, job: Job, lease: Lease, cancel: CancellationToken) -> Outcome {
        job::until_cancelled(&cancel, Box::pin(self.import(&job, lease))).await
    }
}
