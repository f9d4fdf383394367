//! Ends reservations that nobody will settle: their process died, and no later attempt of the same step comes by, because
//! the run was stopped or there was none. Has runs look again whose budget has begun anew with the day. Sums usage up
//! by the hour. Clears away answers to commands, and of models, that are kept no longer, and whom calls passed over.
//! Takes no input and may run at any time, any number of times.

use super::{rollup, wake};
use crate::{
    db::{Author, Error},
    features::{
        gateway, job,
        llm::{self, Lost},
    },
    state::App,
};
use async_trait::async_trait;
use chrono::{DateTime, Duration};
use serde_json::json;
use syndarix_domain::ids::ProjectId;
use syndarix_jobs::{Handler, Job, Lease, Missed, NewJob, Outcome, Recurring, Schedule, ensure_recurring};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// The job's kind.
pub(super) const KIND: &str = "costs.reconcile";
/// How old a reservation is, in minutes, that names no process and has no call behind it any more.
const ABANDONED_AFTER: i64 = 30;
/// The same in hours where its process lives: longer than any call, and than this process's clock may be ahead.
const FORGOTTEN_AFTER: i64 = 24;
/// A process that has said nothing for so many seconds is gone, and nobody ends what it has reserved.
const SILENT_FOR: f64 = 60.0;
/// How often to look.
const EVERY: std::time::Duration = std::time::Duration::from_secs(60);
/// Reservations ended in one turn.
const BATCH: i64 = 500;

/// Sets the reconciler up; every instance may do so at every start.
pub async fn schedule(app: &App) -> Result<(), Error> {
    let job = NewJob::new("default", KIND, json!({})).unique(KIND);
    let schedule = Schedule::Every { anchor: DateTime::UNIX_EPOCH, period: EVERY };
    let recurring = Recurring { name: KIND.into(), schedule, missed: Missed::RunOnce, job };
    let mut conn = app.pool().acquire().await?;
    ensure_recurring(&mut conn, &recurring).await?;
    Ok(())
}

/// The handler of `costs.reconcile`.
pub(super) struct Reconcile {
    app: App,
}

impl Reconcile {
    pub(super) fn new(app: &App) -> Self {
        Self { app: app.clone() }
    }

    async fn reconcile(&self) -> Result<Outcome, Error> {
        let now = self.app.clock().now();
        // Who was heard before the clock was set back would not count as silent before the old time has come again.
        sqlx::query(
            "update reservation_holder set last_seen = now() where last_seen > now() + interval '1 s'",
        )
        .execute(self.app.pool())
        .await?;
        let abandoned: Vec<(Uuid, Uuid)> = sqlx::query_as(
            "select u.project_id, u.id from usage u
              where u.state = 'reserved' and u.at < case
                    when u.instance is null then $1::timestamptz
                    when exists (select from reservation_holder h
                                  where h.instance = u.instance and h.last_seen > now() - make_interval(secs => $3)) then $4
                    else 'infinity' end
              order by u.at limit $2",
        )
        .bind(now - Duration::minutes(ABANDONED_AFTER))
        .bind(BATCH)
        .bind(SILENT_FOR)
        .bind(now - Duration::hours(FORGOTTEN_AFTER))
        .fetch_all(self.app.pool())
        .await?;
        for (project, usage) in abandoned {
            let mut uow = self.app.store.begin(Author::system());
            llm::give_back(&mut uow, ProjectId(project), Lost::One(usage)).await?;
            uow.commit().await?;
            tracing::warn!(%project, %usage, "ended an abandoned reservation at its worst case");
        }
        wake::with_the_day(&self.app, now).await?;
        rollup::roll_up(&self.app, now).await?;
        crate::http::forget_old_answers(self.app.pool()).await?;
        gateway::forget_expired_answers(&self.app, now).await?;
        llm::forget_passed_over(self.app.pool(), now).await?;
        Ok(Outcome::Done)
    }
}

#[async_trait]
impl Handler for Reconcile {
    async fn run(&self, _job: Job, _lease: Lease, cancel: CancellationToken) -> Outcome {
        job::until_cancelled(&cancel, self.reconcile()).await
    }
}
