//! The command line. One line on standard error says what went wrong and what to do; the exit code is then 1, or 2
//! when the command itself was not understood.

mod agents;
mod approvals;
mod audit;
mod demo;
mod doctor;
mod history;
mod jobs;
mod keys;
mod local;
mod maintain;
mod master_key;
mod output;
mod people;
mod prices;
mod serve;
mod work;

use crate::{
    config::{Config, ConfigError, Flags, process_env},
    telemetry,
};
use clap::{Args, Parser, Subcommand};
use std::{fmt::Display, net::SocketAddr, path::PathBuf, process::ExitCode};

/// Software built by agents, under human control.
#[derive(Debug, Parser)]
#[command(name = "syndarix", version, about, propagate_version = true, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// What every command takes.
#[derive(Debug, Clone, Args)]
struct Global {
    /// The configuration file (TOML).
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where repositories, worktrees and the embedded database live.
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Prints JSON, as the API gives it.
    #[arg(long, global = true)]
    json: bool,
    /// The user in whose name a command reads and writes; not needed when there is only one.
    #[arg(long = "as", global = true, value_name = "EMAIL")]
    user: Option<String>,
    #[arg(skip)]
    listen: Option<SocketAddr>,
}

impl Global {
    fn config(&self) -> Result<Config, Failure> {
        let flags = Flags { file: self.config.clone(), listen: self.listen, data_dir: self.data_dir.clone() };
        Ok(Config::load(&flags, process_env)?)
    }

    /// Reads the settings and starts logging; `quiet` is for commands whose output people read.
    fn config_and_log(&self, quiet: bool) -> Result<Config, Failure> {
        let config = self.config()?;
        let usual = if quiet { "warn" } else { telemetry::DEFAULT_FILTER };
        telemetry::init(&config.log_format, config.log.as_deref().unwrap_or(usual)).map_err(Failure::new)?;
        Ok(config)
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serves everything: API, web UI, agents and their tools.
    Serve(serve::Serve),
    /// Serves the API and the web UI only; agents work elsewhere.
    Api(serve::Serve),
    /// Works for agents only; the API is served elsewhere.
    Worker,
    /// Plays the main job through on this machine.
    Demo(demo::Demo),
    /// Serves a model that answers from a script, for demonstrations and tests.
    ScriptedModel(serve::ScriptedModel),
    /// Checks everything that Syndarix needs, and says what to do.
    Doctor,
    /// Brings the database's schema up to this version.
    Migrate,
    /// Replays all events, adds all usage up, and compares both with what is stored.
    Rebuild(maintain::Rebuild),
    /// People.
    #[command(subcommand)]
    User(people::User),
    /// Projects.
    #[command(subcommand)]
    Project(work::Project),
    /// Stories.
    #[command(subcommand)]
    Story(work::Story),
    /// Questions to people.
    #[command(subcommand)]
    Approval(approvals::Approval),
    /// Agents of a project.
    #[command(subcommand)]
    Agent(agents::Agent),
    /// Queues, workers, jobs, dead letters, and the history of anything.
    #[command(subcommand, visible_alias = "jobs")]
    Job(jobs::Job),
    /// Virtual keys of a project, for programs that ask models through the gateway.
    #[command(subcommand, visible_alias = "keys")]
    Key(keys::Key),
    /// The key that stored keys of model providers are encrypted with.
    #[command(subcommand)]
    MasterKey(master_key::MasterKey),
    /// What models cost.
    #[command(subcommand)]
    Prices(prices::Prices),
    /// The audit chain.
    #[command(subcommand)]
    Audit(audit::Audit),
    /// Prints completions for a shell.
    Completions(maintain::Completions),
    /// Prints the OpenAPI document.
    Openapi,
}

/// Why a command failed: one sentence.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Failure(String);

impl Failure {
    fn new(sentence: impl Into<String>) -> Self {
        Self(sentence.into())
    }

    fn of(error: impl Display) -> Self {
        Self(error.to_string())
    }

    /// An error with everything behind it.
    fn chain(error: &(dyn std::error::Error + 'static)) -> Self {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            let said = cause.to_string();
            // Transparent errors say what their source says.
            if !text.ends_with(&said) {
                text.push_str(": ");
                text.push_str(&said);
            }
            source = cause.source();
        }
        Self(text)
    }
}

macro_rules! failures {
    ($($error:ty),* $(,)?) => {$(
        impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                Self::chain(&error)
            }
        }
    )*};
}

failures!(
    ConfigError,
    crate::lifecycle::StartError,
    crate::db::Error,
    crate::demo::Error,
    crate::demo::client::ClientError,
    sqlx::Error,
    std::io::Error,
);

impl From<crate::http::ApiError> for Failure {
    fn from(error: crate::http::ApiError) -> Self {
        let problem = error.problem();
        Self(problem["detail"].as_str().unwrap_or_default().to_owned())
    }
}

/// Reads the command line and does what it says.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    // Whoever chose a TLS provider before us keeps theirs.
    drop(rustls::crypto::ring::default_provider().install_default());
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&Failure::of(error)),
    };
    let done = runtime.block_on(dispatch(cli));
    // Blocking work that outlives the command must not keep the process.
    runtime.shutdown_background();
    match done {
        Ok(code) => code,
        Err(failure) => failed(&failure),
    }
}

fn failed(failure: &Failure) -> ExitCode {
    output::note(&format!("syndarix: {failure}"));
    ExitCode::FAILURE
}

async fn dispatch(cli: Cli) -> Result<ExitCode, Failure> {
    let Cli { global, command } = cli;
    match command {
        Command::Serve(serve) => serve.everything(global).await,
        Command::Api(serve) => serve.api(global).await,
        Command::Worker => serve::worker(&global).await,
        Command::Demo(demo) => demo.run(global).await,
        Command::ScriptedModel(model) => model.run(&global).await,
        Command::Completions(completions) => completions.run(),
        Command::Openapi => maintain::openapi(),
        other => {
            global.config_and_log(true)?;
            command_on_data(&global, other).await
        }
    }
}

async fn command_on_data(global: &Global, command: Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Doctor => return doctor::run(global).await,
        Command::Migrate => maintain::migrate(global).await?,
        Command::Rebuild(rebuild) => return rebuild.run(global).await,
        Command::User(user) => user.run(global).await?,
        Command::Project(project) => project.run(global).await?,
        Command::Story(story) => story.run(global).await?,
        Command::Approval(approval) => approval.run(global).await?,
        Command::Agent(agent) => agent.run(global).await?,
        Command::Job(job) => job.run(global).await?,
        Command::Key(key) => key.run(global).await?,
        Command::MasterKey(master_key) => master_key.run(global).await?,
        Command::Prices(prices) => return prices.run(global).await,
        Command::Audit(audit) => return audit.run(global).await,
        _ => {}
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn an_error_is_one_sentence_with_its_causes_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot start")]
        struct Outer(#[source] std::io::Error);
        let failure = Failure::chain(&Outer(std::io::Error::other("the port is taken")));
        assert_eq!(failure.to_string(), "cannot start: the port is taken");
    }
}
