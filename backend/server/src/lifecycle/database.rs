//! The database: the embedded one, kept alive, or the one that the operator names.

use super::StartError;
use crate::{
    config::{self, Config},
    db,
};
use sqlx::{Connection, PgConnection, PgPool, postgres::PgConnectOptions};
use std::{
    fs,
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    str::FromStr,
    time::{Duration, Instant},
};
use syndarix_postgres::{Embedded, EmbeddedOptions};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How long a configured server may take to answer at a start: it may be starting, too.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// Between two looks.
const ANSWER_POLL: Duration = Duration::from_millis(500);
/// One attempt to connect.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// How long closing the pool may take.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);
/// How long the embedded server may take to stop; what it does not finish, it replays at the next start.
const STOP_LIMIT: Duration = Duration::from_secs(10);
/// Pauses between attempts to bring a dead embedded server back.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// Holds the running embedded server's address, for commands of other processes on the same data directory.
const ADDRESS_FILE: &str = "database-url";

/// The database of this process.
#[derive(Debug)]
pub struct Database {
    pool: PgPool,
    embedded: Option<Keeper>,
}

/// Keeps the embedded server alive.
#[derive(Debug)]
struct Keeper {
    stop: CancellationToken,
    task: JoinHandle<()>,
    address_file: PathBuf,
}

impl Database {
    /// Starts the embedded server, or waits for the configured one.
    pub async fn open(config: &Config) -> Result<Self, StartError> {
        make_data_dir(&config.data_dir)?;
        let Some(url) = &config.database_url else { return Self::embedded(config).await };
        let options = PgConnectOptions::from_str(url).map_err(StartError::DatabaseUrl)?;
        wait_for(&options).await?;
        Ok(Self { pool: db::connect(options, config.max_connections), embedded: None })
    }

    async fn embedded(config: &Config) -> Result<Self, StartError> {
        let mut options =
            EmbeddedOptions::platform_default(config::process_env).in_dir(config.data_dir.join("postgres"));
        options.binaries.clone_from(&config.postgres_binaries);
        let server = syndarix_postgres::start(options.clone()).await?;
        let connect = PgConnectOptions::from_str(server.url()).map_err(StartError::DatabaseUrl)?;
        let address_file = config.data_dir.join(ADDRESS_FILE);
        publish(&address_file, server.url())
            .map_err(|source| StartError::DataDir { path: address_file.clone(), source })?;
        let stop = CancellationToken::new();
        let task = keep(server, options, stop.clone());
        let keeper = Keeper { stop, task, address_file };
        Ok(Self { pool: db::connect(connect, config.max_connections), embedded: Some(keeper) })
    }

    /// The pool.
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// Whether it is the one that Syndarix brings along.
    pub fn is_embedded(&self) -> bool {
        self.embedded.is_some()
    }

    /// Closes the pool, then stops the embedded server.
    pub async fn close(self) {
        // Closing is a courtesy to the server: a connection that is stuck must not hold up the stop.
        drop(tokio::time::timeout(CLOSE_LIMIT, self.pool.close()).await);
        let Some(keeper) = self.embedded else { return };
        keeper.stop.cancel();
        if tokio::time::timeout(STOP_LIMIT, keeper.task).await.is_err() {
            tracing::warn!("the embedded PostgreSQL takes long to stop; it is left to its guard");
        }
        drop(fs::remove_file(&keeper.address_file));
    }
}

/// For this user alone: the address holds the password.
fn publish(path: &Path, url: &str) -> io::Result<()> {
    let new = path.with_extension("new");
    drop(fs::remove_file(&new));
    fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?.write_all(url.as_bytes())?;
    fs::rename(&new, path)
}

