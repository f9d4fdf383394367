//! The running server: a child process, the thread that waits for it, and the guard that outlives us.
//!
//! The guard is a shell that reads from a pipe only we can write to. When we end without a word, however we end, it
//! asks the server for a fast shutdown. Unlike a parent-death signal this needs no unsafe code, does not depend on
//! the thread that started the server and works on every Unix.

use crate::account::Account;
use crate::{Error, log};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;
use tokio::sync::watch;

/// Signals go to us first, who drain before we stop the server: the guard must not heed its own.
const GUARD: &str = r#"trap '' HUP INT TERM; read -r word || kill -INT "$1""#;
/// Fast shutdown ends the sessions and writes a checkpoint.
const FAST_LIMIT: Duration = Duration::from_secs(30);
/// Immediate shutdown gives its backends 5 s before it kills them.
const IMMEDIATE_LIMIT: Duration = Duration::from_secs(10);
const KILL_LIMIT: Duration = Duration::from_secs(5);
/// How often the log is measured; at 16 MiB it is put aside.
const TRIM_PERIOD: Duration = Duration::from_secs(60);

/// How a server ended when it was told to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// Fast shutdown: a checkpoint was written, the next start has nothing to replay.
    Clean,
    /// It had to be cut short. Nothing committed is lost; the next start replays the log.
    Immediate,
    /// It had ended before.
    Before,
}

#[derive(Debug)]
pub(crate) struct Server {
    pid: u32,
    exit: watch::Receiver<Option<String>>,
    stopping: Arc<AtomicBool>,
}

impl Server {
    /// Starts `postgres` as `account`, its output appended to `log`.
    pub(crate) fn launch(
        account: &Account,
        program: &Path,
        arguments: &[String],
        log: &Path,
    ) -> Result<Self, Error> {
        log::trim(log);
        let output =
            File::options().append(true).create(true).open(log).map_err(Error::io("open the log", log))?;
        let both = output.try_clone().map_err(Error::io("open the log", log))?;
        let mut command = account.command(program);
        command.args(arguments).stdin(Stdio::null()).stdout(output).stderr(both);
        // Ctrl-C in our terminal is for us: the server must live until the drain is over.
        let mut child = command.process_group(0).spawn().map_err(Error::io("start", program))?;
        let pid = child.id();
        let (tell, exit) = watch::channel(None);
        let log = log.to_owned();
        let watching = Guard::start(account, pid)
            .inspect_err(|_| {
                // Nothing runs in it yet, and without a guard it must not.
                let _ = child.kill().and_then(|()| child.wait());
            })
            .and_then(|guard| {
                thread::Builder::new().name("postgres-watch".into()).spawn(move || {
                    watch(child, guard, &log, &tell);
                })
            });
        watching.map_err(Error::io("watch over", program))?;
        Ok(Self { pid, exit, stopping: Arc::default() })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// How it ended, `None` while it runs.
    pub(crate) fn ended(&self) -> Option<String> {
        self.exit.borrow().clone()
    }

    /// Resolves when the process has ended.
    pub(crate) fn end(&self) -> impl Future<Output = String> + Send + use<> {
        let mut exit = self.exit.clone();
        async move {
            match exit.wait_for(Option::is_some).await {
                Ok(status) => status.clone().unwrap_or_default(),
                Err(_) => "its watcher has gone".to_owned(),
            }
        }
    }

    /// Resolves when the process has ended without having been told to; never otherwise.
    pub(crate) fn death(&self) -> impl Future<Output = String> + Send + use<> {
        let (end, stopping) = (self.end(), Arc::clone(&self.stopping));
        async move {
            let status = end.await;
            if stopping.load(Ordering::SeqCst) { std::future::pending().await } else { status }
        }
    }

    /// Asks ever more firmly, within bounds.
    pub(crate) async fn stop(&self) -> Result<Stopped, Error> {
        self.ask(&[
            (Signal::INT, FAST_LIMIT, Stopped::Clean),
            (Signal::QUIT, IMMEDIATE_LIMIT, Stopped::Immediate),
            (Signal::KILL, KILL_LIMIT, Stopped::Immediate),
        ])
        .await
    }

    /// The same without the kind word first.
    pub(crate) async fn end_now(&self) -> Result<Stopped, Error> {
        self.ask(&[
            (Signal::QUIT, IMMEDIATE_LIMIT, Stopped::Immediate),
            (Signal::KILL, KILL_LIMIT, Stopped::Immediate),
        ])
        .await
    }

    async fn ask(&self, firmly: &[(Signal, Duration, Stopped)]) -> Result<Stopped, Error> {
        if self.ended().is_some() {
            return Ok(Stopped::Before);
        }
        for &(signal, limit, outcome) in firmly {
            self.signal(signal);
            if tokio::time::timeout(limit, self.end()).await.is_ok() {
                return Ok(outcome);
            }
            tracing::warn!(pid = self.pid, ?signal, "PostgreSQL did not end in time");
        }
        Err(Error::StopFailed { pid: self.pid })
    }

    fn signal(&self, signal: Signal) {
        self.stopping.store(true, Ordering::SeqCst);
        // Once it is reaped the number may be anybody's.
        if self.ended().is_none()
            && let Some(pid) = Pid::from_raw(self.pid.cast_signed())
            && let Err(error) = kill_process(pid, signal)
        {
            tracing::warn!(%error, pid = self.pid, "cannot signal PostgreSQL");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.ended().is_none() {
            self.signal(Signal::INT);
        }
    }
}

/// Waits for the server's end on a thread of its own: nothing that happens to the async runtime delays it.
fn watch(mut child: Child, guard: Guard, log: &Path, tell: &watch::Sender<Option<String>>) {
    let stop_trimming = trim_log(log.to_owned());
    let status = child.wait().map_or_else(|error| error.to_string(), |status| status.to_string());
    guard.dismiss();
    drop(stop_trimming);
    tell.send_replace(Some(status));
}

/// Bounds the log until the returned end of the channel is dropped.
fn trim_log(log: PathBuf) -> mpsc::Sender<()> {
    let (stop, running) = mpsc::channel();
    let keeper = move || {
        while running.recv_timeout(TRIM_PERIOD) == Err(RecvTimeoutError::Timeout) {
            log::trim(&log);
        }
    };
    if let Err(error) = thread::Builder::new().name("postgres-log".into()).spawn(keeper) {
        tracing::warn!(%error, "PostgreSQL's log is not trimmed until the next start");
    }
    stop
}

#[derive(Debug)]
struct Guard(Child);

impl Guard {
    /// The guard runs as the server's user: it needs no more to signal it.
    fn start(account: &Account, server: u32) -> io::Result<Self> {
        let mut command = account.command(Path::new("/bin/sh"));
        command.args(["-c", GUARD, "syndarix-postgres-guard", &server.to_string()]);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        // A group of its own: what kills our group must leave the guard to do its work.
        command.process_group(0).spawn().map(Self)
    }

    fn dismiss(mut self) {
        // It may have been killed; then there is nothing to dismiss.
        if let Some(mut pipe) = self.0.stdin.take() {
            let _ = pipe.write_all(b"done\n");
        }
        let _ = self.0.wait();
    }
}
