//! Budgets: windows, grants, and limits that no order of calls passes.

use chrono::DateTime;
use proptest::prelude::*;
use syndarix_domain::{
    Timestamp,
    budget::{ALERTS, Amount, Budget, Limit, Period, Wish, crossed},
    money::MicroUsd,
};

fn at(text: &str) -> Timestamp {
    DateTime::parse_from_rfc3339(text).unwrap().to_utc()
}

#[test]
fn a_moment_is_in_one_window_of_each_period() {
    let moment = at("2028-02-29T23:59:59Z");
    let window = |period: Period| {
        let (first, next) = period.window(moment);
        (first.to_rfc3339(), next.to_rfc3339())
    };
    let pair = |first: &str, next: &str| (first.to_owned(), next.to_owned());
    assert_eq!(window(Period::Day), pair("2028-02-29T00:00:00+00:00", "2028-03-01T00:00:00+00:00"));
    assert_eq!(window(Period::Week), pair("2028-02-28T00:00:00+00:00", "2028-03-06T00:00:00+00:00"));
    assert_eq!(window(Period::Month), pair("2028-02-01T00:00:00+00:00", "2028-03-01T00:00:00+00:00"));
    assert_eq!(window(Period::Total), pair("1970-01-01T00:00:00+00:00", "9999-01-01T00:00:00+00:00"));
}

#[test]
fn alerts_come_once_each_however_far_one_step_goes() {
    assert_eq!(crossed(1_000, 0, 799).collect::<Vec<_>>(), Vec::<u8>::new());
    assert_eq!(crossed(1_000, 799, 800).collect::<Vec<_>>(), [80]);
    assert_eq!(crossed(1_000, 0, 5_000).collect::<Vec<_>>(), [80, 90, 100]);
    assert_eq!(crossed(1_000, 1_000, 5_000).collect::<Vec<_>>(), Vec::<u8>::new());
}

/// A call whose input costs 100 and each token of whose answer costs 10.
fn wish(max_output: u32, floor: u32) -> Wish<impl Fn(u32) -> Amount> {
    let worst_case = |output: u32| Amount::new(100 + 10 * i64::from(output), 50 + i64::from(output));
    Wish { max_output, floor, worst_case }
}

fn hard(money: Option<i64>, tokens: Option<i64>) -> Budget {
    Budget { hard: Limit { money: money.map(MicroUsd), tokens }, ..Budget::default() }
}

#[test]
fn a_call_gets_all_it_wants_while_there_is_plenty_and_a_share_when_there_is_not() {
    let all = |budget: &Budget| wish(1_000, 100).grant(&[budget]);
    assert_eq!(all(&hard(None, None)), Ok(1_000));
    assert_eq!(all(&hard(Some(40_400), None)), Ok(1_000), "four of them fit");
    assert_eq!(all(&hard(Some(20_400), None)), Ok(500), "a quarter of what is left");
    assert_eq!(all(&hard(Some(1_100), None)), Ok(100), "the floor, to the last cent");
    assert_eq!(all(&hard(Some(1_099), None)), Err(0));
    assert_eq!(all(&hard(None, Some(1_000))), Ok(200), "tokens run out like money");
}

#[test]
fn the_tightest_budget_above_a_call_decides() {
    let (wide, narrow, empty) = (hard(None, None), hard(Some(20_400), None), hard(Some(10), None));
    assert_eq!(wish(1_000, 100).grant(&[&wide, &narrow]), Ok(500));
    assert_eq!(wish(1_000, 100).grant(&[&wide, &narrow, &empty]), Err(2));
}

#[test]
fn one_after_the_other_calls_are_served_until_the_money_is_gone() {
    let mut budget = hard(Some(20_000), None);
    let mut served = 0;
    while let Ok(granted) = wish(1_000, 10).grant(&[&budget]) {
        let reserved = Amount::new(100 + 10 * i64::from(granted), 0);
        assert!(budget.reserve(reserved));
        // The answer was short.
        budget.settle(reserved, Amount::new(200, 0));
        served += 1;
    }
    assert_eq!(served, 100, "nobody is refused while the money for an answer is there");
}

proptest! {
    #[test]
    fn no_order_of_calls_passes_a_hard_limit(
        limit in 0_i64..100_000,
        calls in prop::collection::vec((1_u32..2_000, 0_u32..600, 0_i64..=100, any::<bool>()), 1..60),
    ) {
        let mut budget = hard(Some(limit), Some(limit / 8));
        let mut open = Vec::new();
        for (max_output, floor, share, end_one) in calls {
            let wish = wish(max_output, floor);
            match wish.grant(&[&budget]) {
                Ok(granted) => {
                    prop_assert!(granted <= max_output && granted >= floor.min(max_output));
                    let amount = (wish.worst_case)(granted);
                    prop_assert!(budget.reserve(amount), "what is granted fits");
                    open.push((amount, share));
                }
                Err(_) => prop_assert!(!budget.fits((wish.worst_case)(floor.min(max_output)))),
            }
            if end_one && let Some((amount, share)) = open.pop() {
                let used = Amount::new(amount.money.0 * share / 100, amount.tokens * share / 100);
                budget.settle(amount, used);
            }
            prop_assert!(budget.fits(Amount::default()), "spent and reserved are within the limit");
        }
    }

    #[test]
    fn each_alert_of_a_soft_limit_is_due_once_however_the_calls_fall(
        limit in 1_i64..10_000,
        costs in prop::collection::vec(0_i64..2_000, 0..40),
    ) {
        let (mut spent, mut told) = (MicroUsd::ZERO, Vec::new());
        for cost in costs {
            let after = spent.plus(MicroUsd(cost));
            told.extend(crossed(limit, spent.0, after.0));
            spent = after;
        }
        let due: Vec<u8> =
            ALERTS.into_iter().filter(|percent| spent.0 * 100 >= limit * i64::from(*percent)).collect();
        prop_assert_eq!(told, due);
    }
}
