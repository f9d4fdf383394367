//! The in-process fan-out.

use crate::{
    Committed, Ephemeral, Log, Relay,
    channel::{Channel, Live},
    outbox::Outbox,
    relay, watch,
};
use serde_json::Value;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use syndarix_domain::{envelope::Envelope, ids::ProjectId};
use tokio::sync::{Notify, broadcast};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Carries committed events to whoever listens. Cheap to clone; all clones are one.
#[derive(Debug, Clone)]
pub struct Hub {
    parts: Arc<Parts>,
}

#[derive(Debug)]
struct Parts {
    /// Tells this hub's own hints from those of others.
    id: Uuid,
    channels: Mutex<HashMap<ProjectId, Arc<Channel>>>,
    outbox: Outbox,
    health: Mutex<Health>,
    gap: Notify,
}

/// How other instances' commits are heard of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// [`Hub::run`] is not running: other instances are not heard.
    Alone,
    /// Hints arrive within milliseconds.
    Hints,
    /// Hints are lost: the log is asked five times a second instead.
    Polling {
        /// What is wrong with the hint channel.
        reason: String,
    },
}

impl Default for Hub {
    #[expect(
        clippy::disallowed_methods,
        reason = "names this hub to itself for its lifetime; stored nowhere, ordered by nothing"
    )]
    fn default() -> Self {
        let parts = Parts {
            id: Uuid::new_v4(),
            channels: Mutex::default(),
            outbox: Outbox::default(),
            health: Mutex::new(Health::Alone),
            gap: Notify::new(),
        };
        Self { parts: Arc::new(parts) }
    }
}

impl Hub {
    /// Tells what was just committed. Never waits.
    pub fn committed(&self, events: &[Envelope]) {
        for batch in events.chunk_by(|a, b| a.project_id == b.project_id) {
            let Some(last) = batch.last() else { continue };
            self.parts.outbox.head(last.project_id, last.seq);
            // Events without a listener here are not even copied.
            if let Some(channel) = self.channel(last.project_id)
                && channel.offer(batch.iter().cloned().map(Committed::new))
            {
                self.parts.gap.notify_one();
            }
        }
    }

    /// Tells something that is not kept: tokens as they come. Lost without harm. Never waits.
    pub fn ephemeral(&self, project: ProjectId, kind: &str, data: &Value) {
        let item = Ephemeral { project, kind: kind.to_owned(), data: data.clone(), after: 0 };
        self.parts.outbox.whisper(&item);
        self.whisper_here(item);
    }

    /// Keeps this process's listeners up to date with what other processes commit, until cancelled. One of it runs
    /// beside every hub that is shared with other instances.
    pub async fn run(&self, log: Log, relay: Relay, cancel: CancellationToken) {
        self.parts.outbox.open(true);
        self.set_health(Health::Polling { reason: "not connected yet".into() });
        let work = async { tokio::join!(watch::run(self, &log), relay::run(self, &log, relay)) };
        tokio::select! {
            () = cancel.cancelled() => {}
            _ = work => {}
        }
        self.parts.outbox.open(false);
        self.set_health(Health::Alone);
    }

    /// How well other instances are heard.
    pub fn health(&self) -> Health {
        self.parts.health.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_health(&self, health: Health) {
        let mut current = self.parts.health.lock().unwrap_or_else(PoisonError::into_inner);
        if *current == health {
            return;
        }
        match &health {
            Health::Polling { reason } if *current == Health::Hints => {
                tracing::warn!(reason, "live events: hints from other instances are lost, polling instead");
            }
            Health::Hints => tracing::info!("live events: hints from other instances arrive"),
            _ => {}
        }
        metrics::gauge!("syndarix_bus_hints_healthy").set(f64::from(u8::from(health == Health::Hints)));
        *current = health;
    }

    pub(crate) fn id(&self) -> Uuid {
        self.parts.id
    }

    pub(crate) fn outbox(&self) -> &Outbox {
        &self.parts.outbox
    }

    /// Waits until an event is known to be missing somewhere.
    pub(crate) async fn gap(&self) {
        self.parts.gap.notified().await;
    }

    pub(crate) fn heard(&self, project: ProjectId, seq: i64) {
        if self.channel(project).is_some_and(|channel| channel.heard(seq)) {
            self.parts.gap.notify_one();
        }
    }

    pub(crate) fn whisper_here(&self, item: Ephemeral) {
        if let Some(channel) = self.channel(item.project) {
            channel.whisper(item);
        }
    }

    /// Every project that somebody listens to here.
    pub(crate) fn listened(&self) -> Vec<(ProjectId, Arc<Channel>)> {
        self.lock().iter().map(|(project, channel)| (*project, Arc::clone(channel))).collect()
    }

    /// The project's channel with a new receiver, made when it is the first.
    pub(crate) fn join(&self, project: ProjectId) -> (Arc<Channel>, broadcast::Receiver<Live>) {
        let mut channels = self.lock();
        let channel = channels.entry(project).or_insert_with(|| Arc::new(Channel::new()));
        let receiver = channel.listen();
        (Arc::clone(channel), receiver)
    }

    /// Forgets the project's channel when its last listener has gone.
    pub(crate) fn leave(&self, project: ProjectId) {
        let mut channels = self.lock();
        if channels.get(&project).is_some_and(|channel| channel.listeners() == 0) {
            channels.remove(&project);
        }
    }

    fn channel(&self, project: ProjectId) -> Option<Arc<Channel>> {
        self.lock().get(&project).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ProjectId, Arc<Channel>>> {
        self.parts.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
