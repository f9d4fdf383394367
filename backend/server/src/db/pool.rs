//! The connection pool, and connections beside it.

use sqlx::{
    ConnectOptions, Connection, PgConnection, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use std::time::Duration;

/// How long a request waits for a connection before it is told that the database is busy.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection that was in use so lately is taken as it is: asking it first costs every transaction of a busy process a round
/// trip. One that has rested may have lost its server meanwhile.
const UNTESTED: Duration = Duration::from_secs(1);
/// Sessions that sit in a transaction longer than this are ended: they would pin the vacuum horizon.
const IDLE_IN_TRANSACTION: &str = "10s";
/// No statement of ours may take longer, but for migrations and rebuilds.
const STATEMENT_TIMEOUT: &str = "30s";

/// How long what is asked for many waits for a lock: whoever needs it then goes on waiting by itself.
const LOCK_TIMEOUT: &str = "1s";

/// Opens the pool. It connects lazily: the first query shows whether the server is there.
pub fn connect(options: PgConnectOptions, max_connections: u32) -> PgPool {
    let options = options.application_name("syndarix").options([
        ("idle_in_transaction_session_timeout", IDLE_IN_TRANSACTION),
        ("statement_timeout", STATEMENT_TIMEOUT),
        ("timezone", "UTC"),
    ]);
    pool(options, max_connections)
}

/// A few connections beside the pool for what is asked all the time. A pool hands its connections out in turn, and each
/// session of the server has plans and caches of its own: with as few sessions as there are askers they stay warm, which a
/// lone transition feels as a fifth of its time.
pub(crate) fn apart(from: &PgPool, connections: u32) -> PgPool {
    pool(warm(from), connections)
}

/// The same for what is written for many at once: nobody else's lock keeps it for long. Under a name of its own, so that who
/// looks at the server's sessions sees which of them are these.
pub(super) fn apart_for_many(from: &PgPool, connections: u32) -> PgPool {
    let options = warm(from).options([("lock_timeout", LOCK_TIMEOUT)]).application_name("syndarix groups");
    pool(options, connections)
}

/// The same statements over and over, all of them by index: a plan is made once, and holds also where it was made while a
/// table was empty.
fn warm(from: &PgPool) -> PgConnectOptions {
    let plans = [("plan_cache_mode", "force_generic_plan"), ("enable_seqscan", "off")];
    from.connect_options().as_ref().clone().options(plans)
}

fn pool(options: PgConnectOptions, max_connections: u32) -> PgPool {
    PgPoolOptions::new()
        .max_connections(max_connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .test_before_acquire(false)
        .before_acquire(|conn, meta| {
            Box::pin(async move { Ok(meta.idle_for < UNTESTED || conn.ping().await.is_ok()) })
        })
        .after_release(|conn, _| {
            // What the largest statement took would stay with each connection that ever sent one.
            conn.shrink_buffers();
            Box::pin(std::future::ready(Ok(true)))
        })
        .connect_lazy_with(options)
}

/// A connection beside the pool for work that may take as long as it takes.
pub(super) async fn without_time_limit(pool: &PgPool) -> Result<PgConnection, sqlx::Error> {
    unlimited(pool).connect().await
}

/// Of options that are given twice, PostgreSQL takes the last.
pub(super) fn unlimited(pool: &PgPool) -> PgConnectOptions {
    let limits = [("statement_timeout", "0"), ("idle_in_transaction_session_timeout", "0")];
    pool.connect_options().as_ref().clone().options(limits)
}
