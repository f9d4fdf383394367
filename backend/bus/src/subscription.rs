//! One listener's way through a project's log: subscribe, read up to the present, then go on live.

use crate::{
    Committed, Cursor, Ephemeral, Hub, Log, LogError,
    channel::{Channel, Live},
};
use std::{collections::VecDeque, sync::Arc};
use syndarix_domain::ids::ProjectId;
use tokio::sync::broadcast::{self, error::RecvError};

/// Events that one read of the log brings.
const PAGE: i64 = 128;

/// What a subscription gives.
#[derive(Debug, Clone)]
pub enum Item {
    /// The next event.
    Event(Arc<Committed>),
    /// Something that is not kept.
    Ephemeral(Arc<Ephemeral>),
    /// The cursor is no place in this log, or the log began a new life: load everything again. Events go on after
    /// this cursor.
    Reset(Cursor),
}

/// A place in the queue of live events, taken before the log is read, so that nothing falls between the two.
#[derive(Debug)]
pub struct Listener {
    hub: Hub,
    project: ProjectId,
    channel: Arc<Channel>,
    /// None only while it is being dropped.
    live: Option<broadcast::Receiver<Live>>,
}

impl Hub {
    /// Begins to listen to a project.
    pub fn listen(&self, project: ProjectId) -> Listener {
        let (channel, live) = self.join(project);
        metrics::gauge!("syndarix_bus_listeners").increment(1.0);
        Listener { hub: self.clone(), project, channel, live: Some(live) }
    }

    /// Listens to a project from a cursor on; from now on without one.
    pub async fn subscribe(
        &self,
        log: &Log,
        project: ProjectId,
        from: Option<Cursor>,
    ) -> Result<Subscription, LogError> {
        let listener = self.listen(project);
        let end = log.head(project).await?;
        Ok(listener.start(log, end, from))
    }
}

impl Listener {
    /// The project it listens to.
    pub fn project(&self) -> ProjectId {
        self.project
    }

    /// Goes on from a cursor, given the log's end as it was read after listening began.
    pub fn start(self, log: &Log, end: Cursor, from: Option<Cursor>) -> Subscription {
        self.channel.settle(end);
        let from = from.unwrap_or(end);
        let possible = from.epoch == end.epoch && from.seq <= end.seq;
        let at = if possible { from } else { end };
        if !possible {
            metrics::counter!("syndarix_bus_resets_total").increment(1);
        }
        Subscription {
            listener: self,
            log: log.clone(),
            at,
            reading: at.seq < end.seq,
            page: VecDeque::new(),
            reset: !possible,
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // The receiver goes first: the hub counts those that are left.
        drop(self.live.take());
        self.hub.leave(self.project);
        metrics::gauge!("syndarix_bus_listeners").decrement(1.0);
    }
}

/// The events of one project from a cursor on, without a gap and without a repeat.
#[derive(Debug)]
pub struct Subscription {
    listener: Listener,
    log: Log,
    at: Cursor,
    /// Events are read from the log, because the live ones begin later.
    reading: bool,
    page: VecDeque<Arc<Committed>>,
    reset: bool,
}

impl Subscription {
    /// The project.
    pub fn project(&self) -> ProjectId {
        self.listener.project
    }

    /// The last event that was given.
    pub fn cursor(&self) -> Cursor {
        self.at
    }

    /// The next item. Waits for as long as there is none. May be dropped while it waits; nothing is lost then.
    pub async fn next(&mut self) -> Result<Item, LogError> {
        if self.reset {
            self.reset = false;
            return Ok(Item::Reset(self.at));
        }
        loop {
            if let Some(event) = self.page.pop_front() {
                self.at.seq = event.event.seq;
                return Ok(Item::Event(event));
            }
            if self.reading {
                let page = self.log.after(self.listener.project, self.at.seq, PAGE).await?;
                self.reading = i64::try_from(page.len()).unwrap_or(PAGE) == PAGE;
                self.page.extend(page.into_iter().map(Committed::new));
                continue;
            }
            if let Some(item) = self.live().await {
                return Ok(item);
            }
        }
    }

    /// The next live item, if it is one for this listener.
    async fn live(&mut self) -> Option<Item> {
        match self.listener.live.as_mut()?.recv().await {
            Ok(Live::Event(event)) if event.event.seq == self.at.seq + 1 => {
                self.at.seq += 1;
                Some(Item::Event(event))
            }
            Ok(Live::Event(event)) => {
                self.reading = event.event.seq > self.at.seq;
                None
            }
            // One that was said before an event that this listener has seen already is about the past.
            Ok(Live::Ephemeral(item)) => (item.after >= self.at.seq).then_some(Item::Ephemeral(item)),
            Ok(Live::Moved(end)) => {
                let known = end.epoch <= self.at.epoch;
                if known {
                    return None;
                }
                self.at = end;
                metrics::counter!("syndarix_bus_resets_total").increment(1);
                Some(Item::Reset(end))
            }
            Err(RecvError::Lagged(missed)) => {
                metrics::counter!("syndarix_bus_lagged_total").increment(missed);
                self.reading = true;
                None
            }
            // The channel outlives its listeners, because each of them holds it.
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}
