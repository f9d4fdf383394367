//! How features read their jobs and say what happens next.

use crate::{db::Error, state::App};
use serde::de::DeserializeOwned;
use std::future::Future;
use syndarix_domain::ids::ProjectId;
use syndarix_jobs::{Handler, Job, Lease, Outcome};
use tokio_util::sync::CancellationToken;

/// Gives payload types their JSON, as the queue stores it.
macro_rules! payload {
    ($($name:ident),* $(,)?) => {$(
        impl $name {
            pub(super) fn to_json(&self) -> serde_json::Value {
                // Ids, names and times only: nothing in a payload can fail to serialise.
                serde_json::to_value(self).unwrap_or_default()
            }
        }
    )*};
}
pub(crate) use payload;

/// Reads a job's project and payload.
pub(crate) fn read<P: DeserializeOwned>(job: &Job) -> Result<(ProjectId, P), Error> {
    let project = job.project.map(ProjectId).ok_or(Error::NotFound("project"))?;
    let payload = serde_json::from_value(job.payload.clone())
        .map_err(|source| Error::Corrupt { what: "job payload", source })?;
    Ok((project, payload))
}

/// Makes a handler of a function: its errors become retries with the whole chain as their reason. When its job is
/// cancelled it is dropped where it waits: see [`until_cancelled`].
pub(crate) fn handler<F, Fut>(app: &App, work: F) -> impl Handler + use<F, Fut>
where
    F: Fn(App, Job, Lease) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Outcome, Error>> + Send + 'static,
{
    let app = app.clone();
    move |job: Job, lease: Lease, cancel: CancellationToken| {
        let work = work(app.clone(), job, lease);
        async move { until_cancelled(&cancel, work).await }
    }
}

/// The answer of an attempt whose job may be cancelled meanwhile: then it is dropped where it waits, and what it has
/// not committed is not done. Not for work that must not end in the middle: the worker gives that its grace.
pub(crate) async fn until_cancelled(
    cancel: &CancellationToken,
    work: impl Future<Output = Result<Outcome, Error>>,
) -> Outcome {
    match cancel.run_until_cancelled(work).await {
        Some(answer) => answer.unwrap_or_else(|error| outcome_of(&error)),
        None => cancelled(),
    }
}

/// What a cancelled job answers. Where a person cancelled it, it is over; where its worker stops or lost touch with the
/// database, it comes back with no attempt used up.
pub(crate) fn cancelled() -> Outcome {
    Outcome::Retry { after: None, reason: "cancelled".into() }
}

/// What a failed attempt means for its job.
pub(crate) fn outcome_of(error: &Error) -> Outcome {
    match error {
        // Whoever holds the lease now goes on; what we have is stale, and nothing of it was written.
        Error::LeaseLost => Outcome::Completed,
        // The stream it was about is gone: another attempt would find the same.
        Error::NotFound(_) | Error::Corrupt { .. } => Outcome::Fail { reason: chain(error) },
        _ => Outcome::Retry { after: None, reason: chain(error) },
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::{pending, ready};

    #[tokio::test]
    async fn what_waits_when_its_job_is_cancelled_is_dropped_and_has_not_failed() {
        let cancel = CancellationToken::new();
        let (waits, hears) = (until_cancelled(&cancel, pending()), async { cancel.cancel() });
        let (answer, ()) = futures::join!(waits, hears);
        assert_eq!(answer, cancelled());
    }

    #[tokio::test]
    async fn what_is_done_or_fails_by_itself_says_so() {
        let cancel = CancellationToken::new();
        assert_eq!(until_cancelled(&cancel, ready(Ok(Outcome::Done))).await, Outcome::Done);
        let gone = until_cancelled(&cancel, ready(Err(Error::NotFound("story")))).await;
        assert!(matches!(gone, Outcome::Fail { reason } if reason.contains("story")));
    }
}
