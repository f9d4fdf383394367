//! The books of model calls: every reservation and settlement of this process, posted in groups.
//!
//! Invariants: a reservation is on the disk before the call is sent, and a settlement before its answer is given out as
//! final; whoever comes while others are posted goes with the next group, so that many calls share one commit and nobody
//! waits for a group to fill. One transaction posts one project's entries. It holds the project's own budget still from the
//! first look to the commit (`book`), which makes what it reads of all budgets above its calls true until then.

mod alerts;
mod book;
mod holder;
mod outputs;
mod place;
mod post;
mod rows;

pub use book::lock as lock_books;
pub(super) use book::{Book, Counted};
pub use holder::{beat, spawn_beat};
pub use place::{Node, Place};
pub use post::{Lost, give_back};
pub use rows::{Attempt, Outcome};

use crate::db::{
    Error, Store,
    combine::{Combine, Combiner, Limits},
};
use futures::future::{BoxFuture, join_all};
use outputs::Outputs;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use syndarix_domain::{Timestamp, actor::Actor, budget::Amount, ids::ProjectId};
use syndarix_llm::Rates;
use tokio::sync::Notify;
use uuid::Uuid;

/// Two at a time: while one group waits for the disk, the next is on its way.
const POSTS: Limits = Limits { workers: 2, batch: 256, patience: Duration::from_secs(35) };
/// How soon whoever waits for others' reservations looks again, when another process may have freed them.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// Sets aside what an attempt may cost at most.
#[derive(Debug, Clone)]
pub struct Reservation {
    /// The usage row's id.
    pub id: Uuid,
    /// Whom it counts against.
    pub place: Place,
    /// What is going to be tried.
    pub attempt: Attempt,
    /// What tokens cost.
    pub rates: Rates,
    /// More tokens the prompt cannot have.
    pub max_input: u32,
    /// The answer limit that is wanted, in tokens.
    pub max_output: u32,
    /// The moment that it counts in.
    pub at: Timestamp,
}

/// Ends a reservation with what the attempt used.
#[derive(Debug, Clone)]
pub struct Settlement {
    /// The usage row's id.
    pub id: Uuid,
    /// Whose it is.
    pub project: ProjectId,
    /// In whose name it is told.
    pub actor: Actor,
    /// What came of it.
    pub outcome: Outcome,
    /// When it ended.
    pub at: Timestamp,
}

/// Why an attempt may not be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Only what other calls hold is in the way: most of it comes back when they settle.
    pub only_reserved: bool,
    /// Which budget, in words.
    pub reason: String,
    /// What the least useful call would cost, and the tokens it would use.
    pub needed: Amount,
}

enum Entry {
    Reserve(Reservation),
    Settle(Settlement),
}

enum Answer {
    Reserved(Result<u32, Refusal>),
    Settled(bool),
    Failed(Error),
}

impl Combine for Entry {
    type Answer = Answer;

    fn alone_on(&self) -> Vec<Uuid> {
        Vec::new()
    }
}

impl Entry {
    fn project(&self) -> ProjectId {
        match self {
            Self::Reserve(reservation) => reservation.place.project,
            Self::Settle(settlement) => settlement.project,
        }
    }
}

/// The books, as one process keeps them.
pub struct Ledger {
    entries: Combiner<Entry>,
    shared: Arc<Shared>,
}

/// What all posts of a process share.
struct Shared {
    store: Store,
    /// This process, on every reservation.
    instance: Uuid,
    outputs: Outputs,
    soft: place::Reached,
    /// Something was settled.
    freed: Notify,
}

impl Ledger {
    /// The books of this process.
    pub fn new(store: Store, instance: Uuid) -> Self {
        let shared = Arc::new(Shared {
            store,
            instance,
            outputs: Outputs::default(),
            soft: place::Reached::default(),
            freed: Notify::new(),
        });
        let posting = Arc::clone(&shared);
        let entries = Combiner::new(POSTS, move |entries| {
            let shared = Arc::clone(&posting);
            Box::pin(async move { by_project(shared, entries).await })
        });
        Self { entries, shared }
    }

