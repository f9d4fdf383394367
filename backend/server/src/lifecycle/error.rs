//! Why a process cannot start, in sentences that say what to do.

use crate::{db, features::auth::KeysError};
use std::{io, net::SocketAddr, path::PathBuf};

/// Why a process cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address is taken, or not of this machine.
    #[error("cannot listen on {address}; choose another address with --listen")]
    Listen {
        /// Which address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The data directory cannot be made.
    #[error("cannot use the data directory {path}; choose another with --data-dir")]
    DataDir {
        /// Which directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The embedded database does not start.
    #[error("the embedded PostgreSQL does not start")]
    Postgres(#[from] syndarix_postgres::Error),
    /// The database's address does not read.
    #[error("DATABASE_URL is not a PostgreSQL URL; write it like postgres://user@host:5432/syndarix")]
    DatabaseUrl(#[source] sqlx::Error),
    /// The configured database does not answer, or refuses.
    #[error(
        "the database {place} cannot be used (tried for {seconds} s); check DATABASE_URL and that PostgreSQL runs"
    )]
    Unreachable {
        /// Host and database, without the password.
        place: String,
        /// How long it was tried.
        seconds: u64,
        /// What the last attempt said.
        source: sqlx::Error,
    },
    /// The schema cannot be brought up to date.
    #[error("the database's schema cannot be brought up to this version")]
    Migrate(#[source] sqlx::migrate::MigrateError),
    /// States of another release are there that this one cannot take over.
    #[error("the states in the database are not this release's")]
    Revision(#[from] db::RevisionError),
    /// The key that signs tokens cannot be had.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The master key cannot be had.
    #[error(transparent)]
    Vault(#[from] crate::vault::VaultError),
    /// The models' settings are wrong.
    #[error("the models cannot be used: {0}")]
    Models(String),
    /// The prices are wrong.
    #[error("the prices cannot be used: {0}")]
    Prices(String),
    /// The collector of spans cannot be reached as it is written.
    #[error("{0}")]
    Telemetry(String),
    /// The recurring jobs cannot be set up.
    #[error("the recurring jobs cannot be set up")]
    Schedule(#[source] db::Error),
    /// Git is not there or too old.
    #[error("git cannot be used")]
    Git(#[from] syndarix_forge::GitError),
    /// The repositories' directories cannot be used.
    #[error("the repositories' directories cannot be used")]
    Forge(#[from] syndarix_forge::ForgeError),
    /// The MCP servers cannot be set up.
    #[error("the tools cannot be set up: {0}")]
    Tools(String),
    /// The default team does not read.
    #[error(transparent)]
    TeamFile(#[from] crate::features::agents::TeamError),
    /// The default team cannot be stored.
    #[error("the default team cannot be stored")]
    Team(#[source] db::Error),
}
