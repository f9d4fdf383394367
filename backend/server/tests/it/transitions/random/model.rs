//! What the log must be, from what callers were told.

use super::plan::{Command, What, key_of, keyed};
use std::{collections::BTreeMap, time::Instant};
use syndarix::db::Recorded;
use syndarix_domain::{
    machine::Machine,
    sprint::{self, Sprint},
};
use uuid::Uuid;

/// What a caller was told.
#[derive(Debug, PartialEq)]
pub(super) enum Told {
    /// It is done, and its events have these numbers.
    Done(Vec<i64>),
    /// Under its key this command is done: itself or an earlier one.
    Answered(u32),
    /// Its key is another request's.
    Reused,
    /// Nothing of it is done.
    Refused,
    /// Nothing: the caller has left.
    Left,
}

#[derive(Debug)]
pub(super) struct Seen {
    pub(super) n: u32,
    pub(super) asked: Instant,
    pub(super) at: Instant,
    pub(super) told: Told,
}

/// The commands that are done, with the numbers of their events.
pub(super) fn done(seen: &[Seen]) -> impl Iterator<Item = (&Seen, &Vec<i64>)> {
    seen.iter().filter_map(|seen| match &seen.told {
        Told::Done(numbers) => Some((seen, numbers)),
        _ => None,
    })
}

/// Whoever was told before another asked stands before it in the log.
pub(super) fn in_order(seen: &[Seen]) {
    for (first, numbers) in done(seen) {
        for (second, later) in done(seen).filter(|(second, _)| first.at < second.asked) {
            assert!(numbers.last() < later.first(), "{first:?} was over before {second:?}");
        }
    }
}

/// What the log makes of the streams, in memory.
#[derive(Default)]
pub(super) struct Model {
    /// Versions and states.
    pub(super) streams: BTreeMap<Uuid, (i64, Sprint)>,
    /// The numbers of each command's events.
    written: BTreeMap<u32, Vec<i64>>,
}

impl Model {
    pub(super) fn replay(events: &[Recorded]) -> Self {
        let mut model = Self::default();
        for (event, seq) in events.iter().zip(1..) {
            assert_eq!(event.seq, seq, "numbers have no gap");
            let happened = event.decode::<Sprint>().unwrap();
            let (version, before) = match model.streams.remove(&event.stream_id) {
                Some((version, state)) => (version, Some(state)),
                None => (0, None),
            };
            assert_eq!(event.version, version + 1, "versions have no gap: {event:?}");
            if let sprint::Event::Edited { goal, .. } = &happened
                && !goal.is_empty()
            {
                let found = before.as_ref().map(|sprint| &sprint.name);
                assert_eq!(found, Some(goal), "what was decided on is what stood there: {event:?}");
            }
            if let Some(n) = whose(&happened) {
                model.written.entry(n).or_default().push(seq);
            }
            let state = Sprint::evolve(before, &happened).unwrap();
            model.streams.insert(event.stream_id, (event.version, state));
        }
        model
    }

    fn written(&self, n: u32) -> &[i64] {
        self.written.get(&n).map_or(&[], Vec::as_slice)
    }

    /// What was acknowledged is there once and whole, what was refused is not, and what nobody was told of is not there
    /// twice.
    pub(super) fn has_each_once(&self, plan: &[Command], seen: &[Seen]) {
        for seen in seen.iter().filter(|seen| key_of(plan, seen.n).is_none()) {
            let what = plan.iter().find(|command| command.n == seen.n).map(|command| command.what);
            let (written, whole) = (self.written(seen.n), what.map_or(1, What::events));
            match &seen.told {
                Told::Done(numbers) => {
                    assert_eq!((written, written.len()), (&numbers[..], whole), "{what:?}, {seen:?}");
                }
                Told::Left => assert!(written.is_empty() || written.len() == whole, "{what:?}, {written:?}"),
                _ => assert!(written.is_empty(), "{what:?}, {seen:?}: {written:?}"),
            }
        }
        let strange = self.written.keys().find(|n| !seen.iter().any(|seen| seen.n == **n));
        assert_eq!(strange, None, "there is an event of a command that nobody gave");
    }

    /// Who has used up which key. One command of a key is done, and everybody who came with the same request was given its
    /// answer.
    pub(super) fn keys(&self, plan: &[Command], seen: &[Seen]) -> BTreeMap<u32, u32> {
        let told = |n: u32| seen.iter().filter(move |seen| seen.n == n).map(|seen| &seen.told);
        let mut used = BTreeMap::new();
        for (command, key) in keyed(plan) {
            for told in told(command.n) {
                if let Told::Answered(by) = told {
                    assert_eq!(key_of(plan, *by), Some(key), "{command:?} has the answer of another request");
                    let first = *used.entry(key.key).or_insert(*by);
                    assert_eq!(*by, first, "{command:?} has an answer of its own");
                }
            }
        }
        for (command, key) in keyed(plan) {
            let by = used.get(&key.key).copied();
            let times = usize::from(by == Some(command.n));
            assert_eq!(self.written(command.n).len(), times, "{command:?}, while {by:?} has used up its key");
            let same = by.and_then(|by| key_of(plan, by)) == Some(key);
            let reused = told(command.n).any(|told| *told == Told::Reused);
            assert!(!reused || (by.is_some() && !same), "{command:?} was refused a key that was its own");
        }
        used
    }
}

/// The command that an event is of. Those of the streams' beginnings are of none.
fn whose(event: &sprint::Event) -> Option<u32> {
    match event {
        sprint::Event::Created { sprint, .. } => sprint.name.parse().ok(),
        sprint::Event::Edited { name, .. } => name.parse().ok(),
        sprint::Event::StoryAdded { story, .. } => story.0.as_u128().try_into().ok(),
        _ => None,
    }
}
