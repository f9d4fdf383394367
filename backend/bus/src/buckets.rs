//! Buckets that processes share over Redis: so much in a minute, filling up evenly.
//!
//! Invariants: what is asked of a bucket is decided and taken in one step, so that processes together get no more than is
//! in it; without Redis there is no answer, at once, and whoever asks goes by what they know themselves; nothing stays in
//! Redis longer than it means something. Time is that of Redis.

use redis::{
    AsyncConnectionConfig, Client, FromRedisValue, RedisError, Script, ScriptInvocation,
    aio::MultiplexedConnection,
};
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// How long an answer may take, before whoever asks goes on without it.
const PATIENCE: Duration = Duration::from_millis(250);
/// How long a connection may take: nobody waits for it.
const CONNECTING: Duration = Duration::from_secs(2);
/// The pause before Redis is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// For each bucket: its name, what is in it when it is full, what must be in it, and what is taken. All or nothing is
/// taken; the answer is what is left, and whether it was taken. A bucket of another size begins full.
const TAKE: &str = "
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local left, taken, ends = {}, 1, 0
for i = 1, #ARGV, 4 do
    local size = tonumber(ARGV[i + 1])
    local was = redis.call('HMGET', KEYS[1], ARGV[i], ARGV[i] .. ':at', ARGV[i] .. ':size')
    local now_in = size
    if was[1] and tonumber(was[3]) == size then
        now_in = math.min(size, tonumber(was[1]) + math.max(0, now - tonumber(was[2])) * size / 60000)
    end
    left[#left + 1] = now_in
    if now_in < tonumber(ARGV[i + 2]) then taken = 0 end
end
for i = 1, #ARGV, 4 do
    local at, size = (i + 3) / 4, tonumber(ARGV[i + 1])
    if taken == 1 then left[at] = left[at] - tonumber(ARGV[i + 3]) end
    redis.call('HSET', KEYS[1], ARGV[i], tostring(left[at]), ARGV[i] .. ':at', now, ARGV[i] .. ':size', size)
    ends = math.max(ends, (size - left[at]) * 60000 / size)
    left[at] = tostring(left[at])
end
-- Others of this owner may fill up for longer.
redis.call('PEXPIRE', KEYS[1], math.max(math.ceil(ends) + 1000, redis.call('PTTL', KEYS[1])))
return {taken, left}
";

/// For one bucket: its name, what is in it when it is full, and what is taken or, below nothing, given back. One that has got
/// another size meanwhile is left as it is; one that is not there is full.
const CORRECT: &str = "
local size, time = tonumber(ARGV[2]), redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local was = redis.call('HMGET', KEYS[1], ARGV[1], ARGV[1] .. ':at', ARGV[1] .. ':size')
local left = size
if was[1] then
    if tonumber(was[3]) ~= size then return 0 end
    left = math.min(size, tonumber(was[1]) + math.max(0, now - tonumber(was[2])) * size / 60000)
end
left = math.min(size, left - tonumber(ARGV[3]))
redis.call('HSET', KEYS[1], ARGV[1], tostring(left), ARGV[1] .. ':at', now, ARGV[1] .. ':size', size)
local ends = math.ceil((size - left) * 60000 / size) + 1000
redis.call('PEXPIRE', KEYS[1], math.max(ends, redis.call('PTTL', KEYS[1])))
return 1
";

/// What is asked of one bucket.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Take {
    /// Which of those that belong together.
    pub bucket: &'static str,
    /// What is in it when it is full, and what flows into it in a minute. At least 1.
    pub size: u32,
    /// What must be in it.
    pub least: f64,
    /// What is taken out, also if it is not all there.
    pub amount: f64,
}

