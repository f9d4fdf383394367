//! Hints between instances: which logs have grown, and what is said in passing.
//!
//! A relay may lose, repeat, reorder and delay; the log makes up for all of it. It is held to be working only while
//! this instance hears its own heartbeat come back: a connection that looks open proves nothing.

mod message;
mod postgres;
mod redis;

pub(crate) use message::Message;

use crate::{Ephemeral, Health, Hub, Log};
use futures::{StreamExt, stream::BoxStream};
use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// Where hints travel. The word on both: `syndarix_events`.
const CHANNEL: &str = "syndarix_events";
/// One empty message this often, to hear whether messages still arrive.
const HEARTBEAT: Duration = Duration::from_millis(500);
/// Without any message for this long, our own heartbeat included, the channel is dead.
const SILENCE: Duration = Duration::from_millis(2_500);
/// How long a connection or a message may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// Pauses between attempts to connect: doubled from the first to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LAST_PAUSE: Duration = Duration::from_secs(2);

/// How instances tell each other.
#[derive(Debug, Clone)]
pub enum Relay {
    /// Redis PUBLISH, at this URL.
    Redis(String),
    /// PostgreSQL NOTIFY, over connections of its own to the log's database.
    Postgres,
}

/// A hint channel failed. Only latency suffers.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RelayError {
    #[error("Redis: {0}")]
    Redis(#[from] ::redis::RedisError),
    #[error("PostgreSQL: {0}")]
    Postgres(#[from] sqlx::Error),
    #[error("no answer within {} s", PATIENCE.as_secs())]
    Slow(#[from] tokio::time::error::Elapsed),
    #[error("the connection was closed")]
    Closed,
    #[error("nothing was heard for {} ms, not even our own heartbeat", SILENCE.as_millis())]
    Silent,
}

/// An open hint channel.
struct Link {
    publisher: Publisher,
    messages: BoxStream<'static, Result<String, RelayError>>,
    /// Messages are gathered this long before they are sent as one.
    gather: Duration,
    /// The largest message, in bytes.
    limit: usize,
}

enum Publisher {
    Redis(::redis::aio::MultiplexedConnection),
    Postgres(sqlx::PgPool),
}

impl Publisher {
    async fn publish(&mut self, message: &str) -> Result<(), RelayError> {
        match self {
            Self::Redis(connection) => redis::publish(connection, message).await,
            Self::Postgres(pool) => postgres::publish(pool, message).await,
        }
    }
}

/// Runs until it is dropped.
pub(crate) async fn run(hub: &Hub, log: &Log, relay: Relay) {
    let mut pause = FIRST_PAUSE;
    loop {
        let error = match tokio::time::timeout(PATIENCE, connect(log, &relay)).await {
            Ok(Ok(link)) => session(hub, link).await,
            Ok(Err(error)) => error,
            Err(elapsed) => elapsed.into(),
        };
        pause = if hub.health() == Health::Hints { FIRST_PAUSE } else { (pause * 2).min(LAST_PAUSE) };
        tracing::debug!(error = &error as &dyn std::error::Error, "hint channel");
        hub.set_health(Health::Polling { reason: error.to_string() });
        tokio::time::sleep(pause).await;
    }
}

async fn connect(log: &Log, relay: &Relay) -> Result<Link, RelayError> {
    match relay {
        Relay::Redis(url) => redis::connect(url).await,
        Relay::Postgres => postgres::connect(log.pool()).await,
    }
}

/// Sends and hears until something fails.
async fn session(hub: &Hub, link: Link) -> RelayError {
    let Link { publisher, messages, gather, limit } = link;
    let heard = Mutex::new(Instant::now());
    tokio::select! {
        error = receive(hub, messages, &heard) => error,
        error = send(hub, publisher, gather, limit) => error,
        error = listen_for_silence(&heard) => error,
    }
}

async fn receive(
    hub: &Hub,
    mut messages: BoxStream<'static, Result<String, RelayError>>,
    heard: &Mutex<Instant>,
) -> RelayError {
    loop {
        match messages.next().await {
            Some(Ok(text)) => accept(hub, &text, heard),
            Some(Err(error)) => return error,
            None => return RelayError::Closed,
        }
    }
}

fn accept(hub: &Hub, text: &str, heard: &Mutex<Instant>) {
    let Some(message) = Message::decode(text) else {
        tracing::debug!("hint channel: a message that is not ours");
        return;
    };
    if message.from == hub.id() {
        *heard.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        hub.set_health(Health::Hints);
        return;
    }
    for (project, seq) in message.heads {
        hub.heard(project, seq);
    }
    for (project, kind, data) in message.whispers {
        hub.whisper_here(Ephemeral { project, kind, data, after: 0 });
    }
}

async fn send(hub: &Hub, mut publisher: Publisher, gather: Duration, limit: usize) -> RelayError {
    let heartbeat = Message::new(hub.id(), limit).encode();
    loop {
        let message = match tokio::time::timeout(HEARTBEAT, hub.outbox().filled()).await {
            Ok(()) => {
                tokio::time::sleep(gather).await;
                hub.outbox().take(hub.id(), limit)
            }
            Err(_) => Some(heartbeat.clone()),
        };
        let Some(message) = message else { continue };
        match tokio::time::timeout(PATIENCE, publisher.publish(&message)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return error,
            Err(elapsed) => return elapsed.into(),
        }
    }
}

async fn listen_for_silence(heard: &Mutex<Instant>) -> RelayError {
    loop {
        let last = *heard.lock().unwrap_or_else(PoisonError::into_inner);
        if last.elapsed() >= SILENCE {
            return RelayError::Silent;
        }
        tokio::time::sleep_until(last + SILENCE).await;
    }
}
