//! Writing the end of an attempt, under its lease.
//!
//! The finished ones of a batch go in one statement. Everything else locks the row, decides, and writes.

use std::time::Duration;

use sqlx::{Connection, PgConnection};

use crate::telemetry::{self, Tally};
use crate::{Backoff, Finished, Lease};

/// Longest error text kept, in bytes: a chain of causes fits, a dump does not.
const MAX_REASON_BYTES: usize = 4 * 1024;

/// Errors kept per job; the oldest go first.
const MAX_ERRORS: i32 = 20;

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Done,
    Retry {
        after: Option<Duration>,
        reason: String,
    },
    Snooze {
        wait: Duration,
        reason: String,
    },
    Fail {
        reason: String,
    },
    /// Interrupted by a drain: ready again at once, as if it had not been claimed.
    HandBack,
}

/// An attempt and its end.
#[derive(Clone, Debug)]
pub(crate) struct Settlement {
    pub(crate) lease: Lease,
    pub(crate) verdict: Verdict,
}

/// What a job's counters say at its end.
#[derive(Clone, Copy, Debug, sqlx::FromRow)]
struct Counters {
    attempt: i32,
    rescues: i32,
    max_attempts: i32,
    cancel_requested: bool,
}

/// A job whose lease is held.
#[derive(Debug, sqlx::FromRow)]
struct Held {
    queue: String,
    #[sqlx(flatten)]
    counters: Counters,
}

/// What is written.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Finish {
        outcome: &'static str,
        note: Option<String>,
    },
    Bury {
        reason: String,
    },
    Release {
        /// `None`: ready at once, in its old place.
        wait: Option<Duration>,
        refund: bool,
        error: Option<String>,
        note: Option<String>,
    },
}

fn step(verdict: &Verdict, counters: Counters, backoff: &Backoff) -> Step {
    let failures = counters.attempt.saturating_sub(counters.rescues);
    let refund = |wait, note| Step::Release { wait, refund: true, error: None, note };
    match verdict {
        Verdict::Done => Step::Finish { outcome: "done", note: None },
        // Whoever cancelled it does not want it any more: what went wrong is noted, and is nobody's to settle.
        Verdict::Fail { reason } | Verdict::Retry { reason, .. } if counters.cancel_requested => {
            Step::Finish { outcome: "cancelled", note: Some(reason.clone()) }
        }
        _ if counters.cancel_requested => Step::Finish { outcome: "cancelled", note: None },
        Verdict::Fail { reason } => Step::Bury { reason: reason.clone() },
        Verdict::Retry { reason, .. } if failures >= counters.max_attempts => {
            Step::Bury { reason: reason.clone() }
        }
        Verdict::Retry { after, reason } => Step::Release {
            wait: Some(after.unwrap_or_else(|| backoff.delay(u32::try_from(failures).unwrap_or(1)))),
            refund: false,
            error: Some(reason.clone()),
            note: None,
        },
        Verdict::Snooze { wait, reason } => refund(Some(*wait), Some(reason.clone())),
        Verdict::HandBack => refund(None, None),
    }
}

/// Writes a batch of ends in one transaction. Those whose lease is lost write nothing.
pub(crate) async fn settle(
    conn: &mut PgConnection,
    batch: &[Settlement],
    backoff: &Backoff,
) -> Result<(), sqlx::Error> {
    let (done, others): (Vec<_>, Vec<_>) = batch.iter().partition(|end| end.verdict == Verdict::Done);
    let leases: Vec<_> = done.iter().map(|end| end.lease).collect();
    let mut tally = Tally::default();
    if others.is_empty() {
        // One statement is a transaction by itself, and saves the way there and back twice.
        finish_done(conn, &leases, &mut tally).await?;
    } else {
        let mut transaction = conn.begin().await?;
        finish_done(&mut transaction, &leases, &mut tally).await?;
        for end in others {
            settle_one(&mut transaction, end, backoff, &mut tally).await?;
        }
        transaction.commit().await?;
    }
    tally.committed();
    telemetry::finish_batch(batch.len());
    Ok(())
}

