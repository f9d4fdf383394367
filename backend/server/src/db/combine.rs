//! What many callers ask for at the same time, asked in one go.
//!
//! Nobody waits for a batch to fill: whoever finds a free worker is served at once, alone; whoever comes while all are
//! busy waits for the next turn, together with all others who came meanwhile. So a quiet system has the latency of one
//! round trip, and a busy one shares each round trip among many, with no setting that says which it is.
//!
//! The work goes on when its caller goes away: what was begun for many is never cut short by one.

use futures::future::BoxFuture;
use std::{
    collections::{HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

/// What can be asked for together with others of its kind.
pub(crate) trait Combine: Send + 'static {
    /// What comes of it.
    type Answer: Send + 'static;

    /// What it needs for itself: two that name the same are never in one batch.
    fn alone_on(&self) -> Vec<Uuid>;

    /// Whether it is not to be begun once its caller has gone away.
    fn needs_its_caller(&self) -> bool {
        false
    }
}

/// Does a batch; the answers come in the order of the items.
type Work<I> = dyn Fn(Vec<I>) -> BoxFuture<'static, Vec<<I as Combine>::Answer>> + Send + Sync;

/// Combines the items of many callers.
pub(crate) struct Combiner<I: Combine> {
    inner: Arc<Inner<I>>,
}

impl<I: Combine> Clone for Combiner<I> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

struct Inner<I: Combine> {
    work: Box<Work<I>>,
    limits: Limits,
    queue: Mutex<Queue<I>>,
    turns: TaskTracker,
}

/// How much a combiner does at once.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    /// Batches at the same time.
    pub(crate) workers: usize,
    /// Items of one batch.
    pub(crate) batch: usize,
    /// A batch that takes longer is given up: behind a line that is dead without a word, everybody would wait for ever.
    pub(crate) patience: Duration,
}

struct Queue<I: Combine> {
    waiting: VecDeque<Waiting<I>>,
    at_work: usize,
}

struct Waiting<I: Combine> {
    item: I,
    answer: oneshot::Sender<I::Answer>,
}

impl<I: Combine> Combiner<I> {
    pub(crate) fn new<F>(limits: Limits, work: F) -> Self
    where
        F: Fn(Vec<I>) -> BoxFuture<'static, Vec<I::Answer>> + Send + Sync + 'static,
    {
        let queue = Mutex::new(Queue { waiting: VecDeque::new(), at_work: 0 });
        Self { inner: Arc::new(Inner { work: Box::new(work), limits, queue, turns: TaskTracker::new() }) }
    }

    /// Whether nobody waits for anything.
    pub(crate) fn is_idle(&self) -> bool {
        let queue = self.inner.queue();
        queue.at_work == 0 && queue.waiting.is_empty()
    }

    /// Asks for one item. `None`: the work broke down or took too long, and nobody knows what became of it.
    pub(crate) async fn ask(&self, item: I) -> Option<I::Answer> {
        let (answer, answered) = oneshot::channel();
        let begin = {
            let mut queue = self.inner.queue();
            queue.waiting.push_back(Waiting { item, answer });
            let free = queue.at_work < self.inner.limits.workers;
            queue.at_work += usize::from(free);
            free
        };
        if begin {
            self.inner.turns.spawn(Turn { inner: Arc::clone(&self.inner), over: false }.go_on());
        }
        answered.await.ok()
    }
}

impl<I: Combine> Inner<I> {
    fn queue(&self) -> MutexGuard<'_, Queue<I>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the next batch is made of, and nothing when there is none: then the worker is free from this moment on.
    fn next(&self) -> Vec<Waiting<I>> {
        let mut queue = self.queue();
        queue.waiting.retain(|waiting| !waiting.item.needs_its_caller() || !waiting.answer.is_closed());
        let batch = queue.take(self.limits.batch);
        queue.at_work -= usize::from(batch.is_empty());
        batch
    }
}

impl<I: Combine> Queue<I> {
    /// The longest waiting; whoever is in the way of another stays at the head of the queue.
    fn take(&mut self, limit: usize) -> Vec<Waiting<I>> {
        let mut taken = Vec::with_capacity(limit.min(self.waiting.len()));
        let (mut used, mut left) = (HashSet::new(), VecDeque::new());
        while taken.len() < limit
            && let Some(next) = self.waiting.pop_front()
        {
            let wants = next.item.alone_on();
            if wants.iter().any(|id| used.contains(id)) {
                left.push_back(next);
            } else {
                taken.push(next);
            }
            // Those who stay keep others from overtaking them.
            used.extend(wants);
        }
        while let Some(back) = left.pop_back() {
            self.waiting.push_front(back);
        }
        taken
    }
}

/// One worker's turn: batch after batch until nobody waits.
struct Turn<I: Combine> {
    inner: Arc<Inner<I>>,
    over: bool,
}