    /// Sets aside what the attempt may cost and records it. The answer limit that is granted may be lower than the one that
    /// is wanted, when money is short. Where only other calls' reservations are in the way, they are waited for.
    pub async fn reserve(
        &self,
        reservation: &Reservation,
        patience: Duration,
    ) -> Result<Result<u32, Refusal>, Error> {
        let deadline = tokio::time::Instant::now() + patience;
        loop {
            let freed = self.shared.freed.notified();
            let answer = match self.ask(Entry::Reserve(reservation.clone())).await? {
                Answer::Reserved(answer) => answer,
                Answer::Failed(error) => return Err(error),
                Answer::Settled(_) => return Err(unanswered()),
            };
            let waits = matches!(&answer, Err(refusal) if refusal.only_reserved);
            let left = deadline.saturating_duration_since(tokio::time::Instant::now());
            if !waits || left.is_zero() {
                return Ok(answer);
            }
            tokio::select! {
                () = freed => {}
                () = tokio::time::sleep(LOOK_AGAIN.min(left)) => {}
            }
        }
    }

    /// Ends a reservation. `false`: it had been ended already, by whoever thought that its process had died.
    pub async fn settle(&self, settlement: Settlement) -> Result<bool, Error> {
        match self.ask(Entry::Settle(settlement)).await? {
            Answer::Settled(settled) => Ok(settled),
            Answer::Failed(error) => Err(error),
            Answer::Reserved(_) => Err(unanswered()),
        }
    }

    /// Whether a budget above the call has reached its soft limit, as far as this process has seen.
    pub fn is_soft_reached(&self, place: &Place) -> bool {
        self.shared.soft.contains(place, self.shared.store.clock().now())
    }

    async fn ask(&self, entry: Entry) -> Result<Answer, Error> {
        self.entries.ask(entry).await.ok_or_else(unanswered)
    }
}

fn unanswered() -> Error {
    Error::Database(sqlx::Error::Protocol("the books were not answered for: the database was away".into()))
}

/// Posts each project's entries by themselves, side by side; the answers come in the order of the entries.
async fn by_project(shared: Arc<Shared>, entries: Vec<Entry>) -> Vec<Answer> {
    let count = entries.len();
    let mut projects: BTreeMap<ProjectId, (Vec<usize>, Vec<Entry>)> = BTreeMap::new();
    for (place, entry) in entries.into_iter().enumerate() {
        let (places, of_project) = projects.entry(entry.project()).or_default();
        places.push(place);
        of_project.push(entry);
    }
    let posted = projects.into_iter().map(|(project, (places, entries))| {
        let shared = Arc::clone(&shared);
        async move { (places, together(&shared, project, &entries).await) }
    });
    let mut answers: Vec<Option<Answer>> = (0..count).map(|_| None).collect();
    for (places, of_project) in join_all(posted).await {
        for (place, answer) in places.into_iter().zip(of_project) {
            answers[place] = Some(answer);
        }
    }
    answers.into_iter().map(|answer| answer.unwrap_or_else(|| Answer::Failed(unanswered()))).collect()
}

/// Posts entries in one transaction. Where the server refuses that, each is tried by itself: one fails nobody else.
fn together<'a>(shared: &'a Shared, project: ProjectId, entries: &'a [Entry]) -> BoxFuture<'a, Vec<Answer>> {
    Box::pin(async move {
        let begun = std::time::Instant::now();
        let posted = post::post(shared, project, entries).await;
        metrics::histogram!("syndarix_ledger_post_seconds").record(begun.elapsed());
        metrics::histogram!("syndarix_ledger_batch_size")
            .record(f64::from(u32::try_from(entries.len()).unwrap_or(u32::MAX)));
        match posted {
            Ok(answers) => answers,
            Err(error) if entries.len() > 1 && is_refused(&error) => {
                let mut answers = Vec::with_capacity(entries.len());
                for entry in entries {
                    answers.extend(together(shared, project, std::slice::from_ref(entry)).await);
                }
                answers
            }
            Err(error) => {
                let others = (1..entries.len()).map(|_| Answer::Failed(error.again())).collect::<Vec<_>>();
                std::iter::once(Answer::Failed(error)).chain(others).collect()
            }
        }
    })
}

/// The server said no, and nothing was written. After a lost line nobody knows that.
fn is_refused(error: &Error) -> bool {
    match error {
        Error::Database(error) => error.as_database_error().is_some(),
        Error::Conflict => true,
        _ => false,
    }
}