async fn finish_done(
    conn: &mut PgConnection,
    leases: &[Lease],
    tally: &mut Tally,
) -> Result<(), sqlx::Error> {
    if leases.is_empty() {
        return Ok(());
    }
    let finished = finish_leased(conn, leases, true).await?;
    tally.leases_lost(leases.len().saturating_sub(finished.len()));
    tally.finished(finished.into_iter().map(Finished::into_queue));
    Ok(())
}

async fn settle_one(
    conn: &mut PgConnection,
    end: &Settlement,
    backoff: &Backoff,
    tally: &mut Tally,
) -> Result<(), sqlx::Error> {
    let Lease { job, fence } = end.lease;
    let held: Option<Held> = sqlx::query_as(
        "select queue, attempt, rescues, max_attempts, cancel_requested
           from job where id = $1 and fence = $2 and owner is not null for update",
    )
    .bind(job)
    .bind(fence)
    .fetch_optional(&mut *conn)
    .await?;
    let Some(Held { queue, counters }) = held else {
        tracing::debug!(job, fence, "the lease was lost; the result of this attempt is dropped");
        tally.leases_lost(1);
        return Ok(());
    };
    match step(&end.verdict, counters, backoff) {
        Step::Finish { outcome, note } => finish_noting(conn, &[job], outcome, note.as_deref()).await,
        Step::Bury { reason } => {
            tracing::warn!(job, %reason, "a job goes to the dead letters");
            note_error(conn, &[job], &reason).await?;
            tally.buried(bury(conn, &[job], &reason).await?);
            Ok(())
        }
        Step::Release { wait, refund, error, note } => {
            if let Some(error) = error {
                tally.retried(queue);
                note_error(conn, &[job], &error).await?;
            }
            release(conn, job, wait, refund, note.as_deref()).await
        }
    }
}

/// Ends the jobs whose lease is still held, and says which. `own`: the connection is the worker's, which keeps its
/// plans; so the leases are looked up beside the rows, and not joined to them: see the claim.
pub(crate) async fn finish_leased(
    conn: &mut PgConnection,
    leases: &[Lease],
    own: bool,
) -> Result<Vec<Finished>, sqlx::Error> {
    sqlx::query_as(
        "with gone as (
            delete from job
             where id = any ($1) and owner is not null
               and ((id, fence) in (select * from unnest($1::bigint[], $2::bigint[]))) is true
            returning *
         )
         insert into job_done (id, queue, project_id, kind, attempt, outcome)
         select id, queue, project_id, kind, attempt, 'done' from gone
         returning id, queue",
    )
    .bind(leases.iter().map(|lease| lease.job).collect::<Vec<_>>())
    .bind(leases.iter().map(|lease| lease.fence).collect::<Vec<_>>())
    // Not kept on connections of others, whose plans are as the server likes them: one that was made while the table was
    // all but empty would read the whole of a full one.
    .persistent(own)
    .fetch_all(conn)
    .await
}

/// Ends jobs whose rows the caller has locked.
pub(crate) async fn finish_as(
    conn: &mut PgConnection,
    jobs: &[i64],
    outcome: &str,
) -> Result<(), sqlx::Error> {
    finish_noting(conn, jobs, outcome, None).await
}

/// As [`finish_as`], with what is to be remembered of their end.
async fn finish_noting(
    conn: &mut PgConnection,
    jobs: &[i64],
    outcome: &str,
    note: Option<&str>,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "with gone as (delete from job where id = any($1) returning *)
         insert into job_done (id, queue, project_id, kind, attempt, outcome, note)
         select id, queue, project_id, kind, attempt, $2, $3 from gone",
    )
    .bind(jobs)
    .bind(outcome)
    .bind(note.map(storable))
    .persistent(false)
    .execute(conn)
    .await
    .map(drop)
}

/// Moves jobs whose rows the caller has locked to the dead letters, and says their queues.
pub(crate) async fn bury(
    conn: &mut PgConnection,
    jobs: &[i64],
    reason: &str,
) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar(
        "with gone as (delete from job where id = any($1) returning *)
         insert into job_dead (id, queue, project_id, kind, payload, priority, unique_key, concurrency_key,
                               attempt, max_attempts, rescues, fence, reason, errors, created_at, rate, tick)
         select id, queue, project_id, kind, payload, priority, unique_key, concurrency_key,
                attempt, max_attempts, rescues, fence, $2, errors, created_at, rate, tick from gone
         returning queue",
    )
    .bind(jobs)
    .bind(storable(reason))
    .fetch_all(conn)
    .await
}

