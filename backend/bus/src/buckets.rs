//! Buckets that processes share over Redis: so much in a minute, filling up evenly.
//!
//! Invariants: what is asked of a bucket is decided and taken in one step, so that processes together get no more than is
//! in it; what has flowed in again is not given back as well; without Redis there is no answer, at once, and whoever asks
//! goes by what they know themselves; nothing stays in Redis longer than it means something. Time is that of Redis.

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

/// What both scripts begin with. A bucket keeps how little it lacked of being full, since when: pairs of a moment and of the
/// least that it lacked after the pair before. A moment is a number that no other look at the bucket has; both numbers grow
/// from pair to pair. Pairs that lack nearly the same are one, with what is less, so that there are few.
const LOOK: &str = "
local time = redis.call('TIME')
local now, micros = time[1] * 1000 + math.floor(time[2] / 1000), time[1] * 1000000 + time[2]

local function look(name, size)
    local was = redis.call('HMGET', KEYS[1], name, name .. ':at', name .. ':size', name .. ':lows')
    local left, lows, is_other = size, {}, was[1] and tonumber(was[3]) ~= size
    if was[1] and not is_other then
        left = math.min(size, tonumber(was[1]) + math.max(0, now - tonumber(was[2])) * size / 60000)
        lows = was[4] and cmsgpack.unpack(was[4]) or {}
    end
    local lacks, moment = size - left, math.max(micros, (lows[#lows - 1] or 0) + 1)
    while #lows > 0 and lows[#lows] >= lacks do
        table.remove(lows)
        table.remove(lows)
    end
    if #lows > 0 and lacks - lows[#lows] < size / 64 then
        lows[#lows - 1] = moment
    else
        table.insert(lows, moment)
        table.insert(lows, lacks)
    end
    return left, lows, moment, is_other
end

local function keep(name, size, left, lows)
    redis.call('HSET', KEYS[1], name, tostring(left), name .. ':at', now, name .. ':size', size,
        name .. ':lows', cmsgpack.pack(lows))
end
";

/// For each bucket: its name, what is in it when it is full, what must be in it, and what is taken. All or nothing is
/// taken; the answer is whether it was taken, what is left, and the moments. A bucket of another size begins full.
const TAKE: &str = "
local left, lows, moments, taken, ends = {}, {}, {}, 1, 0
for i = 1, #ARGV, 4 do
    local at = (i + 3) / 4
    left[at], lows[at], moments[at] = look(ARGV[i], tonumber(ARGV[i + 1]))
    if left[at] < tonumber(ARGV[i + 2]) then taken = 0 end
end
for i = 1, #ARGV, 4 do
    local at, size = (i + 3) / 4, tonumber(ARGV[i + 1])
    if taken == 1 then left[at] = left[at] - tonumber(ARGV[i + 3]) end
    keep(ARGV[i], size, left[at], lows[at])
    ends = math.max(ends, (size - left[at]) * 60000 / size)
    left[at] = tostring(left[at])
end
-- Others of this owner may fill up for longer.
redis.call('PEXPIRE', KEYS[1], math.max(math.ceil(ends) + 1000, redis.call('PTTL', KEYS[1])))
return {taken, left, moments}
";

/// For one bucket: its name, what is in it when it is full, what is taken or, below nothing, given back, and the moment at which
/// that was taken. One that has got another size meanwhile is left as it is; one that is not there is full.
///
/// Had only that been taken which was used, the bucket would have been full, and lost what flowed in, whenever it lacked less
/// than what is given back. So no more is given back than the least that it lacked since; and what one gets back was lacking
/// for none of the others.
const CORRECT: &str = "
local function give_back(lows, since, unused)
    local back = 0
    for i = 1, #lows, 2 do
        if lows[i] > since then
            back = math.min(unused, lows[i + 1])
            break
        end
    end
    for i = 2, #lows, 2 do lows[i] = math.max(0, lows[i] - back) end
    while #lows > 2 and lows[4] <= 0 do
        table.remove(lows, 1)
        table.remove(lows, 1)
    end
    return back
end

local size, more = tonumber(ARGV[2]), tonumber(ARGV[3])
local left, lows, _, is_other = look(ARGV[1], size)
if is_other then return 0 end
if more < 0 then more = -give_back(lows, tonumber(ARGV[4]), -more) end
left = math.min(size, left - more)
keep(ARGV[1], size, left, lows)
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
    /// What is taken beside, also if it is not all there; less than nothing: given back, up to the least that the bucket
    /// lacked of being full since it was taken.
    pub amount: f64,
    /// The [moment](Taken::moments) at which too much was taken; where it was too little, it means nothing.
    pub since: u64,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Taken {
    /// Whether every bucket had what it must have. If not, nothing was taken.
    pub is_taken: bool,
    /// What is left in each, in the order in which they were asked; less than nothing where more was taken.
    pub left: Vec<f64>,
    /// When that was, as each counts its moments: what is taken later has a larger number.
    pub moments: Vec<u64>,
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
    redis: Mutex<Option<Connection>>,
    lost: Notify,
}

/// A connection, and which one it is of those that there were.
#[derive(Debug, Clone)]
struct Connection {
    number: u64,
    redis: MultiplexedConnection,
}

impl Buckets {
    /// Buckets of this kind. Nothing is shared until they are [carried](Self::run).
    pub fn new(kind: &'static str) -> Self {
        let script = |then: &str| Script::new(&[LOOK, then].concat());
        let (take, correct) = (script(TAKE), script(CORRECT));
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
        let Correction { bucket, size, amount, since } = correction;
        let mut call = self.shared.correct.key(self.key(owner));
        call.arg(bucket).arg(size).arg(amount).arg(since);
        self.ask::<i64>(&call).await.map(|_corrected| ())
    }

    fn key(&self, owner: &str) -> String {
        format!("syndarix_{}:{owner}", self.shared.kind)
    }

    async fn ask<T: FromRedisValue>(&self, call: &ScriptInvocation<'_>) -> Option<T> {
        let Connection { number, mut redis } = self.connection()?;
        let answer = tokio::time::timeout(PATIENCE, call.invoke_async(&mut redis)).await;
        let error = match answer {
            Ok(Ok(answer)) => return Some(answer),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer in time".to_owned(),
        };
        tracing::warn!(error, kind = self.shared.kind, "Redis: every process counts for itself");
        self.lose(number);
        None
    }

    /// Gives a connection up, once: who finds it broken a moment after another must not end the next one.
    fn lose(&self, number: u64) {
        let mut redis = self.lock();
        if redis.as_ref().is_some_and(|current| current.number == number) {
            *redis = None;
            self.shared.lost.notify_one();
        }
    }

    /// Whether Redis is there, as far as is known.
    pub fn are_shared(&self) -> bool {
        self.lock().is_some()
    }

    /// Keeps a connection until cancelled, through every failure of Redis.
    pub async fn run(self, url: String, cancel: CancellationToken) {
        let work = async {
            for number in 0_u64.. {
                match connect(&url).await {
                    Ok(redis) => {
                        *self.lock() = Some(Connection { number, redis });
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

    fn connection(&self) -> Option<Connection> {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Connection>> {
        self.shared.redis.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn connect(url: &str) -> Result<MultiplexedConnection, RedisError> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECTING))
        .set_response_timeout(Some(CONNECTING));
    Client::open(url)?.get_multiplexed_async_connection_with_config(&config).await
}

fn taken((taken, left, moments): (i64, Vec<String>, Vec<u64>)) -> Option<Taken> {
    let left = left.iter().map(|left| left.parse().ok()).collect::<Option<Vec<f64>>>()?;
    Some(Taken { is_taken: taken == 1, left, moments })
}
