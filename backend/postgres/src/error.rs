//! What can go wrong, in sentences an operator can act on.

use crate::binaries::NotFound;
use std::io;
use std::path::PathBuf;

/// Why the embedded server could not be started or stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No usable PostgreSQL was found.
    #[error(transparent)]
    NotFound(#[from] NotFound),
    /// Another process runs a server on this data directory.
    #[error(
        "process {pid} already runs PostgreSQL on {data_dir}: stop it, or choose another data directory",
        data_dir = data_dir.display()
    )]
    InUse {
        /// The contested home of the server.
        data_dir: PathBuf,
        /// Who holds it; "(unknown)" in the moment before the holder has written its number.
        pid: String,
    },
    /// The data was written by another major version than any PostgreSQL found.
    #[error(
        "{data_dir} holds data of PostgreSQL {wanted}, but only PostgreSQL {found} was found. Point the option for the \
         binaries at a PostgreSQL {wanted} with pgvector, or move the data with pg_dump and a new data directory",
        data_dir = data_dir.display()
    )]
    MajorVersion {
        /// The home of the server.
        data_dir: PathBuf,
        /// Major version that wrote the data.
        wanted: u32,
        /// Major versions found, comma-separated.
        found: String,
    },
    /// The user the server runs as cannot get to a folder.
    #[error(
        "PostgreSQL refuses to run as root, so it runs as user {user}, who may not enter {blocked} on the way to {path}. \
         Choose a folder elsewhere (for instance under /var/lib), or allow it: chmod o+x {blocked}",
        blocked = blocked.display(), path = path.display()
    )]
    Unreachable {
        /// The folder that is needed.
        path: PathBuf,
        /// The first folder on the way that is closed.
        blocked: PathBuf,
        /// Name of the user.
        user: String,
    },
    /// The data belongs to somebody else.
    #[error("{path} belongs to user id {owner}, not to {uid}: run as that user, or chown -R it", path = path.display())]
    Owner {
        /// The data.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Who we are.
        uid: u32,
    },
    /// Root, and no other user to run the server as.
    #[error(
        "PostgreSQL refuses to run as root and there is no user postgres or nobody: create one, or start as an ordinary user"
    )]
    NoAccount,
    /// The socket's address would not fit into the operating system's structure.
    #[error("the socket path {path} has {length} bytes, at most {limit} fit: choose a shorter run directory", path = path.display())]
    SocketPathTooLong {
        /// The whole path.
        path: PathBuf,
        /// Its length in bytes.
        length: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// The folder for the socket exists and is not ours alone.
    #[error("{path} is no directory of user id {uid}: remove it, or choose another run directory", path = path.display())]
    ForeignRunDir {
        /// The folder.
        path: PathBuf,
        /// Who should own it.
        uid: u32,
    },
    /// A file or process operation failed.
    #[error("{what} {path}", path = path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// `initdb` failed.
    #[error("initdb failed ({status}):\n{log}")]
    Initdb {
        /// How it ended.
        status: String,
        /// Last lines of its output.
        log: String,
    },
    /// The roles' passwords could not be set.
    #[error("the passwords of the embedded PostgreSQL could not be set ({status}):\n{log}")]
    Passwords {
        /// How the attempt ended.
        status: String,
        /// Last lines of its output.
        log: String,
    },
    /// Processes of an earlier start do not end.
    #[error("processes {pids:?} of an earlier start on {data_dir} do not end: stop them by hand", data_dir = data_dir.display())]
    Leftover {
        /// The home of the server.
        data_dir: PathBuf,
        /// Their numbers.
        pids: Vec<u32>,
    },
    /// The server ended before it was ready.
    #[error("PostgreSQL ended while starting ({status}):\n{log}")]
    DiedAtStart {
        /// How it ended.
        status: String,
        /// Last lines of its log.
        log: String,
    },
    /// The server runs but does not become ready.
    #[error("PostgreSQL is not ready after {seconds} s:\n{log}")]
    NotReady {
        /// How long we waited.
        seconds: u64,
        /// Last lines of its log.
        log: String,
    },
    /// The server refused what a start needs.
    #[error("cannot {what}")]
    Database {
        /// What was tried.
        what: &'static str,
        /// The server's answer.
        source: sqlx::Error,
    },
    /// The server has no pgvector.
    #[error("this PostgreSQL has no extension `vector` (pgvector)")]
    NoVector,
    /// Even SIGKILL did not end the server in time.
    #[error("PostgreSQL (process {pid}) does not end")]
    StopFailed {
        /// Its number.
        pid: u32,
    },
}

impl Error {
    pub(crate) fn io(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { what, path, source }
    }
}
