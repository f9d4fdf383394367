//! Where a month's spend ends if it goes on as of late.
//!
//! The pace is that of the last seven days and of today so far, whatever month they are in: on the first of a month there is
//! nothing else to go by. Days are UTC days, as budgets count them.

use crate::{Timestamp, budget::Period, money::MicroUsd};
use chrono::{Days, NaiveDate, NaiveTime, TimeDelta};

/// Whole days before today that the pace is taken from.
const PACE_DAYS: u64 = 7;

/// A month's spend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outlook {
    /// Spent in it up to now.
    pub to_date: MicroUsd,
    /// Where it ends at the present pace.
    pub forecast: MicroUsd,
}

/// Since when spend counts for the outlook of this moment: the month's first day, or the first day of the pace.
pub fn since(now: Timestamp) -> Timestamp {
    let (month, _) = Period::Month.window(now);
    month.min(midnight(first_of_pace(now)))
}

/// The outlook, from what was spent day by day since [`since`]; days without spend may be left out.
pub fn month(days: &[(NaiveDate, MicroUsd)], now: Timestamp) -> Outlook {
    let (month, next) = Period::Month.window(now);
    let today = now.date_naive();
    let sum = |from: NaiveDate| -> MicroUsd {
        days.iter().filter(|(day, _)| *day >= from && *day <= today).map(|(_, spent)| *spent).sum()
    };
    let to_date = sum(month.date_naive());
    // Who began to spend three days ago is not taken to have been idle before.
    let begun = days.iter().filter(|(_, spent)| spent.0 > 0).map(|(day, _)| *day).min().unwrap_or(today);
    let from = first_of_pace(now).max(begun.min(today));
    // Of less than a day no pace is known: what was spent counts as the day's.
    let elapsed = (now - midnight(from)).max(TimeDelta::days(1));
    let rest = next - now;
    let more = i128::from(sum(from).0) * i128::from(rest.num_seconds()) / i128::from(elapsed.num_seconds());
    let more = MicroUsd(i64::try_from(more).unwrap_or(i64::MAX));
    Outlook { to_date, forecast: to_date.plus(more) }
}

fn first_of_pace(now: Timestamp) -> NaiveDate {
    let today = now.date_naive();
    today.checked_sub_days(Days::new(PACE_DAYS)).unwrap_or(today)
}

fn midnight(day: NaiveDate) -> Timestamp {
    day.and_time(NaiveTime::MIN).and_utc()
}
