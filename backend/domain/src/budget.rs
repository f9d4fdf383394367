//! Budget maths: reserve the worst case before a call, settle the real cost after it, against every node above the call.
//!
//! Invariant: at every moment `spent + reserved <= hard limit` in money and in tokens, whatever the order of
//! reservations and settlements, as long as a settlement is not above its reservation. The database holds the numbers;
//! `server/tests/it/ledger.rs` keeps what it does and this model alike.

use crate::{Timestamp, money::MicroUsd};
use chrono::{DateTime, Datelike, Days, Months, NaiveDate, TimeZone, Utc};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A kind of node of the tree that a call counts against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// All projects of an organisation.
    Organisation,
    /// One project.
    Project,
    /// The stories that are in a sprint when their calls are made.
    Sprint,
    /// One agent instance.
    Agent,
    /// One run.
    Run,
    /// One virtual key.
    Key,
}

impl Scope {
    /// All of them, from the top.
    pub const ALL: [Self; 6] =
        [Self::Organisation, Self::Project, Self::Sprint, Self::Agent, Self::Run, Self::Key];

    /// As it is stored.
    pub fn name(self) -> &'static str {
        match self {
            Self::Organisation => "organisation",
            Self::Project => "project",
            Self::Sprint => "sprint",
            Self::Agent => "agent",
            Self::Run => "run",
            Self::Key => "key",
        }
    }

    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.name() == name)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// After which time a budget begins anew, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Period {
    /// Never.
    Total,
    /// At midnight.
    Day,
    /// On Monday at midnight.
    Week,
    /// On the first at midnight.
    Month,
}

impl Period {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Total, Self::Day, Self::Week, Self::Month];

    /// As it is stored.
    pub fn name(self) -> &'static str {
        match self {
            Self::Total => "total",
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
        }
    }

    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|period| period.name() == name)
    }

    /// The window that a moment is in: from its first moment up to, and without, the last.
    pub fn window(self, at: Timestamp) -> (Timestamp, Timestamp) {
        let day = at.date_naive();
        let (first, next) = match self {
            Self::Total => return (DateTime::UNIX_EPOCH, end_of_time()),
            Self::Day => (Some(day), day.checked_add_days(Days::new(1))),
            Self::Week => {
                let into = u64::from(day.weekday().num_days_from_monday());
                let monday = day.checked_sub_days(Days::new(into));
                (monday, monday.and_then(|monday| monday.checked_add_days(Days::new(7))))
            }
            Self::Month => {
                let first = day.with_day(1);
                (first, first.and_then(|first| first.checked_add_months(Months::new(1))))
            }
        };
        (first.map_or(DateTime::UNIX_EPOCH, midnight), next.map_or_else(end_of_time, midnight))
    }

    /// In a sentence, after what was spent.
    pub fn phrase(self) -> &'static str {
        match self {
            Self::Total => "in all",
            Self::Day => "today",
            Self::Week => "this week",
            Self::Month => "this month",
        }
    }
}

fn midnight(day: NaiveDate) -> Timestamp {
    Utc.from_utc_datetime(&day.and_time(chrono::NaiveTime::MIN))
}

/// Far enough, and in every calendar that the numbers go through.
fn end_of_time() -> Timestamp {
    NaiveDate::from_ymd_opt(9999, 1, 1).map_or(DateTime::<Utc>::MAX_UTC, midnight)
}

/// Money and tokens that go together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amount {
    /// What it costs.
    pub money: MicroUsd,
    /// Tokens of prompt and answer.
    pub tokens: i64,
}

impl Amount {
    /// So much money and so many tokens.
    pub fn new(micro_usd: i64, tokens: i64) -> Self {
        Self { money: MicroUsd(micro_usd), tokens }
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self { money: self.money.plus(other.money), tokens: self.tokens.saturating_add(other.tokens) }
    }

    /// Without the other.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        Self { money: self.money.minus(other.money), tokens: self.tokens.saturating_sub(other.tokens) }
    }

    /// Whether there is as much of both as in the other.
    pub fn holds(self, other: Self) -> bool {
        self.money >= other.money && self.tokens >= other.tokens
    }

    /// The less of each.
    #[must_use]
    pub fn at_most(self, other: Self) -> Self {
        Self { money: self.money.min(other.money), tokens: self.tokens.min(other.tokens) }
    }

    /// The more of each.
    #[must_use]
    pub fn at_least(self, other: Self) -> Self {
        Self { money: self.money.max(other.money), tokens: self.tokens.max(other.tokens) }
    }
}

