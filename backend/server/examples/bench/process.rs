//! The whole process: how fast it starts, answers, and how much memory it takes.

use crate::{
    Failure,
    figures::{Figures, percentile},
};
use reqwest::{Client, Method};
use serde_json::{Value, json};
use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use tokio::task::JoinSet;

/// Callers at the same time.
const CLIENTS: usize = 16;
/// Agent instances whose memory is measured.
const AGENTS: u32 = 200;
/// More than that and the default team.
const AGENT_LIMIT: u32 = 1_000;
/// Who calls.
const EMAIL: &str = "bench@example.org";
const PASSWORD: &str = "a long enough passphrase";
/// `serve` must answer within this long.
const START_LIMIT: Duration = Duration::from_secs(90);

/// Starts `serve` twice (the first start makes the database), then calls it.
pub(crate) async fn serve(
    binary: &Path,
    data_dir: &Path,
    span: Duration,
    figures: &mut Figures,
) -> Result<(), Failure> {
    std::fs::create_dir_all(data_dir)?;
    open_to_others(data_dir)?;
    let first = start(binary, Home::of(data_dir)).await?;
    figures.add("start-up, first", (first.took.as_secs_f64(), "s"), None, &json!({ "data_dir": "empty" }))?;
    stop(first)?;
    let server = start(binary, Home::of(data_dir)).await?;
    figures.add("start-up, again", (server.took.as_secs_f64(), "s"), None, &json!({ "data_dir": "kept" }))?;
    let user = register(&server.address).await?;
    figures.add(
        "memory, idle",
        (resident_mib(server.child.id())?, "MiB"),
        None,
        &json!({ "process": "serve" }),
    )?;
    let stories = user.path("/stories");
    user.send(&stories, Some(json!({ "title": "The first" }))).await?;
    calls(&user, "API, list stories", &stories, None, span, figures).await?;
    calls(&user, "API, write a story", &stories, Some(json!({ "title": "Another" })), span, figures).await?;
    spawn_agents(&user, "engineer", AGENTS).await?;
    let agents = json!({ "process": "serve", "agents": AGENTS });
    figures.add("memory, 200 agents", (resident_mib(server.child.id())?, "MiB"), None, &agents)?;
    stop(server)
}

/// A `serve` that is ready.
pub(crate) struct Server {
    pub(crate) child: Child,
    pub(crate) address: String,
    /// From spawning it until it was ready.
    pub(crate) took: Duration,
}

impl Drop for Server {
    fn drop(&mut self) {
        // Ended already, unless something went wrong.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What agents of a model that plays its part are given to say.
const SCENARIO: &str =
    concat!(include_str!("../capture.toml"), "\n", include_str!("../../tests/it/fire/good_agents.toml"));

/// The scripted endpoint, and the file that leads every group to it. Ends with this value.
pub(crate) struct Model {
    child: Child,
    groups: PathBuf,
}

impl Model {
    pub(crate) fn start(binary: &Path, dir: &Path) -> Result<Self, Failure> {
        let (listen, scenario) = (free_address()?, dir.join("scenario.toml"));
        std::fs::write(&scenario, SCENARIO)?;
        let groups = lead_groups(dir, &listen)?;
        let child = Command::new(binary)
            .args(["scripted-model", "--listen", &listen, "--scenario"])
            .arg(scenario)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Self { child, groups })
    }

    /// The file that leads to it.
    pub(crate) fn groups(&self) -> &Path {
        &self.groups
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Writes the file that leads every group to a model at this address.
pub(crate) fn lead_groups(dir: &Path, address: &str) -> Result<PathBuf, Failure> {
    let groups = dir.join("models.toml");
    let led = ["high-reasoning", "fast-response", "cost-optimized", "code"].map(|name| {
        format!(
            "[[group]]\nname = \"{name}\"\n\n[[group.chain]]\nname = \"scripted\"\nprovider = \"scripted\"\n\
             base_url = \"http://{address}/v1\"\nmodel = \"scripted-{name}\"\ncontext_window = 200000\nmax_output = 8192\n\
             endpoint_access = \"private_network\"\n\n"
        )
    });
    std::fs::write(&groups, led.concat())?;
    Ok(groups)
}

fn free_address() -> Result<String, Failure> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.to_string())
}

/// What a `serve` works on.
#[derive(Clone, Copy)]
pub(crate) struct Home<'a> {
    pub(crate) data_dir: &'a Path,
    /// A database of somebody else's, instead of its own.
    pub(crate) database: Option<&'a str>,
    /// The file of the model groups, where models are asked.
    pub(crate) models: Option<&'a Path>,
}

impl<'a> Home<'a> {
    pub(crate) fn of(data_dir: &'a Path) -> Self {
        Self { data_dir, database: None, models: None }
    }
}

/// Starts `serve` and waits until it is ready.
pub(crate) async fn start(binary: &Path, home: Home<'_>) -> Result<Server, Failure> {
    let listen = free_address()?;
    let address = format!("http://{listen}");
    let begun = Instant::now();
    let child = Command::new(binary)
        .args(["serve", "--listen", &listen, "--data-dir"])
        .arg(home.data_dir)
        .envs(home.models.map(|models| ("SYNDARIX_MODELS", models)))
        .envs(home.database.map(|url| ("DATABASE_URL", url)))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    while begun.elapsed() < START_LIMIT {
        if let Ok(answer) = reqwest::get(format!("{address}/readyz")).await
            && answer.status().is_success()
        {
            return Ok(Server { child, address, took: begun.elapsed() });
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Err("serve is not ready in time".into())
}

/// Ends it in good order, and its database with it.
pub(crate) fn stop(mut server: Server) -> Result<(), Failure> {
    Command::new("kill").args(["-TERM", &server.child.id().to_string()]).status()?;
    server.child.wait()?;
    Ok(())
}

/// Resident memory of a process.
pub(crate) fn resident_mib(pid: u32) -> Result<f64, Failure> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).ok_or("no VmRSS")?;
    let kib: f64 = line.split_whitespace().nth(1).ok_or("no VmRSS")?.parse()?;
    Ok(kib / 1024.0)
}

