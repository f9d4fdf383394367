//! Projects whose logs somebody else holds for long. What is written to them goes by itself meanwhile: together with others
//! it would keep those waiting, too.

use super::writes::Writes;
use std::{
    collections::{BTreeSet, HashMap},
    future::Future,
    pin::pin,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use uuid::Uuid;

/// Whoever waits longer than this waits for somebody's lock.
const LONG: Duration = Duration::from_secs(1);
/// How long that is remembered, beyond what is still waited for.
const REMEMBERED: Duration = Duration::from_secs(5);

/// Until when a project's writes go by themselves.
#[derive(Default)]
pub(super) struct LockedLogs {
    until: Mutex<HashMap<Uuid, Instant>>,
}

impl LockedLogs {
    /// Whether the unit writes to one of them.
    pub(super) fn concern(&self, unit: &Writes) -> bool {
        let mut until = self.until();
        if until.is_empty() {
            return false;
        }
        let now = Instant::now();
        until.retain(|_, until| *until > now);
        unit.projects().iter().any(|project| until.contains_key(project))
    }

    /// Does the work, and remembers the projects when it takes long.
    pub(super) async fn watch<T>(&self, projects: BTreeSet<Uuid>, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        loop {
            match tokio::time::timeout(LONG, &mut work).await {
                Ok(done) => return done,
                Err(_) => self
                    .until()
                    .extend(projects.iter().map(|project| (*project, Instant::now() + REMEMBERED))),
            }
        }
    }

    fn until(&self) -> MutexGuard<'_, HashMap<Uuid, Instant>> {
        self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