/// What may be used up; `None` is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    /// In money.
    pub money: Option<MicroUsd>,
    /// In tokens of prompts and answers.
    pub tokens: Option<i64>,
}

impl Limit {
    /// A limit of money only.
    pub fn of_money(micro_usd: Option<i64>) -> Self {
        Self { money: micro_usd.map(MicroUsd), tokens: None }
    }

    fn allows(&self, amount: Amount) -> bool {
        self.money.is_none_or(|limit| amount.money <= limit)
            && self.tokens.is_none_or(|limit| amount.tokens <= limit)
    }
}

/// One budget in one window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    /// Calls stop here.
    pub hard: Limit,
    /// People are warned here, and a cheaper model group is asked from here on.
    pub soft: Limit,
    /// Settled.
    pub spent: Amount,
    /// The most that calls under way may still use.
    pub reserved: Amount,
}

/// One call holds no more than one in so many parts of what is left, as long as it can still say something with it.
pub(crate) const SHARE: i64 = 4;

impl Budget {
    /// Whether this much may still be reserved.
    pub fn fits(&self, amount: Amount) -> bool {
        self.hard.allows(self.spent.plus(self.reserved).plus(amount))
    }

    /// Whether it would fit if no other call were under way.
    pub fn would_fit(&self, amount: Amount) -> bool {
        self.hard.allows(self.spent.plus(amount))
    }

    /// Whether it fits and leaves enough for others.
    fn fits_share(&self, amount: Amount) -> bool {
        let many = Amount {
            money: MicroUsd(amount.money.0.saturating_mul(SHARE)),
            tokens: amount.tokens.saturating_mul(SHARE),
        };
        self.fits(many)
    }

    /// Sets an amount aside, if it fits.
    pub fn reserve(&mut self, amount: Amount) -> bool {
        let fits = self.fits(amount);
        if fits {
            self.reserved = self.reserved.plus(amount);
        }
        fits
    }

    /// Ends a reservation with what was used.
    pub fn settle(&mut self, reserved: Amount, used: Amount) {
        self.reserved = self.reserved.minus(reserved);
        self.spent = self.spent.plus(used);
    }

    /// Whether the soft limit is reached.
    pub fn is_soft_reached(&self) -> bool {
        self.soft.money.is_some_and(|limit| self.spent.money >= limit)
            || self.soft.tokens.is_some_and(|limit| self.spent.tokens >= limit)
    }
}

/// What a call asks for.
pub struct Wish<F> {
    /// The answer limit that the caller wants, in tokens.
    pub max_output: u32,
    /// With fewer tokens there is no answer worth its money.
    pub floor: u32,
    /// The most that the call may use with an answer of so many tokens; grows with them.
    pub worst_case: F,
}

impl<F: Fn(u32) -> Amount> Wish<F> {
    /// The answer limit that all budgets allow: all that is wanted while there is plenty, less when it gets scarce, so
    /// that no call holds what others need. An error is the place of the budget that does not even allow the floor.
    pub fn grant(&self, budgets: &[&Budget]) -> Result<u32, usize> {
        let floor = self.floor.min(self.max_output);
        let least = (self.worst_case)(floor);
        if let Some(place) = budgets.iter().position(|budget| !budget.fits(least)) {
            return Err(place);
        }
        let shares = |output: u32| {
            let amount = (self.worst_case)(output);
            budgets.iter().all(|budget| budget.fits_share(amount))
        };
        Ok(largest(floor, self.max_output, shares))
    }
}

/// The largest number from `low` to `high` that passes, `low` taken for granted; what passes does so for all below it.
fn largest(low: u32, high: u32, passes: impl Fn(u32) -> bool) -> u32 {
    if passes(high) {
        return high;
    }
    let (mut good, mut bad) = (low, high);
    while bad - good > 1 {
        let middle = good + (bad - good) / 2;
        if passes(middle) {
            good = middle;
        } else {
            bad = middle;
        }
    }
    good
}

/// People are told when this much of a limit is reached, in percent: of the soft one, or else of the hard one.
pub const ALERTS: [u8; 3] = [80, 90, 100];

/// Which alerts are due when what is used grows from `before` to `after`: each once, however the calls fall.
pub fn crossed(limit: i64, before: i64, after: i64) -> impl Iterator<Item = u8> {
    let reaches =
        move |used: i64, percent: u8| i128::from(used) * 100 >= i128::from(limit) * i128::from(percent);
    ALERTS.into_iter().filter(move |&percent| !reaches(before, percent) && reaches(after, percent))
}