/// Somebody with a project.
#[derive(Clone)]
pub(crate) struct User {
    http: Client,
    address: String,
    token: String,
    project: String,
}

impl User {
    pub(crate) fn path(&self, rest: &str) -> String {
        format!("/api/v1/projects/{}{rest}", self.project)
    }

    /// POST with a body, GET without one.
    pub(crate) async fn send(&self, path: &str, body: Option<Value>) -> Result<Value, Failure> {
        let method = if body.is_some() { Method::POST } else { Method::GET };
        self.call(method, path, body).await
    }

    /// The same person at another process, signed in anew: what lies between may have taken longer than a token lasts.
    pub(crate) async fn at(&self, address: &str) -> Result<Self, Failure> {
        let mut user = Self { address: address.to_owned(), ..self.clone() };
        let login = self.http.post(format!("{address}/api/v1/auth/login"));
        let form = login.form(&[("username", EMAIL), ("password", PASSWORD)]);
        let session: Value = form.send().await?.error_for_status()?.json().await?;
        session["access_token"].as_str().ok_or("no token")?.clone_into(&mut user.token);
        Ok(user)
    }

    pub(crate) async fn repository_is_ready(&self) -> Result<(), Failure> {
        let begun = Instant::now();
        while self.send(&self.path(""), None).await?["repository"]["state"] != "ready" {
            if begun.elapsed() > START_LIMIT {
                return Err("the repository is not made in time".into());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Result<Value, Failure> {
        let mut request = self.http.request(method, format!("{}{path}", self.address));
        if let Some(body) = &body {
            request = request.json(body);
        }
        let response = request.bearer_auth(&self.token).send().await?;
        let status = response.status();
        let value = response.json().await?;
        if status.is_success() { Ok(value) } else { Err(format!("{path}: {status}: {value}").into()) }
    }
}

/// Somebody new, with an organisation and a project of their own.
pub(crate) async fn register(address: &str) -> Result<User, Failure> {
    let http = Client::builder().timeout(Duration::from_secs(10)).build()?;
    let mut user = User { http, address: address.into(), token: String::new(), project: String::new() };
    let body = json!({ "email": EMAIL, "name": "Bench", "password": PASSWORD });
    let session = user.send("/api/v1/auth/register", Some(body)).await?;
    user.token = session["access_token"].as_str().ok_or("no token")?.to_owned();
    let me = user.send("/api/v1/me", None).await?;
    let project = json!({
        "organisation_id": me["organisations"][0]["id"], "name": "bench", "repository": { "source": "empty" },
    });
    let project = user.send("/api/v1/projects", Some(project)).await?;
    project["id"].as_str().ok_or("no project")?.clone_into(&mut user.project);
    user.call(Method::PATCH, &user.path(""), Some(json!({ "agent_limit": AGENT_LIMIT }))).await?;
    Ok(user)
}

async fn calls(
    user: &User,
    name: &str,
    path: &str,
    body: Option<Value>,
    span: Duration,
    figures: &mut Figures,
) -> Result<(), Failure> {
    let until = Instant::now() + span;
    let mut tasks = JoinSet::new();
    for _ in 0..CLIENTS {
        let (user, path, body) = (user.clone(), path.to_owned(), body.clone());
        tasks.spawn(async move {
            let mut samples = Vec::new();
            while Instant::now() < until {
                let begun = Instant::now();
                user.send(&path, body.clone()).await?;
                samples.push(begun.elapsed());
            }
            Ok::<_, Failure>(samples)
        });
    }
    let mut samples = Vec::new();
    while let Some(called) = tasks.join_next().await {
        samples.extend(called??);
    }
    samples.sort_unstable();
    let settings = json!({ "clients": CLIENTS, "same_machine": true });
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let rate = samples.len() as f64 / span.as_secs_f64();
    figures.add(name, (rate, "per second"), None, &settings)?;
    figures.add(&format!("{name}, median"), (percentile(&samples, 0.5), "ms"), None, &settings)?;
    figures.add(&format!("{name}, p99"), (percentile(&samples, 0.99), "ms"), None, &settings)
}

/// Instances of the first type of this role.
pub(crate) async fn spawn_agents(user: &User, role: &str, count: u32) -> Result<(), Failure> {
    let types = user.send("/api/v1/agent-types", None).await?;
    let of_role = types["items"]
        .as_array()
        .and_then(|types| types.iter().find(|kind| kind["role"] == role))
        .ok_or("a role without a type")?;
    for _ in 0..count {
        user.send(&user.path("/agents"), Some(json!({ "agent_type_id": of_role["id"] }))).await?;
    }
    Ok(())
}

/// PostgreSQL runs as another user when we are root: it must be able to pass through.
pub(crate) fn open_to_others(dir: &Path) -> Result<(), Failure> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::create_dir_all(dir)?;
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o755))?;
    Ok(())
}
