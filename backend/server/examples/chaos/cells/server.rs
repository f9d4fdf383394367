//! One `serve` among several on the same database.

use crate::{
    Failure,
    process::{free_port, log, terminate, wait_ready},
};
use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// How a process is started.
#[derive(Clone)]
pub(crate) struct Launch {
    pub(crate) binary: PathBuf,
    pub(crate) dir: PathBuf,
    pub(crate) database: String,
    pub(crate) models: PathBuf,
    /// Without it, hints travel over PostgreSQL.
    pub(crate) redis: Option<String>,
    /// Beside what every process gets.
    pub(crate) environment: Vec<(&'static str, String)>,
}

/// A running process.
pub(crate) struct Server {
    child: Child,
    listen: String,
    pub(crate) frozen: bool,
}

impl Server {
    pub(crate) fn start(launch: &Launch) -> Result<Self, Failure> {
        Self::with_duty(launch, "serve")
    }

    /// Works for nobody.
    pub(crate) fn start_api(launch: &Launch) -> Result<Self, Failure> {
        Self::with_duty(launch, "api")
    }

    fn with_duty(launch: &Launch, duty: &str) -> Result<Self, Failure> {
        let listen = format!("127.0.0.1:{}", free_port()?);
        let child = spawn(launch, &[duty, "--listen", &listen], "serve.log")?;
        Ok(Self { child, listen, frozen: false })
    }

    pub(crate) async fn ready(&self) -> Result<(), Failure> {
        wait_ready(&self.address()).await
    }

    pub(crate) fn address(&self) -> String {
        format!("http://{}", self.listen)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The name under which it works.
    pub(crate) fn name(&self) -> String {
        format!("syndarix-{}", self.child.id())
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) -> Result<(), Failure> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// SIGSTOP: it stands still, and keeps its connections and its locks.
    pub(crate) fn freeze(&mut self) -> Result<(), Failure> {
        self.frozen = true;
        self.signal("-STOP")
    }

    /// SIGCONT.
    pub(crate) fn thaw(&mut self) -> Result<(), Failure> {
        self.frozen = false;
        self.signal("-CONT")
    }

    /// SIGTERM, and its end in good order.
    pub(crate) fn stop(&mut self) -> Result<(), Failure> {
        terminate(&mut self.child)
    }

    fn signal(&self, signal: &str) -> Result<(), Failure> {
        let sent = Command::new("kill").args([signal, &self.child.id().to_string()]).status()?;
        if sent.success() { Ok(()) } else { Err(format!("kill {signal}: {sent}").into()) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The model endpoint, which nobody kills.
pub(crate) struct Model(Child);

impl Model {
    pub(crate) fn start(launch: &Launch, listen: &str, scenario: &Path) -> Result<Self, Failure> {
        let path = scenario.to_string_lossy();
        let arguments = ["scripted-model", "--listen", listen, "--scenario", &path];
        Ok(Self(spawn(launch, &arguments, "model.log")?))
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn spawn(launch: &Launch, arguments: &[&str], name: &str) -> Result<Child, Failure> {
    let mut command = Command::new(&launch.binary);
    if let Some(redis) = &launch.redis {
        command.env("REDIS_URL", redis);
    }
    Ok(command
        .args(arguments)
        .envs(launch.environment.iter().cloned())
        .arg("--data-dir")
        .arg(&launch.dir)
        .env("DATABASE_URL", &launch.database)
        .env("SYNDARIX_MODELS", &launch.models)
        .env("SYNDARIX_LOG", "warn")
        .stdin(Stdio::null())
        .stdout(log(&launch.dir, name)?)
        .stderr(log(&launch.dir, name)?)
        .spawn()?)
}
