//! Sees a run that turns in circles: A-A-A, A-B-A-B, or much activity without anything new.

use super::types::{Call, Trail};

/// The same call with the same arguments this often in a row is a loop.
pub const SAME_CALL: usize = 4;
/// This many repetitions of a pair of calls is a loop.
pub const SAME_PAIR: usize = 3;
/// Tool calls without anything new: longer reading than this has lost its way.
pub const WITHOUT_ARTEFACT: u32 = 60;
/// Calls kept on the trail: what the longest pattern needs.
pub const TRAIL: usize = 2 * SAME_PAIR;

/// What the trail would say with these calls added, if anything.
pub fn look(trail: &Trail, calls: &[Call]) -> Option<String> {
    let mut seen = trail.calls.clone();
    for call in calls {
        push(&mut seen, &call.digest);
        if let Some(reason) = circle(&seen, &call.tool) {
            return Some(reason);
        }
    }
    (trail.since_artefact >= WITHOUT_ARTEFACT)
        .then(|| format!("{} tool calls without anything new", trail.since_artefact))
}

/// Adds a call to the trail, dropping the oldest.
pub fn push(trail: &mut Vec<String>, digest: &str) {
    trail.push(digest.to_owned());
    if trail.len() > TRAIL {
        trail.remove(0);
    }
}

fn circle(seen: &[String], tool: &str) -> Option<String> {
    let last = seen.last()?;
    if seen.len() >= SAME_CALL && seen.iter().rev().take(SAME_CALL).all(|call| call == last) {
        return Some(format!("`{tool}` was called {SAME_CALL} times in a row with the same arguments"));
    }
    let pairs: Vec<&[String]> = seen.rchunks(2).take(SAME_PAIR).collect();
    let first = pairs.first()?;
    let repeated = pairs.len() == SAME_PAIR && pairs.iter().all(|pair| pair == first && pair.len() == 2);
    (repeated && first[0] != first[1])
        .then(|| format!("two calls were repeated {SAME_PAIR} times in turn, the last one `{tool}`"))
}
