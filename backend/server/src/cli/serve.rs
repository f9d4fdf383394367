//! `serve`, `api`, `worker`, `scripted-model`.

use super::{Failure, Global, output};
use crate::{
    demo,
    lifecycle::{self, Duty, Options, StopSignals, Stopped},
};
use clap::Args;
use std::{net::SocketAddr, path::PathBuf, process::ExitCode};
use tokio::net::TcpListener;

/// How the API is served.
#[derive(Debug, Args)]
pub(super) struct Serve {
    /// The address to listen on [default: 127.0.0.1:8000].
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
}

impl Serve {
    pub(super) async fn everything(self, global: Global) -> Result<ExitCode, Failure> {
        self.run(global, Duty::All).await
    }

    pub(super) async fn api(self, global: Global) -> Result<ExitCode, Failure> {
        self.run(global, Duty::Api).await
    }

    async fn run(self, mut global: Global, duty: Duty) -> Result<ExitCode, Failure> {
        global.listen = self.listen;
        run(&global, duty).await
    }
}

/// Works until it is told to stop.
pub(super) async fn worker(global: &Global) -> Result<ExitCode, Failure> {
    run(global, Duty::Worker).await
}

async fn run(global: &Global, duty: Duty) -> Result<ExitCode, Failure> {
    let mut stop = StopSignals::listen()?;
    let config = global.config_and_log(false)?;
    let running = tokio::select! {
        started = lifecycle::start(config, Options { duty, ..Options::default() }) => started?,
        // Nothing works yet, so there is nothing to drain; an embedded PostgreSQL that is half up goes with us.
        () = stop.asked() => {
            output::note("stopped before it was up");
            return Ok(ExitCode::SUCCESS);
        }
    };
    if duty != Duty::Worker {
        output::line(&format!("Syndarix is at http://{}", running.address()));
    }
    if running.app().models.groups.iter().next().is_none() {
        output::note(
            "no model is configured, so runs will fail: set ANTHROPIC_API_KEY, OPENAI_API_KEY, or \
             SYNDARIX_MODEL_BASE_URL with SYNDARIX_MODEL, and start again",
        );
    }
    stop.asked().await;
    output::note("stopping");
    let Stopped { cut_off } = running.stop().await;
    if cut_off.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    Err(Failure::new(format!("stopped, but not in good order: {}", cut_off.join("; "))))
}

/// A model that answers from a script.
#[derive(Debug, Args)]
pub(super) struct ScriptedModel {
    /// The address to listen on.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8600")]
    listen: SocketAddr,
    /// A scenario file, or a directory of them; the demonstration's own when not given.
    #[arg(long, value_name = "FILE")]
    scenario: Option<PathBuf>,
}

impl ScriptedModel {
    pub(super) async fn run(self, global: &Global) -> Result<ExitCode, Failure> {
        let mut stop = StopSignals::listen()?;
        global.config_and_log(false)?;
        let script = demo::scenario(self.scenario.as_deref())?;
        let listener = TcpListener::bind(self.listen)
            .await
            .map_err(|error| Failure::new(format!("cannot listen on {}: {error}", self.listen)))?;
        output::line(&format!(
            "the scripted model `{}` is at http://{}/v1",
            script.name(),
            listener.local_addr()?
        ));
        tokio::select! {
            served = syndarix_llm::scripted::serve(listener, script) => served?,
            () = stop.asked() => {}
        }
        Ok(ExitCode::SUCCESS)
    }
}
