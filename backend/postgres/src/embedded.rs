//! The start, step by step, and the handle of a started server.

use crate::account::Account;
use crate::binaries::{self, Binaries};
use crate::database::Access;
use crate::home::{self, Home};
use crate::options::EmbeddedOptions;
use crate::server::{Server, Stopped};
use crate::{Error, database, initdb, leftover, log, passwords, run_dir, settings};
use std::io;
use std::time::{Duration, Instant};

/// Backends of a killed server hold its shared memory until they notice; two tries sufficed on a quiet machine.
const SHARED_MEMORY_LIMIT: Duration = Duration::from_secs(30);
/// Replaying 2 GiB of log on a slow disk. A server that still works on it is let go on: killing it gains nothing.
const READY_LIMIT: Duration = Duration::from_secs(600);
const READY_POLL: Duration = Duration::from_millis(10);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// A running server. Dropping it asks the server to stop but does not wait; [`Embedded::stop`] waits.
#[derive(Debug)]
pub struct Embedded {
    // Declared first, dropped first: the server is told to stop before the home's lock is let go.
    server: Server,
    setup: Setup,
    url: String,
}

/// How a server is watched for answers.
#[derive(Debug, Clone, Copy)]
pub struct Probe {
    /// Pause before each probe; one that gets no answer takes five seconds more.
    pub every: Duration,
    /// Probes without an answer, in a row, after which the server counts as hung.
    pub failures: u32,
}

/// The server ended without having been told to.
#[derive(Debug, Clone)]
pub struct Died {
    /// How, for instance "signal: 9 (SIGKILL)".
    pub status: String,
    /// Last lines of its log.
    pub log: String,
}

/// Starts the embedded server: finds its binaries, makes the data directory when needed, ends leftovers of an
/// earlier start, and returns when the database `syndarix` answers and pgvector is available.
pub async fn start(options: EmbeddedOptions) -> Result<Embedded, Error> {
    let prepared = tokio::task::spawn_blocking(move || Setup::prepare(&options)).await;
    let setup = prepared.map_err(|error| Error::io("prepare", "PostgreSQL")(io::Error::other(error)))??;
    let started = Instant::now();
    let server = setup.run().await?;
    if let Err(error) = database::ensure(&setup.access).await {
        server.stop().await?;
        return Err(error);
    }
    let url = database::url(&setup.access);
    tracing::info!(
        pid = server.pid(), version = setup.binaries.version, source = ?setup.binaries.source,
        data_dir = %setup.home.dir().display(), ready_ms = started.elapsed().as_millis(),
        "embedded PostgreSQL is ready"
    );
    Ok(Embedded { server, setup, url })
}

impl Embedded {
    /// URL of the database, for sqlx and for libpq programs such as `psql` and `pg_dump`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Number of the server's main process.
    pub fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// The binaries in use; `pg_dump` and `pg_restore` of the right version lie in their folder.
    pub fn binaries(&self) -> &Binaries {
        &self.setup.binaries
    }

    /// Whether a new connection gets an answer within five seconds, be it that the server is busy or starting.
    pub async fn answers(&self) -> bool {
        self.server.ended().is_none() && database::answers(&self.setup.access).await
    }

    /// Resolves when the server runs but has not answered for so many probes in a row. [`Embedded::end_now`] it then.
    pub async fn hung(&self, probe: Probe) {
        let mut failures = 0;
        while failures < probe.failures {
            tokio::time::sleep(probe.every).await;
            failures = if self.answers().await { 0 } else { failures + 1 };
        }
    }

    /// Resolves when the server ends without having been told to; never otherwise. Start anew then, or exit.
    pub fn died(&self) -> impl Future<Output = Died> + Send + use<> {
        let (death, path) = (self.server.death(), self.setup.home.log());
        async move {
            let status = death.await;
            Died { status, log: log::tail(&path, 0) }
        }
    }

