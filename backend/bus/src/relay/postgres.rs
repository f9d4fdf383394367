//! Hints over PostgreSQL NOTIFY, when there is no Redis.
//!
//! A commit with a pending NOTIFY takes a lock on the whole database, so that hints never go with a business
//! transaction: one small message gathers the commits of a moment and has a transaction of its own.

use super::{CHANNEL, Link, PATIENCE, Publisher, RelayError};
use futures::StreamExt;
use sqlx::{
    PgPool,
    postgres::{PgListener, PgPoolOptions},
};
use std::time::Duration;

/// At most 50 messages a second from one instance.
const GATHER: Duration = Duration::from_millis(20);
/// PostgreSQL takes payloads of less than 8,000 bytes.
const LIMIT: usize = 7_900;
/// One connection listens, one notifies.
const CONNECTIONS: u32 = 2;

pub(super) async fn connect(business: &PgPool) -> Result<Link, RelayError> {
    let options = business.connect_options().as_ref().clone().application_name("syndarix hints");
    let pool = PgPoolOptions::new()
        .max_connections(CONNECTIONS)
        .acquire_timeout(PATIENCE)
        .connect_lazy_with(options);
    let mut listener = PgListener::connect_with(&pool).await?;
    listener.listen(CHANNEL).await?;
    let messages = futures::stream::unfold(listener, |mut listener| async move {
        let next = match listener.try_recv().await {
            Ok(Some(notification)) => Ok(notification.payload().to_owned()),
            Ok(None) => Err(RelayError::Closed),
            Err(error) => Err(error.into()),
        };
        Some((next, listener))
    });
    Ok(Link {
        publisher: Publisher::Postgres(pool),
        messages: messages.boxed(),
        gather: GATHER,
        limit: LIMIT,
    })
}

pub(super) async fn publish(pool: &PgPool, message: &str) -> Result<(), RelayError> {
    sqlx::query("select pg_notify($1, $2)").bind(CHANNEL).bind(message).execute(pool).await?;
    Ok(())
}
