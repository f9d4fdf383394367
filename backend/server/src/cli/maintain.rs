//! `migrate`, `rebuild`, `completions`, `openapi`.

use super::{Cli, Failure, Global, output};
use crate::{
    clock::Clock,
    db::{self, Store},
    lifecycle::Session,
};
use clap::{Args, CommandFactory};
use clap_complete::Shell;
use serde_json::json;
use std::process::ExitCode;
use syndarix_bus::Hub;
use syndarix_jobs::Wake;

/// Brings the schema up to date.
pub(super) async fn migrate(global: &Global) -> Result<(), Failure> {
    let session = Session::open(&global.config()?).await?;
    let done = db::migrate(session.pool()).await;
    session.close().await;
    done.map_err(|error| Failure::chain(&error))?;
    output::line("the schema is up to date");
    Ok(())
}

/// The database for a command that changes nothing of the schema: it must be this version's already.
pub(super) async fn migrated(global: &Global) -> Result<Session, Failure> {
    let session = Session::open(&global.config()?).await?;
    let failure = match db::pending_migrations(session.pool()).await {
        Ok(pending) if pending.is_empty() => return Ok(session),
        Ok(pending) => Failure::new(format!(
            "the database's schema lacks {} migrations of this version: run `syndarix migrate`, or start `serve`",
            pending.len()
        )),
        Err(error) => error.into(),
    };
    session.close().await;
    Err(failure)
}

/// How the state is rebuilt.
#[derive(Debug, Args)]
pub(super) struct Rebuild {
    /// Repairs what differs and compares again; without it, differences are only told.
    #[arg(long)]
    write: bool,
}

impl Rebuild {
    pub(super) async fn run(self, global: &Global) -> Result<ExitCode, Failure> {
        let session = migrated(global).await?;
        let store = Store::new(session.pool().clone(), Clock::default(), Hub::default(), Wake::new());
        let done = store.rebuild(self.write).await;
        session.close().await;
        let report = done?;
        if global.json {
            output::json(&json!(report));
        } else {
            let verb = if self.write { "were repaired" } else { "differ from their events" };
            output::line(&format!(
                "replayed {} events of {} streams; {} state rows {verb}",
                report.events,
                report.streams,
                report.different.len()
            ));
            report.different.iter().for_each(|row| output::line(row));
            report.left.iter().for_each(|row| output::line(&format!("still different: {row}")));
        }
        let good = if self.write { report.left.is_empty() } else { report.different.is_empty() };
        Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// Which shell.
#[derive(Debug, Args)]
pub(super) struct Completions {
    /// bash, elvish, fish, powershell, zsh.
    shell: Shell,
}

impl Completions {
    pub(super) fn run(self) -> Result<ExitCode, Failure> {
        // Made in memory: the generator panics when its writer fails, as it does behind `| head`.
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "syndarix", &mut script);
        output::line(String::from_utf8(script).map_err(Failure::of)?.trim_end());
        Ok(ExitCode::SUCCESS)
    }
}

/// Prints the API's description.
pub(super) fn openapi() -> Result<ExitCode, Failure> {
    let document = crate::http::openapi().to_pretty_json().map_err(Failure::of)?;
    output::line(&document);
    Ok(ExitCode::SUCCESS)
}