    /// Stops the server: a fast shutdown, within 30 s, which ends every session; then an immediate one, which loses
    /// nothing committed. Close the pools first to spare the log their complaints.
    pub async fn stop(self) -> Result<Stopped, Error> {
        let stopped = self.server.stop().await?;
        self.clear_run_dir();
        Ok(stopped)
    }

    /// Ends a server that answers nobody, within 15 s: an immediate shutdown, then a kill. Nothing committed is lost.
    pub async fn end_now(self) -> Result<Stopped, Error> {
        let stopped = self.server.end_now().await?;
        self.clear_run_dir();
        Ok(stopped)
    }

    fn clear_run_dir(&self) {
        if let Err(error) = std::fs::remove_dir_all(&self.setup.access.run_dir) {
            tracing::debug!(%error, "the run directory stays until the next start");
        }
    }
}

/// All that is decided before the server runs.
#[derive(Debug)]
struct Setup {
    home: Home,
    account: Account,
    binaries: Binaries,
    access: Access,
    arguments: Vec<String>,
}

impl Setup {
    fn prepare(options: &EmbeddedOptions) -> Result<Self, Error> {
        let home = Home::open(&options.data_dir)?;
        let pgdata = home.pgdata();
        let account = Account::choose(&pgdata)?;
        home.check_access(&account)?;
        let wanted = home::major_version(&pgdata);
        let binaries = binaries::find_for(options, &account, wanted)
            .map_err(|not_found| binaries::explain(not_found, home.dir(), wanted))?;
        let id = home.id()?;
        let cluster = format!("syndarix-{id}");
        leftover::end(&home, &cluster)?;
        let run_dir = run_dir::prepare(&options.run_base, &id, &account)?;
        initdb::ensure(&home, &binaries, &account)?;
        let passwords = passwords::ensure(&home, &binaries, &account)?;
        let mut arguments = vec!["-D".to_owned(), pgdata.display().to_string()];
        arguments.extend(settings::arguments(options, &run_dir, &passwords::rules(&home), &cluster));
        Ok(Self { home, account, binaries, access: Access { run_dir, passwords }, arguments })
    }

    /// Launches the server, again while shared memory of a killed one is still in use.
    async fn run(&self) -> Result<Server, Error> {
        let deadline = Instant::now() + SHARED_MEMORY_LIMIT;
        let mut pause = FIRST_PAUSE;
        loop {
            let mark = log::length(&self.home.log());
            let program = self.binaries.bin_dir.join("postgres");
            let server = Server::launch(&self.account, &program, &self.arguments, &self.home.log())?;
            match self.wait_ready(&server, mark).await {
                Ok(()) => return Ok(server),
                Err(Error::DiedAtStart { log, .. }) if is_transient(&log) && Instant::now() < deadline => {
                    tracing::info!("processes of a killed PostgreSQL are still ending; trying again");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                Err(error) => {
                    server.stop().await?;
                    return Err(error);
                }
            }
        }
    }

    /// Ready is our own child, recorded as the owner of the data, answering a query.
    async fn wait_ready(&self, server: &Server, mark: u64) -> Result<(), Error> {
        let log = self.home.log();
        let deadline = Instant::now() + READY_LIMIT;
        while Instant::now() < deadline {
            if let Some(status) = server.ended() {
                return Err(Error::DiedAtStart { status, log: log::tail(&log, mark) });
            }
            if leftover::is_recorded_ready(&self.home.pgdata(), server.pid())
                && database::ready(&self.access).await?
                && server.ended().is_none()
            {
                return Ok(());
            }
            // Whichever comes first; the loop looks at both.
            let _ = tokio::time::timeout(READY_POLL, server.end()).await;
        }
        Err(Error::NotReady { seconds: READY_LIMIT.as_secs(), log: log::tail(&log, mark) })
    }
}

fn is_transient(log: &str) -> bool {
    log.contains("pre-existing shared memory block")
}
