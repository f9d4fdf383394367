//! `demo`: the main job on this machine, told line by line.

use super::{Failure, Global, output};
use crate::{
    config::{Config, DEFAULT_PORT},
    demo::{self, Answers, Follow, Own, ScriptedModel, client::Client},
    lifecycle::{self, Options, Running, StopSignals},
};
use clap::Args;
use serde::{Deserialize, Serialize};
use std::{
    fs,
    io::Write,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};
use syndarix_llm::ModelGroups;
use uuid::Uuid;

/// With `--yes` the scripted model's story must be done within this.
const STORY_LIMIT: Duration = Duration::from_secs(5 * 60);
/// A real model takes as long as it takes; with `--yes` something must happen within this.
const PATIENCE: Duration = Duration::from_secs(20 * 60);
const EMAIL: &str = "demo@syndarix.local";
const ORGANISATION: &str = "Demo";
const CREDENTIALS: &str = "demo.json";

/// What is played.
#[derive(Debug, Args)]
pub(super) struct Demo {
    /// Answers approvals itself and ends when the story is done; fails when it does not get there.
    #[arg(long)]
    yes: bool,
    /// Your own repository instead of a small one: a directory or an address. Needs a real model.
    #[arg(long, value_name = "PATH_OR_URL", requires = "story")]
    repo: Option<String>,
    /// What is wanted in your repository.
    #[arg(long, value_name = "TEXT", requires = "repo")]
    story: Option<String>,
    /// How your repository's tests are run.
    #[arg(long, value_name = "COMMAND", requires = "repo")]
    test_command: Option<String>,
    /// The address to listen on [default: 127.0.0.1:8000, or a free port when that is taken].
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// What the scripted model says: a file, or a directory of them.
    #[arg(long, value_name = "FILE")]
    scenario: Option<PathBuf>,
}

/// The demonstration's user. Made once, and kept where only the operator reads it.
#[derive(Debug, Serialize, Deserialize)]
struct Credentials {
    email: String,
    password: String,
}

impl Demo {
    pub(super) async fn run(self, mut global: Global) -> Result<ExitCode, Failure> {
        let mut stop = StopSignals::listen()?;
        global.listen = Some(self.listen.unwrap_or_else(free_address));
        let mut config = global.config_and_log(true)?;
        if global.data_dir.is_none() {
            config.data_dir = config.data_dir.join("demo");
        }
        config.import_from.extend(demo::places(&config, self.repo.as_deref()));
        let (models, _scripted) = self.models(&config).await?;
        output::line(&format!("starting PostgreSQL and Syndarix in {}", config.data_dir.display()));
        let options = Options { models: Some(models), ..Options::default() };
        let running = tokio::select! {
            started = lifecycle::start(config, options) => started?,
            () = stop.asked() => return self.interrupted(),
        };
        let played = tokio::select! {
            played = self.play(&running) => played,
            () = stop.asked() => self.interrupted(),
        };
        output::line("stopping");
        running.stop().await;
        played
    }

    /// With `--yes`, only a story that is done counts.
    fn interrupted(&self) -> Result<ExitCode, Failure> {
        if self.yes {
            return Err(Failure::new("stopped before the story was done"));
        }
        Ok(ExitCode::SUCCESS)
    }

    /// The scripted model, or for one's own repository the one that is configured.
    async fn models(&self, config: &Config) -> Result<(ModelGroups, Option<ScriptedModel>), Failure> {
        if self.repo.is_some() && self.scenario.is_none() {
            let groups = lifecycle::groups_of(config)?;
            if groups.iter().next().is_none() {
                return Err(Failure::new(
                    "your own repository needs a real model: set ANTHROPIC_API_KEY, OPENAI_API_KEY, or \
                     SYNDARIX_MODEL_BASE_URL with SYNDARIX_MODEL (for example http://localhost:11434 and a model of Ollama)",
                ));
            }
            return Ok((groups, None));
        }
        let script = demo::scenario(self.scenario.as_deref())?;
        let model = demo::serve_model(script).await?;
        output::line(&format!("a scripted model stands in for a real one at {}", model.base_url));
        Ok((lifecycle::scripted_groups(&model.base_url)?, Some(model)))
    }

