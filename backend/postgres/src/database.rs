//! Talks to the server over its socket: is it ready, does our database exist, is pgvector there.

use crate::Error;
use crate::initdb::SUPERUSER;
use crate::passwords::Passwords;
use crate::run_dir::PORT;
use sqlx::error::DatabaseError;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor};
use std::fmt::Write;
use std::path::PathBuf;
use std::time::Duration;

/// The application's role and its database. The role is no superuser: through a superuser's connection a hole in a
/// query would be a shell on this machine (`copy ... to program`).
const APPLICATION: &str = "syndarix";
/// Where one connects to create another database.
const MAINTENANCE_DATABASE: &str = "postgres";
/// One attempt to connect and ask; a healthy server on this socket answers in milliseconds.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// Making a database copies the 7 MB template and syncs it.
const CREATE_LIMIT: Duration = Duration::from_secs(60);
/// PostgreSQL's code for "starting up" and "shutting down".
const CANNOT_CONNECT_NOW: &str = "57P03";

/// The way in.
#[derive(Debug)]
pub(crate) struct Access {
    pub(crate) run_dir: PathBuf,
    pub(crate) passwords: Passwords,
}

/// The database as a URL for sqlx and libpq alike.
pub(crate) fn url(access: &Access) -> String {
    let mut host = String::new();
    for byte in access.run_dir.as_os_str().as_encoded_bytes() {
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
    let password = &access.passwords.application;
    format!("postgres://{APPLICATION}:{password}@localhost:{PORT}/{APPLICATION}?host={host}&sslmode=disable")
}

fn connect_options(access: &Access, user: &str, database: &str) -> PgConnectOptions {
    let passwords = &access.passwords;
    let password = if user == SUPERUSER { &passwords.superuser } else { &passwords.application };
    PgConnectOptions::new_without_pgpass()
        .socket(&access.run_dir)
        .port(PORT)
        .username(user)
        .password(password)
        .database(database)
        .ssl_mode(PgSslMode::Disable)
        .application_name("syndarix embedded")
        .disable_statement_logging()
}

async fn connect(access: &Access, user: &str, database: &str) -> Result<PgConnection, sqlx::Error> {
    PgConnection::connect_with(&connect_options(access, user, database)).await
}

async fn ask(access: &Access, user: &str, database: &str) -> Result<(), sqlx::Error> {
    let answer = async {
        let mut connection = connect(access, user, database).await?;
        connection.execute("select 1").await?;
        connection.close().await
    };
    tokio::time::timeout(ANSWER_LIMIT, answer).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))
}

/// Whether our database answers, be it with a refusal: a server that replays its log or has no connection left is at
/// work, and starting it again would only set it back.
pub(crate) async fn answers(access: &Access) -> bool {
    matches!(ask(access, APPLICATION, APPLICATION).await, Ok(()) | Err(sqlx::Error::Database(_)))
}

/// Whether the server takes queries yet. An error is one that waiting will not cure.
pub(crate) async fn ready(access: &Access) -> Result<bool, Error> {
    match ask(access, SUPERUSER, MAINTENANCE_DATABASE).await {
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

/// Makes our role and our database when they are missing, and insists on pgvector.
pub(crate) async fn ensure(access: &Access) -> Result<(), Error> {
    let done = tokio::time::timeout(CREATE_LIMIT, make(access)).await;
    let vector = done
        .unwrap_or(Err(sqlx::Error::PoolTimedOut))
        .map_err(|source| Error::Database { what: "prepare the database", source })?;
    if vector { Ok(()) } else { Err(Error::NoVector) }
}

/// False when there is no pgvector. Every step may have been done before: a start may be cut off between any two.
async fn make(access: &Access) -> Result<bool, sqlx::Error> {
    let mut connection = connect(access, SUPERUSER, MAINTENANCE_DATABASE).await?;
    if !is_there(&mut connection, "select from pg_available_extensions where name = 'vector'").await? {
        return Ok(false);
    }
    if !is_there(&mut connection, "select from pg_roles where rolname = 'syndarix'").await? {
        connection.execute("create role syndarix login createdb in role pg_monitor").await?;
    }
    set_password(&mut connection, &access.passwords.application).await?;
    if !is_there(&mut connection, "select from pg_database where datname = 'syndarix'").await? {
        // Only a superuser may add pgvector; from the template every later database of ours has it too.
        let mut template = connect(access, SUPERUSER, "template1").await?;
        template.execute("create extension if not exists vector").await?;
        template.close().await?;
        connection.execute("create database syndarix owner syndarix").await?;
    }
    connection.close().await?;
    Ok(true)
}

/// Each time: data of a version before passwords, or restored data, has another or none.
async fn set_password(connection: &mut PgConnection, password: &str) -> Result<(), sqlx::Error> {
    // On a slow disk the statement would be in the log, with what it says.
    connection.execute("set log_min_duration_statement = -1; set log_min_error_statement = panic").await?;
    // This statement takes no parameters; the password is hexadecimal.
    let statement = format!("alter role {APPLICATION} password '{password}'");
    connection.execute(AssertSqlSafe(statement)).await.map(drop)
}

async fn is_there(connection: &mut PgConnection, query: &'static str) -> Result<bool, sqlx::Error> {
    Ok(sqlx::query(query).fetch_optional(connection).await?.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn the_url_names_the_socket_folder_whatever_characters_it_has(folder in "/[^/\\x00]{1,40}") {
            let passwords = Passwords { superuser: "a".into(), application: "b".into() };
            let access = Access { run_dir: PathBuf::from(&folder), passwords };
            let options: PgConnectOptions = url(&access).parse().unwrap();
            proptest::prop_assert_eq!(options.get_socket().map(std::path::PathBuf::as_path), Some(std::path::Path::new(&folder)));
            proptest::prop_assert_eq!(options.get_database(), Some("syndarix"));
            proptest::prop_assert_eq!(options.get_username(), "syndarix");
        }
    }
}
