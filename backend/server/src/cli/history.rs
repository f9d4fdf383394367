//! `job history`: the events of one stream, and its state at any version.

use super::{Failure, Global, output, work::list};
use crate::{db::Error, state::App};
use clap::Args;
use serde_json::{Value, json};
use syndarix_domain::{
    approval::Approval, ids::ProjectId, machine::Machine, pull_request::PullRequest, run::Run,
    sprint::Sprint, story::Story,
};
use uuid::Uuid;

#[derive(Debug, Args)]
pub(super) struct History {
    /// The id of a story, run, sprint, approval or pull request.
    stream: Uuid,
    /// Shows the state as it was after this version, instead of the events.
    #[arg(long, value_name = "VERSION")]
    at: Option<i64>,
}

const EVENTS: [output::Column; 4] =
    [("VERSION", "version"), ("AT", "at"), ("TYPE", "type"), ("ACTOR", "actor")];

impl History {
    pub(super) async fn run(self, global: &Global, app: &App) -> Result<(), Failure> {
        let place: Option<(Uuid, String)> =
            sqlx::query_as("select project_id, kind from event where stream_id = $1 and version > 0 limit 1")
                .bind(self.stream)
                .fetch_optional(app.pool())
                .await?;
        let Some((project, kind)) = place else {
            return Err(Failure::new(format!("nothing has the id {}", self.stream)));
        };
        let project = ProjectId(project);
        match self.at {
            None => list(global, &EVENTS, &events(app, project, self.stream).await?),
            Some(version) => output::json(&state(app, project, self.stream, &kind, version).await?),
        }
        Ok(())
    }
}

async fn events(app: &App, project: ProjectId, stream: Uuid) -> Result<Value, Failure> {
    let history = app.store.history(project, stream, None).await?;
    let items = history.iter().map(|event| {
        let who = event.actor.id().map_or_else(String::new, |id| format!(" {id}"));
        let envelope = event.envelope();
        json!({
            "version": event.version,
            "at": event.at,
            "type": envelope.kind,
            "actor": format!("{}{who}", event.actor.kind()),
            "data": envelope.data,
        })
    });
    Ok(json!({ "items": items.collect::<Vec<_>>() }))
}

async fn state(
    app: &App,
    project: ProjectId,
    stream: Uuid,
    kind: &str,
    version: i64,
) -> Result<Value, Failure> {
    let found = match kind {
        "story" => then::<Story>(app, project, stream, version).await,
        "run" => then::<Run>(app, project, stream, version).await,
        "sprint" => then::<Sprint>(app, project, stream, version).await,
        "approval" => then::<Approval>(app, project, stream, version).await,
        "pull_request" => then::<PullRequest>(app, project, stream, version).await,
        other => return Err(Failure::new(format!("this version knows no {other}"))),
    };
    match found {
        Err(Error::NotFound("version")) => {
            Err(Failure::new(format!("it has no version {version}; see `syndarix job history {stream}`")))
        }
        found => Ok(found?),
    }
}

async fn then<M: Machine>(app: &App, project: ProjectId, stream: Uuid, version: i64) -> Result<Value, Error> {
    let then = app.store.at_version::<M>(project, stream, version).await?;
    let state =
        serde_json::to_value(then.state).map_err(|source| Error::Corrupt { what: M::KIND.name(), source })?;
    Ok(json!({ "version": then.version, "state": state }))
}
