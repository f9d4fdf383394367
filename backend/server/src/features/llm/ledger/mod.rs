//! The books of model calls: every reservation and settlement of this process, posted in groups.
//!
//! Invariants: a reservation is on the disk before the call is sent, and a settlement before its answer is given out as
//! final, unless durability is relaxed, when both follow within a tenth of a second (`leases`); one that cannot be written is
//! owed and written later (`debts`); whoever comes while others are posted goes with the next group, so that many calls share
//! one commit and nobody waits for a group to fill, nor for other projects (`lines`). One transaction posts one project's
//! entries. It holds the project's own budget still from the first look to the commit (`book`), which makes what it reads of
//! all budgets above its calls true until then.

mod alerts;
mod book;
mod debts;
mod demand;
mod draws;
mod ends;
mod holder;
mod leases;
mod lines;
mod outputs;
mod place;
mod pool;
mod post;
mod rows;
mod skips;

pub use book::lock as lock_books;
pub(super) use book::{Book, Counted};
pub use holder::{beat, spawn_beat};
pub use place::{Node, Place};
pub use post::{Lost, give_back};
pub use rows::{Attempt, Failed, Outcome};
pub use skips::{PassedOver, forget_passed_over};

use crate::{
    config::Durability,
    db::{Error, Store},
};
use debts::Debts;
use draws::{Draw, Landed};
use futures::future::BoxFuture;
use leases::Leases;
use lines::Lines;
use outputs::Outputs;
use skips::Skips;
use std::{sync::Arc, time::Duration};
use syndarix_domain::{Timestamp, actor::Actor, budget::Amount, ids::ProjectId};
use syndarix_llm::{Rates, Usage};
use tokio::{sync::Notify, time::Instant};
use uuid::Uuid;

/// How long a call waits for the books; then it is told that they are away, and what it may have written is taken back.
const ANSWERED_WITHIN: Duration = Duration::from_secs(10);
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
    /// What tokens cost at most.
    pub rates: Rates,
    /// More tokens the prompt cannot have.
    pub max_input: u32,
    /// The answer limit that is wanted, in tokens.
    pub max_output: u32,
    /// How many answers are asked for; each may be that long.
    pub choices: u32,
    /// The moment that it counts in.
    pub at: Timestamp,
    /// It can go to a cheaper group: where a budget above it has reached its soft limit, it is refused for that.
    pub yields: bool,
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
    /// Nobody knows whether its reservation was written: whoever may still be writing it is waited for.
    pub unsure: bool,
}

/// Why an attempt may not be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Only what other calls hold is in the way: most of it comes back when they settle.
    pub only_reserved: bool,
    /// Whose budget it is.
    pub node: Node,
    /// Which budget, in words.
    pub reason: String,
    /// What the least useful call would cost, and the tokens it would use.
    pub needed: Amount,
    /// It may be made, by a cheaper group: a soft limit is reached, no hard one.
    pub yields: bool,
}

enum Entry {
    Reserve(Reservation),
    Settle(Settlement),
    Draw(Arc<Draw>),
}

enum Answer {
    Reserved(Result<u32, Refusal>),
    Settled(bool),
    Drawn(Landed),
    Failed(Error),
}

impl Entry {
    fn reservation(&self) -> Option<Uuid> {
        match self {
            Self::Reserve(reservation) => Some(reservation.id),
            Self::Settle(_) | Self::Draw(_) => None,
        }
    }

    fn project(&self) -> ProjectId {
        match self {
            Self::Reserve(reservation) => reservation.place.project,
            Self::Settle(settlement) => settlement.project,
            Self::Draw(draw) => draw.place.project,
        }
    }
}

