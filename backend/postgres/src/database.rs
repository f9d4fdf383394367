//! Talks to the server over its socket: is it ready, does our database exist, is pgvector there.

use crate::Error;
use crate::initdb::USER;
use crate::run_dir::PORT;
use sqlx::error::DatabaseError;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};
use sqlx::{ConnectOptions, Connection, Executor};
use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

/// The application's database.
const DATABASE: &str = "syndarix";
/// Where one connects to create another database.
const MAINTENANCE_DATABASE: &str = "postgres";
/// One attempt to connect and ask; a healthy server on this socket answers in milliseconds.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// Making a database copies the 7 MB template and syncs it.
const CREATE_LIMIT: Duration = Duration::from_secs(60);
/// PostgreSQL's code for "starting up" and "shutting down".
const CANNOT_CONNECT_NOW: &str = "57P03";

/// The database as a URL for sqlx and libpq alike.
pub(crate) fn url(run_dir: &Path) -> String {
    let mut host = String::new();
    for byte in run_dir.as_os_str().as_encoded_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'_' | b'.' | b'~' => {
                host.push(char::from(*byte));
            }
            _ => {
                // Writing to a String cannot fail.
                let _ = write!(host, "%{byte:02X}");
            }
        }
    }
    format!("postgres://{USER}@localhost:{PORT}/{DATABASE}?host={host}&sslmode=disable")
}

fn connect_options(run_dir: &Path, database: &str) -> PgConnectOptions {
    PgConnectOptions::new_without_pgpass()
        .socket(run_dir)
        .port(PORT)
        .username(USER)
        .database(database)
        .ssl_mode(PgSslMode::Disable)
        .application_name("syndarix embedded")
        .disable_statement_logging()
}

async fn ask(run_dir: &Path, database: &str) -> Result<(), sqlx::Error> {
    let answer = async {
        let mut connection = PgConnection::connect_with(&connect_options(run_dir, database)).await?;
        connection.execute("select 1").await?;
        connection.close().await
    };
    tokio::time::timeout(ANSWER_LIMIT, answer).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))
}

/// Whether our database answers a query.
pub(crate) async fn healthy(run_dir: &Path) -> bool {
    ask(run_dir, DATABASE).await.is_ok()
}

/// Whether the server takes queries yet. An error is one that waiting will not cure.
pub(crate) async fn ready(run_dir: &Path) -> Result<bool, Error> {
    match ask(run_dir, MAINTENANCE_DATABASE).await {
        Ok(()) => Ok(true),
        Err(source @ sqlx::Error::Database(_))
            if source.as_database_error().and_then(DatabaseError::code).as_deref()
                != Some(CANNOT_CONNECT_NOW) =>
        {
            Err(Error::Database { what: "query the embedded PostgreSQL", source })
        }
        Err(_) => Ok(false),
    }
}

/// Makes our database when it is missing, and insists on pgvector.
pub(crate) async fn ensure(run_dir: &Path) -> Result<(), Error> {
    let failed = |source| Error::Database { what: "prepare the database", source };
    let work = async {
        let mut connection =
            PgConnection::connect_with(&connect_options(run_dir, MAINTENANCE_DATABASE)).await?;
        let exists: bool = sqlx::query_scalar("select exists (select from pg_database where datname = $1)")
            .bind(DATABASE)
            .fetch_one(&mut connection)
            .await?;
        if !exists {
            connection.execute("create database syndarix").await?;
        }
        let vector: bool =
            sqlx::query_scalar("select exists (select from pg_available_extensions where name = 'vector')")
                .fetch_one(&mut connection)
                .await?;
        connection.close().await?;
        Ok(vector)
    };
    let done = tokio::time::timeout(CREATE_LIMIT, work).await.unwrap_or(Err(sqlx::Error::PoolTimedOut));
    if done.map_err(failed)? { Ok(()) } else { Err(Error::NoVector) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_names_the_socket_folder_whatever_characters_it_has() {
        let url = url(Path::new("/tmp/a b&c"));
        assert_eq!(url, "postgres://syndarix@localhost:5432/syndarix?host=/tmp/a%20b%26c&sslmode=disable");
        let options: PgConnectOptions = url.parse().unwrap();
        assert_eq!(options.get_socket().map(std::path::PathBuf::as_path), Some(Path::new("/tmp/a b&c")));
        assert_eq!(options.get_database(), Some("syndarix"));
    }
}
