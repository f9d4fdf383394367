//! `audit`.

use super::{Failure, Global, local::Local, output};
use crate::features::audit::{self, ChainReport};
use clap::{Args, Subcommand};
use futures::TryStreamExt;
use serde_json::json;
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
    /// This chain only: a project's id, or the nil id for the installation's own.
    #[arg(long, value_name = "ID")]
    chain: Option<Uuid>,
}

#[derive(Debug, Args)]
pub(super) struct Export {
    /// This chain only: a project's id, or the nil id for the installation's own.
    #[arg(long, value_name = "ID")]
    chain: Option<Uuid>,
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
                let local = Local::open(global).await?;
                let reports = audit::verify(local.app.pool(), chain).await;
                local.close().await;
                Ok(tell(global, &reports?))
            }
            Self::Export(export) => {
                let local = Local::open(global).await?;
                let done = export.write(&local).await;
                local.close().await;
                done.map(|()| ExitCode::SUCCESS)
            }
        }
    }
}

fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(format!("{}: {error}", path.display()))
}

impl Export {
    async fn write(self, local: &Local) -> Result<(), Failure> {
        let mut sink: Box<dyn Write + Send> = match &self.output {
            Some(path) => Box::new(File::create(path).map_err(|error| unreadable(path, &error))?),
            None => Box::new(std::io::stdout()),
        };
        let mut lines = pin!(audit::export(local.app.pool().clone(), self.chain));
        while let Some(bytes) = lines.try_next().await? {
            sink.write_all(&bytes)?;
        }
        sink.flush()?;
        Ok(())
    }
}

/// Tells of every chain; fails when one is broken.
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
        if reports.is_empty() {
            output::note("there is no chain yet");
        }
    }
    if reports.iter().all(ChainReport::is_ok) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
