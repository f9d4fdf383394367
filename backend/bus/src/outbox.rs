//! What other instances are going to be told. Bounded: heads overwrite each other, the oldest whispers fall out.

use crate::{Ephemeral, relay::Message};
use serde_json::Value;
use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};
use syndarix_domain::ids::ProjectId;
use tokio::sync::Notify;
use uuid::Uuid;

/// Ephemeral items that wait for the relay; older ones are lost without harm.
const WHISPERS: usize = 512;

#[derive(Debug, Default)]
pub(crate) struct Outbox {
    waiting: Mutex<Waiting>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    /// Nobody takes from an outbox without a relay: nothing is put there then.
    open: bool,
    heads: HashMap<ProjectId, i64>,
    whispers: VecDeque<(ProjectId, String, Value)>,
}

impl Outbox {
    pub(crate) fn open(&self, open: bool) {
        *self.lock() = Waiting { open, ..Waiting::default() };
    }

    pub(crate) fn head(&self, project: ProjectId, seq: i64) {
        let mut waiting = self.lock();
        if waiting.open {
            let head = waiting.heads.entry(project).or_default();
            *head = seq.max(*head);
            self.wake.notify_one();
        }
    }

    pub(crate) fn whisper(&self, item: &Ephemeral) {
        let mut waiting = self.lock();
        if !waiting.open {
            return;
        }
        if waiting.whispers.len() == WHISPERS {
            waiting.whispers.pop_front();
            metrics::counter!("syndarix_bus_ephemeral_dropped_total").increment(1);
        }
        waiting.whispers.push_back((item.project, item.kind.clone(), item.data.clone()));
        self.wake.notify_one();
    }

    pub(crate) async fn filled(&self) {
        self.wake.notified().await;
    }

    /// Takes what fits into `limit` bytes; the rest stays, and wakes the relay again.
    pub(crate) fn take(&self, from: Uuid, limit: usize) -> Option<String> {
        let mut waiting = self.lock();
        let mut message = Message::new(from, limit);
        waiting.heads.retain(|project, seq| !message.add_head(*project, *seq));
        while let Some(item) = waiting.whispers.pop_front() {
            if let Err(item) = message.add_whisper(item) {
                // One that fits into no message at all is dropped, or it would block the others for good.
                if !message.is_empty() {
                    waiting.whispers.push_front(item);
                    break;
                }
            }
        }
        if !waiting.heads.is_empty() || !waiting.whispers.is_empty() {
            self.wake.notify_one();
        }
        (!message.is_empty()).then(|| message.encode())
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
