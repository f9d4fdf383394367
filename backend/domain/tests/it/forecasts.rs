//! Where a month ends, and that nothing jumps at its borders.

use chrono::{DateTime, Days, NaiveDate, TimeDelta, Utc};
use proptest::prelude::*;
use syndarix_domain::{budget::Period, forecast, money::MicroUsd};

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn day(text: &str) -> NaiveDate {
    text.parse().unwrap()
}

/// The spend of somebody who spends so much a day, evenly, for so many days before the moment.
fn even(daily: i64, before: u64, now: DateTime<Utc>) -> Vec<(NaiveDate, MicroUsd)> {
    let today = now.date_naive();
    let into = (now - Period::Day.window(now).0).num_seconds();
    let whole = (1..=before).map(|ago| (today - Days::new(ago), MicroUsd(daily)));
    let part = i64::try_from(i128::from(daily) * i128::from(into) / 86_400).unwrap();
    whole.chain([(today, MicroUsd(part))]).collect()
}

#[test]
fn the_month_goes_on_as_the_last_days_did_also_on_its_first() {
    let spent = even(10_000_000, 40, at("2026-12-01T06:00:00Z"));
    let outlook = forecast::month(&spent, at("2026-12-01T06:00:00Z"));
    assert_eq!(outlook.to_date, MicroUsd(2_500_000));
    assert_eq!(outlook.forecast, MicroUsd(310_000_000));
}

#[test]
fn a_first_day_counts_as_a_whole_one_and_no_spend_is_none() {
    let first = [(day("2026-11-10"), MicroUsd(1_000_000))];
    let outlook = forecast::month(&first, at("2026-11-10T00:30:00Z"));
    assert_eq!(outlook.to_date, MicroUsd(1_000_000));
    assert!(outlook.forecast < MicroUsd(22_000_000), "not 48 times as much: {outlook:?}");
    let none = forecast::month(&[], at("2026-11-10T00:30:00Z"));
    assert_eq!((none.to_date, none.forecast), (MicroUsd(0), MicroUsd(0)));
}

#[test]
fn who_has_stopped_spending_ends_where_they_are() {
    let long_ago = [(day("2026-11-02"), MicroUsd(5_000_000))];
    let outlook = forecast::month(&long_ago, at("2026-11-20T12:00:00Z"));
    assert_eq!((outlook.to_date, outlook.forecast), (MicroUsd(5_000_000), MicroUsd(5_000_000)));
}

proptest! {
    #[test]
    fn an_even_spender_is_told_the_same_at_every_moment(
        seconds in 1_600_000_000i64..2_000_000_000, daily in 0i64..1_000_000_000,
    ) {
        let now = DateTime::from_timestamp(seconds, 0).unwrap();
        let (first, next) = Period::Month.window(now);
        let expected = i128::from(daily) * i128::from((next - first).num_days());
        let told = i128::from(forecast::month(&even(daily, 40, now), now).forecast.0);
        // Today's part is rounded, and stands for up to a month.
        prop_assert!((told - expected).abs() <= 40, "{told} instead of {expected}");
    }

    #[test]
    fn the_forecast_is_never_below_what_is_spent_and_meets_it_at_the_months_end(
        seconds in 1_600_000_000i64..2_000_000_000, spends in prop::collection::vec(0i64..1_000_000_000, 40),
    ) {
        let now = DateTime::from_timestamp(seconds, 0).unwrap();
        let days = |now: DateTime<Utc>| -> Vec<_> {
            (0u64..).zip(&spends).map(|(ago, spent)| (now.date_naive() - Days::new(ago), MicroUsd(*spent))).collect()
        };
        let outlook = forecast::month(&days(now), now);
        prop_assert!(outlook.forecast >= outlook.to_date);
        let last = Period::Month.window(now).1 - TimeDelta::seconds(1);
        let at_end = forecast::month(&days(last), last);
        let spent_in_a_second = at_end.forecast.0 - at_end.to_date.0;
        prop_assert!(i128::from(spent_in_a_second) * 86_400 <= spends.iter().map(|spent| i128::from(*spent)).sum());
    }

    #[test]
    fn what_is_asked_for_is_enough(
        seconds in 1_600_000_000i64..2_000_000_000, spends in prop::collection::vec(0i64..1_000_000_000, 60),
    ) {
        let now = DateTime::from_timestamp(seconds, 0).unwrap();
        let all: Vec<_> =
            (0u64..).zip(&spends).map(|(ago, spent)| (now.date_naive() - Days::new(ago), MicroUsd(*spent))).collect();
        let since = forecast::since(now).date_naive();
        let read: Vec<_> = all.iter().copied().filter(|(day, _)| *day >= since).collect();
        prop_assert_eq!(forecast::month(&all, now), forecast::month(&read, now));
    }
}
