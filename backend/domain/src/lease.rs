//! A part of the budgets above many calls, set aside at once in the tables and given out call by call from memory.
//!
//! Invariants: at every moment a process gives out no more than what the tables are sure to hold for it, also while nobody
//! knows whether a post has been committed; what is given out gets rows of its own, and what those hold leaves the lease in
//! the same transaction, so that a budget holds each call once. Together with the books' own rule (`budget`) no hard limit is
//! passed, and what a process that dies has given out is in the lease or in a row.

use crate::{
    budget::{Amount, Budget, SHARE},
    money::MicroUsd,
};

/// A lease, as the process that has it knows it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lease {
    /// The tables hold at least this.
    sure: Amount,
    /// Given out, and not in rows of their own yet.
    drawn: Amount,
}

/// What a lease is meant to become when it is posted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Terms {
    /// What may be given out before the post is known to be over: so much stays, whatever has become of the budgets.
    pub keep: Amount,
    /// What it should hold.
    pub wanted: Amount,
    /// Less than this is of no use: the largest call.
    pub least: Amount,
}

impl Lease {
    /// Gives an amount out, if it is sure to be there. Nothing is no amount: it would be drawn from a lease that ends.
    pub fn draw(&mut self, amount: Amount) -> bool {
        let fits = amount != Amount::default() && self.free().holds(amount);
        if fits {
            self.drawn = self.drawn.plus(amount);
        }
        fits
    }

    /// What can still be given out.
    pub fn free(&self) -> Amount {
        self.sure.minus(self.drawn)
    }

    /// A post begins, which gives rows to all that was drawn. Until it is over, only what it is sure to keep is given out.
    pub fn begin_post(&mut self, wanted: Amount, least: Amount) -> Terms {
        let keep = self.free().at_most(wanted);
        *self = Self { sure: keep, drawn: Amount::default() };
        Terms { keep, wanted, least }
    }

    /// A post is over, and has left so much.
    pub fn end_post(&mut self, booked: Amount) {
        self.sure = booked;
    }
}

impl Terms {
    /// What a lease comes to that holds `left` after its drawn calls have got their rows, where it may hold `allowed`.
    pub fn booked(&self, left: Amount, allowed: Amount) -> Amount {
        let fits = self.wanted.at_most(allowed);
        let fits = if fits.holds(self.least) { fits } else { Amount::default() };
        fits.at_least(self.keep.at_most(left))
    }
}

/// The most that a lease which holds `left` may hold: no more than a quarter of what is left of each budget without it, so that
/// calls and processes beside it find theirs.
pub fn allowance(left: Amount, budgets: &[&Budget]) -> Amount {
    let share =
        |limit: i64, used: i64, left: i64| limit.saturating_sub(used).saturating_add(left).max(0) / SHARE;
    let mut most = Amount::new(i64::MAX, i64::MAX);
    for budget in budgets {
        let used = budget.spent.plus(budget.reserved);
        if let Some(limit) = budget.hard.money {
            most.money = most.money.min(MicroUsd(share(limit.0, used.money.0, left.money.0)));
        }
        if let Some(limit) = budget.hard.tokens {
            most.tokens = most.tokens.min(share(limit, used.tokens, left.tokens));
        }
    }
    most
}
