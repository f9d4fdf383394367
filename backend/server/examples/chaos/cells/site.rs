//! Two processes on one database of their own, a model that answers from a script, three projects.

use super::{
    postgres::Postgres,
    server::{Launch, Model, Server},
    witness::{self, WITNESSED},
};
use crate::{
    Failure,
    client::{Api, EMAIL, PASSWORD, Story},
    invariants::{self, Scene},
    process::{free_port, groups},
    rules::{self, ALWAYS, SETTLED},
    swarm,
};
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// A story that is not done after this long is stuck.
const STORY_LIMIT: Duration = Duration::from_secs(90);

/// The stages of a story, each with a title that makes the model hold its first answer.
pub(crate) const STAGES: [&str; 5] = ["analysis", "design", "implementation", "review", "testing"];

/// What an agent does whose tool calls were refused: it is told so when it wants to be done, and makes them again.
const AGAIN: &str = r#"
[[rule]]
name = "there is no pull request yet"
when = { system_contains = "Stage: implementation.", last_tool = "complete_task" }
answer.tool = [{ name = "create_branch", arguments = { name = "{{branch}}" } }]

[[rule]]
name = "there is no test run yet"
when = { system_contains = "Stage: testing.", last_tool = "complete_task" }
answer.tool = [{ name = "run_tests", arguments = {} }]
"#;

/// Which project.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Nobody is asked for anything.
    Plain,
    /// A person is asked for requirements and architecture.
    Asking,
    /// Tests take a second.
    Slow,
}

/// A story that was started.
pub(crate) struct Begun {
    pub(crate) place: Place,
    pub(crate) story: Story,
}

/// What a site is made from.
pub(crate) struct Ground<'a> {
    pub(crate) binary: &'a Path,
    /// What is deployed, once, where it is not what is there already.
    pub(crate) next: Option<&'a Path>,
    pub(crate) dir: PathBuf,
    pub(crate) name: &'a str,
    pub(crate) redis: Option<String>,
    pub(crate) seeds: u32,
}

pub(crate) struct Site {
    pub(crate) launch: Launch,
    /// What is still to be deployed.
    pub(crate) next: Option<PathBuf>,
    /// How many seeds are played: what must come often enough is shared among them.
    pub(crate) seeds: u32,
    pub(crate) postgres: Postgres,
    pub(crate) servers: Vec<Server>,
    _model: Model,
    api: Api,
    projects: [String; 3],
    /// Everything that was started since the last check.
    pub(crate) begun: Vec<Begun>,
    /// What the present seed calls itself, so that titles and keys are its own.
    pub(crate) label: String,
    /// How long each seed waited for somebody to take over: the cell's figure.
    pub(crate) waits: Vec<Duration>,
}

impl Site {
    pub(crate) async fn open(postgres: Postgres, ground: Ground<'_>) -> Result<Self, Failure> {
        std::fs::create_dir_all(&ground.dir)?;
        let database = swarm::fresh(postgres.url()?, ground.name).await?;
        let models = ground.dir.join("models.toml");
        let launch = Launch {
            binary: ground.binary.to_owned(),
            dir: ground.dir,
            database,
            models,
            redis: ground.redis,
            environment: Vec::new(),
        };
        let model = start_model(&launch)?;
        let servers = vec![Server::start(&launch)?, Server::start(&launch)?];
        for server in &servers {
            server.ready().await?;
        }
        witness::install(&mut PgConnection::connect(&launch.database).await?).await?;
        let api = Api::register(&servers[0].address()).await?;
        let projects = [
            project(&api, "Plain", "true", false).await?,
            project(&api, "Asking", "true", true).await?,
            project(&api, "Slow", "sleep 1", false).await?,
        ];
        let (next, seeds) = (ground.next.map(Path::to_owned), ground.seeds);
        let (begun, label) = (Vec::new(), String::new());
        let waits = Vec::new();
        Ok(Self { launch, next, seeds, postgres, servers, _model: model, api, projects, begun, label, waits })
    }

