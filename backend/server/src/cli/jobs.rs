//! `job`.

use super::{Failure, Global, local::Local, output, work::list};
use crate::{features::operations, http::ApiError};
use clap::{Args, Subcommand};
use serde_json::json;
use syndarix_jobs::Filter;

#[derive(Debug, Subcommand)]
pub(super) enum Job {
    /// Lists live jobs, newest first.
    List(Which),
    /// Lists dead letters, newest first.
    Dead(Which),
    /// Puts a dead letter back into its queue.
    Redrive {
        /// Its id.
        job: i64,
    },
    /// Gives a dead letter up for good; its history stays.
    Purge {
        /// Its id.
        job: i64,
    },
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
            Self::List(which) => {
                let jobs = syndarix_jobs::list(&mut conn, &which.filter()).await?;
                list(global, &LIVE, &json!({ "items": jobs }));
            }
            Self::Dead(which) => {
                let jobs = syndarix_jobs::list_dead(&mut conn, &which.filter()).await?;
                list(global, &DEAD, &json!({ "items": jobs }));
            }
            Self::Redrive { job } => {
                operations::redrive_any(&local.app, job).await.map_err(|error| refused(job, error))?;
                settled(global, job, "redriven", "is in its queue again");
            }
            Self::Purge { job } => {
                operations::purge_any(&local.app, job).await.map_err(|error| refused(job, error))?;
                settled(global, job, "purged", "is given up for good");
            }
        }
        Ok(())
    }
}

fn settled(global: &Global, job: i64, outcome: &str, sentence: &str) {
    if global.json {
        output::json(&json!({ "id": job, "outcome": outcome }));
    } else {
        output::line(&format!("job {job} {sentence}"));
    }
}

fn refused(job: i64, error: ApiError) -> Failure {
    match error.code() {
        "not_found" => Failure::new(format!("there is no dead letter {job}; see `syndarix job dead`")),
        _ => error.into(),
    }
}
