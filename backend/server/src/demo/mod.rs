//! `syndarix demo`: the main job, played through on one machine.
//!
//! Everything is real (database, repository, tools, tests, merge) but the model: its answers come from a scenario,
//! over HTTP, and are marked as simulated wherever they show. With `--repo` and `--story` it is the user's own
//! repository and a real model.
//!
//! Invariants: a second start goes on where the first one stopped; `--yes` succeeds only when the story is done and
//! the repository's default branch holds its merge.

pub mod client;
pub mod content;
mod follow;
mod setup;

pub use follow::{Answers, Follow};
pub use setup::{Own, Project, places, project, story};

use crate::{db, lifecycle::StartError};
use std::path::Path;
use syndarix_llm::scripted::{Script, ScriptError};
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};
use url::Url;

/// What the agents of the demonstration say.
const SCENARIO: &str = include_str!("scenario.toml");

/// Why the demonstration does not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something that must be there first cannot be made.
    #[error("{0}")]
    Setup(String),
    /// The story did not get where it should.
    #[error("{0}")]
    Story(String),
    /// The API said no.
    #[error(transparent)]
    Api(#[from] client::ClientError),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] db::Error),
    /// The process could not be started.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The scenario does not read.
    #[error("the scenario does not read")]
    Scenario(#[from] ScriptError),
    /// The endpoint has no address to listen on.
    #[error("the scripted model cannot listen")]
    Endpoint(#[from] std::io::Error),
}

/// The demonstration's scenario, or the one in a file or directory.
pub fn scenario(path: Option<&Path>) -> Result<Script, Error> {
    match path {
        None => Ok(Script::from_toml(SCENARIO)?),
        Some(path) if path.is_dir() => Ok(Script::from_dir(path)?),
        Some(path) => {
            let text = std::fs::read_to_string(path).map_err(|error| {
                Error::Setup(format!("the scenario {} cannot be read: {error}", path.display()))
            })?;
            let is_json = path.extension().is_some_and(|end| end == "json");
            Ok(if is_json { Script::from_json(&text)? } else { Script::from_toml(&text)? })
        }
    }
}

/// A scripted model that answers until this is dropped.
#[derive(Debug)]
pub struct ScriptedModel {
    /// What deployments take as their base URL.
    pub base_url: Url,
    _stop: DropGuard,
}

/// Serves a scenario on a free loopback port.
#[expect(clippy::disallowed_methods, reason = "ends with the value that is returned, through its drop guard")]
pub async fn serve_model(script: Script) -> Result<ScriptedModel, Error> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    let base_url =
        Url::parse(&format!("http://{address}/v1")).map_err(|error| Error::Setup(error.to_string()))?;
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            served = syndarix_llm::scripted::serve(listener, script) => {
                if let Err(error) = served {
                    tracing::error!(%error, "the scripted model ended");
                }
            }
            () = stopped.cancelled() => {}
        }
    });
    Ok(ScriptedModel { base_url, _stop: stop.drop_guard() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scenario_reads_and_knows_every_story() {
        assert_eq!(scenario(None).unwrap().name(), "demo");
        for story in &content::STORIES {
            let rules = SCENARIO.matches(&format!("first_contains = \"{}\"", story.title)).count();
            // Criteria, decision, begin, write.
            assert_eq!(rules, 4, "{}", story.title);
        }
    }

    #[test]
    fn the_repository_has_a_history_of_five_commits() {
        assert_eq!(content::commits().unwrap().len(), 5);
    }
}
