//! The calls of one place that are granted from memory: the lease that pays for them, and what is not in the tables yet.

use super::{
    Reservation, Settlement,
    demand::{self, Demand},
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
/// How long the answer is remembered that budgets allow no more.
const REMEMBERED: Duration = Duration::from_secs(1);
/// So much is posted before its turn: the longer a post takes, the nearer it comes to being late.
const MANY: usize = 256;

/// All calls of one place.
pub(super) struct Pool {
    pub(super) place: Place,
    /// A post is over, or there is none to wait for.
    pub(super) posted: Notify,
    /// Something may not wait for the next turn.
    hurry: Notify,
    state: Mutex<State>,
}

/// What a lease has for a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    /// All that it asks for.
    Granted,
    /// Nothing now. A post that is under way, or begins at once for all who wait, may change that.
    Soon,
    /// Nothing.
    Nothing,
}

#[derive(Default)]
pub(super) struct State {
    lease: Lease,
    row: Option<Row>,
    queue: Queue,
    /// Since when the oldest of what is being posted waits.
    flying: Option<Instant>,
    demand: Demand,
    /// Calls that were granted here and have not ended.
    under_way: u32,
    /// Somebody waits for more than there is.
    missed: bool,
    /// What the lease held when it was last renewed.
    booked: Amount,
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

impl Pool {
    pub(super) fn new(place: Place) -> Arc<Self> {
        Arc::new(Self { place, posted: Notify::new(), hurry: Notify::new(), state: Mutex::default() })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Grants a call all that it asks for, where the lease can pay for it. `again`: it has asked before.
    pub(super) fn draw(&self, reservation: &Reservation, again: bool) -> Said {
        self.change(|state, now| state.draw(reservation, again, now))
    }

    pub(super) fn settle(&self, settlement: Settlement) {
        self.change(|state, now| state.settle(settlement, now));
    }

    /// Others need what is left: nothing is set aside here for a while.
    pub(super) fn yield_to_others(&self) {
        self.change(|state, now| state.allow(Amount::default(), now));
    }

    /// Until something may not wait for the next turn.
    pub(super) async fn urgent(&self) {
        loop {
            let is_urgent = self.lock().is_urgent(Instant::now());
            if is_urgent {
                return;
            }
            self.hurry.notified().await;
        }
    }

    fn change<T>(&self, change: impl FnOnce(&mut State, Instant) -> T) -> T {
        let now = Instant::now();
        let mut state = self.lock();
        let changed = change(&mut state, now);
        if state.is_urgent(now) {
            self.hurry.notify_one();
        }
        changed
    }

    /// What is to be posted now; nothing, most of the time, while nobody calls. `ends`: the lease is to be given back.
    pub(super) fn next(&self, now: Timestamp, ends: bool, new_id: impl FnOnce() -> Uuid) -> Option<Draw> {
        self.lock().next(self.place, (now, Instant::now()), ends, new_id)
    }
}

impl State {
    fn draw(&mut self, reservation: &Reservation, again: bool, now: Instant) -> Said {
        let amount = reservation.worst_case(reservation.max_output);
        if !again {
            self.demand.ask(amount, self.row.is_some(), now);
        }
        let counts = self.row.is_some_and(|row| hour(row.at) == hour(reservation.at));
        if counts && !self.is_late(now) && self.lease.draw(amount) {
            self.queue.since.get_or_insert(now);
            self.queue.drawn.push(Drawn { reservation: reservation.clone(), amount });
            self.under_way = self.under_way.saturating_add(1);
            return Said::Granted;
        }
        let may_count = self.row.is_none_or(|row| hour(row.at) <= hour(reservation.at));
        if !may_count || amount == Amount::default() || !self.wanted(now).holds(amount) {
            return Said::Nothing;
        }
        self.missed = true;
        Said::Soon
    }

    fn settle(&mut self, settlement: Settlement, now: Instant) {
        self.under_way = self.under_way.saturating_sub(1);
        self.queue.since.get_or_insert(now);
        self.queue.settlements.push(settlement);
    }

