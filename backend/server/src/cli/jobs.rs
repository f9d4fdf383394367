//! `job`: what an operator sees and settles, of the whole installation.

use super::{
    Failure, Global,
    history::History,
    local::{Local, project_id},
    output,
    work::list,
};
use crate::{
    features::operations::{self, Cancellation},
    http::ApiError,
};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};
use sqlx::PgConnection;
use syndarix_jobs::{DeathCause, Filter, JobState};

/// Dead letters that `--all` reads at once.
const PAGE: u16 = 500;

#[derive(Debug, Subcommand)]
pub(super) enum Job {
    /// Lists the queues: how full they are, how long the oldest job has waited, who polls them.
    Queues,
    /// Lists the workers: alive or silent, what they poll and hold.
    Workers,
    /// Lists live jobs, newest first.
    List {
        #[command(flatten)]
        which: Which,
        /// In this state only.
        #[arg(long, value_enum)]
        state: Option<State>,
    },
    /// Lists the jobs that a worker holds at this moment.
    Running(Which),
    /// Lists dead letters, newest first.
    Dead(Which),
    /// Cancels live jobs: one that waits is gone, one that runs is told to stop; the run that it goes on with ends.
    Cancel {
        /// Their ids.
        #[arg(value_name = "ID", required = true)]
        jobs: Vec<i64>,
        /// Why: kept on record.
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// Puts dead letters back into their queues.
    Redrive {
        #[command(flatten)]
        letters: Letters,
        /// Why: kept on record.
        #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
        reason: String,
    },
    /// Gives dead letters up for good; their history stays.
    Purge {
        #[command(flatten)]
        letters: Letters,
        /// Why: kept in the history and on record.
        #[arg(long, value_name = "TEXT", alias = "because")]
        reason: String,
    },
    /// Lists the events of one story, run, sprint, approval or pull request, or shows it as it was.
    History(History),
}

/// Where a live job stands.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum State {
    Ready,
    Scheduled,
    Running,
}

impl From<State> for JobState {
    fn from(state: State) -> Self {
        match state {
            State::Ready => Self::Ready,
            State::Scheduled => Self::Delayed,
            State::Running => Self::Running,
        }
    }
}

/// What kind of end made a dead letter.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Cause {
    /// It lost one worker after another.
    WorkerLost,
    /// Its handler panicked.
    Panicked,
    /// It cannot be done, or failed as often as it may.
    Failed,
}

impl From<Cause> for DeathCause {
    fn from(cause: Cause) -> Self {
        match cause {
            Cause::WorkerLost => Self::WorkerLost,
            Cause::Panicked => Self::Panicked,
            Cause::Failed => Self::Failed,
        }
    }
}

/// Which dead letters.
#[derive(Debug, Args)]
pub(super) struct Letters {
    /// Their ids.
    #[arg(value_name = "ID", required_unless_present = "all", conflicts_with = "all")]
    jobs: Vec<i64>,
    /// All there are.
    #[arg(long)]
    all: bool,
    /// With --all: of this queue only.
    #[arg(long, requires = "all")]
    queue: Option<String>,
    /// With --all: of this kind only.
    #[arg(long, requires = "all")]
    kind: Option<String>,
    /// With --all: of this project only, by name or id.
    #[arg(long, requires = "all", value_name = "NAME_OR_ID")]
    project: Option<String>,
    /// With --all: dead of this cause only.
    #[arg(long, requires = "all", value_enum)]
    cause: Option<Cause>,
    /// With --all: at most this many, the latest ones.
    #[arg(long, requires = "all", default_value_t = 10_000)]
    limit: usize,
}

