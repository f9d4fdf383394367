//! The keys that this process has seen of late, so that a call asks the database for its key every few seconds at most.

use super::{
    TTL,
    meter::Meter,
    queries::{self, Found},
    secret::{self, Hash},
};
use crate::{db::Error, state::App};
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use syndarix_domain::{
    Timestamp,
    ids::{AgentId, GatewayKeyId, ProjectId, UserId},
};
use tokio::sync::Semaphore;
use uuid::Uuid;

/// Most answers that are remembered, wrong keys among them: somebody who tries any number of them fills no memory.
const MAX_CACHED: usize = 10_000;
/// Keys that are not known here are looked up so many at a time: whoever guesses takes no more of the database's connections.
const LOOKED_UP_AT_ONCE: usize = 4;
/// A key's use is written this often.
const NOTE_EVERY: Duration = Duration::from_secs(60);

/// A key that may be used.
#[derive(Debug)]
pub(in crate::features::gateway) struct Key {
    pub(in crate::features::gateway) id: GatewayKeyId,
    pub(in crate::features::gateway) project: ProjectId,
    pub(in crate::features::gateway) agent: Option<AgentId>,
    pub(in crate::features::gateway) user: Option<UserId>,
    models: Option<Vec<String>>,
    expires_at: Option<Timestamp>,
    pub(in crate::features::gateway) meter: Meter,
    /// For how long the project has answers given again; none: never.
    pub(in crate::features::gateway) cache: Option<Duration>,
}

impl Key {
    /// Whether it may name this model group or deployment.
    pub(in crate::features::gateway) fn allows(&self, model: &str) -> bool {
        self.models.as_ref().is_none_or(|models| models.iter().any(|one| one == model))
    }
}

#[derive(Debug, Clone)]
struct Cached {
    /// `None`: the database knows of no such key, it is revoked, or whom it is for has left.
    key: Option<Arc<Key>>,
    until: Instant,
}

/// Keys by the hash of their secret; and by the key itself, which outlasts its secrets, when it was noted and what it has
/// used.
#[derive(Debug)]
pub(in crate::features::gateway) struct Keyring {
    keys: Mutex<HashMap<Hash, Cached>>,
    /// How often something was forgotten.
    forgotten: AtomicU64,
    strangers: Semaphore,
    noted: Mutex<HashMap<Uuid, Instant>>,
    meters: Mutex<HashMap<Uuid, Meter>>,
}

impl Default for Keyring {
    fn default() -> Self {
        Self {
            keys: Mutex::default(),
            forgotten: AtomicU64::default(),
            strangers: Semaphore::new(LOOKED_UP_AT_ONCE),
            noted: Mutex::default(),
            meters: Mutex::default(),
        }
    }
}

impl Keyring {
    /// The key that somebody sent, if it may be used now.
    pub(in crate::features::gateway) async fn find(
        &self,
        app: &App,
        sent: &str,
    ) -> Result<Option<Arc<Key>>, Error> {
        if !secret::could_be(sent) {
            return Ok(None);
        }
        let hash = secret::hash(sent);
        let cached = self.cached(&hash);
        let key = match cached {
            Some(known) if Instant::now() < known.until => known.key,
            // It was good a moment ago: guesses of others are not in its way.
            Some(Cached { key: Some(_), .. }) => self.read(app, hash).await?,
            _ => self.read_strangers(app, hash).await?,
        };
        let is_good = |key: &Arc<Key>| key.expires_at.is_none_or(|at| at > app.clock().now());
        Ok(key.filter(is_good).inspect(|key| self.note(app, key)))
    }

    /// Forgets a key, so that the next call reads it anew.
    pub(super) fn forget(&self, id: Uuid) {
        self.forget_those(|key| key.id.0 == id);
    }

    /// Forgets the keys of a project, so that their next calls read its settings anew.
    pub(in crate::features::gateway) fn forget_project(&self, project: ProjectId) {
        self.forget_those(|key| key.project == project);
    }

