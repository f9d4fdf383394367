//! One project's live events in this process: hints come in any order, listeners hear them in order.

use crate::Cursor;
use serde_json::Value;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use syndarix_domain::{envelope::Envelope, ids::ProjectId};
use tokio::sync::broadcast;

/// Live items kept for a slow listener; one that falls further behind is sent back to the log.
const RING: usize = 512;
/// Events kept because an earlier one has not been heard of yet; beyond that the log has them.
const EARLY: usize = 256;

/// A committed event with its JSON, encoded once for all listeners.
#[derive(Debug)]
pub struct Committed {
    /// The event.
    pub event: Envelope,
    /// The event as JSON.
    pub json: String,
}

impl Committed {
    pub(crate) fn new(event: Envelope) -> Arc<Self> {
        // An envelope holds nothing that JSON cannot say.
        let json = serde_json::to_string(&event).unwrap_or_default();
        Arc::new(Self { event, json })
    }
}

/// Something that is not kept: tokens as they come, somebody typing.
#[derive(Debug)]
pub struct Ephemeral {
    /// Where.
    pub project: ProjectId,
    /// Its type: `run.delta`.
    pub kind: String,
    /// Its payload.
    pub data: Value,
    /// The last event before it: a listener that has seen a later one is past it.
    pub(crate) after: i64,
}

/// What listeners hear.
#[derive(Debug, Clone)]
pub(crate) enum Live {
    Event(Arc<Committed>),
    Ephemeral(Arc<Ephemeral>),
    /// The log began a new life; this is its end.
    Moved(Cursor),
}

/// Orders one project's hints and tells its listeners.
#[derive(Debug)]
pub(crate) struct Channel {
    ring: broadcast::Sender<Live>,
    order: Mutex<Order>,
}

#[derive(Debug, Default)]
struct Order {
    /// The last event that was told; none until the log's end was read once.
    told: Option<Cursor>,
    /// Events that came before one of their predecessors.
    early: BTreeMap<i64, Arc<Committed>>,
    /// The highest number heard of.
    heard: i64,
}

impl Channel {
    pub(crate) fn new() -> Self {
        Self { ring: broadcast::Sender::new(RING), order: Mutex::default() }
    }

    pub(crate) fn listen(&self) -> broadcast::Receiver<Live> {
        self.ring.subscribe()
    }

    pub(crate) fn listeners(&self) -> usize {
        self.ring.receiver_count()
    }

    /// Tells what comes next and keeps what is early. True: one in between is missing.
    pub(crate) fn offer(&self, events: impl IntoIterator<Item = Arc<Committed>>) -> bool {
        let mut order = self.lock();
        for event in events {
            order.heard = order.heard.max(event.event.seq);
            order.early.insert(event.event.seq, event);
            self.tell(&mut order);
            if order.early.len() > EARLY {
                order.early.clear();
            }
        }
        order.told.is_some_and(|told| order.heard > told.seq)
    }

    /// Tells everything that follows on what was told.
    fn tell(&self, order: &mut Order) {
        let Some(mut told) = order.told else { return };
        while let Some(first) = order.early.first_entry() {
            if *first.key() > told.seq + 1 {
                break;
            }
            let (seq, event) = first.remove_entry();
            if seq == told.seq + 1 {
                told.seq = seq;
                // Nobody listening is not an error.
                let _ = self.ring.send(Live::Event(event));
            }
        }
        order.told = Some(told);
    }

    pub(crate) fn whisper(&self, mut item: Ephemeral) {
        let order = self.lock();
        item.after = order.told.map_or(0, |told| told.seq);
        let _ = self.ring.send(Live::Ephemeral(Arc::new(item)));
    }

    /// Takes note of another instance's word that the log has grown to `seq`. True: something is missing here.
    pub(crate) fn heard(&self, seq: i64) -> bool {
        let mut order = self.lock();
        order.heard = order.heard.max(seq);
        order.told.is_some_and(|told| order.heard > told.seq)
    }

    /// Takes note of the log's end, as somebody has just read it. It may be older than what was told since.
    pub(crate) fn settle(&self, end: Cursor) {
        let mut order = self.lock();
        match order.told {
            Some(told) if told.epoch >= end.epoch => order.heard = order.heard.max(end.seq),
            Some(_) => {
                *order = Order { told: Some(end), early: BTreeMap::new(), heard: end.seq };
                let _ = self.ring.send(Live::Moved(end));
            }
            None => {
                order.told = Some(end);
                order.heard = order.heard.max(end.seq);
                self.tell(&mut order);
            }
        }
    }

    /// The last event told, if later ones are known to exist.
    pub(crate) fn behind(&self) -> Option<i64> {
        let order = self.lock();
        order.told.filter(|told| order.heard > told.seq).map(|told| told.seq)
    }

    /// The log was read and ends at `seq`: whoever spoke of more was wrong.
    pub(crate) fn ends(&self, seq: i64) {
        let mut order = self.lock();
        if order.told.is_some_and(|told| told.seq == seq) && order.early.is_empty() {
            order.heard = seq;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Order> {
        self.order.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
