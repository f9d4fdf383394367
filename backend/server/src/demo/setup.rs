//! Everything that must be there before a story can begin. Each step looks first, so that a second start goes on
//! where the first one stopped.

use super::{
    Error,
    client::Client,
    content::{self, DemoStory},
};
use crate::{config::Config, state::App};
use chrono::Days;
use serde_json::{Value, json};
use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use syndarix_domain::money::MicroUsd;
use syndarix_forge::{Forge as _, Git, LocalForge, RemoteSource};
use uuid::Uuid;

/// A repository from elsewhere may be large.
const IMPORT_LIMIT: Duration = Duration::from_secs(600);
const IMPORT_POLL: Duration = Duration::from_millis(100);
/// What the project may cost, in micro-USD: about a dozen stories of the scripted model, and a bound for a real one.
const HARD_LIMIT: i64 = 10_000_000;
/// A sprint of the demonstration, in days.
const SPRINT_DAYS: u64 = 13;
/// Names the demonstration's repository among those that it is imported from.
const SOURCE: Uuid = Uuid::from_u128(0x7e57_57a7_5000_4000_8000_0000_0000_0001);

/// What a person brings along instead of the demonstration's own.
#[derive(Debug, Clone)]
pub struct Own {
    /// A directory of this machine or an address that git understands.
    pub repository: String,
    /// What is wanted, in a sentence.
    pub story: String,
    /// How its tests are run.
    pub test_command: Option<String>,
}

/// What is there afterwards.
#[derive(Debug, Clone)]
pub struct Project {
    /// Its id.
    pub id: Uuid,
    /// The bare repository that pull requests are merged in.
    pub repository: PathBuf,
}

/// Where the project's repository comes from.
#[derive(Debug)]
struct Origin {
    source: &'static str,
    location: String,
    test_command: Option<String>,
}

impl Origin {
    fn body(&self) -> Value {
        json!({ "source": self.source, "location": self.location })
    }

    /// As the API shows it: without credentials.
    fn shown(&self) -> String {
        match RemoteSource::parse(&self.location) {
            Ok(source) if self.source == "url" => source.to_string(),
            _ => self.location.clone(),
        }
    }
}

/// The project, made if it is not there yet. `tell` is given one line for each thing done.
pub async fn project(
    app: &App,
    client: &Client,
    own: Option<&Own>,
    tell: &mut impl FnMut(String),
) -> Result<Project, Error> {
    let list = client.get("/projects?limit=200").await?;
    let projects: Vec<&Value> = items(&list).collect();
    let origin = own.map(origin).transpose()?;
    let name = own.map_or(content::PROJECT.to_owned(), |own| name_of(&own.repository));
    let id = if let Some(project) = there(&projects, &name, origin.as_ref()) {
        tell(format!("found the project {}", text(&project["name"])));
        again(client, project, origin.as_ref(), tell).await?;
        id_of(project)?
    } else {
        let name = free_name(&projects, &name);
        let id = id_of(&create(app, client, &name, origin).await?)?;
        tell(format!("made the project {name}"));
        tell(relax(client, id, own.is_none()).await?);
        id
    };
    let commits = imported(app, client, id).await?;
    let repository = app.config.repositories().join(format!("{id}.git"));
    tell(format!("its repository is {} (main is at {commits})", repository.display()));
    if let Some(command) = tests(app, client, id).await? {
        tell(format!("its tests are run with `{command}`; --test-command or the settings say otherwise"));
    }
    if own.is_none() {
        refill(client, id, tell).await?;
    }
    Ok(Project { id, repository })
}

/// The project of this repository: two repositories may have one name. One that never got its repository takes another.
fn there<'p>(projects: &[&'p Value], name: &str, origin: Option<&Origin>) -> Option<&'p Value> {
    let named = |project: &&&Value| project["name"] == name;
    let Some(origin) = origin else { return projects.iter().find(named).copied() };
    let shown = origin.shown();
    let here = projects.iter().find(|project| project["repository"]["location"] == shown.as_str());
    let failed = |project: &&&Value| named(project) && project["repository"]["state"] == "failed";
    here.or_else(|| projects.iter().find(failed)).copied()
}

/// `app`, `app-2`, `app-3` ...: a name that no other repository's project has.
fn free_name(projects: &[&Value], name: &str) -> String {
    let taken = |name: &str| projects.iter().any(|project| project["name"] == name);
    let numbered = (2..).map(|n| format!("{name}-{n}"));
    std::iter::once(name.to_owned()).chain(numbered).find(|name| !taken(name)).unwrap_or_default()
}

