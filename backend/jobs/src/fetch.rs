//! From a claimed job to its written end.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinError;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::dead::PANICKED;
use crate::held_up::HeldUp;
use crate::outage::{self, CallError, Outage, STATEMENT_LIMIT};
use crate::settle::{Settlement, Verdict, settle};
use crate::worker::{Running, Shared};
use crate::{Claim, Claimed, Cursor, Job, Lease, Outcome, QueueConfig, claim};

/// Most jobs of one claim: more would only wait for their neighbours.
const MAX_BATCH: usize = 256;

/// Most ends written in one transaction.
const MAX_ENDS: usize = 256;

/// A queue in which nothing was found so many times in a row is looked at as many times less often. Jobs that this process
/// enqueues are not found but poked for, so that only those that another process enqueues, and does not take itself, wait for a look.
const IDLE_POLLS: u32 = 2;

/// Wait when work is there but others hold its rows at this moment.
const CONTENDED_WAIT: Duration = Duration::from_millis(10);

/// Claims and starts the jobs of one queue until the worker stops.
pub(crate) async fn fetch(shared: Arc<Shared>, queue: QueueConfig) {
    let slots = Arc::new(Semaphore::new(usize::from(queue.concurrency)));
    let wake = shared.wake.listen(&queue.name);
    let name: Arc<str> = queue.name.as_str().into();
    let (mut cursor, mut outage) = (Cursor::default(), Outage::new("claiming jobs"));
    let mut in_vain = 0_u32;
    while let Some(free) = free_slots(&shared, &slots).await {
        let asked = free.len();
        let pause = match claim_batch(&shared, &queue.name, asked, &mut cursor).await {
            Ok(batch) => {
                outage.over();
                let (taken, more, again) = (batch.jobs.len(), batch.more, batch.look_again);
                start_all(&shared, &name, batch, free);
                in_vain = if taken > 0 || more { 0 } else { in_vain.saturating_add(1) };
                match (taken, more) {
                    (0, true) => Some(CONTENDED_WAIT),
                    (taken, more) if more || taken == asked => None,
                    _ => {
                        let longest = shared.config.poll * in_vain.clamp(1, IDLE_POLLS);
                        let poll = longest.mul_f64(0.25 + 0.75 * rand::random::<f64>());
                        Some(again.map_or(poll, |again| again.min(poll)))
                    }
                }
            }
            Err(error) => {
                drop(free);
                if !error.is_statement_timeout() {
                    cursor.look_anew();
                }
                Some(outage.failed(&error))
            }
        };
        if let Some(pause) = pause {
            wait(&shared, &wake, pause).await;
        }
    }
}

/// At least one free slot, as soon as there is one and the heartbeat gets through; none when the worker stops.
async fn free_slots(shared: &Shared, slots: &Arc<Semaphore>) -> Option<Vec<OwnedSemaphorePermit>> {
    let mut healthy = shared.healthy.subscribe();
    let first = shared
        .stop
        .run_until_cancelled(async {
            let first = Arc::clone(slots).acquire_owned().await.ok()?;
            healthy.wait_for(|healthy| *healthy).await.ok()?;
            Some(first)
        })
        .await??;
    let mut free = vec![first];
    while free.len() < MAX_BATCH {
        match Arc::clone(slots).try_acquire_owned() {
            Ok(permit) => free.push(permit),
            Err(_) => break,
        }
    }
    Some(free)
}

async fn claim_batch(
    shared: &Shared,
    queue: &str,
    free: usize,
    cursor: &mut Cursor,
) -> Result<Claimed, CallError> {
    let wanted = Claim {
        queue,
        owner: shared.config.incarnation,
        limit: u16::try_from(free).unwrap_or(u16::MAX),
        lease: shared.config.lease,
    };
    let call = async {
        let mut connection = shared.pool.acquire().await?;
        cursor.own = Some(running_by_project(shared, queue));
        claim(&mut connection, wanted, cursor).await
    };
    Ok(tokio::time::timeout(STATEMENT_LIMIT, call).await??)
}

fn running_by_project(shared: &Shared, queue: &str) -> HashMap<Uuid, i64> {
    let mut counts = HashMap::new();
    for run in shared.running().values().filter(|run| &*run.queue == queue) {
        *counts.entry(run.tenant).or_default() += 1;
    }
    counts
}

fn start_all(shared: &Arc<Shared>, queue: &Arc<str>, batch: Claimed, slots: Vec<OwnedSemaphorePermit>) {
    if shared.end.is_cancelled() {
        // The claim was under way when the drain ended; these go back with everything this worker still owns.
        return;
    }
    for ((job, lease), slot) in batch.jobs.into_iter().zip(slots) {
        let cancel = CancellationToken::new();
        let run = Running {
            fence: lease.fence,
            cancel: cancel.clone(),
            queue: Arc::clone(queue),
            tenant: job.project.unwrap_or_default(),
            keyed: job.concurrency_key.is_some(),
        };
        if let Some(overtaken) = shared.running().insert(lease.job, run) {
            // Its lease was lost and the job came back here: the old attempt must not go on beside the new one.
            overtaken.cancel.cancel();
        }
        shared.tasks.spawn(supervise(Arc::clone(shared), job, lease, cancel, slot));
    }
}

async fn wait(shared: &Shared, wake: &Notify, pause: Duration) {
    tokio::select! {
        () = shared.stop.cancelled() => {}
        () = wake.notified() => {}
        () = tokio::time::sleep(pause) => {}
    }
}