/// What was taken too little of one bucket, or too much.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Correction {
    /// Which of those that belong together.
    pub bucket: &'static str,
    /// What was in it when it was full.
    pub size: u32,
    /// What is taken beside, also if it is not all there; less than nothing: given back, up to what it holds.
    pub amount: f64,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Taken {
    /// Whether every bucket had what it must have. If not, nothing was taken.
    pub is_taken: bool,
    /// What is left in each, in the order in which they were asked; less than nothing where more was taken.
    pub left: Vec<f64>,
}

/// Takes out of shared buckets. Cheap to clone; clones share the connection.
#[derive(Debug, Clone)]
pub struct Buckets {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    kind: &'static str,
    take: Script,
    correct: Script,
    redis: Mutex<Option<MultiplexedConnection>>,
    lost: Notify,
}

impl Buckets {
    /// Buckets of this kind. Nothing is shared until they are [carried](Self::run).
    pub fn new(kind: &'static str) -> Self {
        let (take, correct) = (Script::new(TAKE), Script::new(CORRECT));
        let (redis, lost) = (Mutex::default(), Notify::new());
        Self { shared: Arc::new(Shared { kind, take, correct, redis, lost }) }
    }

    /// Takes out of the buckets of an owner. None: Redis is not there, or does not answer in time; it may have taken.
    pub async fn take(&self, owner: &str, takes: &[Take]) -> Option<Taken> {
        let mut call = self.shared.take.key(self.key(owner));
        for take in takes {
            call.arg(take.bucket).arg(take.size).arg(take.least).arg(take.amount);
        }
        taken(self.ask(&call).await?)
    }

    /// Corrects what was taken of a bucket of an owner, once it is known. None: Redis is not there, or does not answer in
    /// time; what was taken flows back within a minute.
    pub async fn correct(&self, owner: &str, correction: Correction) -> Option<()> {
        let Correction { bucket, size, amount } = correction;
        let mut call = self.shared.correct.key(self.key(owner));
        call.arg(bucket).arg(size).arg(amount);
        self.ask::<i64>(&call).await.map(|_corrected| ())
    }

    fn key(&self, owner: &str) -> String {
        format!("syndarix_{}:{owner}", self.shared.kind)
    }

    async fn ask<T: FromRedisValue>(&self, call: &ScriptInvocation<'_>) -> Option<T> {
        let mut redis = self.connection()?;
        let answer = tokio::time::timeout(PATIENCE, call.invoke_async(&mut redis)).await;
        let error = match answer {
            Ok(Ok(answer)) => return Some(answer),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer in time".to_owned(),
        };
        tracing::warn!(error, kind = self.shared.kind, "Redis: every process counts for itself");
        *self.lock() = None;
        self.shared.lost.notify_one();
        None
    }

    /// Whether Redis is there, as far as is known.
    pub fn are_shared(&self) -> bool {
        self.lock().is_some()
    }

    /// Keeps a connection until cancelled, through every failure of Redis.
    pub async fn run(self, url: String, cancel: CancellationToken) {
        let work = async {
            loop {
                match connect(&url).await {
                    Ok(redis) => {
                        *self.lock() = Some(redis);
                        self.shared.lost.notified().await;
                    }
                    Err(error) => tracing::debug!(%error, kind = self.shared.kind, "Redis is not there"),
                }
                tokio::time::sleep(PAUSE).await;
            }
        };
        tokio::select! {
            () = cancel.cancelled() => {}
            () = work => {}
        }
    }

    fn connection(&self) -> Option<MultiplexedConnection> {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<MultiplexedConnection>> {
        self.shared.redis.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn connect(url: &str) -> Result<MultiplexedConnection, RedisError> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECTING))
        .set_response_timeout(Some(CONNECTING));
    Client::open(url)?.get_multiplexed_async_connection_with_config(&config).await
}

fn taken((taken, left): (i64, Vec<String>)) -> Option<Taken> {
    let left = left.iter().map(|left| left.parse().ok()).collect::<Option<Vec<f64>>>()?;
    Some(Taken { is_taken: taken == 1, left })
}
