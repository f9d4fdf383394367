//! The job `knowledge.index`: brings the index of a repository to the head of its default branch.
//!
//! A file whose content did not change is not even read. Batches commit one by one under the job's lease: a crash
//! costs the batch at hand, and the next attempt goes on where the rows say.

use super::{
    queries::{self, NewSource},
    select::{self, MAX_FILE, MAX_FILES},
    store::{self, Origin, content_hash},
};
use crate::{
    db::{Author, Error, Uow},
    features::job::{self, payload},
    state::App,
};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::{collections::HashMap, time::Duration};
use syndarix_domain::ids::ProjectId;
use syndarix_forge::{ForgeError, ObjectId, TreeEntry};
use syndarix_jobs::{Handler, Job, Lease, NewJob, Outcome};
use syndarix_mcp_knowledge::chunk::{Chunk, chunk_bytes};
use tokio_util::sync::CancellationToken;

pub(super) const KIND: &str = "knowledge.index";
const QUEUE: &str = "index";
/// Attempts before it says that it failed; the next merge tries again anyway.
const ATTEMPTS: u16 = 5;
/// Files in one transaction, at most: progress shows, and a crash costs little.
const BATCH_FILES: usize = 32;
/// Text in one transaction, in bytes, at most: a few seconds of work for the database.
const BATCH_BYTES: u64 = 1024 * 1024;
/// What is kept of an explanation, in characters.
const MAX_DETAIL: usize = 500;

/// What to do.
#[derive(Debug, Serialize, Deserialize)]
struct Payload {
    /// Read every file again, changed or not.
    #[serde(default)]
    force: bool,
}

payload!(Payload);

/// Has the repository indexed after the commit. `commit` is why: the same one asked for twice is one job, another
/// one is another job, because the one that runs may have looked already.
pub async fn index_soon(uow: &mut Uow, project: ProjectId, commit: &str) -> Result<(), Error> {
    enqueue(uow, project, commit, false).await
}

pub(super) async fn enqueue(uow: &mut Uow, project: ProjectId, why: &str, force: bool) -> Result<(), Error> {
    queries::queue_index(uow, project).await?;
    let job = NewJob::new(QUEUE, KIND, Payload { force }.to_json())
        .for_project(project.0)
        .unique(format!("{KIND}:{project}:{why}"))
        .one_at_a_time(format!("{KIND}:{project}"))
        .with_attempts(ATTEMPTS);
    uow.enqueue(job)
}

/// The handler of `knowledge.index`.
pub(super) struct Index {
    app: App,
}

/// Why an attempt ended early.
enum Stop {
    Database(Error),
    Forge(ForgeError),
    /// The process is going down.
    Cancelled,
    /// The chunker's thread is gone.
    Chunker(tokio::task::JoinError),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Database(error)
    }
}

impl From<ForgeError> for Stop {
    fn from(error: ForgeError) -> Self {
        Self::Forge(error)
    }
}

/// What the index lacks.
struct Plan {
    commit: ObjectId,
    changed: Vec<TreeEntry>,
    removed: Vec<String>,
    /// Files that the index has when it is done.
    total: usize,
    left_out: usize,
}

/// One attempt.
struct Attempt<'a> {
    app: &'a App,
    project: ProjectId,
    lease: Lease,
    cancel: &'a CancellationToken,
}

