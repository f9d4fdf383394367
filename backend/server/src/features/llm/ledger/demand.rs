//! How much a lease should hold, and when it is renewed: from what the calls of its place have asked for of late.
//!
//! Demand is counted in slots of time and not from post to post: posts that follow each other quickly would else make a busy
//! place look like a quiet one.

use std::time::{Duration, Instant};
use syndarix_domain::budget::Amount;

/// As long as a turn of posting.
const SLOT: Duration = Duration::from_millis(50);
/// For so long, and at most twice so long, the busiest slot is remembered.
const REMEMBERED: Duration = Duration::from_secs(1);
/// A lease pays for so many slots as busy as the busiest: one until the next post begins, two until that is late, when nothing
/// is granted anyway, and one more, since demand grows.
const SLOTS: i64 = 4;
/// And for so many where as many calls are under way: they may all be followed by others at once.
const MOST_SLOTS: i64 = 8;
/// However busy a place is, its lease holds no more than so many of its largest calls may use.
const MOST_CALLS: i64 = 2_048;

/// What calls have asked for.
#[derive(Default)]
pub(super) struct Demand {
    /// In this slot.
    now: Asked,
    slot: Option<Instant>,
    /// The most of a slot, in this span and in the one before.
    peaks: [Asked; 2],
    span: Option<Instant>,
}

/// What was asked for in a slot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) calls: u32,
    pub(super) all: Amount,
    /// By one call.
    pub(super) largest: Amount,
}

impl Demand {
    /// A call asks for so much.
    pub(super) fn ask(&mut self, amount: Amount, is_leased: bool, now: Instant) {
        self.look(is_leased, now);
        self.now = Asked {
            calls: self.now.calls.saturating_add(1),
            all: self.now.all.plus(amount),
            largest: self.now.largest.at_least(amount),
        };
    }

    /// Ends what is over.
    pub(super) fn look(&mut self, is_leased: bool, now: Instant) {
        let is_over = |since: Option<Instant>, lasts: Duration| {
            since.is_none_or(|since| now.saturating_duration_since(since) >= lasts)
        };
        if is_over(self.span, REMEMBERED) {
            self.peaks = [Asked::default(), self.peaks[0]];
            self.span = Some(now);
        }
        if is_over(self.slot, SLOT) {
            self.peaks[0] = self.peaks[0].at_least(self.now.if_it_counts(is_leased));
            self.now = Asked::default();
            self.slot = Some(now);
        }
    }

    /// The busiest slot of late.
    pub(super) fn peak(&self, is_leased: bool) -> Asked {
        self.peaks[0].at_least(self.peaks[1]).at_least(self.now.if_it_counts(is_leased))
    }

    /// Nobody has called in this slot.
    pub(super) fn is_quiet(&self) -> bool {
        self.now.calls == 0
    }
}

impl Asked {
    /// A call by itself is no reason for a lease: it would cost more than it saves.
    fn if_it_counts(self, is_leased: bool) -> Self {
        if is_leased || self.calls > 1 { self } else { Self::default() }
    }

    fn at_least(self, other: Self) -> Self {
        Self {
            calls: self.calls.max(other.calls),
            all: self.all.at_least(other.all),
            largest: self.largest.at_least(other.largest),
        }
    }
}

/// What a lease should hold where the busiest slot was this, so many calls are under way, and budgets have allowed no more than
/// that of late. Nothing, where it could not pay for the largest call.
pub(super) fn ahead(peak: Asked, under_way: u32, allowed: Option<Amount>) -> Amount {
    let slots = i64::from(under_way.div_ceil(peak.calls.max(1))).clamp(SLOTS, MOST_SLOTS);
    let wanted = times(peak.all, slots).at_most(times(peak.largest, MOST_CALLS));
    let wanted = allowed.map_or(wanted, |allowed| wanted.at_most(allowed));
    if wanted.holds(peak.largest) { wanted } else { Amount::default() }
}

