//! Hints over Redis PUBLISH and SUBSCRIBE.
//!
//! Two plain connections and a reconnect loop of our own: the crate's connection manager gives up after six
//! attempts and then leaves its subscriptions dead for good.

use super::{CHANNEL, Link, PATIENCE, Publisher, RelayError};
use futures::StreamExt;
use redis::{AsyncConnectionConfig, Client, aio::MultiplexedConnection};
use std::time::Duration;

/// Commits of one moment are told of in one message.
const GATHER: Duration = Duration::from_millis(3);
/// The largest message, in bytes: well below what Redis buffers for a subscriber.
const LIMIT: usize = 256 * 1024;

pub(super) async fn connect(url: &str) -> Result<Link, RelayError> {
    let client = Client::open(url)?;
    let mut subscriber = client.get_async_pubsub().await?;
    subscriber.subscribe(CHANNEL).await?;
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(PATIENCE))
        // The crate's own limit is half a second, which a busy machine passes.
        .set_response_timeout(Some(PATIENCE));
    let publisher = client.get_multiplexed_async_connection_with_config(&config).await?;
    let messages = subscriber.into_on_message().map(|message| Ok(message.get_payload::<String>()?));
    Ok(Link {
        publisher: Publisher::Redis(publisher),
        messages: messages.boxed(),
        gather: GATHER,
        limit: LIMIT,
    })
}

pub(super) async fn publish(connection: &mut MultiplexedConnection, message: &str) -> Result<(), RelayError> {
    redis::cmd("PUBLISH").arg(CHANNEL).arg(message).exec_async(connection).await?;
    Ok(())
}