    /// Access tokens do not last for all seeds of a cell.
    pub(crate) async fn sign_in(&mut self) -> Result<(), Failure> {
        self.api = Api::sign_in(&self.live()?.address(), EMAIL, PASSWORD).await?;
        Ok(())
    }

    fn live(&self) -> Result<&Server, Failure> {
        self.servers.iter().find(|server| !server.frozen).ok_or_else(|| "no process is up".into())
    }

    /// The user at a process that answers.
    pub(crate) fn api(&self, place: Place) -> Result<Api, Failure> {
        Ok(self.api_at(self.live()?, place))
    }

    pub(crate) fn api_at(&self, server: &Server, place: Place) -> Api {
        self.api.at(&server.address(), self.project(place))
    }

    fn project(&self, place: Place) -> &str {
        &self.projects[place as usize]
    }

    pub(crate) async fn connect(&self) -> Result<PgConnection, Failure> {
        Ok(PgConnection::connect(&self.launch.database).await?)
    }

    /// Writes and starts a story.
    pub(crate) async fn begin(&mut self, place: Place, title: &str) -> Result<String, Failure> {
        let api = self.api(place)?;
        let story = api.write_titled(title, &format!("Wanted by {}.", self.label)).await?;
        api.start_story(&story.id).await?;
        let id = story.id.clone();
        self.begun.push(Begun { place, story });
        Ok(id)
    }

    pub(crate) async fn begin_many(&mut self, count: usize) -> Result<(), Failure> {
        for n in 1..=count {
            let title = format!("Number {n} of {}", self.label);
            self.begin(Place::Plain, &title).await?;
        }
        Ok(())
    }

