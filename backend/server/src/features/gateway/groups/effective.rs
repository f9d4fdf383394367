//! The groups that a project's calls may name: the configured ones, with those of its organisation over them.

use super::{
    TTL,
    queries::{self, Stored},
};
use crate::{db::Error, features::gateway::LOOK_WITHIN, state::App};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use syndarix_domain::ids::ProjectId;
use syndarix_llm::ModelGroups;

/// How long a database that does not answer is waited for, where it is known what the groups were.
const REFRESHED_WITHIN: Duration = Duration::from_secs(1);
/// Most projects whose groups are remembered.
const MAX_CACHED: usize = 10_000;

#[derive(Debug, Clone)]
struct Cached {
    groups: Arc<ModelGroups>,
    until: Instant,
}

/// What this process has read of late.
#[derive(Debug, Default)]
pub(in crate::features::gateway) struct Effective {
    by_project: Mutex<HashMap<ProjectId, Cached>>,
}

impl Effective {
    /// A project's groups. While the database is away, what was known holds.
    pub(in crate::features::gateway) async fn of(
        &self,
        app: &App,
        project: ProjectId,
    ) -> Result<Arc<ModelGroups>, Error> {
        let known = self.lock().get(&project).cloned();
        if let Some(known) = known.as_ref().filter(|known| Instant::now() < known.until) {
            return Ok(Arc::clone(&known.groups));
        }
        // Before the read: what is changed meanwhile is not remembered for longer.
        let until = Instant::now() + TTL;
        let patience = if known.is_some() { REFRESHED_WITHIN } else { LOOK_WITHIN };
        let read = tokio::time::timeout(patience, queries::of_project(app.pool(), project)).await;
        let stored = read.unwrap_or(Err(sqlx::Error::PoolTimedOut));
        let groups = match (stored, known) {
            (Ok(stored), _) => Arc::new(over_configured(app, &stored)),
            (Err(error), Some(known)) => {
                tracing::warn!(%error, "cannot read model groups: what was known of them holds");
                known.groups
            }
            (Err(error), None) => return Err(error.into()),
        };
        let mut cache = self.lock();
        if cache.len() >= MAX_CACHED {
            cache.retain(|_, cached| Instant::now() < cached.until);
        }
        cache.insert(project, Cached { groups: Arc::clone(&groups), until });
        Ok(groups)
    }

    /// Forgets everything, so that the next call reads it anew.
    pub(super) fn forget(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ProjectId, Cached>> {
        self.by_project.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The configured groups with these over them. One that cannot be used any more, since the configuration has changed,
/// leaves the configured one of its name in its place.
pub(super) fn over_configured(app: &App, stored: &[Stored]) -> ModelGroups {
    let mut groups = app.models.groups.clone();
    for stored in stored {
        let group = stored.settings().group(app, &stored.name);
        let with = group
            .ok_or_else(|| "nothing of it is configured".to_owned())
            .and_then(|group| groups.with(vec![group]).map_err(|error| error.reason));
        match with {
            Ok(with) => groups = with,
            Err(reason) => tracing::warn!(group = stored.name, reason, "a model group cannot be used"),
        }
    }
    groups
}
