//! Money is exact, and budgets hold.

use proptest::prelude::*;
use syndarix_domain::{
    budget::{ALERTS, Budget, crossed},
    money::MicroUsd,
};

#[test]
fn amounts_show_as_many_places_as_they_need() {
    let shown = [
        (0, "$0.00"),
        (12_500_000, "$12.50"),
        (4_200, "$0.004200"),
        (1, "$0.000001"),
        (10_000, "$0.01"),
        (-1_230_000, "-$1.23"),
        (-1, "-$0.000001"),
        (1_999_999, "$1.999999"),
        (i64::MAX, "$9223372036854.775807"),
        (i64::MIN, "-$9223372036854.775808"),
    ];
    for (micros, text) in shown {
        assert_eq!(MicroUsd(micros).to_string(), text);
    }
}

#[test]
fn a_refused_reservation_says_how_much_is_missing() {
    let mut budget = Budget { hard_limit: Some(MicroUsd(100)), spent: MicroUsd(60), ..Budget::default() };
    assert_eq!(budget.reserve(MicroUsd(50)), Err(MicroUsd(10)));
    assert_eq!(budget.reserve(MicroUsd(40)), Ok(()));
    assert_eq!(budget.available(), Some(MicroUsd::ZERO));
    assert_eq!(budget.reserve(MicroUsd(1)), Err(MicroUsd(1)));
}

proptest! {
    #[test]
    fn an_amount_reads_back_from_what_is_shown(micros in any::<i64>()) {
        let shown = MicroUsd(micros).to_string().replace('$', "");
        let (dollars, rest) = shown.split_once('.').unwrap();
        let read: i128 = format!("{dollars}{rest:0<6}").parse().unwrap();
        prop_assert_eq!(read, i128::from(micros));
    }

    #[test]
    fn a_sum_is_exact_in_any_order(mut amounts in prop::collection::vec(-1_000_000_000_i64..1_000_000_000, 0..200)) {
        let exact: i64 = amounts.iter().sum();
        let forth: MicroUsd = amounts.iter().copied().map(MicroUsd).sum();
        amounts.reverse();
        let back: MicroUsd = amounts.into_iter().map(MicroUsd).sum();
        prop_assert_eq!(forth, MicroUsd(exact));
        prop_assert_eq!(back, MicroUsd(exact));
    }

    #[test]
    fn a_sum_never_wraps(a in any::<i64>(), b in any::<i64>()) {
        let exact = i128::from(a) + i128::from(b);
        let clamped = exact.clamp(i128::from(i64::MIN), i128::from(i64::MAX));
        prop_assert_eq!(i128::from(MicroUsd(a).plus(MicroUsd(b)).0), clamped);
    }

    /// Calls begin and end in any order; a share of a reservation in thousandths is what a call really cost.
    #[test]
    fn no_interleaving_passes_a_hard_limit(
        limit in 0_i64..1_000_000,
        moves in prop::collection::vec((any::<bool>(), 0_i64..300_000, 0_i64..=1_000, any::<prop::sample::Index>()), 0..80),
    ) {
        let mut budget = Budget { hard_limit: Some(MicroUsd(limit)), ..Budget::default() };
        let mut open: Vec<i64> = Vec::new();
        let mut paid = 0;
        for (begins, amount, share, which) in moves {
            if begins {
                let free = limit - budget.spent.0 - budget.reserved.0;
                match budget.reserve(MicroUsd(amount)) {
                    Ok(()) => open.push(amount),
                    Err(missing) => prop_assert_eq!(missing, MicroUsd(amount - free)),
                }
            } else if !open.is_empty() {
                let reserved = open.swap_remove(which.index(open.len()));
                let cost = reserved * share / 1_000;
                budget.settle(MicroUsd(reserved), MicroUsd(cost));
                paid += cost;
            }
            prop_assert!(budget.spent.0 + budget.reserved.0 <= limit);
            prop_assert_eq!(budget.spent, MicroUsd(paid));
            prop_assert_eq!(budget.reserved, open.iter().copied().map(MicroUsd).sum());
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
            told.extend(crossed(MicroUsd(limit), spent, after));
            spent = after;
        }
        let due: Vec<u8> =
            ALERTS.into_iter().filter(|percent| spent.0 * 100 >= limit * i64::from(*percent)).collect();
        prop_assert_eq!(told, due);
    }

    #[test]
    fn a_budget_without_a_hard_limit_refuses_nothing(amount in 0_i64..i64::MAX) {
        let mut budget = Budget { soft_limit: Some(MicroUsd(1)), ..Budget::default() };
        prop_assert_eq!(budget.reserve(MicroUsd(amount)), Ok(()));
        prop_assert_eq!(budget.available(), None);
    }
}