impl Attempt<'_> {
    async fn run(&self, force: bool) -> Result<(), Stop> {
        let plan = self.plan(force).await?;
        self.begin(&plan).await?;
        let mut done = plan.total - plan.changed.len();
        for batch in batches(&plan.changed) {
            if self.cancel.is_cancelled() {
                return Err(Stop::Cancelled);
            }
            let chunks = self.cut(batch).await?;
            done += batch.len();
            self.store(&plan, batch, chunks, done).await?;
        }
        self.finish(&plan).await
    }

    async fn plan(&self, force: bool) -> Result<Plan, Stop> {
        let head = self.app.forge.info(self.project.0).await?.head;
        let selection = select::select(self.app.forge.tree(self.project.0, &head).await?);
        let mut settled = queries::settled(self.app.pool(), self.project).await?;
        let total = selection.files.len();
        let mut is_changed = |file: &TreeEntry| {
            let known = settled.remove(&file.path);
            force || known.is_none_or(|hash| hash != hash_of(file))
        };
        let changed = selection.files.into_iter().filter(|file| is_changed(file)).collect();
        let mut removed: Vec<String> = settled.into_keys().collect();
        removed.sort_unstable();
        Ok(Plan { commit: head, changed, removed, total, left_out: selection.left_out })
    }

    async fn begin(&self, plan: &Plan) -> Result<(), Stop> {
        let queued: Vec<NewSource> = plan.changed.iter().map(|file| source(file, "queued", "")).collect();
        let done = plan.total - plan.changed.len();
        let mut uow = self.unit();
        for paths in plan.removed.chunks(BATCH_FILES) {
            queries::remove_sources(&mut uow, self.project, Origin::Repository, paths).await?;
        }
        queries::put_sources(&mut uow, self.project, None, &queued).await?;
        queries::set_index(&mut uow, self.project, "indexing", &note(plan), (plan.total, done)).await?;
        Ok(uow.commit().await.map(drop)?)
    }

    /// Reads and cuts a batch, off the threads that serve requests. A file that is too large is not read.
    async fn cut(&self, batch: &[TreeEntry]) -> Result<HashMap<String, Vec<Chunk>>, Stop> {
        let files: Vec<&TreeEntry> = batch.iter().filter(|file| file.size <= MAX_FILE).collect();
        let ids: Vec<ObjectId> = files.iter().map(|file| file.id.clone()).collect();
        let paths: Vec<String> = files.iter().map(|file| file.path.clone()).collect();
        let indexing: Vec<NewSource> = files.iter().map(|file| source(file, "indexing", "")).collect();
        let mut uow = self.unit();
        queries::put_sources(&mut uow, self.project, None, &indexing).await?;
        uow.commit().await?;
        let contents = self.app.forge.blobs(self.project.0, &ids).await?;
        let cut = move || {
            let files = paths.into_iter().zip(contents);
            files
                .map(|(path, bytes)| {
                    let chunks = chunk_bytes(&path, &bytes);
                    (path, chunks)
                })
                .collect()
        };
        tokio::task::spawn_blocking(cut).await.map_err(Stop::Chunker)
    }

    async fn store(
        &self,
        plan: &Plan,
        batch: &[TreeEntry],
        chunks: HashMap<String, Vec<Chunk>>,
        done: usize,
    ) -> Result<(), Stop> {
        let sources: Vec<NewSource> =
            batch.iter().map(|file| outcome(file, chunks.get(&file.path))).collect();
        let paths: Vec<String> = batch.iter().map(|file| file.path.clone()).collect();
        let chunks = chunks.into_values().flatten().collect();
        let mut uow = self.unit();
        queries::put_sources(&mut uow, self.project, Some(plan.commit.as_str()), &sources).await?;
        store::replace(&mut uow, self.project, Origin::Repository, &paths, chunks).await?;
        queries::count_chunks(&mut uow, self.project, Origin::Repository, &paths).await?;
        queries::set_index(&mut uow, self.project, "indexing", &note(plan), (plan.total, done)).await?;
        Ok(uow.commit().await.map(drop)?)
    }

    async fn finish(&self, plan: &Plan) -> Result<(), Stop> {
        let mut uow = self.unit();
        queries::set_index(&mut uow, self.project, "ready", &note(plan), (plan.total, plan.total)).await?;
        queries::set_commit(&mut uow, self.project, plan.commit.as_str()).await?;
        uow.complete_job();
        Ok(uow.commit().await.map(drop)?)
    }

    /// A transaction that writes nothing once the lease is lost.
    fn unit(&self) -> Uow {
        self.app.store.begin(Author::system().within(self.lease))
    }

    /// Says why it is not up to date, and what happens next.
    async fn stopped(&self, job: &Job, stop: Stop) -> Result<Outcome, Error> {
        let (reason, passes) = match stop {
            Stop::Cancelled => {
                let reason = "the worker stops".to_owned();
                return Ok(Outcome::Snooze { wait: Duration::ZERO, reason });
            }
            Stop::Database(Error::LeaseLost) => return Ok(Outcome::Completed),
            Stop::Database(error) => match job::outcome_of(&error) {
                Outcome::Retry { reason, .. } => (reason, true),
                Outcome::Fail { reason } => (reason, false),
                other => return Ok(other),
            },
            Stop::Chunker(error) => (format!("a file could not be cut: {error}"), false),
            Stop::Forge(error) => (error.to_string(), error.is_transient()),
        };
        let reason: String = reason.chars().take(MAX_DETAIL).collect();
        let again = passes && !job.is_last_attempt();
        let state = if again { "queued" } else { "failed" };
        let mut uow = self.unit();
        queries::fail_index(&mut uow, self.project, state, &reason).await?;
        uow.commit().await?;
        Ok(if again { Outcome::Retry { after: None, reason } } else { Outcome::Fail { reason } })
    }
}

