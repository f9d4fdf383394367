//! The watchdog sees circles, and leaves ordinary work alone.

use crate::samples::run::call;
use proptest::prelude::*;
use syndarix_domain::run::{
    Call, Trail,
    watchdog::{SAME_CALL, SAME_PAIR, TRAIL, WITHOUT_ARTEFACT, look, push},
};

/// Feeds calls in answers of this size, as a run would; says after how many calls the watchdog barked.
fn barks_after(digests: &[&str], per_answer: usize) -> Option<usize> {
    let mut trail = Trail::default();
    let mut seen = 0;
    for answer in digests.chunks(per_answer) {
        let calls: Vec<Call> = answer.iter().map(|digest| call(digest, digest)).collect();
        seen += calls.len();
        if look(&trail, &calls).is_some() {
            return Some(seen);
        }
        for call in &calls {
            push(&mut trail.calls, &call.digest);
        }
        assert!(trail.calls.len() <= TRAIL);
    }
    None
}

#[test]
fn the_same_call_four_times_in_a_row_is_a_circle() {
    assert_eq!(barks_after(&["a"; 9], 1), Some(SAME_CALL));
    assert_eq!(barks_after(&["x", "y", "a", "a", "a", "a"], 1), Some(6));
    assert_eq!(barks_after(&["a"; SAME_CALL], SAME_CALL), Some(SAME_CALL));
    assert_eq!(barks_after(&["a"; SAME_CALL - 1], 1), None);
}

#[test]
fn two_calls_in_turn_three_times_are_a_circle() {
    assert_eq!(barks_after(&["a", "b", "a", "b", "a", "b"], 1), Some(2 * SAME_PAIR));
    assert_eq!(barks_after(&["a", "b", "a", "b", "a", "b"], 2), Some(2 * SAME_PAIR));
    assert_eq!(barks_after(&["x", "a", "b", "a", "b", "a", "b"], 1), Some(7));
    assert_eq!(barks_after(&["a", "b", "a", "b", "a"], 1), None);
    assert_eq!(barks_after(&["a", "b", "a", "b", "c", "a", "b"], 1), None);
}

#[test]
fn long_reading_without_anything_new_is_a_circle() {
    let lost = Trail { since_artefact: WITHOUT_ARTEFACT, ..Trail::default() };
    let fine = Trail { since_artefact: WITHOUT_ARTEFACT - 1, ..Trail::default() };
    assert!(look(&lost, &[call("a", "a")]).is_some());
    assert!(look(&fine, &[call("a", "a")]).is_none());
}

#[test]
fn the_edit_and_test_rhythm_of_ordinary_work_is_no_circle() {
    let work = ["read x", "edit x 1", "test", "edit x 2", "test", "edit x 3", "test", "edit x 4", "test"];
    assert_eq!(barks_after(&work, 1), None);
}

proptest! {
    #[test]
    fn calls_that_are_all_different_are_never_a_circle(n in 1_usize..60, per_answer in 1_usize..5) {
        let names: Vec<String> = (0..n).map(|n| n.to_string()).collect();
        let digests: Vec<&str> = names.iter().map(String::as_str).collect();
        prop_assert_eq!(barks_after(&digests, per_answer), None);
    }

    #[test]
    fn a_circle_is_seen_whatever_came_before_it(
        before in prop::collection::vec("[a-f]", 0..12), pair in any::<bool>(), per_answer in 1_usize..4,
    ) {
        let circle: &[&str] = if pair { &["y", "z", "y", "z", "y", "z"] } else { &["z"; SAME_CALL] };
        let digests: Vec<&str> = before.iter().map(String::as_str).chain(circle.iter().copied()).collect();
        prop_assert!(barks_after(&digests, per_answer).is_some());
    }
}