    fn own(&self) -> Option<Own> {
        Some(Own {
            repository: self.repo.clone()?,
            story: self.story.clone()?,
            test_command: self.test_command.clone(),
        })
    }

    async fn play(&self, running: &Running) -> Result<ExitCode, Failure> {
        let app = running.app();
        let mut tell = |line: String| output::line(&line);
        let credentials = credentials(&app.config.data_dir)?;
        let mut client = Client::new(running.address())?;
        client.sign_in((EMAIL, "Demo", &credentials.password), ORGANISATION).await.map_err(|error| {
            match error.code() {
                Some("email_taken") => Failure::new(format!(
                    "{EMAIL} is in this database with another password than the one in {}: choose another --data-dir",
                    app.config.data_dir.join(CREDENTIALS).display()
                )),
                _ => error.into(),
            }
        })?;
        let own = self.own();
        let project = demo::project(app, &client, own.as_ref(), &mut tell).await?;
        let story = demo::story(&client, project.id, own.as_ref(), &mut tell).await?;
        let url = format!("http://{}", running.address());
        output::line(&format!(
            "\nopen   {url}/projects/{}\nlogin  {EMAIL}\nwith   {}\n",
            project.id, credentials.password
        ));
        let story: Uuid = story["id"].as_str().unwrap_or_default().parse().map_err(Failure::of)?;
        let answers = if self.yes { Answers::Yes } else { Answers::Human };
        let patience = (self.yes && self.repo.is_some()).then_some(PATIENCE);
        let follow = Follow { client: &client, project: project.id, story, answers, url, patience };
        let end = follow.to_the_end(app, tell);
        if !self.yes {
            match end.await {
                Ok(commit) => done(&project.repository, &commit),
                Err(error) => output::note(&Failure::chain(&error).to_string()),
            }
            output::line("still serving; Ctrl-C stops");
            return std::future::pending().await;
        }
        let commit = if patience.is_some() {
            end.await?
        } else {
            tokio::time::timeout(STORY_LIMIT, end).await.map_err(|_| {
                Failure::new(format!("the story was not done within {} minutes", STORY_LIMIT.as_secs() / 60))
            })??
        };
        done(&project.repository, &commit);
        Ok(ExitCode::SUCCESS)
    }
}

fn done(repository: &Path, commit: &str) {
    output::line(&format!("merged and tested; see: git -C {} show --stat {commit}", repository.display()));
}

/// The usual port, or any other when somebody has it.
fn free_address() -> SocketAddr {
    let usual = SocketAddr::from((Ipv4Addr::LOCALHOST, DEFAULT_PORT));
    match TcpListener::bind(usual) {
        Ok(_) => usual,
        Err(_) => SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
    }
}

fn credentials(data_dir: &Path) -> Result<Credentials, Failure> {
    let path = data_dir.join(CREDENTIALS);
    let failed = |error: &dyn std::fmt::Display| Failure::new(format!("{}: {error}", path.display()));
    match fs::read_to_string(&path) {
        Ok(text) if !text.trim().is_empty() => {
            return serde_json::from_str(&text).map_err(|error| failed(&error));
        }
        // Nothing was ever written: nobody has signed in with it.
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(&error)),
    }
    let secret: [u8; 9] = rand::random();
    let made = Credentials { email: EMAIL.into(), password: format!("demo-{}", hex::encode(secret)) };
    let text = serde_json::to_string_pretty(&made).map_err(|error| failed(&error))?;
    keep(&path, &text).map_err(|error| failed(&error))?;
    Ok(made)
}

/// Writes the whole file or none, whenever the process ends.
fn keep(path: &Path, text: &str) -> std::io::Result<()> {
    let new = path.with_extension("json.new");
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_that_a_crash_left_empty_are_made_again_and_then_stay() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(CREDENTIALS), "").unwrap();
        let made = credentials(dir.path()).unwrap();
        assert_eq!(credentials(dir.path()).unwrap().password, made.password);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing else is left");
    }
}