/// The books, as one process keeps them.
pub struct Ledger {
    lines: Arc<Lines>,
    debts: Debts,
    /// Where durability is relaxed.
    leases: Option<Arc<Leases>>,
    skips: Skips,
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
    pub fn new(store: Store, instance: Uuid, durability: Durability) -> Self {
        let skips = Skips::new(store.pool().clone());
        let shared = Arc::new(Shared {
            store,
            instance,
            outputs: Outputs::default(),
            soft: place::Reached::default(),
            freed: Notify::new(),
        });
        let lines = Arc::new(Lines::new(Arc::clone(&shared)));
        let debts = Debts::new(Arc::clone(&lines), Arc::clone(&shared));
        let leases = (durability == Durability::Relaxed)
            .then(|| Leases::new(Arc::clone(&lines), Arc::clone(&shared), debts.clone()));
        Self { lines, debts, leases, skips, shared }
    }

    /// Sets aside what the attempt may cost and records it. The answer limit that is granted may be lower than the one that
    /// is wanted, when money is short. Where only other calls' reservations are in the way, they are waited for.
    pub async fn reserve(
        &self,
        reservation: &Reservation,
        patience: Duration,
    ) -> Result<Result<u32, Refusal>, Error> {
        let deadline = Instant::now() + patience;
        if let Some(leases) = &self.leases
            && leases.draw(reservation).await
        {
            return Ok(Ok(reservation.max_output));
        }
        loop {
            let freed = self.shared.freed.notified();
            let answer = self.try_reserve(reservation).await?;
            let waits = matches!(&answer, Err(refusal) if refusal.only_reserved);
            if let (Err(refusal), Some(leases)) = (&answer, &self.leases)
                && waits
            {
                leases.yield_to_others(refusal.node);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if !waits || left.is_zero() {
                return Ok(answer);
            }
            tokio::select! {
                () = freed => {}
                () = tokio::time::sleep(LOOK_AGAIN.min(left)) => {}
            }
        }
    }

    async fn try_reserve(&self, reservation: &Reservation) -> Result<Result<u32, Refusal>, Error> {
        let owed = Owed::new(&self.debts, || reservation.unsent(self.shared.store.clock().now()));
        match self.ask(Entry::Reserve(reservation.clone())).await {
            Ok(Answer::Reserved(answer)) => {
                owed.clear();
                Ok(answer)
            }
            Ok(Answer::Failed(error)) if is_refused(&error) => {
                owed.clear();
                Err(error)
            }
            Ok(Answer::Failed(error)) | Err(error) => Err(error),
            Ok(Answer::Settled(_) | Answer::Drawn(_)) => Err(unanswered()),
        }
    }

    /// Ends a reservation. `false`: it had been ended already, by whoever thought that its process had died. Where it cannot
    /// be written it is owed, and written later.
    pub async fn settle(&self, settlement: Settlement) -> Result<bool, Error> {
        if let Some(pool) = self.leases.as_ref().and_then(|leases| leases.settle(&settlement)) {
            let in_time = tokio::time::timeout(ANSWERED_WITHIN, Leases::in_time(&pool)).await;
            return in_time.map(|()| true).map_err(|_late| unanswered());
        }
        let owed = Owed::new(&self.debts, || settlement.clone());
        match self.ask(Entry::Settle(settlement.clone())).await? {
            Answer::Settled(settled) => {
                owed.clear();
                Ok(settled)
            }
            Answer::Failed(error) => Err(error),
            Answer::Reserved(_) | Answer::Drawn(_) => Err(unanswered()),
        }
    }

    /// Takes over the end of a reservation whose call went away without it: it is written in a moment.
    pub fn owe(&self, settlement: Settlement) {
        // What was granted from memory may have no row yet: its end goes with it.
        let granted_here = self.leases.as_ref().and_then(|leases| leases.settle(&settlement));
        if granted_here.is_none() {
            self.debts.owe(settlement);
        }
    }

    /// Records whom a call passed over. No money hangs on it, so that nobody need wait.
    pub async fn passed_over(&self, call: PassedOver) {
        self.skips.record(call).await;
    }

    /// Waits until nothing is owed to the books.
    pub async fn close(&self) {
        if let Some(leases) = &self.leases {
            leases.close().await;
        }
        self.debts.paid().await;
    }

    /// Whether a budget above the call has reached its soft limit, as far as this process has seen. What it has not seen, the
    /// answer to a reservation that yields says.
    pub fn is_soft_reached(&self, place: &Place) -> bool {
        self.shared.soft.contains(place, self.shared.store.clock().now())
    }

    async fn ask(&self, entry: Entry) -> Result<Answer, Error> {
        let answer = tokio::time::timeout(ANSWERED_WITHIN, self.lines.ask(entry)).await;
        answer.ok().flatten().ok_or_else(unanswered)
    }
}

/// Unless it is known to be posted, a settlement is owed: also where whoever asked goes away meanwhile.
struct Owed<'a, F: FnMut() -> Settlement> {
    debts: Option<&'a Debts>,
    settlement: F,
}

