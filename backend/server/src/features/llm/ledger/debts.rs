//! What could not be posted and must not be lost: it is tried again for as long as the process lives.
//!
//! Invariants: a settlement that fails is owed, and so is the end of a reservation of which nobody knows whether it was
//! written; while anything is owed, its reservation holds the money. Nothing is reserved while the database is away, so
//! that no more is owed than calls were under way when it left.

use super::{Answer, Entry, Settlement, Shared, lines::Lines, post};
use crate::db::{Author, Error};
use futures::future::join_all;
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio_util::task::TaskTracker;

/// Before the first new attempt; each further pause is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How long one attempt may take.
const PATIENCE: Duration = Duration::from_secs(40);

/// What a process owes to the books.
#[derive(Clone)]
pub(super) struct Debts {
    lines: Arc<Lines>,
    shared: Arc<Shared>,
    owed: Arc<Mutex<Owed>>,
    turns: TaskTracker,
}

#[derive(Default)]
struct Owed {
    settlements: Vec<Settlement>,
    /// Somebody is at it.
    at_work: bool,
}

impl Debts {
    pub(super) fn new(lines: Arc<Lines>, shared: Arc<Shared>) -> Self {
        Self { lines, shared, owed: Arc::default(), turns: TaskTracker::new() }
    }

    /// Takes a settlement over.
    pub(super) fn owe(&self, settlement: Settlement) {
        let begin = {
            let mut owed = self.lock();
            owed.settlements.push(settlement);
            !std::mem::replace(&mut owed.at_work, true)
        };
        if begin {
            let debts = self.clone();
            self.turns.spawn(async move { debts.pay().await });
        }
    }

    /// Waits until nothing is owed.
    pub(super) async fn paid(&self) {
        self.turns.close();
        self.turns.wait().await;
        self.turns.reopen();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Owed> {
        self.owed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tries again until nothing is owed.
    async fn pay(&self) {
        let mut pause = FIRST_PAUSE;
        loop {
            tokio::time::sleep(pause.mul_f64(rand::random_range(0.5..1.0))).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
            let settlements = std::mem::take(&mut self.lock().settlements);
            let count = settlements.len();
            let left: Vec<Settlement> = join_all(settlements.into_iter().map(|one| self.try_again(one)))
                .await
                .into_iter()
                .flatten()
                .collect();
            tracing::warn!(owed = left.len(), posted = count - left.len(), "model calls are settled late");
            let mut owed = self.lock();
            owed.settlements.extend(left);
            if owed.settlements.is_empty() {
                owed.at_work = false;
                return;
            }
        }
    }

    /// The settlement, where it is still owed.
    async fn try_again(&self, settlement: Settlement) -> Option<Settlement> {
        // Before it is over, nobody can say that there is nothing to end.
        if settlement.unsure && self.lines.is_flying(settlement.id) {
            return Some(settlement);
        }
        let asked = self.lines.ask(Entry::Settle(settlement.clone()));
        match tokio::time::timeout(PATIENCE, asked).await {
            Ok(Some(Answer::Settled(_))) => None,
            // The server will never take it as it is: it counts as what was set aside.
            Ok(Some(Answer::Failed(error))) if is_for_good(&error) => {
                tracing::error!(%error, usage = %settlement.id, "a settlement is refused: its worst case counts");
                self.give_back(&settlement).await.is_err().then_some(settlement)
            }
            _ => Some(settlement),
        }
    }

    async fn give_back(&self, settlement: &Settlement) -> Result<(), Error> {
        let mut uow = self.shared.store.begin(Author::system());
        post::give_back(&mut uow, settlement.project, post::Lost::One(settlement.id)).await?;
        uow.commit().await?;
        Ok(())
    }
}

/// Data that do not fit, and broken constraints: no later attempt ends otherwise.
pub(super) fn is_for_good(error: &Error) -> bool {
    let Error::Database(sqlx::Error::Database(error)) = error else { return false };
    error.code().is_some_and(|code| code.starts_with("22") || code.starts_with("23"))
}
