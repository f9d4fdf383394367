//! Real servers in temporary folders, run as whoever runs the tests: root steps down, anybody else does not.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail loudly")]

mod kills;
mod lifecycle;
mod refusals;

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection, Executor};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use syndarix_postgres::{Embedded, EmbeddedOptions, start};
use tempfile::TempDir;

/// A folder for one server, short enough for a socket and open for the user root steps down to.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("sxpg").tempdir_in("/tmp").unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o711)).unwrap();
        Self(dir)
    }

    fn data_dir(&self) -> PathBuf {
        self.0.path().join("data")
    }

    fn run_base(&self) -> PathBuf {
        self.0.path().join("run")
    }

    fn options(&self) -> EmbeddedOptions {
        options(self.0.path())
    }

    /// Fails with the advice to run `.ci/fetch-postgres` when there are no binaries.
    async fn start(&self) -> Embedded {
        start(self.options()).await.unwrap_or_else(|error| panic!("{}", chain(&error)))
    }
}

fn options(place: &Path) -> EmbeddedOptions {
    let env = |name: &str| std::env::var_os(name)?.into_string().ok();
    let mut options = EmbeddedOptions::platform_default(env).in_dir(place.join("data"));
    options.run_base = place.join("run");
    options.shared_buffers_mb = 16;
    options
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

async fn connect(url: &str) -> PgConnection {
    PgConnection::connect(url).await.unwrap()
}

async fn run(url: &str, sql: &str) {
    connect(url).await.execute(AssertSqlSafe(sql)).await.unwrap();
}

async fn count(url: &str) -> i64 {
    sqlx::query_scalar("select count(*) from t").fetch_one(&mut connect(url).await).await.unwrap()
}

/// Every process of the server: the main one, its sessions and its helpers.
async fn processes(postmaster: u32, url: &str) -> Vec<u32> {
    let pids: Vec<i32> = sqlx::query_scalar("select pid from pg_stat_activity")
        .fetch_all(&mut connect(url).await)
        .await
        .unwrap();
    pids.into_iter().map(i32::cast_unsigned).chain([postmaster]).collect()
}

fn kill(pid: u32) {
    signal(pid, rustix::process::Signal::KILL);
}

fn signal(pid: u32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(pid.cast_signed()).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

/// A process nobody has waited for yet has no command line any more and counts as gone.
fn is_alive(pid: u32) -> bool {
    let proc = Path::new("/proc").join(pid.to_string());
    if Path::new("/proc/self").exists() {
        return fs::read(proc.join("cmdline")).is_ok_and(|line| !line.is_empty());
    }
    rustix::process::test_kill_process(rustix::process::Pid::from_raw(pid.cast_signed()).unwrap()).is_ok()
}

async fn wait_gone(pids: &[u32], limit: Duration) {
    let deadline = Instant::now() + limit;
    while pids.iter().any(|pid| is_alive(*pid)) {
        assert!(Instant::now() < deadline, "still there: {pids:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