/// An import that failed is tried again, from where the repository is said to be now.
async fn again(
    client: &Client,
    project: &Value,
    origin: Option<&Origin>,
    tell: &mut impl FnMut(String),
) -> Result<(), Error> {
    if project["repository"]["state"] != "failed" {
        return Ok(());
    }
    let path = format!("/projects/{}/repository/retry", id_of(project)?);
    client.post(&path, &json!({ "repository": origin.map(Origin::body) })).await?;
    tell("its repository could not be imported the last time: trying again".into());
    Ok(())
}

/// The scripted model's money is none: a demonstration that is repeated does not stop at what earlier ones have spent.
async fn refill(client: &Client, project: Uuid, tell: &mut impl FnMut(String)) -> Result<(), Error> {
    let path = format!("/projects/{project}/budget");
    let budget = client.get(&path).await?;
    let number = |key: &str| budget[key].as_i64();
    let Some(limit) = number("hard_limit_micro_usd") else { return Ok(()) };
    let spent = number("spent_micro_usd").unwrap_or_default();
    let simulated = number("simulated_micro_usd").unwrap_or_default();
    if limit - spent - simulated >= HARD_LIMIT / 2 {
        return Ok(());
    }
    let limit = spent + simulated + HARD_LIMIT;
    let body =
        json!({ "hard_limit_micro_usd": limit, "soft_limit_micro_usd": budget["soft_limit_micro_usd"] });
    client.put(&path, &body).await?;
    tell(format!("raised its budget to {}: earlier demonstrations have used most of it up", MicroUsd(limit)));
    Ok(())
}

fn origin(own: &Own) -> Result<Origin, Error> {
    let test_command = own.test_command.clone();
    let directory = PathBuf::from(&own.repository);
    if directory.is_dir() {
        let path = directory.canonicalize().map_err(|error| {
            Error::Setup(format!("the repository {} cannot be read: {error}", own.repository))
        })?;
        return Ok(Origin { source: "path", location: path.display().to_string(), test_command });
    }
    if own.repository.starts_with(['/', '.', '~']) {
        return Err(Error::Setup(format!("there is no directory {}", own.repository)));
    }
    Ok(Origin { source: "url", location: own.repository.clone(), test_command })
}

async fn create(app: &App, client: &Client, name: &str, origin: Option<Origin>) -> Result<Value, Error> {
    let me = client.get("/me").await?;
    let organisation = id_of(&me["organisations"][0])?;
    let origin = match origin {
        Some(origin) => origin,
        None => Origin {
            source: "path",
            location: source_repository(app).await?,
            test_command: Some(content::TEST_COMMAND.to_owned()),
        },
    };
    let body = json!({
        "organisation_id": organisation, "name": name, "autonomy": "milestone",
        "test_command": origin.test_command, "hard_limit_micro_usd": HARD_LIMIT, "repository": origin.body(),
    });
    Ok(client.post("/projects", &body).await?)
}

/// What the demonstration's own project may be imported from, as `import_from` of its settings.
pub fn places(config: &Config, own: Option<&str>) -> Vec<String> {
    let text = |path: &Path| path.display().to_string();
    let own = own.map(|own| match Path::new(own).canonicalize() {
        Ok(path) => text(&path),
        Err(_) => RemoteSource::parse(own).ok().and_then(|source| source.host()).unwrap_or_default(),
    });
    [text(&source_dir(config))].into_iter().chain(own).collect()
}

fn source_dir(config: &Config) -> PathBuf {
    config.data_dir.join("source")
}

/// Makes the repository that the project is imported from, as somebody's repository would be: with a history.
async fn source_repository(app: &App) -> Result<String, Error> {
    let failed = |error: &dyn std::fmt::Display| Error::Setup(format!("cannot make the repository: {error}"));
    let dir = source_dir(&app.config);
    let git = Git::new(&app.config.data_dir.join("git-home")).map_err(|error| failed(&error))?;
    let forge = LocalForge::new(git, &dir, &dir.join("worktrees")).map_err(|error| failed(&error))?;
    let commits = content::commits().map_err(|error| failed(&error))?;
    forge.create_repository(SOURCE, &commits).await.map_err(|error| failed(&error))?;
    Ok(forge.repository_path(SOURCE).display().to_string())
}