/// Adds an error to the chain of jobs whose rows the caller has locked.
pub(crate) async fn note_error(
    conn: &mut PgConnection,
    jobs: &[i64],
    error: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "update job set last_error = $2,
                errors = case when jsonb_array_length(errors) < $3 then errors else errors - 0 end
                         || jsonb_build_object('attempt', attempt, 'at', now(), 'error', $2::text)
          where id = any($1)",
    )
    .bind(jobs)
    .bind(storable(error))
    .bind(MAX_ERRORS)
    .execute(conn)
    .await
    .map(drop)
}

async fn release(
    conn: &mut PgConnection,
    job: i64,
    wait: Option<Duration>,
    refund: bool,
    note: Option<&str>,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "update job
            set owner = null, lease_until = null, fence = fence + 1,
                -- An attempt that came to an end killed nobody: its rescues, which counted as attempts, are forgotten.
                attempt = attempt - rescues - $2::bool::int, rescues = 0,
                run_at = coalesce(now() + make_interval(secs => $3), run_at),
                due = coalesce(now() + make_interval(secs => $3) <= now(), true),
                waits_since = case when $3 > 0 then now() end,
                last_error = coalesce($4, last_error)
          where id = $1",
    )
    .bind(job)
    .bind(refund)
    .bind(wait.map(|wait| wait.as_secs_f64()))
    .bind(note.map(storable))
    .execute(conn)
    .await
    .map(drop)
}

/// PostgreSQL cannot store NUL in text, and a job's error must not grow without limit.
pub(crate) fn storable(text: &str) -> String {
    let mut text = text.replace('\0', "\u{fffd}");
    if text.len() > MAX_REASON_BYTES {
        let cut = (0..=MAX_REASON_BYTES).rev().find(|at| text.is_char_boundary(*at));
        text.truncate(cut.unwrap_or(0));
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRESH: Counters = Counters { attempt: 1, rescues: 0, max_attempts: 1, cancel_requested: false };

    fn retry() -> Verdict {
        Verdict::Retry { after: Some(Duration::from_secs(3)), reason: "no".into() }
    }

    #[test]
    fn the_last_failed_attempt_is_buried() {
        assert_eq!(step(&retry(), FRESH, &Backoff::default()), Step::Bury { reason: "no".into() });
    }

    #[test]
    fn a_lost_worker_does_not_use_up_an_attempt() {
        let rescued = Counters { attempt: 2, rescues: 1, max_attempts: 2, ..FRESH };
        assert!(matches!(step(&retry(), rescued, &Backoff::default()), Step::Release { refund: false, .. }));
    }

    #[test]
    fn a_cancelled_job_is_not_tried_again_but_keeps_its_success() {
        let cancelled = Counters { cancel_requested: true, max_attempts: 9, ..FRESH };
        let ends = |verdict| step(&verdict, cancelled, &Backoff::default());
        let over = |note: Option<&str>| Step::Finish { outcome: "cancelled", note: note.map(str::to_owned) };
        assert_eq!(ends(retry()), over(Some("no")));
        assert_eq!(ends(Verdict::HandBack), over(None));
        assert_eq!(ends(Verdict::Done), Step::Finish { outcome: "done", note: None });
    }

    #[test]
    fn a_cancelled_job_that_fails_is_cancelled_and_no_dead_letter() {
        let cancelled = Counters { cancel_requested: true, ..FRESH };
        let fail = Verdict::Fail { reason: "half way".into() };
        assert_eq!(
            step(&fail, cancelled, &Backoff::default()),
            Step::Finish { outcome: "cancelled", note: Some("half way".into()) }
        );
        assert_eq!(step(&fail, FRESH, &Backoff::default()), Step::Bury { reason: "half way".into() });
    }

    #[test]
    fn error_text_is_made_storable_and_bounded() {
        assert_eq!(storable("a\0b"), "a\u{fffd}b");
        assert!(storable(&"é".repeat(MAX_REASON_BYTES)).len() <= MAX_REASON_BYTES + '…'.len_utf8());
    }
}
