//! What this process wrote last, so that the next decision about it needs no reading.
//!
//! A remembered state is a guess: another process may have moved the stream since. So it is only decided upon in a unit
//! that is decided again ([`super::retry_conflicts`], whose second attempt reads), and where something is going to be
//! written, so that the commit compares its version. What a guess refuses, or finds nothing to do for, is looked up; and
//! whatever a unit answers before a commit has compared its guesses, an error or not, is no answer.

use super::{store::Loaded, writes::Head};
use quick_cache::{Weighter, sync::Cache};
use std::{
    any::Any,
    sync::Arc,
    time::{Duration, Instant},
};
use syndarix_domain::machine::{Kind, Machine};
use uuid::Uuid;

/// Streams on the move are kept, all others are read when they are needed.
const LIFETIME: Duration = Duration::from_secs(5);
/// Of all states together, as JSON; in memory they take about twice as much.
const MAX_BYTES: u64 = 8 * 1024 * 1024;
/// For the table of states, before the first one comes.
const USUAL_STATES: usize = 1_000;

/// Cheap to clone; all clones are one.
#[derive(Clone)]
pub(super) struct Memory {
    states: Arc<Cache<(Kind, Uuid), Remembered, ByText>>,
}

#[derive(Clone)]
struct Remembered {
    project: Uuid,
    version: i64,
    state: Arc<dyn Any + Send + Sync>,
    bytes: u64,
    at: Instant,
}

#[derive(Clone)]
struct ByText;

impl Weighter<(Kind, Uuid), Remembered> for ByText {
    fn weight(&self, _: &(Kind, Uuid), remembered: &Remembered) -> u64 {
        remembered.bytes
    }
}

impl Memory {
    pub(super) fn new() -> Self {
        Self { states: Arc::new(Cache::with_weighter(USUAL_STATES, MAX_BYTES, ByText)) }
    }

    /// What a stream was when this process last wrote it, a moment ago. It is remembered again when what is decided on it
    /// is committed, and not when it was outdated.
    pub(super) fn take<M: Machine + 'static>(&self, project: Uuid, id: Uuid) -> Option<Loaded<M>> {
        let (_, remembered) = self.states.remove(&(M::KIND, id))?;
        let fits = remembered.project == project && remembered.at.elapsed() < LIFETIME;
        let state = remembered.state.downcast::<M>().ok().filter(|_| fits)?;
        Some(Loaded { version: remembered.version, state: Arc::unwrap_or_clone(state) })
    }

    /// Remembers what was committed.
    pub(super) fn keep(&self, heads: Vec<Head>) {
        let at = Instant::now();
        for head in heads {
            let bytes = u64::try_from(head.json.get().len()).unwrap_or(u64::MAX);
            let (project, version, state) = (head.project, head.version, head.state);
            self.states.insert((head.kind, head.id), Remembered { project, version, state, bytes, at });
        }
    }
}