/// Waits for the repository; gives its newest commit.
async fn imported(app: &App, client: &Client, project: Uuid) -> Result<String, Error> {
    let deadline = Instant::now() + IMPORT_LIMIT;
    loop {
        let view = client.get(&format!("/projects/{project}")).await?;
        match view["repository"]["state"].as_str() {
            Some("ready") => break,
            Some("failed") => {
                let detail = view["repository"]["detail"].as_str().unwrap_or("no reason was given");
                return Err(Error::Setup(format!("the repository could not be imported: {detail}")));
            }
            _ if Instant::now() > deadline => {
                return Err(Error::Setup("importing the repository takes more than ten minutes".into()));
            }
            _ => tokio::time::sleep(IMPORT_POLL).await,
        }
    }
    let info = app.forge.info(project).await;
    let info = info.map_err(|error| Error::Setup(format!("the repository cannot be read: {error}")))?;
    Ok(info.head.as_str().chars().take(10).collect())
}

/// How tests are run in a repository that has this file at its top.
const USUAL: [(&str, &str); 5] = [
    ("Cargo.toml", "cargo test --offline"),
    ("go.mod", "go test ./..."),
    ("package.json", "npm test"),
    ("pytest.ini", "python3 -m pytest"),
    ("pyproject.toml", "python3 -m pytest"),
];

/// Python's own test runner, for tests in the usual place.
const PLAIN_PYTHON: &str = "python3 -m unittest discover -s tests";

/// Sets the test command that is usual for such a repository, where nobody has said one: without it no story can
/// be finished.
async fn tests(app: &App, client: &Client, project: Uuid) -> Result<Option<&'static str>, Error> {
    let view = client.get(&format!("/projects/{project}")).await?;
    if view["test_command"].is_string() {
        return Ok(None);
    }
    let failed = |error| Error::Setup(format!("the repository cannot be read: {error}"));
    let head = app.forge.info(project).await.map_err(failed)?.head;
    let files = app.forge.tree(project, &head).await.map_err(failed)?;
    let has = |name: &str| files.iter().any(|file| file.path == name);
    let is_unittest = |path: &str| {
        path.starts_with("tests/test_") && Path::new(path).extension().is_some_and(|end| end == "py")
    };
    let usual = USUAL.into_iter().find(|(file, _)| has(file)).map(|(_, command)| command);
    let plain = files.iter().any(|file| is_unittest(&file.path)).then_some(PLAIN_PYTHON);
    let Some(command) = usual.or(plain) else {
        return Err(Error::Setup("say how the repository's tests are run with --test-command".into()));
    };
    client.patch(&format!("/projects/{project}"), &json!({ "test_command": command })).await?;
    Ok(Some(command))
}

/// Leaves one decision to people, the merge, so that the demonstration has one place to look at.
async fn relax(client: &Client, project: Uuid, demo: bool) -> Result<String, Error> {
    if !demo {
        return Ok("you decide about requirements, design and merge".into());
    }
    let path = format!("/projects/{project}/policy");
    let mut policy = client.get(&path).await?;
    let alone = ["story_requirements", "architecture_decision", "sprint_start"];
    for row in policy["rows"].as_array_mut().into_iter().flatten() {
        if alone.iter().any(|action| row["action"] == *action) {
            row["milestone"] = json!("auto");
        }
    }
    client.put(&path, &policy).await?;
    Ok("requirements and design are decided by the agents here; you decide about the merge".into())
}

/// The story to look at: the one under way, else the next one, started.
pub async fn story(
    client: &Client,
    project: Uuid,
    own: Option<&Own>,
    tell: &mut impl FnMut(String),
) -> Result<Value, Error> {
    if own.is_none() {
        plan(client, project, tell).await?;
    }
    let list = client.get(&format!("/projects/{project}/stories?limit=200")).await?;
    let open: Vec<&Value> = items(&list).filter(|story| !is_over(story)).collect();
    let wanted = |story: &&&Value| own.is_none_or(|own| story["title"] == title_of(&own.story).as_str());
    let next = open
        .iter()
        .filter(wanted)
        .min_by_key(|story| (story["started"] != true, story["number"].as_i64()))
        .map(|story| (**story).clone());
    let story = match (next, own) {
        (Some(story), _) => story,
        (None, Some(own)) => write(client, project, &own_story(own), None).await?,
        (None, None) => write(client, project, &body_of(&content::ONE_MORE), None).await?,
    };
    let (id, number, title) = (id_of(&story)?, &story["number"], &story["title"]);
    if story["phase"] == "blocked" {
        tell(format!("unblocked story {number}: {}", text(title)));
        return Ok(client.post(&format!("/projects/{project}/stories/{id}/unblock"), &json!({})).await?);
    }
    if story["started"] == true {
        tell(format!("going on with story {number}: {}", text(title)));
        return Ok(story);
    }
    let started = client.post(&format!("/projects/{project}/stories/{id}/start"), &json!({})).await?;
    tell(format!("started story {number}: {}", text(title)));
    Ok(started)
}

