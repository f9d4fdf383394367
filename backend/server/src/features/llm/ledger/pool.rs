//! The calls of one place that are granted from memory: the lease that pays for them, and what is not in the tables yet.

use super::{
    Reservation, Settlement,
    draws::{Draw, Drawn, Held, Landed},
    place::Place,
};
use chrono::{DurationRound, TimeDelta};
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use syndarix_domain::{Timestamp, budget::Amount, lease::Lease};
use tokio::sync::Notify;
use uuid::Uuid;

/// Whoever has an answer to give out while something older than this is not in the tables waits until it is.
const LATE: Duration = Duration::from_millis(100);
/// How long a demand is remembered, and the answer that budgets allow no more.
const REMEMBERED: Duration = Duration::from_secs(1);
/// A lease pays for as many turns as busy as the busiest that is remembered.
const TURNS: i64 = 2;

/// All calls of one place.
pub(super) struct Pool {
    pub(super) place: Place,
    /// A post is over.
    pub(super) posted: Notify,
    state: Mutex<State>,
}

#[derive(Default)]
pub(super) struct State {
    lease: Lease,
    row: Option<Row>,
    queue: Queue,
    /// Since when the oldest of what is being posted waits.
    flying: Option<Instant>,
    demand: Demand,
    /// What budgets allowed when they were last asked for more.
    allowed: Option<(Amount, Instant)>,
    /// Somebody posts for this place.
    pub(super) at_work: bool,
}

/// The lease's row in the tables.
#[derive(Clone, Copy)]
struct Row {
    id: Uuid,
    at: Timestamp,
    /// Whether it has been written.
    written: bool,
}

#[derive(Default)]
struct Queue {
    drawn: Vec<Drawn>,
    settlements: Vec<Settlement>,
    since: Option<Instant>,
}

/// What calls have asked for.
#[derive(Default)]
struct Demand {
    /// Calls of this turn.
    calls: u32,
    /// One of them did not fit.
    missed: bool,
    turn: Asked,
    /// The most of a turn, in this span and in the one before.
    peaks: [Asked; 2],
    span: Option<Instant>,
}

#[derive(Clone, Copy, Default)]
struct Asked {
    all: Amount,
    /// By one call.
    largest: Amount,
}

impl Pool {
    pub(super) fn new(place: Place) -> Arc<Self> {
        Arc::new(Self { place, posted: Notify::new(), state: Mutex::default() })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is to be posted now; nothing, most of the time, while nobody calls. `ends`: the lease is to be given back.
    pub(super) fn next(&self, now: Timestamp, ends: bool, new_id: impl FnOnce() -> Uuid) -> Option<Draw> {
        self.lock().next(self.place, (now, Instant::now()), ends, new_id)
    }
}

impl State {
    /// Grants a call all that it asks for, where the lease can pay for it.
    pub(super) fn draw(&mut self, reservation: &Reservation) -> bool {
        let now = Instant::now();
        let amount = reservation.worst_case(reservation.max_output);
        self.demand.ask(amount);
        let counts = self.row.is_some_and(|row| hour(row.at) == hour(reservation.at));
        let fits = counts && !self.is_late(now) && self.lease.draw(amount);
        if fits {
            self.queue.since.get_or_insert(now);
            self.queue.drawn.push(Drawn { reservation: reservation.clone(), amount });
        } else {
            self.demand.missed = true;
        }
        fits
    }

    pub(super) fn settle(&mut self, settlement: Settlement) {
        self.queue.since.get_or_insert_with(Instant::now);
        self.queue.settlements.push(settlement);
    }

    /// Something should have been in the tables by now.
    pub(super) fn is_late(&self, now: Instant) -> bool {
        self.flying.or(self.queue.since).is_some_and(|since| now.duration_since(since) > LATE)
    }

    /// Others need what is left: nothing is set aside here for a while.
    pub(super) fn yield_to_others(&mut self) {
        self.allow(Amount::default());
    }

    /// There is nothing to post, and nothing to give back.
    pub(super) fn is_idle(&self) -> bool {
        self.row.is_none() && self.queue.is_empty() && self.demand.calls == 0
    }

