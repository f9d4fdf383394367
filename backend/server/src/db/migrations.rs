//! The schema, brought up to this version at start, while other instances are at work.
//!
//! What a migration changes it has to itself, and whoever needs a table that it waits for waits behind it. So it waits for a
//! moment only, lets those through, and tries again.

use super::{error::is_lock_timeout, pool::unlimited};
use sqlx::{
    PgConnection, PgPool,
    migrate::{Migrate, MigrateError, Migrator},
    postgres::PgPoolOptions,
};
use std::{
    convert::Infallible,
    time::{Duration, Instant},
};

static MIGRATIONS: Migrator = sqlx::migrate!("../../migrations");

/// How long a migration waits for a lock: less than what a heartbeat behind it has for coming back.
const LOCK_TIMEOUT: &str = "set lock_timeout = '3s'";
/// Between two tries: time for those who waited behind the last one.
const PAUSE: Duration = Duration::from_secs(2);
/// How long it is tried while somebody uses what a migration changes.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often it is looked who that is.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Whom a session waits for, in words.
const HOLDERS: &str = "
select string_agg(concat(coalesce(nullif(application_name, ''), backend_type, 'somebody'), ' (process ', pid,
                         ' of ' || usename::text,
                         to_char(xact_start, '\", at it since \"YYYY-MM-DD HH24:MI:SS\" UTC\"'), ')'),
                  ', ' order by xact_start)
  from pg_stat_activity where pid = any (pg_blocking_pids($1))";

/// Brings the schema up to this version, under PostgreSQL's advisory lock: two instances may start at once.
pub async fn migrate(pool: &PgPool) -> Result<(), MigrateError> {
    migrate_within(pool, PATIENCE).await
}

/// The same; once this time is over, it is not tried again while somebody uses what a migration changes.
pub async fn migrate_within(pool: &PgPool, patience: Duration) -> Result<(), MigrateError> {
    // A connection of its own: neither the wait for another instance nor a long migration may run into the limit.
    let own = PgPoolOptions::new().max_connections(1).connect_lazy_with(unlimited(pool));
    let done = match own.acquire().await {
        Ok(mut session) => apply(pool, &mut session, patience).await,
        Err(error) => Err(error.into()),
    };
    own.close().await;
    done
}

async fn apply(pool: &PgPool, session: &mut PgConnection, patience: Duration) -> Result<(), MigrateError> {
    let pid: i32 = sqlx::query_scalar("select pg_backend_pid()").fetch_one(&mut *session).await?;
    // Before there is a limit: the migrations of another instance are waited for as long as they take. Each try takes this
    // lock again, which its holder may, and the end of the session frees it.
    session.lock().await?;
    sqlx::raw_sql(LOCK_TIMEOUT).execute(&mut *session).await?;
    let (begun, mut holders) = (Instant::now(), None);
    loop {
        let done = tokio::select! {
            // What `run` does, which a future that may change threads cannot ask of one connection.
            done = MIGRATIONS.run_direct(None, &mut *session, false) => done,
            never = look(pool, pid, &mut holders) => match never {},
        };
        match done {
            Err(error) if waited_in_vain(&error) => {
                let holders = holders.as_deref().unwrap_or("somebody");
                if begun.elapsed() >= patience {
                    return Err(in_use(&error, holders));
                }
                tracing::warn!(by = holders, "what a migration changes is in use; it is tried again");
            }
            done => return done,
        }
        tokio::time::sleep(PAUSE.mul_f64(rand::random_range(0.5..1.5))).await;
    }
}

/// Looks again and again whom the session waits for, and remembers the last ones.
async fn look(pool: &PgPool, pid: i32, holders: &mut Option<String>) -> Infallible {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let seen: Result<Option<String>, _> = sqlx::query_scalar(HOLDERS).bind(pid).fetch_one(pool).await;
        if let Ok(Some(seen)) = seen {
            *holders = Some(seen);
        }
    }
}

fn waited_in_vain(error: &MigrateError) -> bool {
    match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => is_lock_timeout(error),
        _ => false,
    }
}

/// What to do, in place of what the server said: of sqlx's errors this one adds no words of its own.
fn in_use(error: &MigrateError, holders: &str) -> MigrateError {
    let sentence = format!("a table that it changes is in use by {holders}; start again when that has ended");
    let said = sqlx::Error::InvalidArgument(sentence);
    match error {
        MigrateError::ExecuteMigration(_, version) => MigrateError::ExecuteMigration(said, *version),
        _ => MigrateError::Execute(said),
    }
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
