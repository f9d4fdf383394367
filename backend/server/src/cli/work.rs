//! `project` and `story`.

use super::{
    Failure, Global,
    local::{Local, Names, encoded, items, text},
    output,
};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::path::Path;
use uuid::Uuid;

#[derive(Debug, Subcommand)]
pub(super) enum Project {
    /// Makes a project on a repository.
    Create(CreateProject),
    /// Lists the projects.
    List,
    /// Shows a project.
    Show {
        /// Its name or id.
        project: String,
    },
}

#[derive(Debug, Args)]
pub(super) struct CreateProject {
    /// Unique within the organisation.
    name: String,
    /// A directory of this machine or an address that git understands; a new repository when not given.
    #[arg(long, value_name = "PATH_OR_URL")]
    repo: Option<String>,
    /// How its tests are run.
    #[arg(long, value_name = "COMMAND")]
    test_command: Option<String>,
    /// `full_control`, `milestone` or `autonomous`.
    #[arg(long)]
    autonomy: Option<String>,
    /// The organisation that it is for, by name or id; not needed when there is only one.
    #[arg(long)]
    organisation: Option<String>,
}

const PROJECTS: [output::Column; 5] = [
    ("NAME", "name"),
    ("AUTONOMY", "autonomy"),
    ("REPOSITORY", "repository.state"),
    ("OPEN STORIES", "counts.stories_open"),
    ("ID", "id"),
];
const PROJECT: [output::Column; 10] = [
    ("id", "id"),
    ("name", "name"),
    ("autonomy", "autonomy"),
    ("repository", "repository.state"),
    ("detail", "repository.detail"),
    ("default branch", "default_branch"),
    ("test command", "test_command"),
    ("spent", "spent_micro_usd"),
    ("simulated", "simulated_micro_usd"),
    ("waiting approvals", "counts.approvals_pending"),
];

impl Project {
    pub(super) async fn run(self, global: &Global) -> Result<(), Failure> {
        Local::run(global, async |local| match self {
            Self::Create(create) => {
                let project = create.run(local).await?;
                show(global, &PROJECT, &project);
                Ok(())
            }
            Self::List => {
                list(global, &PROJECTS, &local.get("/projects?limit=200").await?);
                Ok(())
            }
            Self::Show { project } => {
                show(global, &PROJECT, &local.project(&project).await?);
                Ok(())
            }
        })
        .await
    }
}

impl CreateProject {
    /// The id of the organisation that is meant, among the user's.
    fn organisation(&self, all: &Value) -> Result<Value, Failure> {
        let wanted = |one: &&Value| {
            self.organisation.as_ref().is_none_or(|wanted| one["name"] == **wanted || one["id"] == **wanted)
        };
        let found: Vec<&Value> = items(all).filter(wanted).collect();
        match (found.as_slice(), &self.organisation) {
            ([one], _) => Ok(one["id"].clone()),
            ([], None) => Err(Failure::new("the user belongs to no organisation")),
            ([], Some(wanted)) => {
                Err(Failure::new(format!("the user belongs to no organisation `{wanted}`")))
            }
            (several, _) => {
                let names: Vec<&str> = several.iter().map(|one| text(one, "name")).collect();
                let names = names.join(", ");
                Err(Failure::new(format!("say for which organisation with --organisation: {names}")))
            }
        }
    }

