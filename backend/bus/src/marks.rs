//! Marks that processes share over Redis: each has a name and an end.
//!
//! Invariants: putting a mark never waits, and what is waiting is bounded; a mark that is put is heard of by every other
//! process within a quarter of a second, as long as Redis is there; without Redis nothing is heard and nothing is taken away, so that
//! everybody goes on by what they know themselves. Time is that of Redis: processes whose clocks differ agree.

use futures::FutureExt;
use redis::{AsyncConnectionConfig, Client, RedisError, aio::MultiplexedConnection};
use std::{
    collections::HashMap,
    time::{Duration, Instant},
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// How often Redis is asked for the marks of others.
const EVERY: Duration = Duration::from_millis(250);
/// How long a connection or an answer may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// The pause before Redis is tried again.
const PAUSE: Duration = Duration::from_secs(1);
/// Most marks that wait for Redis, and most that are read at once; what is beyond is lost.
const MOST: usize = 1_000;

/// Something that holds for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// What it is about.
    pub name: String,
    /// For how long it holds from now on; none: no longer.
    pub left: Option<Duration>,
}

/// Puts marks. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Marks {
    waiting: mpsc::Sender<Mark>,
}

impl Marks {
    /// Puts a mark, or takes it away. Never waits; lost when Redis has been away for long.
    pub fn put(&self, mark: Mark) {
        if self.waiting.try_send(mark).is_err() {
            tracing::debug!("a mark is lost: too many wait for Redis");
        }
    }
}

/// Carries the marks of one process.
#[derive(Debug)]
pub struct Carrier {
    key: String,
    waiting: mpsc::Receiver<Mark>,
    /// What is known to be there: names, and when they end by the clock of Redis, in milliseconds.
    known: HashMap<String, i64>,
}

/// Marks of this kind, and what carries them.
pub fn marks(kind: &str) -> (Marks, Carrier) {
    let (put, waiting) = mpsc::channel(MOST);
    (Marks { waiting: put }, Carrier { key: format!("syndarix_{kind}"), waiting, known: HashMap::new() })
}

impl Carrier {
    /// Carries until cancelled, through every failure of Redis.
    pub async fn run(mut self, url: String, heard: impl Fn(Mark), cancel: CancellationToken) {
        let work = async {
            let mut is_there = true;
            loop {
                let error = match self.session(&url, &heard).await {
                    Ok(never) => match never {},
                    Err(error) => error,
                };
                if std::mem::take(&mut is_there) {
                    tracing::warn!(%error, kind = self.key, "Redis: marks of other processes are not heard");
                }
                tokio::time::sleep(PAUSE).await;
                // While Redis was away marks may have ended for others: they are not carried late.
                while self.waiting.try_recv().is_ok() {}
            }
        };
        tokio::select! {
            () = cancel.cancelled() => {}
            () = work => {}
        }
    }

    async fn session(
        &mut self,
        url: &str,
        heard: &impl Fn(Mark),
    ) -> Result<std::convert::Infallible, RedisError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(PATIENCE))
            .set_response_timeout(Some(PATIENCE));
        let mut redis = Client::open(url)?.get_multiplexed_async_connection_with_config(&config).await?;
        let mut clock = self.begin(&mut redis, heard).await?;
        loop {
            let next = tokio::time::timeout(EVERY, self.waiting.recv()).await;
            if let Ok(Some(mark)) = next {
                self.put(&mut redis, mark, clock).await?;
            }
            while let Some(Some(mark)) = self.waiting.recv().now_or_never() {
                self.put(&mut redis, mark, clock).await?;
            }
            let there;
            (clock, there) = read(&mut redis, &self.key).await?;
            self.compare(there, clock, heard);
        }
    }

    /// What is there at first is heard of. What was known before and is not there says nothing: Redis may be a new one.
    async fn begin(
        &mut self,
        redis: &mut MultiplexedConnection,
        heard: &impl Fn(Mark),
    ) -> Result<Clock, RedisError> {
        let (clock, there) = read(redis, &self.key).await?;
        self.known.retain(|name, _| there.contains_key(name));
        self.compare(there, clock, heard);
        Ok(clock)
    }

    async fn put(
        &mut self,
        redis: &mut MultiplexedConnection,
        mark: Mark,
        clock: Clock,
    ) -> Result<(), RedisError> {
        let now = clock.now();
        let mut pipe = redis::pipe();
        pipe.cmd("ZREMRANGEBYSCORE").arg(&self.key).arg("-inf").arg(now).ignore();
        if let Some(left) = mark.left {
            let until = now.saturating_add(i64::try_from(left.as_millis()).unwrap_or(i64::MAX));
            pipe.cmd("ZADD").arg(&self.key).arg(until).arg(&mark.name).ignore();
            self.known.insert(mark.name, until);
        } else {
            pipe.cmd("ZREM").arg(&self.key).arg(&mark.name).ignore();
            self.known.remove(&mark.name);
        }
        pipe.exec_async(redis).await
    }

    /// Tells what others have put and taken away since.
    fn compare(&mut self, there: HashMap<String, i64>, clock: Clock, heard: &impl Fn(Mark)) {
        let now = clock.now();
        for (name, until) in &there {
            let left = u64::try_from(until - now).ok().filter(|left| *left > 0).map(Duration::from_millis);
            if self.known.get(name) != Some(until) && left.is_some() {
                heard(Mark { name: name.clone(), left });
            }
        }
        for (name, until) in &self.known {
            if *until > now && !there.contains_key(name) {
                heard(Mark { name: name.clone(), left: None });
            }
        }
        self.known = there;
    }
}

/// What Redis says the time is.
#[derive(Debug, Clone, Copy)]
struct Clock {
    /// Milliseconds since 1970.
    at: i64,
    read: Instant,
}

impl Clock {
    fn now(self) -> i64 {
        self.at.saturating_add(i64::try_from(self.read.elapsed().as_millis()).unwrap_or(i64::MAX))
    }
}

async fn read(
    redis: &mut MultiplexedConnection,
    key: &str,
) -> Result<(Clock, HashMap<String, i64>), RedisError> {
    let mut pipe = redis::pipe();
    pipe.cmd("TIME").cmd("ZRANGE").arg(key).arg(0).arg(MOST).arg("WITHSCORES");
    let ((seconds, micros), marks): ((i64, i64), Vec<(String, i64)>) = pipe.query_async(redis).await?;
    let clock = Clock { at: seconds * 1_000 + micros / 1_000, read: Instant::now() };
    Ok((clock, marks.into_iter().collect()))
}
