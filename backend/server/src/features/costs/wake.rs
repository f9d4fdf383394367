//! Whatever waits for money looks again: after a limit was set, and when a period has begun anew. A run for which it is still
//! too little parks again. A job, because a limit of an organisation concerns many projects and no crash may leave one out.

use super::tree::Owner;
use crate::{
    db::{Author, Error, retry_conflicts},
    features::job,
    state::App,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use syndarix_domain::{
    Timestamp,
    ids::{ProjectId, RunId},
    run::{Command, Run},
};
use syndarix_jobs::{Job, Lease, NewJob, Outcome, Registry};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const KIND: &str = "costs.wake";

/// Whose runs look again.
#[derive(Debug, Serialize, Deserialize)]
struct Woken {
    project: Option<Uuid>,
    organisation: Option<Uuid>,
}

/// Runs that wait for money: those of one project or of all projects of an organisation. `for_money` has an index: most runs
/// that wait do so for people, and are not looked at.
const OF_OWNER: &str = "
select r.project_id, r.id from run r join project p on p.id = r.project_id
 where r.for_money and (r.project_id = $1 or p.organisation_id = $2)
 order by r.id";

/// Runs that have waited since before today, where a budget above them began anew since then.
const SINCE_YESTERDAY: &str = "
select r.project_id, r.id from run r join project p on p.id = r.project_id
 where r.for_money and r.updated_at < $1
   and exists (select from budget b where b.period <> 'total'
                  and (b.project_id = r.project_id or (b.scope = 'organisation' and b.scope_id = p.organisation_id)))
 order by r.id limit 500";

/// The job that wakes what waits below this owner's budget.
pub(super) fn job(owner: Owner) -> NewJob {
    let (woken, project) = match owner {
        Owner::Organisation(id) => (Woken { project: None, organisation: Some(id.0) }, None),
        Owner::Project(id, ..) => (Woken { project: Some(id.0), organisation: None }, Some(id.0)),
    };
    let job = NewJob::new("default", KIND, json!(woken));
    match project {
        Some(project) => job.for_project(project),
        None => job,
    }
}

pub(super) fn jobs(app: &App, registry: Registry) -> Registry {
    let app = app.clone();
    // Deaf to its cancellation: the limit is set, and nothing else would wake the runs that it had not come to.
    let handler = move |job: Job, _: Lease, _: CancellationToken| {
        let app = app.clone();
        async move { wake(&app, &job).await.unwrap_or_else(|error| job::outcome_of(&error)) }
    };
    registry.with(KIND, handler)
}

async fn wake(app: &App, job: &Job) -> Result<Outcome, Error> {
    let woken: Woken = serde_json::from_value(job.payload.clone())
        .map_err(|source| Error::Corrupt { what: "job", source })?;
    let waiting: Vec<(Uuid, Uuid)> =
        sqlx::query_as(OF_OWNER).bind(woken.project).bind(woken.organisation).fetch_all(app.pool()).await?;
    all(app, waiting).await?;
    Ok(Outcome::Done)
}

/// Wakes the runs whose money may have come with a new day.
pub(super) async fn with_the_day(app: &App, now: Timestamp) -> Result<(), Error> {
    let (today, _) = syndarix_domain::budget::Period::Day.window(now);
    let waiting: Vec<(Uuid, Uuid)> =
        sqlx::query_as(SINCE_YESTERDAY).bind(today).fetch_all(app.pool()).await?;
    all(app, waiting).await
}

async fn all(app: &App, waiting: Vec<(Uuid, Uuid)>) -> Result<(), Error> {
    for (project, run) in waiting {
        retry_conflicts(|| async {
            let mut uow = app.store.begin(Author::system());
            uow.tell::<Run>(ProjectId(project), RunId(run), &Command::Wake).await?;
            uow.commit().await.map(|_events| ())
        })
        .await?;
    }
    Ok(())
}
