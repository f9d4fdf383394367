//! One project's entries, in one transaction.

use super::{
    Answer, Entry, Refusal, Reservation, Settlement, Shared, alerts,
    book::{self, Book, Counted},
    place::Node,
    rows::{self, Ended},
};
use crate::db::{Author, Error, Uow};
use std::collections::{HashMap, HashSet};
use syndarix_domain::{
    Timestamp,
    budget::{Amount, Wish},
    ids::{ProjectId, StepId},
};
use uuid::Uuid;

/// Posts the entries; the answers come in their order. Settlements first: what they free, reservations may take.
pub(super) async fn post(
    shared: &Shared,
    project: ProjectId,
    entries: &[Entry],
) -> Result<Vec<Answer>, Error> {
    let (mut reservations, mut settlements, mut known) = (Vec::new(), Vec::new(), HashSet::new());
    for entry in entries {
        match entry {
            Entry::Reserve(reservation) => reservations.push(reservation),
            // Once, however often it is said.
            Entry::Settle(settlement) if known.insert(settlement.id) => settlements.push(settlement),
            Entry::Settle(_) => {}
        }
    }
    let mut uow = shared.store.begin(Author::system()).await?;
    if settlements.iter().any(|settlement| settlement.unsure) {
        book::lock(uow.conn().await?, project).await?;
    }
    let ended = rows::settle(uow.conn().await?, project, &settlements).await?;
    let calls: Vec<Counted> = ended
        .values()
        .map(counted)
        .chain(reservations.iter().map(|new| Counted { place: new.place, at: new.at, new: true }))
        .collect();
    let mut book = Book::open(uow.conn().await?, project, &calls).await?;
    for settlement in &settlements {
        if let Some(row) = ended.get(&settlement.id) {
            book.settle(&counted(row), row.reserved, settlement.outcome.used(), settlement.outcome.simulated);
        }
    }
    let mut decided = HashMap::new();
    let mut granted = Vec::new();
    for reservation in &reservations {
        let decision = reserve(shared, &mut book, reservation);
        if let Ok(output) = decision {
            granted.push((*reservation, output, worst_case(reservation, output)));
        }
        decided.insert(reservation.id, decision);
    }
    rows::write(uow.conn().await?, &book, shared.instance, &granted).await?;
    tell(&mut uow, project, &book, &settlements, &ended).await?;
    uow.commit().await?;
    learn(shared, project, &book, &settlements, &ended);
    Ok(entries.iter().map(|entry| answer(entry, &mut decided, &ended)).collect())
}

fn counted(row: &Ended) -> Counted {
    Counted { place: row.place, at: row.at, new: false }
}

fn worst_case(reservation: &Reservation, output: u32) -> Amount {
    let output = output.saturating_mul(reservation.choices);
    let tokens = i64::from(reservation.max_input) + i64::from(output);
    Amount::new(reservation.rates.worst_case(reservation.max_input, output), tokens)
}

fn reserve(shared: &Shared, book: &mut Book, reservation: &Reservation) -> Result<u32, Refusal> {
    let wish = Wish {
        max_output: reservation.max_output,
        floor: shared.outputs.usual(reservation.place.project, &reservation.attempt.model),
        worst_case: |output| worst_case(reservation, output),
    };
    book.reserve(&Counted { place: reservation.place, at: reservation.at, new: true }, &wish)
}

/// What others hear of it, in the transaction that makes it so.
async fn tell(
    uow: &mut Uow,
    project: ProjectId,
    book: &Book,
    settlements: &[&Settlement],
    ended: &HashMap<Uuid, Ended>,
) -> Result<(), Error> {
    for settlement in settlements {
        let Some(row) = ended.get(&settlement.id) else { continue };
        let outcome = &settlement.outcome;
        let stream = ("usage", outcome.call.0);
        uow.announce_as(settlement.actor, project, stream, "cost.recorded.v1", outcome.data());
        let cost = outcome.used().money;
        if cost > row.reserved.money {
            alerts::overrun(uow, project, (row.reserved.money, cost)).await?;
        }
    }
    alerts::near(uow, project, book).await
}

/// What this process remembers of it.
fn learn(
    shared: &Shared,
    project: ProjectId,
    book: &Book,
    settlements: &[&Settlement],
    ended: &HashMap<Uuid, Ended>,
) {
    let mut reached: HashMap<Node, Option<Timestamp>> = HashMap::new();
    for window in book.windows() {
        let until = window.budget.is_soft_reached().then_some(window.ends_at);
        let latest = reached.entry(window.node).or_default();
        *latest = (*latest).max(until);
    }
    shared.soft.see(reached.into_iter());
    for settlement in settlements {
        let outcome = &settlement.outcome;
        if outcome.error.is_none() {
            shared.outputs.saw(project, &outcome.model, outcome.usage.output);
        }
    }
    if !ended.is_empty() {
        shared.freed.notify_waiters();
    }
}

fn answer(
    entry: &Entry,
    decided: &mut HashMap<Uuid, Result<u32, Refusal>>,
    ended: &HashMap<Uuid, Ended>,
) -> Answer {
    match entry {
        Entry::Settle(settlement) => Answer::Settled(ended.contains_key(&settlement.id)),
        Entry::Reserve(reservation) => match decided.remove(&reservation.id) {
            Some(decision) => Answer::Reserved(decision),
            None => Answer::Failed(super::unanswered()),
        },
    }
}

/// Which reservations somebody else ends.
#[derive(Debug, Clone, Copy)]
pub enum Lost {
    /// Those of a step whose worker is gone.
    OfStep(StepId),
    /// One whose process is gone.
    One(Uuid),
}

/// Ends reservations at their worst case, marked as estimated, as part of somebody's unit of work.
pub async fn give_back(uow: &mut Uow, project: ProjectId, lost: Lost) -> Result<(), Error> {
    let which = match lost {
        Lost::OfStep(step) => (Some(step), None),
        Lost::One(id) => (None, Some(id)),
    };
    let now = uow.now();
    let ended = rows::interrupt(uow.conn().await?, project, which, now).await?;
    if ended.is_empty() {
        return Ok(());
    }
    let calls: Vec<Counted> = ended.iter().map(|(row, _)| counted(row)).collect();
    let mut book = Book::open(uow.conn().await?, project, &calls).await?;
    for (row, simulated) in &ended {
        book.settle(&counted(row), row.reserved, row.reserved, *simulated);
    }
    book.write(uow.conn().await?).await?;
    alerts::near(uow, project, &book).await
}
