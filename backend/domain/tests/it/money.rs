//! Money is exact.

use proptest::prelude::*;
use syndarix_domain::money::MicroUsd;

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
}
