//! `migrate`, `rebuild`, `completions`, `openapi`.

use super::{Cli, Failure, Global, output};
use crate::{
    clock::Clock,
    db::{self, Rebuild as Replayed, Store},
    features::costs::{self, RebuiltWindows},
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

/// How the state and the counters of budgets are rebuilt.
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
        let done = self.rebuilt(&store).await;
        session.close().await;
        let (replayed, windows) = done?;
        let different = [replayed.different.as_slice(), windows.different.as_slice()].concat();
        let left = [replayed.left.as_slice(), windows.left.as_slice()].concat();
        if global.json {
            output::json(&json!({
                "streams": replayed.streams, "events": replayed.events, "windows": windows.windows,
                "different": different, "left": left,
            }));
        } else {
            let verbs = |differ| if self.write { "were repaired" } else { differ };
            output::line(&format!(
                "replayed {} events of {} streams; {} state rows {}",
                replayed.events,
                replayed.streams,
                replayed.different.len(),
                verbs("differ from their events")
            ));
            output::line(&format!(
                "added up the usage of {} windows of budgets; {} {}",
                windows.windows,
                windows.different.len(),
                verbs("differ from it")
            ));
            for row in &different {
                output::line(row);
            }
            for row in &left {
                output::line(&format!("still different: {row}"));
            }
        }
        let good = if self.write { left.is_empty() } else { different.is_empty() };
        Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    async fn rebuilt(&self, store: &Store) -> Result<(Replayed, RebuiltWindows), db::Error> {
        let replayed = store.rebuild(self.write).await?;
        Ok((replayed, costs::rebuild_windows(store, self.write).await?))
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