impl<I: Combine> Turn<I> {
    async fn go_on(mut self) {
        loop {
            let batch = self.inner.next();
            if batch.is_empty() {
                self.over = true;
                return;
            }
            let (items, answers): (Vec<_>, Vec<_>) =
                batch.into_iter().map(|waiting| (waiting.item, waiting.answer)).unzip();
            let work = (self.inner.work)(items);
            let Ok(done) = tokio::time::timeout(self.inner.limits.patience, work).await else {
                tracing::error!(items = answers.len(), "the database does not answer: a batch is given up");
                continue;
            };
            for (answer, what) in answers.into_iter().zip(done) {
                // Whoever went away has no use for it.
                let _ = answer.send(what);
            }
        }
    }
}

/// A turn that ends in a panic gives its place back all the same.
impl<I: Combine> Drop for Turn<I> {
    fn drop(&mut self) {
        if !self.over {
            self.inner.queue().at_work -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    struct Asked(u32, Vec<Uuid>);

    impl Combine for Asked {
        fn needs_its_caller(&self) -> bool {
            self.0 == 97
        }

        type Answer = (u32, usize);

        fn alone_on(&self) -> Vec<Uuid> {
            self.1.clone()
        }
    }

    const LIMITS: Limits = Limits { workers: 1, batch: 4, patience: Duration::from_millis(500) };

    /// Answers each with its number and the size of its batch; number 99 breaks it, number 98 never ends, and number 97 is
    /// worth nothing without its caller.
    fn slow() -> Combiner<Asked> {
        counting(&Arc::default())
    }

    /// The same; counts the batches that have begun.
    fn counting(begun: &Arc<AtomicUsize>) -> Combiner<Asked> {
        let begun = Arc::clone(begun);
        Combiner::new(LIMITS, move |items: Vec<Asked>| {
            begun.fetch_add(1, Ordering::SeqCst);
            Box::pin(async move {
                tokio::time::sleep(Duration::from_millis(50)).await;
                assert!(items.iter().all(|item| item.0 != 99), "broken on purpose");
                if items.iter().any(|item| item.0 == 98) {
                    std::future::pending::<()>().await;
                }
                let size = items.len();
                items.into_iter().map(|item| (item.0, size)).collect()
            })
        })
    }

    /// The answers to number 0, and to those who come while it is worked on.
    async fn all(asked: Vec<Asked>) -> Vec<Option<(u32, usize)>> {
        let begun = Arc::default();
        let combiner = counting(&begun);
        let rest = async {
            while begun.load(Ordering::SeqCst) == 0 {
                tokio::task::yield_now().await;
            }
            futures::future::join_all(asked.into_iter().map(|item| combiner.ask(item))).await
        };
        let (first, mut rest) = futures::join!(combiner.ask(Asked(0, Vec::new())), rest);
        rest.insert(0, first);
        rest
    }

    #[tokio::test]
    async fn the_first_is_served_alone_and_those_who_come_meanwhile_together() {
        let answers = all((1..=6).map(|n| Asked(n, Vec::new())).collect()).await;
        let expected = [(0, 1), (1, 4), (2, 4), (3, 4), (4, 4), (5, 2), (6, 2)];
        assert_eq!(answers, expected.map(Some));
    }

    #[tokio::test]
    async fn two_that_want_the_same_are_never_in_one_batch_and_keep_their_order() {
        let (a, b) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let asked = vec![Asked(1, vec![a]), Asked(2, vec![a, b]), Asked(3, vec![b]), Asked(4, vec![])];
        let answers = all(asked).await;
        assert_eq!(answers, [(0, 1), (1, 2), (2, 1), (3, 1), (4, 2)].map(Some));
    }

    #[tokio::test]
    async fn work_that_breaks_down_leaves_the_next_ones_their_turn() {
        let combiner = slow();
        assert_eq!(combiner.ask(Asked(99, Vec::new())).await, None);
        assert_eq!(combiner.ask(Asked(1, Vec::new())).await, Some((1, 1)));
    }

    #[tokio::test]
    async fn work_that_never_ends_is_given_up_and_leaves_the_next_ones_their_turn() {
        let combiner = slow();
        assert_eq!(combiner.ask(Asked(98, Vec::new())).await, None);
        assert_eq!(combiner.ask(Asked(1, Vec::new())).await, Some((1, 1)));
    }

    #[tokio::test]
    async fn work_goes_on_when_its_caller_goes_away() {
        let combiner = slow();
        let gone = tokio::time::timeout(Duration::from_millis(1), combiner.ask(Asked(1, Vec::new())));
        assert!(gone.await.is_err());
        assert_eq!(combiner.ask(Asked(2, Vec::new())).await, Some((2, 1)));
    }

    #[tokio::test]
    async fn what_is_worth_nothing_without_its_caller_is_not_begun_once_that_has_gone() {
        let begun = Arc::default();
        let combiner = counting(&begun);
        let gone = async {
            while begun.load(Ordering::SeqCst) == 0 {
                tokio::task::yield_now().await;
            }
            tokio::time::timeout(Duration::from_millis(1), combiner.ask(Asked(97, Vec::new()))).await.is_err()
        };
        let (first, gone) = futures::join!(combiner.ask(Asked(0, Vec::new())), gone);
        assert!(first.is_some() && gone);
        assert_eq!(combiner.ask(Asked(1, Vec::new())).await, Some((1, 1)));
        assert_eq!(begun.load(Ordering::SeqCst), 2);
        assert!(combiner.is_idle());
    }
}
