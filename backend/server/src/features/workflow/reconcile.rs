//! Moves stories that nothing else would move: the job of their stage or of their merge went to the dead letters, or
//! their run ended without their knowing. Takes no input and may run at any time, any number of times.
//!
//! Stories that move are looked at in every turn; those that wait for somebody, and may do so in great numbers, some in
//! each turn.

use super::{merge, stage};
use crate::{
    db::{Author, Error, Uow, retry_conflicts},
    features::{agents, job, knowledge, rounds::Round},
    state::App,
};
use async_trait::async_trait;
use chrono::DateTime;
use serde_json::json;
use sqlx::FromRow;
use syndarix_domain::{
    ids::{ProjectId, PullRequestId, StoryId},
    pull_request::{self, PullRequest},
    story::{Command, Feedback, Phase, Story, Work},
};
use syndarix_forge::ObjectId;
use syndarix_jobs::{Handler, Job, Lease, Missed, NewJob, Outcome, Recurring, Schedule, ensure_recurring};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub(super) const KIND: &str = "stories.reconcile";
/// How often to look.
const EVERY: std::time::Duration = std::time::Duration::from_secs(15);
/// Stories that are moved in one turn.
const BATCH: i64 = 200;

/// Sets the reconciler up; every instance may do so at every start.
pub async fn schedule(app: &App) -> Result<(), Error> {
    let job = NewJob::new("default", KIND, json!({})).unique(KIND);
    let schedule = Schedule::Every { anchor: DateTime::UNIX_EPOCH, period: EVERY };
    let recurring = Recurring { name: KIND.into(), schedule, missed: Missed::RunOnce, job };
    let mut conn = app.pool().acquire().await?;
    ensure_recurring(&mut conn, &recurring).await?;
    Ok(())
}

/// A story that has been left alone.
#[derive(Debug, Clone, FromRow)]
struct Stranded {
    project_id: Uuid,
    id: Uuid,
    version: i64,
    /// Where its run or its pull request stands.
    stands: Option<String>,
    /// Why the job went to the dead letters, when it did.
    buried: Option<String>,
}

const WORKING: &str = "select id from story where open and id > $1 order by id limit $2";

// A story that changed a moment ago is being worked on.
const STRANDED: &str = "
with looked_at as (
    select id from story where open and not parked
    union
    select unnest($2::uuid[])
), live as (
    select s.id, s.project_id, s.version, s.updated_at, s.state -> 'phase' -> 'work' ->> 'name' as work,
           (s.state -> 'phase' -> 'work' ->> 'run')::uuid as run, s.state -> 'change' ->> 'pull_request' as pr
      from looked_at join story s using (id)
     where s.open and s.state -> 'phase' ->> 'name' = 'working' and s.updated_at < now() - interval '10 seconds'
), missing as (
    select live.*, null::text as stands,
           (select d.reason from job_dead d
             where d.concurrency_key = 'story:' || live.id and d.died_at >= live.updated_at order by d.id desc limit 1) as buried
      from live
     where work = 'queued' and not exists (select from job j where j.concurrency_key = 'story:' || live.id)
    union all
    select live.*, r.phase, null
      from live join run r on r.id = live.run
     where work in ('running', 'asking') and r.phase in ('succeeded', 'failed', 'stalled', 'cancelled')
    union all
    select live.*, p.phase,
           (select d.reason from job_dead d
             where d.kind = 'pull_request.merge' and d.payload ->> 'pull_request' = live.pr and d.died_at >= live.updated_at
             order by d.id desc limit 1)
      from live join pull_request p on p.id = live.pr::uuid
     where work = 'merging'
       and (p.phase <> 'approved'
            or not exists (select from job j where j.kind = 'pull_request.merge' and j.payload ->> 'pull_request' = live.pr))
)
select project_id, id, version, stands, buried from missing order by id limit $1";

/// The handler of `stories.reconcile`.
pub(super) struct Reconcile {
    app: App,
    working: Round,
}

impl Reconcile {
    pub(super) fn new(app: &App) -> Self {
        Self { app: app.clone(), working: Round::default() }
    }

    async fn reconcile(&self) -> Result<Outcome, Error> {
        let working = self.working.next(self.app.pool(), WORKING).await?;
        let stranded: Vec<Stranded> =
            sqlx::query_as(STRANDED).bind(BATCH).bind(working).fetch_all(self.app.pool()).await?;
        for story in stranded {
            tracing::warn!(story = %story.id, stands = ?story.stands, buried = ?story.buried, "a story was left behind");
            // One that cannot be moved must not keep the others where they are; it is looked at again next time.
            if let Err(error) = retry_conflicts(|| self.move_on(&story)).await {
                tracing::error!(story = %story.id, error = &error as &dyn std::error::Error, "a story cannot be moved on");
            }
        }
        Ok(Outcome::Done)
    }

