//! `audit`.

use super::{Failure, Global, local, maintain, output};
use crate::{
    clock::Clock,
    features::audit::{self, ChainReport},
};
use chrono::Duration;
use clap::{Args, Subcommand};
use futures::TryStreamExt;
use serde_json::json;
use sqlx::PgPool;
use std::{
    fs::File,
    io::{BufReader, Write},
    path::{Path, PathBuf},
    pin::pin,
    process::ExitCode,
};
use uuid::Uuid;

#[derive(Debug, Subcommand)]
pub(super) enum Audit {
    /// Checks every chain, or an exported file, and names the first bad position.
    Verify(Verify),
    /// Writes the sealed entries as JSON lines.
    Export(Export),
}

#[derive(Debug, Args)]
pub(super) struct Verify {
    /// An export to check, without any database.
    #[arg(long, value_name = "FILE", conflicts_with = "chain")]
    file: Option<PathBuf>,
    /// This chain only: a project's, by its name or id, or the installation's own, by the nil id.
    #[arg(long, value_name = "NAME_OR_ID")]
    chain: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct Export {
    /// This chain only: a project's, by its name or id, or the installation's own, by the nil id.
    #[arg(long, value_name = "NAME_OR_ID")]
    chain: Option<String>,
    /// Where to write; standard output when not given.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Audit {
    pub(super) async fn run(self, global: &Global) -> Result<ExitCode, Failure> {
        match self {
            Self::Verify(Verify { file: Some(file), .. }) => {
                let opened = File::open(&file).map_err(|error| unreadable(&file, &error))?;
                let reports = audit::verify_export(BufReader::new(opened))
                    .map_err(|error| Failure::new(format!("{}: {error}", file.display())))?;
                Ok(tell(global, &reports))
            }
            Self::Verify(Verify { chain, .. }) => {
                let session = maintain::migrated(global).await?;
                let reports = verify(session.pool(), chain.as_deref()).await;
                session.close().await;
                Ok(tell(global, &reports?))
            }
            Self::Export(export) => {
                let session = maintain::migrated(global).await?;
                let done = export.write(session.pool()).await;
                session.close().await;
                done.map(|()| ExitCode::SUCCESS)
            }
        }
    }
}

/// The chain that somebody means, if one.
async fn chain_of(pool: &PgPool, wanted: Option<&str>) -> Result<Option<Uuid>, Failure> {
    match wanted {
        Some(project) => local::project_id(pool, project).await.map(Some),
        None => Ok(None),
    }
}

/// Checks, and remembers what was found.
async fn verify(pool: &PgPool, chain: Option<&str>) -> Result<Vec<ChainReport>, Failure> {
    let mut reports = audit::verify(pool, chain_of(pool, chain).await?).await?;
    reports.retain(|report| !report.is_absent());
    for report in &reports {
        audit::note(pool, report, Clock::default().now()).await?;
    }
    Ok(reports)
}

fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(format!("{}: {error}", path.display()))
}

impl Export {
    async fn write(self, pool: &PgPool) -> Result<(), Failure> {
        let chain = chain_of(pool, self.chain.as_deref()).await?;
        let mut sink: Box<dyn Write + Send> = match &self.output {
            Some(path) => Box::new(File::create(path).map_err(|error| unreadable(path, &error))?),
            None => Box::new(std::io::stdout()),
        };
        let mut lines = pin!(audit::export(pool.clone(), chain));
        while let Some(bytes) = lines.try_next().await? {
            sink.write_all(&bytes)?;
        }
        sink.flush()?;
        Ok(())
    }
}

/// A sealer that runs is seconds behind: entries that have waited for longer are covered by nothing, and somebody should
/// know.
const SEALED_WITHIN: Duration = Duration::minutes(10);

/// Tells of every chain; fails when one is broken, and when there is none: nothing was proved then.
fn tell(global: &Global, reports: &[ChainReport]) -> ExitCode {
    if global.json {
        output::json(&json!({ "chains": reports }));
    } else {
        for report in reports {
            let state = match &report.first_bad {
                None => format!("{} entries are good", report.entries),
                Some(bad) => format!("BROKEN at position {}: {}", bad.position, bad.reason),
            };
            let waiting = if report.unsealed > 0 {
                format!(", {} wait to be sealed", report.unsealed)
            } else {
                String::new()
            };
            output::line(&format!("{}  {state}{waiting}", report.chain));
        }
    }
    let late = Clock::default().now() - SEALED_WITHIN;
    for report in reports.iter().filter(|report| report.unsealed_since.is_some_and(|since| since < late)) {
        output::note(&format!(
            "{}: entries wait to be sealed for more than {} min, and are not covered: does `serve` run?",
            report.chain,
            SEALED_WITHIN.num_minutes()
        ));
    }
    if reports.is_empty() {
        output::note("syndarix: there is no such chain here: nothing was checked");
        return ExitCode::FAILURE;
    }
    if reports.iter().all(ChainReport::is_ok) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