    fn next(
        &mut self,
        place: Place,
        (now, instant): (Timestamp, Instant),
        ends: bool,
        new_id: impl FnOnce() -> Uuid,
    ) -> Option<Draw> {
        let missed = self.demand.end_turn(self.row.is_some(), instant);
        let peak = self.demand.peak();
        let is_over = ends || self.row.is_some_and(|row| hour(row.at) != hour(now));
        let wanted = if is_over { Amount::default() } else { self.allowed(peak, instant) };
        let begins = self.row.is_none() && wanted != Amount::default();
        let free = self.lease.free();
        let changes = self.row.is_some() && (!wanted.holds(free) || missed && !free.holds(wanted));
        if self.queue.is_empty() && !begins && !changes {
            return None;
        }
        if begins {
            self.row = Some(Row { id: new_id(), at: now, written: false });
        }
        let queue = std::mem::take(&mut self.queue);
        self.flying = queue.since;
        let terms = self.lease.begin_post(wanted, peak.largest);
        let lease = self.row.map(|row| Held { id: row.id, at: row.at, begins: !row.written, terms });
        Some(Draw { place, lease, drawn: queue.drawn, settlements: queue.settlements })
    }

    /// As much of what is wanted as budgets have allowed of late; nothing, where that is not enough for a call.
    fn allowed(&mut self, peak: Asked, now: Instant) -> Amount {
        self.allowed = self.allowed.filter(|(_, since)| now.duration_since(*since) < REMEMBERED);
        let allowed = self.allowed.map_or(peak.wanted(), |(allowed, _)| peak.wanted().at_most(allowed));
        if allowed.holds(peak.largest) { allowed } else { Amount::default() }
    }

    fn allow(&mut self, most: Amount) {
        let most = self.allowed.map_or(most, |(before, _)| most.at_most(before));
        self.allowed = Some((most, Instant::now()));
    }

    /// The post is over. A lease that is gone has been ended by whoever thought that this process had died: what was drawn
    /// from it and had no row is counted in its own. Gives back how many calls that were.
    pub(super) fn landed(&mut self, landed: Landed) -> usize {
        self.flying = None;
        match landed {
            Landed::Settled => 0,
            Landed::Leased { booked, allowed } => {
                self.lease.end_post(booked);
                if !allowed.holds(booked) || booked == Amount::default() {
                    self.allow(allowed);
                }
                self.row = self.row.filter(|_| booked != Amount::default());
                if let Some(row) = &mut self.row {
                    row.written = true;
                }
                0
            }
            Landed::Gone => {
                (self.lease, self.row) = (Lease::default(), None);
                let lost = std::mem::take(&mut self.queue.drawn);
                lost.len()
            }
        }
    }
}

impl Queue {
    fn is_empty(&self) -> bool {
        self.drawn.is_empty() && self.settlements.is_empty()
    }
}

impl Demand {
    fn ask(&mut self, amount: Amount) {
        self.calls = self.calls.saturating_add(1);
        self.turn = self.turn.at_least(Asked { all: self.turn.all.plus(amount), largest: amount });
    }

    /// Whether a call of this turn has missed a lease. A call by itself is no reason for one: it would cost more than it saves.
    fn end_turn(&mut self, is_leased: bool, now: Instant) -> bool {
        if self.span.is_none_or(|begun| now.duration_since(begun) >= REMEMBERED) {
            self.peaks = [Asked::default(), self.peaks[0]];
            self.span = Some(now);
        }
        let counts = is_leased || self.calls > 1;
        let turn = std::mem::take(&mut self.turn);
        if counts {
            self.peaks[0] = self.peaks[0].at_least(turn);
        }
        self.calls = 0;
        std::mem::take(&mut self.missed) && counts
    }

    fn peak(&self) -> Asked {
        self.peaks[0].at_least(self.peaks[1])
    }
}

impl Asked {
    fn at_least(self, other: Self) -> Self {
        Self { all: self.all.at_least(other.all), largest: self.largest.at_least(other.largest) }
    }

    /// What a lease should hold.
    fn wanted(self) -> Amount {
        let Amount { money, tokens } = self.all;
        Amount::new(money.0.saturating_mul(TURNS), tokens.saturating_mul(TURNS))
    }
}

/// A lease counts in one hour, so that it is in the same windows as all its calls, and keeps no hour from being summed up.
fn hour(at: Timestamp) -> Timestamp {
    at.duration_trunc(TimeDelta::hours(1)).unwrap_or(at)
}
