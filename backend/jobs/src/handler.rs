//! What runs a job, and what it says at the end.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{Lease, Priority};

/// A claimed job, as its handler sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// Its id; stays the same over retries and re-drives.
    pub id: i64,
    /// Queue it came from.
    pub queue: String,
    /// Project it belongs to.
    pub project: Option<Uuid>,
    /// Names the handler.
    pub kind: String,
    /// What was enqueued.
    pub payload: Value,
    /// Its priority.
    pub priority: Priority,
    /// Which attempt this is, from 1; a rescue from a lost worker counts as one.
    pub attempt: u32,
    /// How many workers it lost in a row: an attempt that comes to its end sets this back.
    pub rescues: u32,
    /// Attempts before the dead letters.
    pub max_attempts: u32,
    /// Its key of exclusion, if it has one.
    pub concurrency_key: Option<String>,
    /// When it was enqueued.
    pub created_at: DateTime<Utc>,
    /// The time it is for, if it comes from a schedule; it may run much later.
    pub tick: Option<DateTime<Utc>>,
}

impl Job {
    /// Whether a retry asked for now would end in the dead letters.
    pub fn is_last_attempt(&self) -> bool {
        self.attempt.saturating_sub(self.rescues) >= self.max_attempts
    }
}

/// What happens next with a job that was run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is finished; the worker records it.
    Done,
    /// The handler finished it in its own transaction with [`Lease::complete`], and counted it.
    Completed,
    /// It failed and is to be tried again, or goes to the dead letters when its attempts are used up.
    Retry {
        /// Wait this long; `None` is exponential back-off with full jitter.
        after: Option<Duration>,
        /// What went wrong; kept in the job's error chain.
        reason: String,
    },
    /// It is to be tried later; no attempt is used up.
    Snooze {
        /// Wait this long, by the database's clock: this machine's may be another.
        wait: Duration,
        /// What it waits for; shown with the job.
        reason: String,
    },
    /// It cannot succeed: dead letters at once.
    Fail {
        /// What went wrong.
        reason: String,
    },
}

/// Runs the jobs of one kind.
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    /// Runs one attempt. When `cancel` fires, stop soon: after a grace the attempt is aborted.
    ///
    /// Database writes that must not happen twice belong in a transaction with [`Lease::hold`] or [`Lease::complete`].
    async fn run(&self, job: Job, lease: Lease, cancel: CancellationToken) -> Outcome;
}

#[async_trait]
impl<F, R> Handler for F
where
    F: Fn(Job, Lease, CancellationToken) -> R + Send + Sync + 'static,
    R: Future<Output = Outcome> + Send,
{
    async fn run(&self, job: Job, lease: Lease, cancel: CancellationToken) -> Outcome {
        self(job, lease, cancel).await
    }
}

/// Which handler runs which kind.
#[derive(Clone, Default)]
pub struct Registry {
    handlers: HashMap<String, Arc<dyn Handler>>,
}

impl Registry {
    /// No handlers yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Has `handler` run the jobs of `kind`. The last one registered for a kind counts.
    #[must_use]
    pub fn with(mut self, kind: impl Into<String>, handler: impl Handler) -> Self {
        self.handlers.insert(kind.into(), Arc::new(handler));
        self
    }

    /// The kinds that have a handler, sorted.
    pub fn kinds(&self) -> Vec<&str> {
        let mut kinds: Vec<_> = self.handlers.keys().map(String::as_str).collect();
        kinds.sort_unstable();
        kinds
    }

    pub(crate) fn get(&self, kind: &str) -> Option<Arc<dyn Handler>> {
        self.handlers.get(kind).map(Arc::clone)
    }
}