/// Less than half of what was set aside is left: the next turn may be too late for more.
pub(super) fn is_low(free: Amount, booked: Amount) -> bool {
    !free.holds(Amount::new(booked.money.0 / 2, booked.tokens / 2))
}

fn times(amount: Amount, n: i64) -> Amount {
    Amount::new(amount.money.0.saturating_mul(n), amount.tokens.saturating_mul(n))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn amount(units: i64) -> Amount {
        Amount::new(units, 2 * units)
    }

    fn asked(calls: u32, all: i64, largest: i64) -> Asked {
        Asked { calls, all: amount(all), largest: amount(largest) }
    }

    fn after(begun: Instant, ms: u64) -> Instant {
        begun + Duration::from_millis(ms)
    }

    #[test]
    fn a_lease_pays_for_four_busy_slots_and_for_up_to_eight_where_as_many_calls_are_under_way() {
        let peak = asked(10, 100, 20);
        for (under_way, units) in [(0, 400), (40, 400), (41, 500), (80, 800), (1_000, 800)] {
            assert_eq!(ahead(peak, under_way, None), amount(units), "{under_way} calls under way");
        }
        assert_eq!(ahead(Asked::default(), 1_000, None), amount(0), "open calls alone ask for nothing");
    }

    #[test]
    fn however_busy_a_place_is_its_lease_has_a_limit() {
        assert_eq!(ahead(asked(10_000, 200_000, 20), 0, None), amount(20 * MOST_CALLS));
    }

    #[test]
    fn a_lease_shrinks_to_what_budgets_allow_and_is_none_where_that_is_no_call() {
        let peak = asked(10, 100, 20);
        assert_eq!(ahead(peak, 0, Some(amount(50))), amount(50));
        assert_eq!(ahead(peak, 0, Some(amount(20))), amount(20));
        assert_eq!(ahead(peak, 0, Some(amount(19))), amount(0));
        assert_eq!(ahead(peak, 0, Some(Amount::new(1_000, 39))), amount(0), "of tokens, too");
    }

    #[test]
    fn a_lease_is_low_once_more_than_half_of_its_money_or_of_its_tokens_is_given_out() {
        assert!(!is_low(amount(50), amount(100)));
        assert!(is_low(amount(49), amount(100)));
        assert!(is_low(Amount::new(100, 99), amount(100)));
        assert!(!is_low(amount(0), amount(0)), "none is not low");
    }

    #[test]
    fn a_call_by_itself_counts_only_where_there_is_a_lease() {
        let (mut demand, begun) = (Demand::default(), Instant::now());
        demand.ask(amount(5), false, begun);
        assert_eq!(demand.peak(false), Asked::default());
        assert_eq!(demand.peak(true), asked(1, 5, 5));
        demand.ask(amount(7), false, after(begun, 49));
        assert_eq!(demand.peak(false), asked(2, 12, 7));
        demand.look(false, after(begun, 60));
        demand.ask(amount(1), false, after(begun, 60));
        assert_eq!(demand.peak(false), asked(2, 12, 7), "the busiest slot, not the latest");
    }

    #[test]
    fn posts_that_follow_each_other_quickly_make_demand_no_smaller() {
        let (mut demand, begun) = (Demand::default(), Instant::now());
        for ms in [0, 10, 20, 30, 40] {
            demand.ask(amount(1), true, after(begun, ms));
            demand.look(true, after(begun, ms + 5));
        }
        assert_eq!(demand.peak(true), asked(5, 5, 1));
    }

    #[test]
    fn demand_is_remembered_for_a_second_and_forgotten_after_two() {
        let (mut demand, begun) = (Demand::default(), Instant::now());
        demand.ask(amount(5), true, begun);
        demand.look(true, after(begun, 50));
        assert!(demand.is_quiet());
        demand.look(true, after(begun, 1_000));
        assert_eq!(demand.peak(true), asked(1, 5, 5));
        demand.look(true, after(begun, 2_000));
        assert_eq!(demand.peak(true), Asked::default());
    }
}