    /// Something should have been in the tables by now.
    pub(super) fn is_late(&self, now: Instant) -> bool {
        self.flying.or(self.queue.since).is_some_and(|since| now.saturating_duration_since(since) > LATE)
    }

    /// Somebody waits for more, most of the lease is given out and more may be had, others need what is only kept ready, or
    /// there is much to post.
    fn is_urgent(&self, now: Instant) -> bool {
        let (free, is_leased) = (self.lease.free(), self.row.is_some());
        let is_in_the_way = || self.allowed(now).is_some_and(|allowed| !allowed.holds(free));
        let is_short = || demand::is_low(free, self.booked) && !free.holds(self.wanted(now));
        self.missed || self.queue.len() >= MANY || is_leased && (is_short() || is_in_the_way())
    }

    /// There is nothing to post, nothing to give back, and nobody who may ask for more, unless the process `ends`.
    pub(super) fn is_idle(&self, ends: bool) -> bool {
        let is_left_alone = ends || !self.missed && self.demand.is_quiet();
        self.row.is_none() && self.queue.is_empty() && is_left_alone
    }

    fn next(
        &mut self,
        place: Place,
        (now, instant): (Timestamp, Instant),
        ends: bool,
        new_id: impl FnOnce() -> Uuid,
    ) -> Option<Draw> {
        let missed = std::mem::take(&mut self.missed);
        self.demand.look(self.row.is_some(), instant);
        let one_call = self.demand.peak(self.row.is_some()).largest;
        let is_over = ends || self.row.is_some_and(|row| hour(row.at) != hour(now));
        let wanted = if is_over { Amount::default() } else { self.wanted(instant) };
        let begins = self.row.is_none() && wanted != Amount::default();
        let free = self.lease.free();
        let is_short = missed || demand::is_low(free, self.booked);
        let changes = self.row.is_some() && (!wanted.holds(free) || is_short && !free.holds(wanted));
        if self.queue.is_empty() && !begins && !changes {
            return None;
        }
        if begins {
            self.row = Some(Row { id: new_id(), at: now, written: false });
        }
        let queue = std::mem::take(&mut self.queue);
        self.flying = queue.since;
        let terms = self.lease.begin_post(wanted, one_call);
        let lease = self.row.map(|row| Held { id: row.id, at: row.at, begins: !row.written, terms });
        Some(Draw { place, lease, drawn: queue.drawn, settlements: queue.settlements })
    }

    /// What the lease should hold now.
    fn wanted(&self, now: Instant) -> Amount {
        demand::ahead(self.demand.peak(self.row.is_some()), self.under_way, self.allowed(now))
    }

    /// What budgets have allowed of late, where that was less than was wanted.
    fn allowed(&self, now: Instant) -> Option<Amount> {
        let (allowed, since) = self.allowed?;
        (now.saturating_duration_since(since) < REMEMBERED).then_some(allowed)
    }

    fn allow(&mut self, most: Amount, now: Instant) {
        let most = self.allowed(now).map_or(most, |before| most.at_most(before));
        self.allowed = Some((most, now));
    }

