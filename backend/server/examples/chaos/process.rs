//! The processes of a round: the one that is killed, and the model endpoint that is not.

use crate::{Failure, client::Api, invariants::Scene};
use serde::Deserialize;
use sqlx::{Connection, PgConnection};
use std::{
    fs::{File, OpenOptions},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use syndarix::lifecycle::STOP_LIMIT;

/// `serve` must answer within this long, PostgreSQL's crash recovery included.
const START_LIMIT: Duration = Duration::from_secs(90);
/// A process that is told to stop has ended within this: the product's own limit, and what a busy machine may add to it.
const STOPPED_LIMIT: Duration = STOP_LIMIT.saturating_add(Duration::from_secs(5));
/// The demo that prepares the project must end within this long.
const DEMO_LIMIT: Duration = Duration::from_secs(300);

/// Everything that runs.
pub(crate) struct World {
    binary: PathBuf,
    pub(crate) data_dir: PathBuf,
    models: PathBuf,
    address: String,
    listen: String,
    serve: Child,
    model: Child,
    pub(crate) client: Api,
    email: String,
    password: String,
    pub(crate) accounts: Accounts,
}

/// What the model endpoint says it was asked for, beside what the usage rows say.
#[derive(Debug, Default)]
pub(crate) struct Accounts {
    endpoint: String,
    /// At the last look: requests, usage rows, answered ones among these.
    pub(crate) seen: (u64, u64, u64),
}

impl Accounts {
    /// How many requests the endpoint got since it was started.
    pub(crate) async fn of_the_endpoint(&self) -> Result<u64, Failure> {
        let told: serde_json::Value =
            reqwest::get(format!("http://{}/requests", self.endpoint)).await?.json().await?;
        told["requests"].as_u64().ok_or_else(|| "the endpoint does not count".into())
    }
}

impl World {
    /// Lets the demo make organisation, user, project and repository; then starts the model endpoint and `serve`.
    pub(crate) async fn prepare(binary: &Path, data_dir: &Path) -> Result<Self, Failure> {
        let (email, password) = demo(binary, data_dir)?;
        let model_listen = format!("127.0.0.1:{}", free_port()?);
        let model = Command::new(binary)
            .args(["scripted-model", "--listen", &model_listen])
            .stdin(Stdio::null())
            .stdout(log(data_dir, "model.log")?)
            .stderr(log(data_dir, "model.log")?)
            .spawn()?;
        let models = data_dir.join("chaos-models.toml");
        std::fs::write(&models, groups(&model_listen))?;
        let listen = format!("127.0.0.1:{}", free_port()?);
        let address = format!("http://{listen}");
        let serve = spawn_serve(binary, data_dir, &models, &listen)?;
        wait_ready(&address).await?;
        let client = Api::sign_in(&address, &email, &password).await?;
        client.lift_budget().await?;
        let (binary, data_dir) = (binary.to_owned(), data_dir.to_owned());
        let accounts = Accounts { endpoint: model_listen, ..Accounts::default() };
        let mut world = Self {
            binary,
            data_dir,
            models,
            address,
            listen,
            serve,
            model,
            client,
            email,
            password,
            accounts,
        };
        world.open_accounts().await?;
        Ok(world)
    }

    /// The demo had an endpoint of its own: its calls are not in these accounts.
    async fn open_accounts(&mut self) -> Result<(), Failure> {
        let mut conn = PgConnection::connect(&self.scene()?.database).await?;
        let count = "select count(*), count(*) filter (where state = 'settled') from usage";
        let (rows, answered): (i64, i64) = sqlx::query_as(count).fetch_one(&mut conn).await?;
        conn.close().await?;
        self.accounts.seen = (0, u64::try_from(rows)?, u64::try_from(answered)?);
        Ok(())
    }

    /// Waits until this very process has a job of the story in hand. False: the story is done instead.
    pub(crate) async fn caught(&self, story: &str, limit: Duration) -> Result<bool, Failure> {
        let deadline = Instant::now() + limit;
        let mut conn = PgConnection::connect(&self.scene()?.database).await?;
        let in_hand = "select count(*) from job j join worker w on w.incarnation = j.owner
                        where w.name = $1 and (j.concurrency_key = 'story:' || $2
                              or j.concurrency_key in (select 'run:' || id from run where state ->> 'story' = $2)
                              or j.kind = 'pull_request.merge')";
        let approver = self.client.approver(story.to_owned());
        loop {
            let jobs: i64 = sqlx::query_scalar(in_hand)
                .bind(format!("syndarix-{}", self.serve.id()))
                .bind(story)
                .fetch_one(&mut conn)
                .await?;
            if jobs > 0 {
                return Ok(true);
            }
            if self.client.story(story).await?.phase == "done" {
                return Ok(false);
            }
            if Instant::now() > deadline {
                return Err("nobody goes on with the story".into());
            }
            approver.answer_if_asked().await?;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// The most workers in a row that any job has lost.
    pub(crate) async fn losses_in_a_row(&self) -> Result<i32, Failure> {
        let mut conn = PgConnection::connect(&self.scene()?.database).await?;
        let most =
            sqlx::query_scalar("select coalesce(max(rescues), 0) from job").fetch_one(&mut conn).await?;
        conn.close().await?;
        Ok(most)
    }

    /// SIGKILL, without a word; in some rounds PostgreSQL, too.
    pub(crate) fn kill(&mut self, database_too: bool) -> Result<(), Failure> {
        if database_too {
            let pid = self.postmaster()?;
            Command::new("kill").args(["-9", &pid]).status()?;
        }
        self.serve.kill()?;
        self.serve.wait()?;
        Ok(())
    }

    /// Starts `serve` again on the same data.
    pub(crate) async fn start(&mut self) -> Result<(), Failure> {
        self.serve = spawn_serve(&self.binary, &self.data_dir, &self.models, &self.listen)?;
        wait_ready(&self.address).await?;
        self.client = Api::sign_in(&self.address, &self.email, &self.password).await?;
        Ok(())
    }

    /// Ends `serve` in good order, and its database with it.
    pub(crate) fn stop_serving(&mut self) -> Result<(), Failure> {
        terminate(&mut self.serve)
    }

    /// Ends everything in good order.
    pub(crate) fn stop(&mut self) -> Result<(), Failure> {
        self.stop_serving()?;
        self.model.kill()?;
        self.model.wait()?;
        Ok(())
    }

    /// Where the invariants are looked at: the database is where the running server wrote it down for others.
    pub(crate) fn scene(&self) -> Result<Scene<'_>, Failure> {
        let database = std::fs::read_to_string(self.data_dir.join("database-url"))?;
        Ok(Scene { database: database.trim().to_owned(), ..self.stopped() })
    }

    /// The same while no server runs: commands start the database for themselves.
    pub(crate) fn stopped(&self) -> Scene<'_> {
        let (binary, data_dir) = (self.binary.as_path(), self.data_dir.as_path());
        let (database, project) = (String::new(), self.client.project.as_str());
        Scene { binary, data_dir, database, named_database: false, project }
    }

    pub(crate) fn log_tail(&self) -> String {
        let text = std::fs::read_to_string(self.data_dir.join("serve.log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    fn pid_file(&self) -> PathBuf {
        self.data_dir.join("postgres/pgdata/postmaster.pid")
    }

    fn postmaster(&self) -> Result<String, Failure> {
        let text = std::fs::read_to_string(self.pid_file())?;
        Ok(text.lines().next().ok_or("the pid file is empty")?.trim().to_owned())
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.serve.kill();
        let _ = self.serve.wait();
        let _ = self.model.kill();
        let _ = self.model.wait();
    }
}

/// SIGTERM, and the end in good order and in time of a process that serves.
pub(crate) fn terminate(serve: &mut Child) -> Result<(), Failure> {
    let sent = Command::new("kill").args(["-TERM", &serve.id().to_string()]).status()?;
    if !sent.success() {
        return Err(format!("kill -TERM: {sent}").into());
    }
    let told = Instant::now();
    loop {
        match serve.try_wait()? {
            Some(ended) if ended.success() => return Ok(()),
            Some(ended) => return Err(format!("serve was told to stop, and ended with {ended}").into()),
            None if told.elapsed() > STOPPED_LIMIT => {
                let seconds = STOPPED_LIMIT.as_secs();
                return Err(format!("serve was told to stop, and has not ended within {seconds} s").into());
            }
            None => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

/// Runs the demo to its end and reads the login that it made.
fn demo(binary: &Path, data_dir: &Path) -> Result<(String, String), Failure> {
    let listen = format!("127.0.0.1:{}", free_port()?);
    let out = data_dir.join("demo.log");
    let mut demo = Command::new(binary)
        .args(["demo", "--yes", "--listen", &listen, "--data-dir"])
        .arg(data_dir)
        .stdin(Stdio::null())
        .stdout(File::create(&out)?)
        .stderr(log(data_dir, "demo.err")?)
        .spawn()?;
    let deadline = Instant::now() + DEMO_LIMIT;
    let status = loop {
        if let Some(status) = demo.try_wait()? {
            break status;
        }
        if Instant::now() > deadline {
            demo.kill()?;
            return Err("the demo did not end".into());
        }
        std::thread::sleep(Duration::from_millis(100));
    };
    let text = std::fs::read_to_string(&out)?;
    if !status.success() {
        return Err(format!("the demo failed: {status}\n{text}").into());
    }
    let made: Credentials = serde_json::from_str(&std::fs::read_to_string(data_dir.join("demo.json"))?)?;
    Ok((made.email, made.password))
}

/// What the demo keeps for the operator.
#[derive(Deserialize)]
struct Credentials {
    email: String,
    password: String,
}

fn spawn_serve(binary: &Path, data_dir: &Path, models: &Path, listen: &str) -> Result<Child, Failure> {
    let child = Command::new(binary)
        .args(["serve", "--listen", listen, "--data-dir"])
        .arg(data_dir)
        .env("SYNDARIX_MODELS", models)
        .stdin(Stdio::null())
        .stdout(log(data_dir, "serve.log")?)
        .stderr(log(data_dir, "serve.log")?)
        .spawn()?;
    Ok(child)
}

pub(crate) fn log(data_dir: &Path, name: &str) -> Result<File, Failure> {
    Ok(OpenOptions::new().create(true).append(true).open(data_dir.join(name))?)
}

pub(crate) async fn wait_ready(address: &str) -> Result<(), Failure> {
    let deadline = Instant::now() + START_LIMIT;
    loop {
        if let Ok(answer) = reqwest::get(format!("{address}/readyz")).await
            && answer.status().is_success()
        {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err("serve is not ready in time".into());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Below what systems give out by themselves: while a killed process is away, nobody else gets its port.
const PORTS: std::ops::Range<u16> = 15_000..30_000;

/// A port of 127.0.0.1 that nobody listens on, and that stays ours over restarts.
pub(crate) fn free_port() -> Result<u16, Failure> {
    for _ in 0..100 {
        let port = rand::random_range(PORTS);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    Err("no port is free".into())
}

/// Every group leads to the scripted endpoint.
pub(crate) fn groups(listen: &str) -> String {
    ["high-reasoning", "fast-response", "cost-optimized", "code"]
        .map(|name| {
            format!(
                "[[group]]\nname = \"{name}\"\n\n[[group.chain]]\nname = \"scripted\"\nprovider = \"scripted\"\n\
                 base_url = \"http://{listen}/v1\"\nmodel = \"scripted-{name}\"\ncontext_window = 200000\nmax_output = 8192\n\
                 endpoint_access = \"private_network\"\n\n"
            )
        })
        .concat()
}