impl Letters {
    async fn ids(self, conn: &mut PgConnection) -> Result<Vec<i64>, Failure> {
        if !self.all {
            return Ok(self.jobs);
        }
        let project = match &self.project {
            Some(project) => Some(project_id(&mut *conn, project).await?),
            None => None,
        };
        let mut filter = Filter {
            queue: self.queue,
            kind: self.kind,
            project,
            cause: self.cause.map(DeathCause::from),
            limit: Some(PAGE),
            ..Filter::default()
        };
        let mut ids = Vec::new();
        loop {
            let page = syndarix_jobs::list_dead(conn, &filter).await?;
            ids.extend(page.iter().map(|job| job.id));
            filter.before = page.last().map(|last| last.id);
            if page.is_empty() || ids.len() >= self.limit {
                ids.truncate(self.limit);
                return Ok(ids);
            }
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct Which {
    /// In this queue only.
    #[arg(long)]
    queue: Option<String>,
    /// At most this many.
    #[arg(long, default_value_t = 50)]
    limit: u16,
}

impl Which {
    fn filter(self) -> Filter {
        Filter { queue: self.queue, limit: Some(self.limit), ..Filter::default() }
    }
}

const LIVE: [output::Column; 6] = [
    ("ID", "id"),
    ("QUEUE", "queue"),
    ("KIND", "kind"),
    ("STATE", "state"),
    ("ATTEMPT", "attempt"),
    ("LAST ERROR", "last_error"),
];
const RUNNING: [output::Column; 6] = [
    ("ID", "id"),
    ("QUEUE", "queue"),
    ("KIND", "kind"),
    ("ATTEMPT", "attempt"),
    ("WORKER", "owner"),
    ("LEASE UNTIL", "lease_until"),
];
const QUEUES: [output::Column; 7] = [
    ("QUEUE", "queue"),
    ("READY", "depth"),
    ("OLDEST SECONDS", "oldest_age_seconds"),
    ("RUNNING", "running"),
    ("SCHEDULED", "scheduled"),
    ("DEAD", "dead"),
    ("WORKERS", "workers"),
];
const WORKERS: [output::Column; 6] = [
    ("WORKER", "id"),
    ("NAME", "name"),
    ("ALIVE", "alive"),
    ("SILENT SECONDS", "silent_seconds"),
    ("RUNNING", "running"),
    ("QUEUES", "queues"),
];
const DEAD: [output::Column; 5] =
    [("ID", "id"), ("QUEUE", "queue"), ("KIND", "kind"), ("DIED", "died_at"), ("REASON", "reason")];

impl Job {
    pub(super) async fn run(self, global: &Global) -> Result<(), Failure> {
        let local = Local::open(global).await?;
        let done = self.on(global, &local).await;
        local.close().await;
        done
    }

    async fn on(self, global: &Global, local: &Local) -> Result<(), Failure> {
        let mut conn = local.app.pool().acquire().await?;
        match self {
            Self::Queues => {
                let queues = operations::all_queues(&mut conn).await?;
                if let Some(sentence) = unpolled(&queues) {
                    output::note(&sentence);
                }
                list(global, &QUEUES, &json!({ "items": queues }));
            }
            Self::Workers => {
                let workers = operations::all_workers(&mut conn).await?;
                list(global, &WORKERS, &json!({ "items": workers }));
            }
            Self::List { which, state } => {
                let filter = Filter { state: state.map(JobState::from), ..which.filter() };
                let jobs = syndarix_jobs::list(&mut conn, &filter).await?;
                list(global, &LIVE, &json!({ "items": jobs }));
            }
            Self::Running(which) => {
                let filter = Filter { state: Some(JobState::Running), ..which.filter() };
                let jobs = syndarix_jobs::list(&mut conn, &filter).await?;
                list(global, &RUNNING, &json!({ "items": jobs }));
            }
            Self::Dead(which) => {
                let jobs = syndarix_jobs::list_dead(&mut conn, &which.filter()).await?;
                list(global, &DEAD, &json!({ "items": jobs }));
            }
            Self::Cancel { jobs, reason } => {
                settle(global, &jobs, async |job| {
                    operations::cancel_any(&local.app, job, &reason).await.map(cancelled)
                })
                .await?;
            }
            Self::Redrive { letters, reason } => {
                let ids = letters.ids(&mut conn).await?;
                settle(global, &ids, async |job| {
                    operations::redrive_any(&local.app, job, &reason).await.map(|()| REDRIVEN)
                })
                .await?;
            }
            Self::Purge { letters, reason } => {
                let ids = letters.ids(&mut conn).await?;
                settle(global, &ids, async |job| {
                    operations::purge_any(&local.app, job, &reason).await.map(|()| PURGED)
                })
                .await?;
            }
            Self::History(history) => history.run(global, &local.app).await?,
        }
        Ok(())
    }
}

/// The sentence about queues that nobody polls although jobs wait in them.
fn unpolled(queues: &Value) -> Option<String> {
    let waits = |queue: &&Value| queue["workers"] == 0 && queue["depth"].as_i64() > Some(0);
    let names: Vec<&str> =
        queues.as_array()?.iter().filter(waits).filter_map(|queue| queue["queue"].as_str()).collect();
    (!names.is_empty()).then(|| {
        format!("jobs wait, and no worker is polling: {}; start `syndarix worker`", names.join(", "))
    })
}

/// What became of a job: in a word, and as the end of a sentence.
type Settled = (&'static str, &'static str);

const REDRIVEN: Settled = ("redriven", "is in its queue again");
const PURGED: Settled = ("purged", "is given up for good");

fn cancelled(outcome: Cancellation) -> Settled {
    match outcome {
        Cancellation::Cancelled => ("cancelled", "is cancelled"),
        Cancellation::Requested => {
            ("requested", "runs, and is told to stop with the next heartbeat of its worker")
        }
    }
}

/// Settles one after the other: each has its own entry on record, and one that is refused keeps none of the others.
async fn settle(
    global: &Global,
    ids: &[i64],
    act: impl AsyncFn(i64) -> Result<Settled, ApiError>,
) -> Result<(), Failure> {
    let (mut done, mut left) = (Vec::new(), Vec::new());
    for id in ids {
        match act(*id).await {
            Ok((outcome, sentence)) => {
                done.push(json!({ "id": id, "outcome": outcome }));
                if !global.json {
                    output::line(&format!("job {id} {sentence}"));
                }
            }
            Err(error) => left.push(refused(*id, error).to_string()),
        }
    }
    if global.json {
        output::json(&match done.as_slice() {
            [one] if ids.len() == 1 => one.clone(),
            _ => json!({ "items": done }),
        });
    } else if ids.is_empty() {
        output::note("nothing found");
    }
    if left.is_empty() { Ok(()) } else { Err(Failure::new(left.join("; "))) }
}

fn refused(job: i64, error: ApiError) -> Failure {
    match error.code() {
        "not_found" => Failure::new(format!(
            "there is no such job {job}; see `syndarix job list` for live ones and `syndarix job dead` for dead letters"
        )),
        "job_duplicate" => Failure::new(format!("job {job}: a job that does the same is alive")),
        _ => error.into(),
    }
}
