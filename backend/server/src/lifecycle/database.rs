//! The database: the embedded one, kept alive, or the one that the operator names.

use super::StartError;
use crate::{
    config::{self, Config},
    db,
};
use sqlx::{Connection, PgConnection, PgPool, postgres::PgConnectOptions};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    str::FromStr,
    time::{Duration, Instant},
};
use syndarix_postgres::{Embedded, EmbeddedOptions, Probe};
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
/// A server that gives no answer at all for half a minute is taken for hung.
const PROBE: Probe = Probe { every: Duration::from_secs(5), failures: 3 };
/// Pauses between attempts to bring a dead embedded server back.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// Holds the running embedded server's address, for commands of other processes on the same data directory.
const ADDRESS_FILE: &str = "database-url";
/// Says, by its locks, which commands use a server that another command started.
const USERS_FILE: &str = "database-users";
/// How long a command waits for another that is starting or stopping the server.
const JOIN_LIMIT: Duration = Duration::from_secs(30);
const JOIN_POLL: Duration = Duration::from_millis(50);
/// How long a command that started the server keeps it for others: longer than commands take.
const USERS_LIMIT: Duration = Duration::from_secs(300);

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
        self.close_by(Instant::now() + CLOSE_LIMIT + STOP_LIMIT).await;
    }

    /// The same, with whatever is left until the deadline.
    pub(super) async fn close_by(self, deadline: Instant) {
        // Closing is a courtesy to the server: a connection that is stuck must not hold up the stop.
        drop(tokio::time::timeout(CLOSE_LIMIT, self.pool.close()).await);
        let Some(keeper) = self.embedded else { return };
        keeper.stop.cancel();
        let left = deadline.saturating_duration_since(Instant::now()).min(STOP_LIMIT);
        if tokio::time::timeout(left, keeper.task).await.is_err() {
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
            tokio::select! {
                died = server.died() => {
                    let (status, log) = (died.status, died.log);
                    tracing::error!(%status, %log, "the embedded PostgreSQL ended; starting it again");
                    drop(server);
                }
                () = server.hung(PROBE) => {
                    tracing::error!(pid = server.pid(), "the embedded PostgreSQL does not answer; starting it again");
                    if let Err(error) = server.end_now().await {
                        tracing::error!(%error, "the embedded PostgreSQL that hung did not end");
                    }
                }
                () = stop.cancelled() => {
                    if let Err(error) = server.stop().await {
                        tracing::error!(%error, "the embedded PostgreSQL did not stop");
                    }
                    return;
                }
            }
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
/// What lies in the data directory and is nobody else's business, however open that directory was before it was ours.
const PRIVATE_DIRS: [&str; 4] = ["repositories", "workspaces", "mail", "git-home"];

fn make_data_dir(path: &Path) -> Result<(), StartError> {
    if !path.is_dir() {
        make_dir(path, DATA_DIR_MODE)?;
    }
    PRIVATE_DIRS.iter().try_for_each(|name| make_dir(&path.join(name), 0o700))
}

/// With this mode, also when it is there already with another.
fn make_dir(path: &Path, mode: u32) -> Result<(), StartError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(mode)))
        .map_err(|source| StartError::DataDir { path: path.to_owned(), source })
}

/// A database for one command: the configured one, that of a running `serve`, or the embedded one for as long as the
/// command takes.
#[derive(Debug)]
pub struct Session {
    database: Database,
    /// Held shared by the commands that use another's server; the one that started it stops it when it has the file to
    /// itself.
    users: Option<File>,
}

impl Session {
    /// Opens it.
    pub async fn open(config: &Config) -> Result<Self, StartError> {
        if config.database_url.is_some() {
            return Ok(Self { database: Database::open(config).await?, users: None });
        }
        make_data_dir(&config.data_dir)?;
        let started = Instant::now();
        loop {
            if let Some(session) = Self::join(config).await? {
                return Ok(session);
            }
            match Database::open(config).await {
                Ok(database) => {
                    return Ok(Self { database, users: Some(users_file(&config.data_dir)?) });
                }
                // Another command is about to start it, or to stop it.
                Err(StartError::Postgres(syndarix_postgres::Error::InUse { .. }))
                    if started.elapsed() < JOIN_LIMIT =>
                {
                    tokio::time::sleep(JOIN_POLL).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The embedded server that another process runs, unless that one is about to stop it.
    async fn join(config: &Config) -> Result<Option<Self>, StartError> {
        let Ok(url) = fs::read_to_string(config.data_dir.join(ADDRESS_FILE)) else { return Ok(None) };
        let Ok(options) = PgConnectOptions::from_str(url.trim()) else { return Ok(None) };
        let users = users_file(&config.data_dir)?;
        if users.try_lock_shared().is_err() || answers(&options).await.is_err() {
            return Ok(None);
        }
        let pool = db::connect(options, config.max_connections);
        Ok(Some(Self { database: Database { pool, embedded: None }, users: Some(users) }))
    }

    /// The pool.
    pub fn pool(&self) -> &PgPool {
        self.database.pool()
    }

    /// Closes it, and stops what was started for it, once no other command uses that any more.
    pub async fn close(self) {
        let Self { database, users } = self;
        if let (true, Some(users)) = (database.is_embedded(), &users) {
            let started = Instant::now();
            while users.try_lock().is_err() && started.elapsed() < USERS_LIMIT {
                tokio::time::sleep(JOIN_POLL).await;
            }
        }
        database.close().await;
    }
}

fn users_file(data_dir: &Path) -> Result<File, StartError> {
    let path = data_dir.join(USERS_FILE);
    let opened = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&path);
    opened.map_err(|source| StartError::DataDir { path, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn in_a_directory_that_was_there_the_private_ones_are_closed_to_others() {
        let place = tempfile::tempdir().unwrap();
        fs::create_dir(place.path().join("mail")).unwrap();
        fs::set_permissions(place.path().join("mail"), fs::Permissions::from_mode(0o777)).unwrap();
        make_data_dir(place.path()).unwrap();
        assert!(PRIVATE_DIRS.iter().all(|name| mode(&place.path().join(name)) == 0o700));
    }

    #[test]
    fn a_new_data_directory_may_be_passed_through_and_no_more() {
        let place = tempfile::tempdir().unwrap();
        make_data_dir(&place.path().join("data")).unwrap();
        assert_eq!(mode(&place.path().join("data")), 0o711);
    }
}
