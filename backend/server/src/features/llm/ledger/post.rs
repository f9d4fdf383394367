//! One project's entries, in one transaction.

use super::{
    Answer, Entry, Refusal, Reservation, Settlement, Shared, alerts,
    book::{self, Book, Counted},
    draws::{self, Landed},
    ends,
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
    let (mut reservations, mut draws, mut settlements) = (Vec::new(), Vec::new(), Vec::new());
    for entry in entries {
        match entry {
            Entry::Reserve(reservation) => reservations.push(reservation),
            Entry::Settle(settlement) => settlements.push(settlement),
            Entry::Draw(draw) => {
                draws.push(draw.as_ref());
                settlements.extend(&draw.settlements);
            }
        }
    }
    // Once, however often it is said.
    let mut known = HashSet::new();
    settlements.retain(|settlement| known.insert(settlement.id));
    let mut uow = shared.store.begin(Author::system());
    if settlements.iter().any(|settlement| settlement.unsure) {
        book::lock(uow.conn().await?, project).await?;
    }
    let (renewals, mut ended) = draws::post(uow.conn().await?, project, shared.instance, &draws).await?;
    let open: Vec<&Settlement> =
        settlements.iter().copied().filter(|settlement| !ended.contains_key(&settlement.id)).collect();
    let mut calls: Vec<Counted> = ended
        .values()
        .map(counted)
        .chain(reservations.iter().map(|new| Counted { place: new.place, at: new.at, new: true }))
        .chain(renewals.counted())
        .collect();
    let (closed, budgets) = ends::settle(uow.conn().await?, project, &open, &calls).await?;
    calls.extend(closed.values().map(counted));
    ended.extend(closed);
    ends::note_failures(uow.conn().await?, project, &settlements, &ended).await?;
    let mut book = Book::of(uow.conn().await?, project, &calls, budgets).await?;
    for settlement in &settlements {
        if let Some(row) = ended.get(&settlement.id) {
            book.settle(&counted(row), row.reserved, settlement.outcome.used(), settlement.outcome.simulated);
        }
    }
    let (mut decided, granted) = decide(shared, &mut book, &reservations);
    // After the calls that wait: what is only kept ready comes last.
    let leased = renewals.write(uow.conn().await?, &mut book).await?;
    let along = if granted.is_empty() {
        book.along()?
    } else {
        rows::write(uow.conn().await?, &book, shared.instance, &granted).await?;
        None
    };
    tell(&mut uow, project, &book, &settlements, &ended).await?;
    uow.commit_along(along).await?;
    learn(shared, project, &book, &settlements, (&ended, !leased.is_empty()));
    Ok(entries.iter().map(|entry| answer(entry, &mut decided, (&ended, &leased))).collect())
}

fn counted(row: &Ended) -> Counted {
    Counted { place: row.place, at: row.at, new: false }
}

/// What becomes of the reservations, and those that are granted, each with its answer limit and what is set aside for it.
fn decide<'a>(
    shared: &Shared,
    book: &mut Book,
    reservations: &[&'a Reservation],
) -> (Decided, Vec<Granted<'a>>) {
    let (mut decided, mut granted) = (HashMap::new(), Vec::new());
    for reservation in reservations {
        let decision = reserve(shared, book, reservation);
        if let Ok(output) = decision {
            granted.push((*reservation, output, reservation.worst_case(output)));
        }
        decided.insert(reservation.id, decision);
    }
    (decided, granted)
}

type Decided = HashMap<Uuid, Result<u32, Refusal>>;
type Granted<'a> = (&'a Reservation, u32, Amount);

fn reserve(shared: &Shared, book: &mut Book, reservation: &Reservation) -> Result<u32, Refusal> {
    let wish = Wish {
        max_output: reservation.max_output,
        floor: shared.outputs.usual(reservation.place.project, &reservation.attempt.model),
        worst_case: |output| reservation.worst_case(output),
    };
    let call = Counted { place: reservation.place, at: reservation.at, new: true };
    match reservation.yields.then(|| book.asks_to_yield(&call)).flatten() {
        Some(refusal) => Err(refusal),
        None => book.reserve(&call, &wish),
    }
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
    (ended, leased): (&HashMap<Uuid, Ended>, bool),
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
    if !ended.is_empty() || leased {
        shared.freed.notify_waiters();
    }
}

fn answer(
    entry: &Entry,
    decided: &mut HashMap<Uuid, Result<u32, Refusal>>,
    (ended, leased): (&HashMap<Uuid, Ended>, &HashMap<Uuid, Landed>),
) -> Answer {
    match entry {
        Entry::Draw(draw) => Answer::Drawn(draw.landed(leased)),
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
