//! `agent`.

use super::{
    Failure, Global,
    local::{Local, Names, items, text},
    output,
    work::{list, path_of, show},
};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

#[derive(Debug, Subcommand)]
pub(super) enum Agent {
    /// Lists a project's agents.
    List {
        /// The project's name or id.
        #[arg(long)]
        project: String,
    },
    /// Makes an agent of a type.
    Spawn(Spawn),
    /// Parks an agent's run at its next step.
    Pause(One),
    /// Lets a paused agent go on.
    Resume(One),
    /// Ends an agent for good; the step under way is recorded first.
    Terminate(One),
}

#[derive(Debug, Args)]
pub(super) struct One {
    /// Its name or id.
    agent: String,
    /// The project's name or id.
    #[arg(long)]
    project: String,
}

const NAMES: Names = Names { what: "agent", see: "`syndarix agent list`" };

impl One {
    async fn path(&self, local: &Local) -> Result<String, Failure> {
        let agents = format!("{}/agents", path_of(local, &self.project).await?);
        let id = local.id_in(&agents, &NAMES, &self.agent).await?;
        Ok(format!("{agents}/{id}"))
    }
}

#[derive(Debug, Args)]
pub(super) struct Spawn {
    /// The name or the id of its type.
    agent_type: String,
    /// The project's name or id.
    #[arg(long)]
    project: String,
    /// A name of its own; one is found when there is none.
    #[arg(long)]
    name: Option<String>,
}

impl Spawn {
    async fn run(self, local: &Local) -> Result<Value, Failure> {
        let project = path_of(local, &self.project).await?;
        let id = project.trim_start_matches("/projects/");
        let types = local.get(&format!("/agent-types?project_id={id}")).await?;
        let wanted = |one: &&Value| one["name"] == *self.agent_type || one["id"] == *self.agent_type;
        let found: Vec<&Value> = items(&types).filter(wanted).collect();
        let [agent_type] = found.as_slice() else {
            let names: Vec<&str> = items(&types).map(|one| text(one, "name")).collect();
            let problem = if found.is_empty() { "there is no" } else { "there is more than one" };
            return Err(Failure::new(format!(
                "{problem} agent type `{}`; the types are: {}",
                self.agent_type,
                names.join(", ")
            )));
        };
        let body = json!({ "agent_type_id": agent_type["id"], "name": self.name });
        local.post(&format!("{project}/agents"), &body).await
    }
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
                Self::Spawn(spawn) => {
                    show(global, &LIST, &spawn.run(local).await?);
                    return Ok(());
                }
                Self::Pause(one) => (one, "pause"),
                Self::Resume(one) => (one, "resume"),
                Self::Terminate(one) => (one, "terminate"),
            };
            let path = format!("{}/{verb}", one.path(local).await?);
            show(global, &LIST, &local.post(&path, &json!({})).await?);
            Ok(())
        })
        .await
    }
}