/// Runs one attempt and passes its end on to be written. Its slot is free as soon as the end is passed on.
async fn supervise(
    shared: Arc<Shared>,
    job: Job,
    lease: Lease,
    cancel: CancellationToken,
    _slot: OwnedSemaphorePermit,
) {
    let Some(handler) = shared.registry.get(&job.kind) else {
        let reason = format!("no worker knows the job kind {} yet", job.kind);
        let wait = shared.config.unknown_kind_wait;
        return pass_on(&shared, lease, Verdict::Snooze { wait, reason }).await;
    };
    let kind = job.kind.clone();
    let token = cancel.clone();
    // A task of its own: its panic is an answer like any other, and it can be aborted.
    let mut attempt = shared.tasks.spawn(async move { handler.run(job, lease, token).await });
    let answer = tokio::select! {
        answer = &mut attempt => answer,
        () = overdue(&shared, &cancel) => {
            attempt.abort();
            tracing::warn!(job = lease.job, %kind, "a job handler did not stop when asked to; it is aborted");
            let reason = "cancelled, and aborted because it did not stop".to_owned();
            Ok(Outcome::Retry { after: None, reason })
        }
    };
    match verdict(answer) {
        Some(verdict) => pass_on(&shared, lease, verdict).await,
        None => shared.forget(lease),
    }
}

/// Cancelled long enough ago, or the worker ends.
async fn overdue(shared: &Shared, cancel: &CancellationToken) {
    let mut healthy = shared.healthy.subscribe();
    let graced = async {
        cancel.cancelled().await;
        let distrusted = async {
            // The sender lives as long as the worker.
            healthy.wait_for(|healthy| !healthy).await.ok();
            tokio::time::sleep(shared.config.distrust_grace()).await;
        };
        tokio::select! {
            () = tokio::time::sleep(shared.config.cancel_grace) => {}
            () = distrusted => {}
        }
    };
    shared.end.run_until_cancelled(graced).await;
}

fn verdict(answer: Result<Outcome, JoinError>) -> Option<Verdict> {
    Some(match answer {
        Ok(Outcome::Completed) => return None,
        Ok(Outcome::Done) => Verdict::Done,
        Ok(Outcome::Retry { after, reason }) => Verdict::Retry { after, reason },
        Ok(Outcome::Snooze { wait, reason }) => Verdict::Snooze { wait, reason },
        Ok(Outcome::Fail { reason }) => Verdict::Fail { reason },
        Err(error) => Verdict::Retry { after: None, reason: panic_text(error) },
    })
}

fn panic_text(error: JoinError) -> String {
    let Ok(panic) = error.try_into_panic() else {
        return "the handler was aborted".to_owned();
    };
    let text =
        panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("{PANICKED}: {}", text.unwrap_or("(no message)"))
}

async fn pass_on(shared: &Shared, lease: Lease, verdict: Verdict) {
    // What fails while the worker drains, or while it does not hear from the database, has not had its attempt.
    let disturbed = shared.handing_back.load(Ordering::Acquire) || !*shared.healthy.borrow();
    let cut_short = disturbed && matches!(verdict, Verdict::Retry { .. });
    let verdict = if cut_short { Verdict::HandBack } else { verdict };
    // At the end of a drain nobody listens any more; the job is handed back with the rest.
    shared.settlements.send(Settlement { lease, verdict }).await.ok();
}

/// Writes ends as they come in: whatever waits goes in one transaction, but for jobs whose rows somebody else holds.
pub(crate) async fn settle_ends(shared: Arc<Shared>, mut ends: mpsc::Receiver<Settlement>) {
    let mut outage = Outage::new("finishing jobs");
    let mut batch = Vec::with_capacity(MAX_ENDS);
    let mut held_up = HeldUp::default();
    loop {
        let next = held_up.next(&shared, &mut ends, (&mut batch, MAX_ENDS));
        if shared.end.run_until_cancelled(next).await != Some(true) {
            return;
        }
        while !batch.is_empty()
            && let Err(error) = settle_batch(&shared, &batch).await
        {
            if is_refusal(&error) {
                settle_singly(&shared, &batch).await;
                break;
            }
            if error.is_lock_timeout() && held_up.set_aside(&shared, &mut batch).await.is_ok() {
                continue;
            }
            let pause = outage.failed(&error);
            if shared.end.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                return;
            }
        }
        outage.over();
        for end in batch.drain(..) {
            if end.verdict == Verdict::HandBack && shared.handing_back.load(Ordering::Acquire) {
                shared.handed_back.fetch_add(1, Ordering::AcqRel);
            }
            shared.forget(end.lease);
        }
    }
}

async fn settle_batch(shared: &Shared, batch: &[Settlement]) -> Result<(), CallError> {
    let call = async {
        let mut connection = shared.pool.acquire().await?;
        settle(&mut connection, batch, &shared.config.backoff).await
    };
    Ok(tokio::time::timeout(STATEMENT_LIMIT, call).await??)
}

/// The same batch will never pass.
fn is_refusal(error: &CallError) -> bool {
    matches!(error, CallError::Database(error) if outage::is_refusal(error))
}

/// One bad end must not take its neighbours with it. Its own lease runs out, and the job is rescued.
async fn settle_singly(shared: &Shared, batch: &[Settlement]) {
    for end in batch {
        if let Err(error) = settle_batch(shared, std::slice::from_ref(end)).await {
            let error: &(dyn std::error::Error + 'static) = &error;
            tracing::error!(job = end.lease.job, error, "the end of a job cannot be written");
        }
    }
}
