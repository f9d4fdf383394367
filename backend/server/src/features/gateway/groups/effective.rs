//! The groups that a project's calls may name: the configured ones, with those of its organisation over them; and what is
//! done about credentials in them.

use super::{
    TTL,
    queries::{self, Stored},
};
use crate::{
    db::Error,
    features::{
        gateway::{LOOK_WITHIN, providers},
        llm::Screen,
    },
    state::App,
};
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
    reach: Reach,
    until: Instant,
}

/// What a project's calls may name, and what looks at them before they leave.
#[derive(Debug, Clone)]
pub(in crate::features::gateway) struct Reach {
    pub(in crate::features::gateway) groups: Arc<ModelGroups>,
    pub(in crate::features::gateway) screen: Option<Arc<Screen>>,
}

/// What this process has read of late.
#[derive(Debug, Default)]
pub(in crate::features::gateway) struct Effective {
    by_project: Mutex<HashMap<ProjectId, Cached>>,
}

impl Effective {
    /// A project's. While the database is away, what was known holds.
    pub(in crate::features::gateway) async fn of(
        &self,
        app: &App,
        project: ProjectId,
    ) -> Result<Reach, Error> {
        let known = self.lock().get(&project).cloned();
        if let Some(known) = known.as_ref().filter(|known| Instant::now() < known.until) {
            return Ok(known.reach.clone());
        }
        // Before the read: what is changed meanwhile is not remembered for longer.
        let until = Instant::now() + TTL;
        let patience = if known.is_some() { REFRESHED_WITHIN } else { LOOK_WITHIN };
        let read = tokio::time::timeout(patience, read(app, project)).await;
        let reach = match (read.unwrap_or_else(|_| Err(sqlx::Error::PoolTimedOut.into())), known) {
            (Ok(reach), _) => reach,
            (Err(error), Some(known)) => {
                tracing::warn!(%error, "cannot read model groups: what was known of them holds");
                known.reach
            }
            (Err(error), None) => return Err(error),
        };
        let mut cache = self.lock();
        if cache.len() >= MAX_CACHED {
            cache.retain(|_, cached| Instant::now() < cached.until);
        }
        cache.insert(project, Cached { reach: reach.clone(), until });
        Ok(reach)
    }

    /// Forgets everything, so that the next call reads it anew.
    pub(in crate::features::gateway) fn forget(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ProjectId, Cached>> {
        self.by_project.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn read(app: &App, project: ProjectId) -> Result<Reach, Error> {
    let base = providers::of_project(app, project).await?;
    let groups = over(&base.groups, &queries::of_project(app.pool(), project).await?);
    let mode = queries::secrets_in_prompts(app.pool(), project).await?;
    let screen = Screen::of(mode, &groups)?.map(Arc::new);
    Ok(Reach { groups: Arc::new(groups), screen })
}

/// What an organisation has, with its own groups over it. One that cannot be used any more, since its deployments are
/// gone, leaves the configured one of its name in its place.
pub(super) fn over(base: &ModelGroups, stored: &[Stored]) -> ModelGroups {
    let mut groups = base.clone();
    for stored in stored {
        let group = stored.settings().group(base, &stored.name);
        let with = group
            .ok_or_else(|| "nothing of it is there".to_owned())
            .and_then(|group| groups.with(vec![group]).map_err(|error| error.reason));
        match with {
            Ok(with) => groups = with,
            Err(reason) => tracing::warn!(group = stored.name, reason, "a model group cannot be used"),
        }
    }
    groups
}
