//! `agent`.

use super::{
    Failure, Global,
    local::Local,
    output,
    work::{list, path_of, show},
};
use clap::{Args, Subcommand};
use serde_json::json;
use uuid::Uuid;

#[derive(Debug, Subcommand)]
pub(super) enum Agent {
    /// Lists a project's agents.
    List {
        /// The project's name or id.
        #[arg(long)]
        project: String,
    },
    /// Parks an agent's run at its next step.
    Pause(One),
    /// Lets a paused agent go on.
    Resume(One),
    /// Ends an agent for good; the step under way is recorded first.
    Terminate(One),
}

#[derive(Debug, Args)]
pub(super) struct One {
    /// Its id.
    agent: Uuid,
    /// The project's name or id.
    #[arg(long)]
    project: String,
}

const LIST: [output::Column; 6] = [
    ("NAME", "name"),
    ("ROLE", "type.role"),
    ("STATUS", "status"),
    ("TASK", "current_task"),
    ("SPENT", "spent_micro_usd"),
    ("ID", "id"),
];

impl Agent {
    pub(super) async fn run(self, global: &Global) -> Result<(), Failure> {
        Local::run(global, async |local| {
            let (one, verb) = match self {
                Self::List { project } => {
                    let path = format!("{}/agents?limit=200", path_of(local, &project).await?);
                    list(global, &LIST, &local.get(&path).await?);
                    return Ok(());
                }
                Self::Pause(one) => (one, "pause"),
                Self::Resume(one) => (one, "resume"),
                Self::Terminate(one) => (one, "terminate"),
            };
            let path = format!("{}/agents/{}/{verb}", path_of(local, &one.project).await?, one.agent);
            show(global, &LIST, &local.post(&path, &json!({})).await?);
            Ok(())
        })
        .await
    }
}
