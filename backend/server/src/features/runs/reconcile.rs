//! Moves runs that nothing else would move: their job went to the dead letters, or a wake-up passed them by. Takes no
//! input and may run at any time, any number of times.
//!
//! Every live run is the current run of an agent. Those at work are looked at in every turn; those that wait, and may do so
//! in great numbers, and agents that still hold a run that is over, some in each turn.

use super::{advance, worktree};
use crate::{
    db::{Author, Error, Uow, retry_conflicts},
    features::{agents, job, rounds::Round},
    state::App,
};
use async_trait::async_trait;
use chrono::DateTime;
use serde_json::json;
use sqlx::FromRow;
use syndarix_domain::{
    ids::{AgentId, ProjectId, RunId},
    run::{Command, Run},
};
use syndarix_jobs::{Handler, Job, Lease, Missed, NewJob, Outcome, Recurring, Schedule, ensure_recurring};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub(super) const KIND: &str = "runs.reconcile";
/// How often to look.
const EVERY: std::time::Duration = std::time::Duration::from_secs(15);
/// Runs that are moved in one turn.
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

/// A run that has been left alone.
#[derive(Debug, Clone, FromRow)]
struct Stranded {
    project_id: Uuid,
    id: Uuid,
    version: i64,
    phase: String,
    agent: Uuid,
    /// What it waits for, when it does.
    waits: Option<String>,
    /// Why its job went to the dead letters, when it did.
    buried: Option<String>,
}

const HELD: &str =
    "select current_run_id from agent where current_run_id > $1 order by current_run_id limit $2";

// A run that changed a moment ago is being worked on. Budgets are not here: raising one wakes its runs, in one order
// or the other.
const STRANDED: &str = "
with looked_at as (
    select id from run where at_work
    union
    select unnest($2::uuid[])
)
select r.project_id, r.id, r.version, r.phase, a.id as agent, r.state -> 'phase' -> 'wait' ->> 'on' as waits,
       (select d.reason from job_dead d
         where d.concurrency_key = 'run:' || r.id and d.died_at >= r.updated_at order by d.id desc limit 1) as buried
  from looked_at join run r using (id) join agent a on a.current_run_id = r.id
 where r.updated_at < now() - interval '10 seconds'
   and not exists (select from job j where j.concurrency_key = 'run:' || r.id)
   and case when r.phase <> 'waiting' then true
            else case r.state -> 'phase' -> 'wait' ->> 'on'
                 when 'rate_limit' then (r.state -> 'phase' -> 'wait' ->> 'until')::timestamptz < now()
                 when 'paused' then a.status <> 'paused'
                 when 'budget' then false
                 else not exists (select from approval p where p.phase = 'pending'
                                     and p.id = (r.state -> 'phase' -> 'wait' ->> 'approval')::uuid)
                 end
       end
 order by r.id limit $1";

/// The handler of `runs.reconcile`.
pub(super) struct Reconcile {
    app: App,
    held: Round,
}

impl Reconcile {
    pub(super) fn new(app: &App) -> Self {
        Self { app: app.clone(), held: Round::default() }
    }

    async fn reconcile(&self) -> Result<Outcome, Error> {
        let held = self.held.next(self.app.pool(), HELD).await?;
        let stranded: Vec<Stranded> =
            sqlx::query_as(STRANDED).bind(BATCH).bind(held).fetch_all(self.app.pool()).await?;
        for run in stranded {
            tracing::warn!(run = %run.id, phase = %run.phase, waits = ?run.waits, buried = ?run.buried, "a run was left behind");
            // One that cannot be moved must not keep the others where they are; it is looked at again next time.
            if let Err(error) = retry_conflicts(|| self.move_on(&run)).await {
                tracing::error!(run = %run.id, error = &error as &dyn std::error::Error, "a run cannot be moved on");
            }
        }
        Ok(Outcome::Done)
    }

    async fn move_on(&self, stranded: &Stranded) -> Result<(), Error> {
        let (project, run) = (ProjectId(stranded.project_id), RunId(stranded.id));
        let mut uow = self.app.store.begin(Author::system());
        let version: i64 = sqlx::query_scalar("select version from run where id = $1 for no key update")
            .bind(run.0)
            .fetch_one(uow.conn().await?)
            .await?;
        if version != stranded.version {
            return Ok(());
        }
        repair(&mut uow, project, run, stranded).await?;
        uow.commit().await?;
        Ok(())
    }
}

async fn repair(uow: &mut Uow, project: ProjectId, run: RunId, stranded: &Stranded) -> Result<(), Error> {
    match (stranded.phase.as_str(), stranded.waits.as_deref(), &stranded.buried) {
        ("succeeded" | "failed" | "stalled" | "cancelled", ..) => {
            agents::release(uow, project, AgentId(stranded.agent), run).await?;
            uow.enqueue(worktree::removal(project, run))
        }
        (_, Some("rate_limit" | "paused"), _) => uow.tell::<Run>(project, run, &Command::Wake).await,
        (_, Some(_), _) => {
            let reason = "the question that it waited for takes no answer any more".to_owned();
            uow.tell::<Run>(project, run, &Command::Fail { reason }).await
        }
        (_, None, Some(buried)) => {
            let reason = format!("its job was given up: {buried}");
            uow.tell::<Run>(project, run, &Command::Stall { reason }).await
        }
        (_, None, None) => uow.enqueue(advance::job(project, run, advance::KIND)),
    }
}

#[async_trait]
impl Handler for Reconcile {
    async fn run(&self, _job: Job, _lease: Lease, cancel: CancellationToken) -> Outcome {
        job::until_cancelled(&cancel, Box::pin(self.reconcile())).await
    }
}
