//! Answers that a provider holds back, and how many requests it has at the same time.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::sync::oneshot;

/// Between two answers that are let go: so that those of calls that come after the first are among the next to choose from.
const PACE: Duration = Duration::from_millis(1);

/// When a request is answered among those that wait: by its call's turn, then as it came.
type Turn = (u64, usize);

/// Open, unless it is held.
#[derive(Debug, Default)]
pub(crate) struct Gate(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    is_held: bool,
    by_turn: BTreeMap<Turn, oneshot::Sender<()>>,
}

impl Gate {
    /// From now on answers wait until they are let go.
    pub(crate) fn hold(&self) {
        self.lock().is_held = true;
    }

    /// Waits until the answer may be given.
    pub(crate) async fn pass(&self, turn: Turn) {
        let let_go = {
            let mut waiting = self.lock();
            if !waiting.is_held {
                return;
            }
            let (leave, let_go) = oneshot::channel();
            waiting.by_turn.insert(turn, leave);
            let_go
        };
        // Without a word: it was opened.
        let _leave = let_go.await;
    }

    /// Lets so many answers go, one after the other: each time that of whose turn is first among those who wait then.
    pub(crate) async fn let_go(&self, answers: usize) {
        let mut gone = 0;
        while gone < answers {
            gone += usize::from(self.let_one_go());
            tokio::time::sleep(PACE).await;
        }
    }

    /// Lets everybody go, one after the other, and holds nobody from then on.
    pub(crate) async fn open(&self) {
        while self.let_one_go() {
            tokio::time::sleep(PACE).await;
        }
        *self.lock() = Waiting::default();
    }

    /// Lets one answer go; whoever went away meanwhile has no turn. False: nobody waits.
    fn let_one_go(&self) -> bool {
        let mut waiting = self.lock();
        while let Some((_, leave)) = waiting.by_turn.pop_first() {
            if leave.send(()).is_ok() {
                return true;
            }
        }
        false
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many are there at the same time.
#[derive(Debug, Default)]
pub(crate) struct Crowd {
    now: AtomicUsize,
    most: AtomicUsize,
}

/// One of them, until it is dropped.
#[derive(Debug)]
pub(crate) struct Present(Arc<Crowd>);

impl Crowd {
    /// One more.
    pub(crate) fn enter(self: &Arc<Self>) -> Present {
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        Present(Arc::clone(self))
    }

    /// How many there were at the same time at the most.
    pub(crate) fn most(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::SeqCst);
    }
}