    /// The post is over. A lease that is gone has been ended by whoever thought that this process had died: what was drawn
    /// from it and had no row is counted in its own. Gives back how many calls that were.
    pub(super) fn landed(&mut self, landed: Landed, now: Instant) -> usize {
        self.flying = None;
        // Whoever waits asks again, and says so where it is still not enough.
        self.missed = false;
        match landed {
            Landed::Settled => 0,
            Landed::Leased { booked, allowed } => {
                self.lease.end_post(booked);
                self.booked = booked;
                if !allowed.holds(booked) || booked == Amount::default() {
                    self.allow(allowed, now);
                }
                self.row = self.row.filter(|_| booked != Amount::default());
                if let Some(row) = &mut self.row {
                    row.written = true;
                }
                0
            }
            Landed::Gone => {
                (self.lease, self.row, self.booked) = (Lease::default(), None, Amount::default());
                let lost = std::mem::take(&mut self.queue.drawn);
                lost.len()
            }
        }
    }
}

impl Queue {
    fn len(&self) -> usize {
        self.drawn.len() + self.settlements.len()
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A lease counts in one hour, so that it is in the same windows as all its calls, and keeps no hour from being summed up.
fn hour(at: Timestamp) -> Timestamp {
    at.duration_trunc(TimeDelta::hours(1)).unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::llm::Attempt;
    use syndarix_domain::{
        ids::{CallId, GatewayKeyId, ProjectId},
        money::MicroUsd,
    };
    use syndarix_llm::Rates;

    const MOST: Amount = Amount { money: MicroUsd(i64::MAX), tokens: i64::MAX };

    fn place() -> Place {
        Place {
            key: Some(GatewayKeyId(Uuid::from_u128(2))),
            ..Place::of_project(ProjectId(Uuid::from_u128(1)))
        }
    }

    /// A call of so many micro-USD and tokens.
    fn call(units: u32) -> Reservation {
        Reservation {
            id: Uuid::from_u128(3),
            place: place(),
            attempt: Attempt {
                call: CallId(Uuid::from_u128(4)),
                number: 1,
                story: None,
                step: None,
                user: None,
                deployment: "d".into(),
                provider: "p".into(),
                model: "m".into(),
                unpriced: false,
                price_version: "test".into(),
                simulated: false,
                group: "g".into(),
                downgraded_to: None,
            },
            rates: Rates { input: 0, output: 1_000_000, ..Rates::FREE },
            max_input: 0,
            max_output: units,
            choices: 1,
            at: Timestamp::default(),
            yields: false,
        }
    }

    fn amount(units: i64) -> Amount {
        Amount::new(units, units)
    }

    /// A place, at a moment.
    struct Desk {
        state: State,
        now: Instant,
    }

    impl Desk {
        fn new() -> Self {
            Self { state: State::default(), now: Instant::now() }
        }

        /// With a lease of so many units, for calls of 10.
        fn leased(units: i64) -> Self {
            let mut desk = Self::new();
            let _alone = (desk.asks(), desk.asks());
            desk.begins().unwrap();
            desk.lands(units, MOST);
            desk
        }

        fn asks(&mut self) -> Said {
            self.state.draw(&call(10), false, self.now)
        }

        fn asks_again(&mut self) -> Said {
            self.state.draw(&call(10), true, self.now)
        }

        fn is_urgent(&self) -> bool {
            self.state.is_urgent(self.now)
        }

        fn begins(&mut self) -> Option<Draw> {
            let moment = (Timestamp::default(), self.now);
            self.state.next(place(), moment, false, || Uuid::from_u128(5))
        }

        fn lands(&mut self, units: i64, allowed: Amount) {
            let landed = Landed::Leased { booked: amount(units), allowed };
            assert_eq!(self.state.landed(landed, self.now), 0);
        }

        fn passes(&mut self, ms: u64) {
            self.now += Duration::from_millis(ms);
        }
    }

    #[test]
    fn a_call_by_itself_begins_no_lease_and_the_second_begins_one_at_once_for_all_who_come() {
        let mut desk = Desk::new();
        assert_eq!(desk.asks(), Said::Nothing);
        assert!(!desk.is_urgent() && desk.begins().is_none());
        assert_eq!(desk.asks(), Said::Soon);
        assert_eq!(desk.asks(), Said::Soon);
        assert!(desk.is_urgent());
        let terms = desk.begins().unwrap().lease.unwrap().terms;
        assert_eq!((terms.keep, terms.wanted, terms.least), (amount(0), amount(120), amount(10)));
        assert!(!desk.is_urgent(), "one post for all of them");
        desk.lands(120, MOST);
        assert_eq!((desk.asks_again(), desk.asks_again()), (Said::Granted, Said::Granted));
    }

    #[test]
    fn a_lease_is_renewed_before_its_turn_once_more_than_half_of_it_is_given_out() {
        let mut desk = Desk::leased(80);
        for _ in 0..4 {
            assert_eq!(desk.asks(), Said::Granted);
        }
        assert!(!desk.is_urgent());
        assert_eq!(desk.asks(), Said::Granted);
        assert!(desk.is_urgent());
        let terms = desk.begins().unwrap().lease.unwrap().terms;
        assert_eq!((terms.keep, terms.wanted), (amount(30), amount(280)));
        assert_eq!(desk.asks(), Said::Granted, "what stays is given out while the post is under way");
    }

    #[test]
    fn whoever_finds_too_little_while_a_post_is_under_way_asks_again_when_it_is_over_and_needs_no_other() {
        let mut desk = Desk::leased(10);
        assert_eq!(desk.asks(), Said::Granted);
        desk.begins().unwrap();
        assert_eq!((desk.asks(), desk.asks()), (Said::Soon, Said::Soon));
        desk.lands(10, MOST);
        assert!(!desk.is_urgent());
        assert_eq!(desk.asks_again(), Said::Granted);
        assert_eq!(desk.asks_again(), Said::Soon, "the other one needs another");
        assert!(desk.is_urgent());
    }

    #[test]
    fn nobody_waits_for_a_lease_that_budgets_do_not_allow_until_they_are_asked_anew() {
        let mut desk = Desk::leased(0);
        desk.passes(10);
        let mut short = Desk::new();
        let _alone = (short.asks(), short.asks());
        short.begins().unwrap();
        short.lands(0, amount(9));
        assert_eq!(short.asks(), Said::Nothing);
        assert!(!short.is_urgent());
        short.passes(1_000);
        assert_eq!(short.asks(), Said::Soon);
        assert_eq!(desk.asks(), Said::Soon, "where they allow one it was given back for want of calls");
    }

    #[test]
    fn while_something_is_late_nothing_is_given_out_and_whoever_asks_waits_for_it() {
        let mut desk = Desk::leased(80);
        assert_eq!(desk.asks(), Said::Granted);
        desk.begins().unwrap();
        desk.passes(100);
        assert_eq!(desk.asks(), Said::Granted);
        desk.passes(1);
        assert_eq!(desk.asks(), Said::Soon);
        desk.lands(80, MOST);
        assert_eq!(desk.asks_again(), Said::Granted);
    }

    #[test]
    fn what_is_in_others_way_is_given_back_before_its_turn() {
        let mut desk = Desk::leased(80);
        assert!(!desk.is_urgent());
        desk.state.allow(Amount::default(), desk.now);
        assert!(desk.is_urgent());
        let terms = desk.begins().unwrap().lease.unwrap().terms;
        assert_eq!((terms.keep, terms.wanted), (amount(0), amount(0)));
        desk.lands(0, MOST);
        assert_eq!(desk.asks(), Said::Nothing);
        assert!(!desk.is_urgent());
    }

    #[test]
    fn a_lease_that_nobody_asks_for_is_given_back() {
        let mut desk = Desk::leased(80);
        desk.passes(50);
        assert!(desk.begins().is_none());
        desk.passes(1_000);
        assert!(desk.begins().is_none(), "it may still be needed");
        desk.passes(1_000);
        let terms = desk.begins().unwrap().lease.unwrap().terms;
        assert_eq!((terms.keep, terms.wanted), (amount(0), amount(0)));
        desk.lands(0, MOST);
        assert!(desk.state.is_idle(false));
    }

    #[test]
    fn much_is_posted_before_its_turn() {
        let mut desk = Desk::leased(100_000);
        for _ in 1..MANY {
            assert_eq!(desk.asks(), Said::Granted);
        }
        assert!(!desk.is_urgent());
        assert_eq!(desk.asks(), Said::Granted);
        assert!(desk.is_urgent());
        assert_eq!(desk.begins().unwrap().drawn.len(), MANY);
        assert!(!desk.is_urgent());
    }
}