#[expect(clippy::disallowed_methods, reason = "awaited by Database::close through its own handle")]
fn keep(server: Embedded, options: EmbeddedOptions, stop: CancellationToken) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut server = server;
        loop {
            let died = tokio::select! {
                died = server.died() => died,
                () = stop.cancelled() => {
                    if let Err(error) = server.stop().await {
                        tracing::error!(%error, "the embedded PostgreSQL did not stop");
                    }
                    return;
                }
            };
            tracing::error!(status = %died.status, log = %died.log, "the embedded PostgreSQL ended; starting it again");
            drop(server);
            let Some(again) = restart(&options, &stop).await else { return };
            server = again;
        }
    })
}

/// None when a stop was asked for meanwhile.
async fn restart(options: &EmbeddedOptions, stop: &CancellationToken) -> Option<Embedded> {
    let mut pause = FIRST_PAUSE;
    loop {
        match syndarix_postgres::start(options.clone()).await {
            Ok(server) => return Some(server),
            Err(error) => tracing::error!(%error, "the embedded PostgreSQL does not start"),
        }
        tokio::select! {
            () = stop.cancelled() => return None,
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(LONGEST_PAUSE),
        }
    }
}

async fn wait_for(options: &PgConnectOptions) -> Result<(), StartError> {
    let started = Instant::now();
    loop {
        let Err(source) = answers(options).await else { return Ok(()) };
        // A server that answers with a refusal will refuse again: wrong password, no such database.
        let refused = source.as_database_error().is_some_and(|db| db.code().as_deref() != Some(STARTING_UP));
        let waited = started.elapsed();
        if refused || waited >= ANSWER_LIMIT {
            let place = place_of(options);
            return Err(StartError::Unreachable { place, seconds: waited.as_secs(), source });
        }
        tokio::time::sleep(ANSWER_POLL).await;
    }
}

/// PostgreSQL's code for "starting up" and "shutting down".
const STARTING_UP: &str = "57P03";

async fn answers(options: &PgConnectOptions) -> Result<(), sqlx::Error> {
    let attempt = async {
        let mut connection = PgConnection::connect_with(options).await?;
        connection.ping().await?;
        connection.close().await
    };
    tokio::time::timeout(CONNECT_LIMIT, attempt).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))
}

fn place_of(options: &PgConnectOptions) -> String {
    format!(
        "{} at {}:{}",
        options.get_database().unwrap_or("(unnamed)"),
        options.get_host(),
        options.get_port()
    )
}

/// May be entered but not listed by others: as root, the embedded server runs as one of them.
const DATA_DIR_MODE: u32 = 0o711;

fn make_data_dir(path: &Path) -> Result<(), StartError> {
    let failed = |source| StartError::DataDir { path: path.to_owned(), source };
    if path.is_dir() {
        return Ok(());
    }
    fs::DirBuilder::new().recursive(true).mode(DATA_DIR_MODE).create(path).map_err(failed)?;
    fs::set_permissions(path, fs::Permissions::from_mode(DATA_DIR_MODE)).map_err(failed)?;
    for private in ["repositories", "workspaces"] {
        fs::DirBuilder::new().mode(0o700).create(path.join(private)).map_err(failed)?;
    }
    Ok(())
}

/// A database for one command: the configured one, that of a running `serve`, or the embedded one for as long as the
/// command takes.
#[derive(Debug)]
pub struct Session {
    database: Database,
}

impl Session {
    /// Opens it.
    pub async fn open(config: &Config) -> Result<Self, StartError> {
        let running = fs::read_to_string(config.data_dir.join(ADDRESS_FILE)).ok();
        if let (None, Some(url)) = (&config.database_url, running)
            && let Ok(options) = PgConnectOptions::from_str(url.trim())
            && answers(&options).await.is_ok()
        {
            let pool = db::connect(options, config.max_connections);
            return Ok(Self { database: Database { pool, embedded: None } });
        }
        Ok(Self { database: Database::open(config).await? })
    }

    /// The pool.
    pub fn pool(&self) -> &PgPool {
        self.database.pool()
    }

    /// Closes it, and stops what was started for it.
    pub async fn close(self) {
        self.database.close().await;
    }
}