    /// Answers what is asked until every story is done. A process that does not answer just now is asked again.
    pub(crate) async fn finish(&self) -> Result<(), Failure> {
        let limit = Instant::now() + STORY_LIMIT;
        for Begun { place, story } in &self.begun {
            loop {
                let why = match self.push(*place, &story.id).await {
                    Ok(now) if now.phase == "done" => break,
                    Ok(now) if now.phase == "blocked" || now.phase == "cancelled" => {
                        return Err(
                            format!("story {} is {}: {}", now.number, now.phase, now.waiting_for).into()
                        );
                    }
                    Ok(now) => format!("{}, {}", now.phase, now.waiting_for),
                    Err(failure) => failure.to_string(),
                };
                if Instant::now() > limit {
                    return Err(format!("story {} is stuck: {why}", story.number).into());
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        Ok(())
    }

    async fn push(&self, place: Place, story: &str) -> Result<Story, Failure> {
        let api = self.api(place)?;
        let now = api.story(story).await?;
        if now.approval_id.is_some() {
            api.approver(story.to_owned()).answer_if_asked().await?;
        }
        Ok(now)
    }

    /// Puts a new process where one was killed or stopped.
    pub(crate) async fn replace(&mut self, index: usize) -> Result<(), Failure> {
        self.servers[index] = Server::start(&self.launch)?;
        self.servers[index].ready().await
    }

    /// The same with one that answers calls and leaves the work to others.
    pub(crate) async fn replace_by_api(&mut self, index: usize) -> Result<(), Failure> {
        self.servers[index] = Server::start_api(&self.launch)?;
        self.servers[index].ready().await
    }

    /// The whole truth: tables, witness, repositories, events against states, audit chain.
    pub(crate) async fn check(&mut self) -> Result<(), Failure> {
        let mut conn = self.connect().await?;
        invariants::settled_by(&mut conn, &[SETTLED, ALWAYS, WITNESSED]).await?;
        for place in [Place::Plain, Place::Asking, Place::Slow] {
            let own = self.begun.iter().filter(|begun| begun.place == place);
            let stories: Vec<Story> = own.map(|begun| begun.story.clone()).collect();
            if !stories.is_empty() {
                invariants::of_stories(&mut conn, &self.scene(place), &stories, false).await?;
            }
        }
        invariants::as_a_whole(&self.scene(Place::Plain))?;
        self.begun.clear();
        Ok(())
    }

    /// What must hold while work goes on, or rests.
    pub(crate) async fn check_always(&self) -> Result<(), Failure> {
        let wrong = rules::broken(&mut self.connect().await?, &[ALWAYS, WITNESSED]).await?;
        if wrong.is_empty() { Ok(()) } else { Err(wrong.join(", ").into()) }
    }

    pub(crate) fn scene(&self, place: Place) -> Scene<'_> {
        Scene {
            binary: &self.launch.binary,
            data_dir: &self.launch.dir,
            database: self.launch.database.clone(),
            named_database: true,
            project: self.project(place),
        }
    }

    /// What is still to be done, for whoever reads a failure.
    async fn rows_left(&self) -> Result<Vec<String>, Failure> {
        let left = "select 'job ' || to_jsonb(j)::text from
                        (select id, kind, payload, run_at - now() as due_in, attempt, rescues, fence, owner, lease_until - now() as leased_for, last_error
                           from job where project_id is not null) j
                    union all select 'run ' || id || ' ' || phase || ' ' || (state -> 'phase')::text from run
                               where phase not in ('succeeded', 'failed', 'stalled', 'cancelled')
                    union all select 'timer ' || stream || ' ' || name || ' in ' || (fire_at - now()) from timer where project_id is not null
                    union all select 'dead ' || to_jsonb(d)::text from job_dead d";
        Ok(sqlx::query_scalar(left).fetch_all(&mut self.connect().await?).await?)
    }

    /// The rows that are left, and the end of the log.
    pub(crate) async fn remains(&self) -> String {
        let rows = self.rows_left().await.unwrap_or_else(|failure| vec![failure.to_string()]);
        let text = std::fs::read_to_string(self.launch.dir.join("serve.log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        [rows.join("\n"), lines[lines.len().saturating_sub(40)..].join("\n")].join("\n")
    }
}

fn start_model(launch: &Launch) -> Result<Model, Failure> {
    let holds = STAGES.map(|stage| {
        format!(
            "[[rule]]\nname = \"{stage} is held\"\nwhen = {{ system_contains = \"Stage: {stage}.\", first_contains = \"Hold the {stage}\" }}\n\
             fault = {{ kind = \"hang\", seconds = 60.0 }}\ntimes = 1\n\n"
        )
    });
    let scenario = launch.dir.join("scenario.toml");
    std::fs::write(&scenario, format!("{}\n{}{AGAIN}\n{}", swarm::HEAD, holds.concat(), swarm::RULES))?;
    let listen = format!("127.0.0.1:{}", free_port()?);
    std::fs::write(&launch.models, groups(&listen))?;
    Model::start(launch, &listen, &scenario)
}

async fn project(api: &Api, name: &str, tests: &str, asks: bool) -> Result<String, Failure> {
    let me = api.call(Method::GET, "/me", None).await?;
    let body = json!({
        "organisation_id": me["organisations"][0]["id"], "name": name, "autonomy": "autonomous",
        "test_command": tests, "repository": { "source": "empty" },
    });
    let made = api.call(Method::POST, "/projects", Some(body)).await?;
    let id = made["id"].as_str().ok_or("no project")?.to_owned();
    let mut api = api.clone();
    api.project.clone_from(&id);
    swarm::ready(&api).await?;
    if !asks {
        let mut policy: Value = api.call(Method::GET, &api.path("/policy"), None).await?;
        for row in policy["rows"].as_array_mut().into_iter().flatten() {
            if row["action"] == "story_requirements" || row["action"] == "architecture_decision" {
                row["autonomous"] = json!("auto");
            }
        }
        api.call(Method::PUT, &api.path("/policy"), Some(policy)).await?;
    }
    Ok(id)
}
