//! Group commit for jobs that are enqueued one by one, each without a transaction of its caller.
//!
//! Whatever waits goes into one statement; a caller has its answer once that is committed. When nothing else waits, a job
//! is written at once. Jobs that belong to a transition are enqueued in its transaction instead: see [`crate::enqueue`].

use std::collections::BTreeSet;
use std::sync::Arc;

use sqlx::PgPool;
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::TaskTracker;

use crate::{EnqueueError, Enqueued, NewJob, Wake, enqueue_many};

/// Jobs that wait to be written; who finds it full waits.
const WAITING: usize = 1_024;

/// Most jobs of one statement.
const MAX_BATCH: usize = 512;

struct Request {
    job: NewJob,
    answer: oneshot::Sender<Result<Enqueued, IntakeError>>,
}

/// Takes jobs in from many callers at once. Cheap to clone; it ends with its last clone.
#[derive(Clone)]
pub struct Intake {
    requests: mpsc::Sender<Request>,
}

/// Why a job was not taken in.
#[derive(Clone, Debug, thiserror::Error)]
pub enum IntakeError {
    /// The job was refused; nothing was written.
    #[error("the job was refused")]
    Refused(#[source] Arc<EnqueueError>),
    /// The database did not confirm the write. As with any commit that gets no answer, it may have happened.
    #[error("cannot write the job")]
    Database(#[source] Arc<EnqueueError>),
    /// The process is about to end; nothing was written.
    #[error("no jobs are taken in any more")]
    Closed,
}

impl Intake {
    /// Starts it on `pool`, of which it uses one connection at a time. Pokes `wake` after each commit.
    pub fn start(pool: PgPool, wake: Wake, tasks: &TaskTracker) -> Self {
        let (requests, waiting) = mpsc::channel(WAITING);
        tasks.spawn(write_all(pool, wake, waiting));
        Self { requests }
    }

    /// Enqueues a job and returns once it is committed.
    pub async fn enqueue(&self, job: NewJob) -> Result<Enqueued, IntakeError> {
        // Before it can spoil a batch.
        job.check().map_err(|error| IntakeError::Refused(Arc::new(error)))?;
        let (answer, answered) = oneshot::channel();
        self.requests.send(Request { job, answer }).await.map_err(|_| IntakeError::Closed)?;
        answered.await.unwrap_or(Err(IntakeError::Closed))
    }
}

async fn write_all(pool: PgPool, wake: Wake, mut waiting: mpsc::Receiver<Request>) {
    let mut batch = Vec::with_capacity(MAX_BATCH);
    while waiting.recv_many(&mut batch, MAX_BATCH).await > 0 {
        let (jobs, answers): (Vec<_>, Vec<_>) =
            batch.drain(..).map(|Request { job, answer }| (job, answer)).unzip();
        match write(&pool, &jobs).await {
            Ok(written) => answer_all(&wake, &jobs, answers, written),
            Err(error) if is_refusal(&error) => write_singly(&pool, &wake, jobs, answers).await,
            Err(error) => {
                let error = Arc::new(error);
                for answer in answers {
                    // Who does not wait any more needs no answer.
                    answer.send(Err(IntakeError::Database(Arc::clone(&error)))).ok();
                }
            }
        }
    }
}

async fn write(pool: &PgPool, jobs: &[NewJob]) -> Result<Vec<Enqueued>, EnqueueError> {
    enqueue_many(&mut *pool.acquire().await?, jobs).await
}

/// One bad job must not take its neighbours with it.
async fn write_singly(
    pool: &PgPool,
    wake: &Wake,
    jobs: Vec<NewJob>,
    answers: Vec<oneshot::Sender<Result<Enqueued, IntakeError>>>,
) {
    for (job, answer) in jobs.into_iter().zip(answers) {
        let written = write(pool, std::slice::from_ref(&job)).await;
        let written = written.map(|written| written.first().copied().unwrap_or(Enqueued::Duplicate));
        wake.poke(&job.queue);
        let refused = |error| {
            let refused = is_refusal(&error);
            let error = Arc::new(error);
            if refused { IntakeError::Refused(error) } else { IntakeError::Database(error) }
        };
        answer.send(written.map_err(refused)).ok();
    }
}

fn answer_all(
    wake: &Wake,
    jobs: &[NewJob],
    answers: Vec<oneshot::Sender<Result<Enqueued, IntakeError>>>,
    written: Vec<Enqueued>,
) {
    let queues: BTreeSet<_> = jobs.iter().map(|job| job.queue.as_str()).collect();
    for queue in queues {
        wake.poke(queue);
    }
    for (answer, written) in answers.into_iter().zip(written) {
        answer.send(Ok(written)).ok();
    }
}

fn is_refusal(error: &EnqueueError) -> bool {
    match error {
        EnqueueError::PayloadTooLarge { .. }
        | EnqueueError::ImpossibleRate { .. }
        | EnqueueError::Schedule { .. } => true,
        EnqueueError::Database(error) => crate::outage::is_refusal(error),
    }
}
