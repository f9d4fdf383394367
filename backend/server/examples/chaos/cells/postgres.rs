//! The PostgreSQL under the cells: it is restarted and killed, and comes back at the same place.

use crate::Failure;
use std::{
    path::{Path, PathBuf},
    process::Command,
};
use syndarix_postgres::{Embedded, EmbeddedOptions};

/// Few enough that bystanders can take all of them.
const CONNECTIONS: u32 = 120;

pub(crate) struct Postgres {
    options: EmbeddedOptions,
    server: Option<Embedded>,
}

impl Postgres {
    pub(crate) async fn start(dir: &Path) -> Result<Self, Failure> {
        let options = EmbeddedOptions {
            max_connections: CONNECTIONS,
            ..EmbeddedOptions::platform_default(syndarix::config::process_env).in_dir(dir.join("postgres"))
        };
        let server = Some(syndarix_postgres::start(options.clone()).await?);
        Ok(Self { options, server })
    }

    pub(crate) fn url(&self) -> Result<&str, Failure> {
        Ok(self.server.as_ref().ok_or("PostgreSQL is down")?.url())
    }

    pub(crate) fn pid(&self) -> Result<u32, Failure> {
        Ok(self.server.as_ref().ok_or("PostgreSQL is down")?.pid())
    }

    /// The folder of its programs.
    pub(crate) fn programs(&self) -> Result<&Path, Failure> {
        Ok(self.server.as_ref().ok_or("PostgreSQL is down")?.binaries().bin_dir.as_path())
    }

    /// Where its programs are at the next start; without it, it looks for them itself.
    pub(crate) fn run_from(&mut self, programs: Option<PathBuf>) {
        self.options.binaries = programs;
    }

    /// A fast shutdown: every session is ended, nothing is asked.
    pub(crate) async fn stop(&mut self) -> Result<(), Failure> {
        if let Some(server) = self.server.take() {
            server.stop().await?;
        }
        Ok(())
    }

    /// SIGKILL to the main process; the others notice and end.
    pub(crate) async fn kill(&mut self) -> Result<(), Failure> {
        let Some(server) = self.server.take() else { return Ok(()) };
        let died = server.died();
        Command::new("kill").args(["-9", &server.pid().to_string()]).status()?;
        died.await;
        Ok(())
    }

    /// Starts it where it was; after a kill it replays its log first.
    pub(crate) async fn start_again(&mut self) -> Result<(), Failure> {
        self.server = Some(syndarix_postgres::start(self.options.clone()).await?);
        Ok(())
    }
}