/// The sprint with its stories, once.
async fn plan(client: &Client, project: Uuid, tell: &mut impl FnMut(String)) -> Result<(), Error> {
    let sprints = client.get(&format!("/projects/{project}/sprints")).await?;
    let stories = client.get(&format!("/projects/{project}/stories?limit=200")).await?;
    let (name, goal) = content::SPRINT;
    let sprint = if let Some(sprint) = items(&sprints).find(|sprint| sprint["name"] == name) {
        sprint.clone()
    } else {
        let today = crate::clock::Clock::default().now().date_naive();
        let last = today.checked_add_days(Days::new(SPRINT_DAYS)).unwrap_or(today);
        let body = json!({ "name": name, "goal": goal, "starts_on": today, "ends_on": last });
        client.post(&format!("/projects/{project}/sprints"), &body).await?
    };
    let id = id_of(&sprint)?;
    let mut written = 0;
    for story in &content::STORIES {
        if !items(&stories).any(|there| there["title"] == story.title) {
            write(client, project, &body_of(story), Some(id)).await?;
            written += 1;
        }
    }
    if sprint["state"] == "planning" {
        client.post(&format!("/projects/{project}/sprints/{id}/start"), &json!({})).await?;
        tell(format!("planned and started {name} with {written} stories: {goal}"));
    }
    Ok(())
}

async fn write(client: &Client, project: Uuid, body: &Value, sprint: Option<Uuid>) -> Result<Value, Error> {
    let mut body = body.clone();
    body["sprint_id"] = json!(sprint);
    Ok(client.post(&format!("/projects/{project}/stories"), &body).await?)
}

fn body_of(story: &DemoStory) -> Value {
    json!({ "title": story.title, "description": story.description, "points": story.points })
}

fn own_story(own: &Own) -> Value {
    json!({ "title": title_of(&own.story), "description": own.story })
}

/// The first line, as long as a title may be.
fn title_of(story: &str) -> String {
    const LONGEST: usize = 120;
    story.lines().next().unwrap_or_default().chars().take(LONGEST).collect::<String>().trim().to_owned()
}

/// The last part of a path or an address, without `.git`.
fn name_of(repository: &str) -> String {
    let last = repository.trim_end_matches('/').rsplit(['/', ':']).next().unwrap_or(repository);
    let name = last.strip_suffix(".git").unwrap_or(last);
    if name.is_empty() || name == "." { "repository".into() } else { name.to_owned() }
}

fn is_over(story: &Value) -> bool {
    matches!(story["phase"].as_str(), Some("done" | "cancelled"))
}

pub(super) fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list["items"].as_array().into_iter().flatten()
}

pub(super) fn id_of(value: &Value) -> Result<Uuid, Error> {
    let id = value["id"].as_str().and_then(|id| id.parse().ok());
    id.ok_or_else(|| Error::Setup("the API answered with something that has no id".into()))
}

pub(super) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_project_is_named_after_its_repository() {
        for (repository, name) in [
            ("/home/ann/work/shop/", "shop"),
            ("https://git.example/ann/shop.git", "shop"),
            ("git@git.example:shop.git", "shop"),
            (".", "repository"),
        ] {
            assert_eq!(name_of(repository), name);
        }
    }

    #[test]
    fn two_repositories_of_one_name_are_two_projects_and_a_failed_import_takes_the_corrected_address() {
        let url = |location: &str| Origin { source: "url", location: location.into(), test_command: None };
        let projects = [
            json!({ "name": "app", "repository": { "state": "ready", "location": "https://***@git.example/a/app.git" } }),
            json!({ "name": "tool", "repository": { "state": "failed", "location": "https://git.example/typo/tool" } }),
        ];
        let projects: Vec<&Value> = projects.iter().collect();
        let mine = |location: &str| {
            there(&projects, &name_of(location), Some(&url(location))).map(|project| text(&project["name"]))
        };
        assert_eq!(
            mine("https://ann:secret@git.example/a/app.git"),
            Some("app"),
            "credentials are not the place"
        );
        assert_eq!(mine("https://git.example/b/app.git"), None);
        assert_eq!(free_name(&projects, "app"), "app-2");
        assert_eq!(mine("https://git.example/ann/tool"), Some("tool"));
    }
}