impl<'a, F: FnMut() -> Settlement> Owed<'a, F> {
    fn new(debts: &'a Debts, settlement: F) -> Self {
        Self { debts: Some(debts), settlement }
    }

    fn clear(mut self) {
        self.debts = None;
    }
}

impl<F: FnMut() -> Settlement> Drop for Owed<'_, F> {
    fn drop(&mut self) {
        if let Some(debts) = self.debts {
            debts.owe((self.settlement)());
        }
    }
}

impl Reservation {
    /// The most that it may use with answers of so many tokens.
    fn worst_case(&self, output: u32) -> Amount {
        let output = output.saturating_mul(self.choices);
        let tokens = i64::from(self.max_input) + i64::from(output);
        Amount::new(self.rates.worst_case(self.max_input, output), tokens)
    }

    /// Its end, where nothing was sent.
    fn unsent(&self, at: Timestamp) -> Settlement {
        let message = "nothing was sent: the answer of the books was waited for no longer";
        let settlement = self.ended(at, Failed { kind: rows::CANCELLED, message: message.into() });
        Settlement { unsure: true, ..settlement }
    }

    /// Its end, where its call went away at the provider, this answer limit having been granted: nobody knows what it cost,
    /// so that all that was set aside counts.
    pub(super) fn dropped(&self, granted: u32, at: Timestamp) -> Settlement {
        let message = "the call was dropped before its end: what it may have cost at most counts";
        let mut settlement = self.ended(at, Failed { kind: rows::CANCELLED, message: message.into() });
        let output = granted.saturating_mul(self.choices);
        settlement.outcome.usage =
            Usage { input: self.max_input, output, estimated: true, ..Usage::default() };
        settlement.outcome.cost = self.rates.worst_case(self.max_input, output);
        settlement
    }

    fn ended(&self, at: Timestamp, error: Failed) -> Settlement {
        let attempt = &self.attempt;
        let outcome = Outcome {
            call: attempt.call,
            run: self.place.run,
            step: attempt.step.map(|(id, _)| id),
            model: attempt.model.clone(),
            error: Some(error),
            usage: Usage::default(),
            cost: 0,
            unpriced: attempt.unpriced,
            rates: self.rates,
            price_version: attempt.price_version.clone(),
            latency_ms: 0,
            first_content_ms: None,
            simulated: attempt.simulated,
        };
        let actor = self.place.agent.map_or(Actor::System, Actor::Agent);
        Settlement { id: self.id, project: self.place.project, actor, outcome, at, unsure: false }
    }
}

fn unanswered() -> Error {
    Error::Outside("the books of model calls did not answer in time".into())
}

/// Posts entries in one transaction. Where the server refuses that, each is tried by itself: one fails nobody else.
fn together<'a>(shared: &'a Shared, project: ProjectId, entries: &'a [Entry]) -> BoxFuture<'a, Vec<Answer>> {
    Box::pin(async move {
        let begun = std::time::Instant::now();
        let posted = post::post(shared, project, entries).await;
        if let Err(Error::Database(error)) = &posted {
            shared.store.refusals().note(error);
        }
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

/// The server said no, and nothing was written. After a lost line nobody knows that, nor when the server was stopped, which
/// may have come between the commit and its answer.
fn is_refused(error: &Error) -> bool {
    match error {
        Error::Database(error) => error
            .as_database_error()
            .is_some_and(|error| !error.code().is_some_and(|code| code.starts_with("57P"))),
        Error::Conflict => true,
        _ => false,
    }
}
