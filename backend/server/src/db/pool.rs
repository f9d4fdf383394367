//! The connection pool, and migrations at start.

use sqlx::{
    PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use std::time::Duration;

/// How long a request waits for a connection before it is told that the database is busy.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);
/// Sessions that sit in a transaction longer than this are ended: they would pin the vacuum horizon.
const IDLE_IN_TRANSACTION: &str = "10s";
/// No statement of ours may take longer.
const STATEMENT_TIMEOUT: &str = "30s";

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("../../migrations");

/// Opens the pool. It connects lazily: the first query shows whether the server is there.
pub fn connect(options: PgConnectOptions, max_connections: u32) -> PgPool {
    let options = options.application_name("syndarix").options([
        ("idle_in_transaction_session_timeout", IDLE_IN_TRANSACTION),
        ("statement_timeout", STATEMENT_TIMEOUT),
        ("timezone", "UTC"),
    ]);
    PgPoolOptions::new()
        .max_connections(max_connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .connect_lazy_with(options)
}

/// Brings the schema up to this version, under PostgreSQL's advisory lock: two instances may start at once.
pub async fn migrate(pool: &PgPool) -> Result<(), sqlx::migrate::MigrateError> {
    MIGRATIONS.run(pool).await
}

/// Migrations that this version has and the database has not. Empty: the schema is what this version expects.
pub async fn pending_migrations(pool: &PgPool) -> Result<Vec<i64>, sqlx::Error> {
    let begun: bool =
        sqlx::query_scalar("select to_regclass('_sqlx_migrations') is not null").fetch_one(pool).await?;
    let applied: Vec<i64> = if begun {
        sqlx::query_scalar("select version from _sqlx_migrations where success").fetch_all(pool).await?
    } else {
        Vec::new()
    };
    Ok(MIGRATIONS
        .iter()
        .map(|migration| migration.version)
        .filter(|version| !applied.contains(version))
        .collect())
}