    fn forget_those(&self, are_meant: impl Fn(&Key) -> bool) {
        let mut keys = self.lock();
        self.forgotten.fetch_add(1, Ordering::AcqRel);
        keys.retain(|_, cached| cached.key.as_deref().is_none_or(|key| !are_meant(key)));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Hash, Cached>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cached(&self, hash: &Hash) -> Option<Cached> {
        self.lock().get(hash).cloned()
    }

    async fn read_strangers(&self, app: &App, hash: Hash) -> Result<Option<Arc<Key>>, Error> {
        // Never closed: it is there for as long as the process.
        let _place = self.strangers.acquire().await;
        // Many calls of one key may have waited: whoever was before them has read it.
        match self.cached(&hash).filter(|known| Instant::now() < known.until) {
            Some(known) => Ok(known.key),
            None => self.read(app, hash).await,
        }
    }

    async fn read(&self, app: &App, hash: Hash) -> Result<Option<Arc<Key>>, Error> {
        // Before the read: what is revoked meanwhile is not remembered for longer.
        let (begun, forgotten) = (Instant::now(), self.forgotten.load(Ordering::Acquire));
        let found = queries::by_hash(app.pool(), hash).await?.filter(|found| found.revoked_at.is_none());
        let until = begun + found.as_ref().and_then(|found| found.seconds_left).map_or(TTL, no_longer_than);
        let key = found.map(|found| Arc::new(self.key_of(found)));
        self.remember(hash, Cached { key: key.clone(), until }, forgotten);
        Ok(key)
    }

    /// Not what was read before something was forgotten: it may be just that, and a secret that was ended would be good again.
    fn remember(&self, hash: Hash, cached: Cached, forgotten: u64) {
        let mut keys = self.lock();
        if self.forgotten.load(Ordering::Acquire) != forgotten {
            return;
        }
        if keys.len() >= MAX_CACHED {
            // What is not there goes first: whoever guesses must not make everybody's next call slower.
            keys.retain(|_, cached| cached.key.is_some() && Instant::now() < cached.until);
        }
        keys.insert(hash, cached);
    }

    fn key_of(&self, found: Found) -> Key {
        let limit = |limit: Option<i32>| limit.and_then(|limit| u32::try_from(limit).ok());
        let limits = (limit(found.requests_per_minute), limit(found.tokens_per_minute));
        Key {
            id: GatewayKeyId(found.id),
            project: ProjectId(found.project_id),
            agent: found.agent_id.map(AgentId),
            user: found.user_id.map(UserId),
            models: found.models,
            expires_at: found.expires_at,
            cache: lifetime(found.gateway_cache_seconds),
            meter: self.meter(found.id, limits),
        }
    }

    /// Its counts go on where they were, also under another secret.
    fn meter(&self, id: Uuid, (requests, tokens): (Option<u32>, Option<u32>)) -> Meter {
        let mut meters = self.meters.lock().unwrap_or_else(PoisonError::into_inner);
        let meter = match meters.get(&id) {
            Some(meter) => meter.with(requests, tokens),
            None => Meter::new(requests, tokens),
        };
        if meters.len() >= MAX_CACHED {
            // One that is full says nothing.
            meters.retain(|_, meter| !meter.is_full());
        }
        if meter.is_limited() {
            meters.insert(id, meter.clone());
        } else {
            meters.remove(&id);
        }
        meter
    }

    /// Writes down that the key is in use, once a minute, beside the call.
    fn note(&self, app: &App, key: &Key) {
        let now = Instant::now();
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        if noted.get(&key.id.0).is_some_and(|at| now.duration_since(*at) < NOTE_EVERY) {
            return;
        }
        noted.retain(|_, at| now.duration_since(*at) < NOTE_EVERY);
        noted.insert(key.id.0, now);
        let (task_app, project, id) = (app.clone(), key.project, key.id.0);
        app.gateway.calls.spawn(async move {
            let at = task_app.clock().now();
            if let Err(error) = queries::used(task_app.pool(), project, id, at).await {
                tracing::warn!(%error, "cannot note that a gateway key was used");
            }
        });
    }
}

/// How long a process relies on a secret that is good for so many seconds more.
fn no_longer_than(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default().min(TTL)
}

/// A project's setting as a time.
pub(in crate::features::gateway) fn lifetime(seconds: Option<i32>) -> Option<Duration> {
    seconds.and_then(|seconds| u64::try_from(seconds).ok()).map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_of_a_key_before_it_was_ended_is_not_remembered_after_that() {
        let (ring, id, hash) = (Keyring::default(), Uuid::from_u128(1), [1; 32]);
        let read = || Cached {
            key: Some(Arc::new(Key {
                id: GatewayKeyId(id),
                project: ProjectId(Uuid::from_u128(2)),
                agent: None,
                user: None,
                models: None,
                expires_at: None,
                meter: Meter::new(None, None),
                cache: None,
            })),
            until: Instant::now() + TTL,
        };
        let before = ring.forgotten.load(Ordering::Acquire);
        ring.forget(id);
        ring.remember(hash, read(), before);
        assert!(ring.lock().is_empty());
        let after = ring.forgotten.load(Ordering::Acquire);
        ring.remember(hash, read(), after);
        assert_eq!(ring.lock().len(), 1, "and what is read after that is");
    }

    #[test]
    fn a_secret_that_ends_soon_is_relied_upon_until_then_only() {
        assert_eq!(no_longer_than(0.5), Duration::from_millis(500));
        assert_eq!(no_longer_than(-1.0), Duration::ZERO);
        assert_eq!(no_longer_than(604_800.0), TTL);
    }
}