fn hash_of(file: &TreeEntry) -> String {
    content_hash(file.id.as_str())
}

fn source(file: &TreeEntry, status: &'static str, detail: &str) -> NewSource {
    NewSource { path: file.path.clone(), content_hash: hash_of(file), status, detail: detail.to_owned() }
}

/// What became of a file; no chunks were cut from one that is too large, and a binary one has none.
fn outcome(file: &TreeEntry, chunks: Option<&Vec<Chunk>>) -> NewSource {
    match chunks {
        Some(chunks) if chunks.is_empty() => source(file, "ready", "binary: it has no text to search"),
        Some(_) => source(file, "ready", ""),
        None => source(file, "failed", &format!("larger than {} KiB", MAX_FILE / 1024)),
    }
}

fn note(plan: &Plan) -> String {
    match plan.left_out {
        0 => String::new(),
        n => format!("only the first {MAX_FILES} files are indexed; {n} are left out"),
    }
}

/// Cuts the list where a transaction would hold too many files or too much text.
fn batches(files: &[TreeEntry]) -> impl Iterator<Item = &[TreeEntry]> {
    let mut rest = files;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = |file: &&TreeEntry| {
            bytes += file.size.min(MAX_FILE);
            bytes <= BATCH_BYTES
        };
        let count = rest.iter().take(BATCH_FILES).take_while(fits).count().max(1).min(rest.len());
        let (batch, after) = rest.split_at(count);
        rest = after;
        (!batch.is_empty()).then_some(batch)
    })
}

impl Index {
    pub(super) fn new(app: &App) -> Self {
        Self { app: app.clone() }
    }

    async fn index(&self, job: &Job, lease: Lease, cancel: &CancellationToken) -> Result<Outcome, Error> {
        let (project, Payload { force }) = job::read(job)?;
        let attempt = Attempt { app: &self.app, project, lease, cancel };
        match attempt.run(force).await {
            Ok(()) => Ok(Outcome::Completed),
            Err(stop) => attempt.stopped(job, stop).await,
        }
    }
}

#[async_trait]
impl Handler for Index {
    async fn run(&self, job: Job, lease: Lease, cancel: CancellationToken) -> Outcome {
        self.index(&job, lease, &cancel).await.unwrap_or_else(|error| job::outcome_of(&error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use syndarix_forge::EntryKind;

    #[test]
    fn batches_hold_every_file_once_and_stay_within_their_limits() {
        let sizes = [10, MAX_FILE * 3, BATCH_BYTES, 1, 1].into_iter().chain([5; 100]);
        let id = ObjectId::new("a".repeat(40)).unwrap();
        let files: Vec<TreeEntry> = sizes
            .enumerate()
            .map(|(n, size)| TreeEntry { path: n.to_string(), kind: EntryKind::File, id: id.clone(), size })
            .collect();
        let batches: Vec<&[TreeEntry]> = batches(&files).collect();
        assert_eq!(batches.concat(), files);
        for batch in batches {
            let bytes: u64 = batch.iter().map(|file| file.size.min(MAX_FILE)).sum();
            assert!((1..=BATCH_FILES).contains(&batch.len()) && bytes <= BATCH_BYTES);
        }
    }
}