    async fn move_on(&self, stranded: &Stranded) -> Result<(), Error> {
        let merged = self.merged_in_git(stranded).await?;
        let mut uow = self.app.store.begin(Author::system());
        let version: i64 = sqlx::query_scalar("select version from story where id = $1 for no key update")
            .bind(stranded.id)
            .fetch_one(uow.conn().await?)
            .await?;
        if version != stranded.version {
            return Ok(());
        }
        repair(&mut uow, stranded, merged).await?;
        uow.commit().await?;
        Ok(())
    }

    /// The merge that a job made before it was given up: git moved, and nobody was told.
    async fn merged_in_git(&self, stranded: &Stranded) -> Result<Option<ObjectId>, Error> {
        let (project, id) = (ProjectId(stranded.project_id), StoryId(stranded.id));
        if stranded.buried.is_none() || stranded.stands.as_deref() != Some("approved") {
            return Ok(None);
        }
        let Some(change) = self.app.store.read::<Story>(project, id).await?.state.change else {
            return Ok(None);
        };
        let pr = self.app.store.read::<PullRequest>(project, change.pull_request).await?.state;
        let author = agents::author_of(self.app.pool(), &pr).await?;
        let found = match merge::request(&pr, &author) {
            Ok(request) => self.app.forge.merged(project.0, &request).await,
            Err(error) => Err(error.into()),
        };
        // Without a look nobody knows, and what is recorded as failed cannot be taken back.
        found.map_err(|error| Error::Outside(error.to_string()))
    }
}

async fn repair(uow: &mut Uow, stranded: &Stranded, merged: Option<ObjectId>) -> Result<(), Error> {
    let (project, id) = (ProjectId(stranded.project_id), StoryId(stranded.id));
    let story: Story = uow.load(project, id).await?;
    let Phase::Working { stage, work, .. } = &story.phase else { return Ok(()) };
    match (work, &stranded.buried) {
        (Work::Queued { .. }, Some(buried)) => {
            let reason = format!("no agent could be given the work: {buried}");
            uow.tell::<Story>(project, id, &Command::Block { reason }).await
        }
        (Work::Queued { .. }, None) => uow.enqueue(stage::job(project, id, stage.name())),
        (Work::Running { run, .. } | Work::Asking { run, .. }, _) => {
            let stands = stranded.stands.as_deref().unwrap_or("gone");
            let reason = format!("its run is {stands}, and the story was not told");
            uow.tell::<Story>(project, id, &Command::FailStage { run: *run, reason }).await
        }
        (Work::Merging { .. }, _) => {
            let Some(change) = &story.change else { return Ok(()) };
            merging(uow, &story, change.pull_request, stranded, merged).await
        }
        (Work::Idle, _) => Ok(()),
    }
}

async fn merging(
    uow: &mut Uow,
    story: &Story,
    id: PullRequestId,
    stranded: &Stranded,
    merged: Option<ObjectId>,
) -> Result<(), Error> {
    if let Some(commit) = merged.map(|commit| commit.to_string()) {
        knowledge::index_soon(uow, story.project, &commit).await?;
        let command = pull_request::Command::FinishMerge { commit };
        return uow.tell::<PullRequest>(story.project, id, &command).await;
    }
    let pr: PullRequest = uow.load(story.project, id).await?;
    let command = match (&pr.phase, &stranded.buried) {
        (pull_request::Phase::Approved { .. }, Some(buried)) => {
            let reason = format!("the merge was given up: {buried}");
            let command = pull_request::Command::FailMerge { reason, conflicts: Vec::new() };
            return uow.tell::<PullRequest>(story.project, id, &command).await;
        }
        (pull_request::Phase::Approved { .. }, None) => {
            return uow.enqueue(merge::job(story.project, id));
        }
        (pull_request::Phase::Merged { commit, .. }, _) => {
            Command::Merged { pull_request: id, commit: commit.clone() }
        }
        (other, _) => {
            let summary = format!("the pull request is {} and cannot be merged", other.name());
            let feedback = Feedback { from: "the merge queue".into(), summary, comments: Vec::new() };
            Command::MergeFailed { pull_request: id, feedback }
        }
    };
    uow.tell::<Story>(story.project, story.id, &command).await
}

#[async_trait]
impl Handler for Reconcile {
    async fn run(&self, _job: Job, _lease: Lease, cancel: CancellationToken) -> Outcome {
        job::until_cancelled(&cancel, Box::pin(self.reconcile())).await
    }
}
