//! Deployments that calls passed over: written beside the books, those of many calls in one statement.
//!
//! Invariants: of a call that passed nobody over nothing is written; no answer waits for what is. No money hangs on it: what
//! cannot be written soon is lost, and the log says so; nothing of it is kept for good.

use crate::db::{
    combine::{Combine, Combiner, Limits},
    storable,
};
use chrono::TimeDelta;
use sqlx::PgPool;
use std::time::Duration;
use syndarix_domain::{
    Timestamp,
    ids::{CallId, ProjectId},
};
use syndarix_llm::Cause;
use uuid::Uuid;

/// One at a time: while a deployment is left alone, every call passes it over, and all who come meanwhile go together.
const WRITES: Limits = Limits { workers: 1, batch: 256, patience: Duration::from_secs(35) };
/// What is not written by then is left out: behind a database that hangs it would pile up.
const WRITTEN_WITHIN: Duration = Duration::from_secs(10);
/// The longest reason that is kept, in characters: it may repeat what was asked.
const MAX_REASON: usize = 500;
/// How long it is kept whom a call passed over: it is for people who look into what happened of late.
const KEPT: TimeDelta = TimeDelta::days(30);
/// Rows forgotten in one statement: bounds its locks.
const FORGOTTEN_AT_ONCE: u64 = 5_000;
/// Such statements in one turn. While a deployment is left alone, each call may add a row.
const STATEMENTS: usize = 20;

/// Whom one call passed over.
#[derive(Debug)]
pub struct PassedOver {
    project: ProjectId,
    call: CallId,
    at: Timestamp,
    skipped: Vec<Skip>,
}

#[derive(Debug)]
struct Skip {
    deployment: String,
    kind: &'static str,
    reason: String,
}

impl PassedOver {
    /// Of a call with these causes; `None`: it passed nobody over.
    pub fn of<'a>(
        (project, call): (ProjectId, CallId),
        causes: impl IntoIterator<Item = &'a Cause>,
        at: Timestamp,
    ) -> Option<Self> {
        let mut skipped: Vec<Skip> = Vec::new();
        for cause in causes {
            let Cause::Skipped { deployment, reason } = cause else { continue };
            let kind = reason.name();
            // One statement writes a row once.
            if skipped.iter().any(|one| one.deployment == *deployment && one.kind == kind) {
                continue;
            }
            let reason: String = reason.to_string().chars().take(MAX_REASON).collect();
            skipped.push(Skip { deployment: deployment.clone(), kind, reason: storable(reason) });
        }
        (!skipped.is_empty()).then_some(Self { project, call, at, skipped })
    }
}

impl Combine for PassedOver {
    type Answer = ();

    /// A step that asks again goes with the next statement.
    fn alone_on(&self) -> Vec<Uuid> {
        vec![self.call.0]
    }

    /// Whoever asked has waited long enough.
    fn needs_its_caller(&self) -> bool {
        true
    }
}

/// What records them.
pub(super) struct Skips {
    calls: Combiner<PassedOver>,
}

impl Skips {
    pub(super) fn new(pool: PgPool) -> Self {
        let calls = Combiner::new(WRITES, move |calls: Vec<PassedOver>| {
            let pool = pool.clone();
            Box::pin(async move {
                if let Err(error) = write(&pool, &calls).await {
                    tracing::warn!(%error, calls = calls.len(), "cannot record whom calls passed over");
                }
                calls.iter().map(|_| ()).collect::<Vec<()>>()
            })
        });
        Self { calls }
    }

    pub(super) async fn record(&self, call: PassedOver) {
        if tokio::time::timeout(WRITTEN_WITHIN, self.calls.ask(call)).await.is_err() {
            tracing::warn!("the database does not answer: whom a call passed over is not recorded");
        }
    }
}

async fn write(pool: &PgPool, calls: &[PassedOver]) -> sqlx::Result<()> {
    let rows: Vec<(&PassedOver, &Skip)> =
        calls.iter().flat_map(|call| call.skipped.iter().map(move |skip| (call, skip))).collect();
    sqlx::query(
        "insert into usage_skip (project_id, call_id, deployment, kind, reason, at)
         select * from unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::timestamptz[])
         on conflict (project_id, call_id, deployment, kind) do update
            set reason = excluded.reason, at = excluded.at, times = usage_skip.times + 1",
    )
    .bind(rows.iter().map(|(call, _)| call.project.0).collect::<Vec<_>>())
    .bind(rows.iter().map(|(call, _)| call.call.0).collect::<Vec<_>>())
    .bind(rows.iter().map(|(_, skip)| skip.deployment.as_str()).collect::<Vec<_>>())
    .bind(rows.iter().map(|(_, skip)| skip.kind).collect::<Vec<_>>())
    .bind(rows.iter().map(|(_, skip)| skip.reason.as_str()).collect::<Vec<_>>())
    .bind(rows.iter().map(|(call, _)| call.at).collect::<Vec<_>>())
    .execute(pool)
    .await?;
    Ok(())
}

/// Forgets what is kept no longer, some of it if there is much: who calls this comes again.
pub async fn forget_passed_over(pool: &PgPool, now: Timestamp) -> sqlx::Result<()> {
    for _ in 0..STATEMENTS {
        let forgotten = sqlx::query(sqlx::AssertSqlSafe(format!(
            "delete from usage_skip where (project_id, call_id, deployment, kind) in (
                select project_id, call_id, deployment, kind from usage_skip where at < $1
                 order by at limit {FORGOTTEN_AT_ONCE} for update skip locked)"
        )))
        .bind(now - KEPT)
        .execute(pool)
        .await?;
        if forgotten.rows_affected() < FORGOTTEN_AT_ONCE {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_waited_for_too_long_does_not_pile_up_behind_a_database_that_hangs() {
        let (project, call) = (ProjectId(Uuid::from_u128(1)), CallId(Uuid::from_u128(2)));
        let call = PassedOver { project, call, at: Timestamp::UNIX_EPOCH, skipped: Vec::new() };
        assert!(call.needs_its_caller());
    }
}
