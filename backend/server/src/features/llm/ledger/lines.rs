//! Each project's lines to the books: whoever comes while a group of the project is posted goes with the next one.
//!
//! Invariants: a project whose books are held, or that asks without end, keeps nobody else waiting; what was granted from memory
//! has a line of its own, so that its many rows are in no group with a call that waits, and no such call is before the renewal
//! of a lease; all lines together take no more than half of the connections, one after the other, so that whatever else a
//! process does has the rest.

use super::{Answer, Entry, Shared, together};
use crate::db::combine::{Combine, Combiner, Limits};
use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use syndarix_domain::ids::ProjectId;
use tokio::sync::Semaphore;
use uuid::Uuid;

/// Two at a time: while one group waits for the disk, the next is on its way.
const POSTS: Limits = Limits { workers: 2, batch: 256, patience: Duration::from_secs(35) };
/// Lines that are kept; beyond them, those where nobody waits are made anew when they are needed.
const KEPT: usize = 2_000;

impl Combine for Entry {
    type Answer = Answer;

    fn alone_on(&self) -> Vec<Uuid> {
        Vec::new()
    }

    /// What nobody waits for any more has been taken back, and would count for nobody.
    fn needs_its_caller(&self) -> bool {
        true
    }
}

/// Reservations that are being posted.
type Flying = Arc<Mutex<HashSet<Uuid>>>;

/// Whose a line is, and what for.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Name {
    project: ProjectId,
    /// For what was granted from memory.
    of_leases: bool,
}

/// The lines of a process.
pub(super) struct Lines {
    shared: Arc<Shared>,
    flying: Flying,
    posts: Arc<Semaphore>,
    by_name: Mutex<HashMap<Name, Combiner<Entry>>>,
}

impl Lines {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let connections = shared.store.pool().options().get_max_connections();
        let posts = usize::try_from(connections / 2).unwrap_or(1).max(1);
        let posts = Arc::new(Semaphore::new(posts));
        Self { shared, flying: Flying::default(), posts, by_name: Mutex::default() }
    }

    /// Has an entry posted. `None`: nobody knows what became of it.
    pub(super) async fn ask(&self, entry: Entry) -> Option<Answer> {
        let line = self.of(Name::of(&entry));
        line.ask(entry).await
    }

    /// Whether a reservation may still be written by this process.
    pub(super) fn is_flying(&self, reservation: Uuid) -> bool {
        self.flying.lock().unwrap_or_else(PoisonError::into_inner).contains(&reservation)
    }

    fn of(&self, name: Name) -> Combiner<Entry> {
        let mut lines = self.by_name.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() >= KEPT && !lines.contains_key(&name) {
            lines.retain(|_, line| !line.is_idle());
        }
        lines.entry(name).or_insert_with(|| self.line(name.project)).clone()
    }

    fn line(&self, project: ProjectId) -> Combiner<Entry> {
        let (shared, posts) = (Arc::clone(&self.shared), Arc::clone(&self.posts));
        let flying = Arc::clone(&self.flying);
        Combiner::new(POSTS, move |entries: Vec<Entry>| {
            let (shared, posts) = (Arc::clone(&shared), Arc::clone(&posts));
            let flight = Flight::of(&flying, &entries);
            Box::pin(async move {
                let _until_it_is_over = flight;
                // Never closed: it is there for as long as the lines are.
                let _place = posts.acquire_owned().await;
                together(&shared, project, &entries).await
            })
        })
    }
}

impl Name {
    fn of(entry: &Entry) -> Self {
        Self { project: entry.project(), of_leases: matches!(entry, Entry::Draw(_)) }
    }
}

/// The reservations of a group, until it is posted or given up.
struct Flight {
    flying: Flying,
    ids: Vec<Uuid>,
}

impl Flight {
    fn of(flying: &Flying, entries: &[Entry]) -> Self {
        let ids: Vec<Uuid> = entries.iter().filter_map(Entry::reservation).collect();
        flying.lock().unwrap_or_else(PoisonError::into_inner).extend(&ids);
        Self { flying: Arc::clone(flying), ids }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let mut flying = self.flying.lock().unwrap_or_else(PoisonError::into_inner);
        for id in &self.ids {
            flying.remove(id);
        }
    }
}