    async fn run(self, local: &Local) -> Result<Value, Failure> {
        let organisation = self.organisation(&local.get("/organisations").await?)?;
        let repository = match &self.repo {
            None => json!({ "source": "empty" }),
            Some(path) if Path::new(path).is_dir() => {
                json!({ "source": "path", "location": Path::new(path).canonicalize()? })
            }
            Some(url) => json!({ "source": "url", "location": url }),
        };
        let body = json!({
            "organisation_id": organisation, "name": self.name, "repository": repository,
            "test_command": self.test_command, "autonomy": self.autonomy,
        });
        local.post("/projects", &body).await
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum Story {
    /// Writes a story.
    Create(CreateStory),
    /// Lists a project's stories.
    List {
        /// The project's name or id.
        #[arg(long)]
        project: String,
        /// In this phase only.
        #[arg(long)]
        phase: Option<String>,
    },
    /// Shows a story.
    Show(OneStory),
    /// Lets the agents begin.
    Start(OneStory),
}

#[derive(Debug, Args)]
pub(super) struct CreateStory {
    /// One line: what is wanted.
    title: String,
    /// The project's name or id.
    #[arg(long)]
    project: String,
    /// What is wanted, in your words.
    #[arg(long, default_value = "")]
    description: String,
    /// Estimated effort.
    #[arg(long)]
    points: Option<u16>,
    /// The sprint to plan it in, by name or id.
    #[arg(long)]
    sprint: Option<String>,
}

const SPRINTS: Names = Names { what: "sprint", see: "the project's board" };

impl CreateStory {
    async fn run(self, local: &Local) -> Result<Value, Failure> {
        let project = path_of(local, &self.project).await?;
        let sprint = match &self.sprint {
            Some(sprint) => Some(local.id_in(&format!("{project}/sprints"), &SPRINTS, sprint).await?),
            None => None,
        };
        let body = json!({
            "title": self.title, "description": self.description, "points": self.points, "sprint_id": sprint,
        });
        local.post(&format!("{project}/stories"), &body).await
    }
}

#[derive(Debug, Args)]
pub(super) struct OneStory {
    /// Its number or id.
    story: String,
    /// The project's name or id.
    #[arg(long)]
    project: String,
}

const STORIES: [output::Column; 5] =
    [("NO", "number"), ("PHASE", "phase"), ("TITLE", "title"), ("WAITING FOR", "waiting_for"), ("ID", "id")];
const STORY: [output::Column; 12] = [
    ("id", "id"),
    ("number", "number"),
    ("title", "title"),
    ("phase", "phase"),
    ("waiting for", "waiting_for"),
    ("description", "description"),
    ("acceptance", "acceptance_criteria"),
    ("branch", "branch"),
    ("merge commit", "merge_commit"),
    ("rounds", "round"),
    ("cost", "cost_micro_usd"),
    ("simulated", "simulated_micro_usd"),
];

impl Story {
    pub(super) async fn run(self, global: &Global) -> Result<(), Failure> {
        Local::run(global, async |local| {
            match self {
                Self::Create(create) => show(global, &STORY, &create.run(local).await?),
                Self::List { project, phase } => {
                    let mut path = format!("{}/stories?limit=200", path_of(local, &project).await?);
                    if let Some(phase) = phase {
                        path = format!("{path}&phase={}", encoded(&phase));
                    }
                    list(global, &STORIES, &local.get(&path).await?);
                }
                Self::Show(one) => {
                    let path = one.path(local).await?;
                    show(global, &STORY, &local.get(&path).await?);
                }
                Self::Start(one) => {
                    let path = one.path(local).await?;
                    show(global, &STORY, &local.post(&format!("{path}/start"), &json!({})).await?);
                }
            }
            Ok(())
        })
        .await
    }
}

impl OneStory {
    /// The story's path; people know stories by their number.
    async fn path(&self, local: &Local) -> Result<String, Failure> {
        let project = path_of(local, &self.project).await?;
        if self.story.parse::<Uuid>().is_ok() {
            return Ok(format!("{project}/stories/{}", self.story));
        }
        let number: i64 = self.story.parse().map_err(|_| {
            Failure::new(format!("`{}` is neither the number nor the id of a story", self.story))
        })?;
        let found = local.all(&format!("{project}/stories"), |story| story["number"] == number).await?;
        let found = found.first();
        let found =
            found.ok_or_else(|| Failure::new(format!("there is no story {number} in this project")))?;
        Ok(format!("{project}/stories/{}", text(found, "id")))
    }
}

/// The path of the project that somebody means.
pub(super) async fn path_of(local: &Local, project: &str) -> Result<String, Failure> {
    let project = local.project(project).await?;
    Ok(format!("/projects/{}", text(&project, "id")))
}

/// One thing, as JSON or line by line.
pub(super) fn show(global: &Global, columns: &[output::Column], value: &Value) {
    if global.json { output::json(value) } else { output::fields(columns, value) }
}

/// A list, as JSON or as a table.
pub(super) fn list(global: &Global, columns: &[output::Column], list: &Value) {
    if global.json {
        output::json(list);
    } else {
        let rows: Vec<Value> = items(list).cloned().collect();
        output::table(columns, &rows);
    }
}
