//! What earlier releases recorded, replayed through today's machines: every event of theirs leads to the phase that it led
//! to then, and every state that they left behind is one of today's, and the replay's.
//!
//! Folders of `tests/histories` for each release, made by the example `history` from what that release really did. A
//! folder is never changed: when one of these tests fails, the machines forgot something that exists somewhere.

use crate::samples::Sampled;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};
use syndarix_domain::{
    Timestamp,
    approval::{self, Approval},
    machine::{Decision, Kind, Machine, Rejection},
    pull_request::PullRequest,
    revision::{self, Step, Unmapped, Upgraded},
    run::Run,
    sprint::Sprint,
    story::Story,
};
use uuid::Uuid;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/histories");

/// A line of `events.jsonl`.
#[derive(Deserialize)]
struct Line {
    kind: Kind,
    stream: Uuid,
    version: i64,
    #[serde(rename = "type")]
    event_type: String,
    data: Value,
    /// After it, at the time.
    phase: String,
}

/// A line of `states.jsonl`.
#[derive(Deserialize)]
struct Left {
    kind: Kind,
    revision: i32,
    phase: String,
    state: Value,
}

fn releases() -> Vec<PathBuf> {
    let found: Vec<PathBuf> = fs::read_dir(FOLDER).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(!found.is_empty());
    found
}

fn lines<T: for<'de> Deserialize<'de>>(file: &Path) -> Vec<T> {
    let text = fs::read_to_string(file).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Gives every state that there was on the way.
fn replay<M: Machine>(release: &Path, lines: &[&Line]) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    let mut states: BTreeMap<Uuid, M> = BTreeMap::new();
    for line in lines {
        let event = json!({ "type": line.event_type, "data": line.data });
        let place = format!("{}: {} {} of {}", release.display(), line.event_type, line.version, line.stream);
        let event =
            serde_json::from_value::<M::Event>(event).unwrap_or_else(|why| unreachable!("{place}: {why}"));
        let state = M::evolve(states.remove(&line.stream), &event);
        let state = state.unwrap_or_else(|| unreachable!("{place} leads to nothing"));
        assert_eq!(state.phase(), line.phase, "{place}");
        seen.insert(serde_json::to_value(&state).unwrap().to_string());
        states.insert(line.stream, state);
    }
    assert!(!states.is_empty(), "{}: no history of a {}", release.display(), M::KIND.name());
    seen
}

fn leads_to<M: Machine>(release: &Path) {
    let lines: Vec<Line> = lines(&release.join("events.jsonl"));
    let of_kind: Vec<&Line> = lines.iter().filter(|line| line.kind == M::KIND).collect();
    let seen = replay::<M>(release, &of_kind);
    let left: Vec<Left> = self::lines(&release.join("states.jsonl"));
    for left in left.into_iter().filter(|left| left.kind == M::KIND && left.revision == M::REVISION) {
        assert!(seen.contains(&left.state.to_string()), "{}: not led to: {}", release.display(), left.state);
    }
}

#[test]
fn every_state_that_a_release_left_behind_is_what_its_events_lead_to_today() {
    for release in releases() {
        leads_to::<Approval>(&release);
        leads_to::<PullRequest>(&release);
        leads_to::<Run>(&release);
        leads_to::<Sprint>(&release);
        leads_to::<Story>(&release);
    }
}

/// Events that no recorded history has: no release has had anything to upgrade, and a model call that fails for good, or
/// is charged after its end, did not come by.
const NOT_RECORDED: &[&str] = &[
    "approval.upgraded.v1",
    "pr.upgraded.v1",
    "run.charged.v1",
    "run.model_call_failed.v1",
    "run.upgraded.v1",
    "sprint.upgraded.v1",
    "story.upgraded.v1",
];

#[test]
fn every_event_is_in_a_recorded_history_or_named_here() {
    let recorded: BTreeSet<String> = releases()
        .iter()
        .flat_map(|release| lines::<Line>(&release.join("events.jsonl")))
        .map(|line| line.event_type)
        .collect();
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/events");
    let all = fs::read_dir(golden).unwrap().map(|entry| entry.unwrap().path());
    let missing: BTreeSet<String> = all
        .map(|file| file.file_stem().unwrap().to_str().unwrap().to_owned())
        .filter(|name| !recorded.contains(name))
        .collect();
    assert_eq!(missing, NOT_RECORDED.iter().map(|name| (*name).to_owned()).collect());
}

#[test]
fn every_event_of_every_release_leads_to_the_phase_that_it_led_to_then() {
    for release in releases() {
        let lines: Vec<Line> = lines(&release.join("events.jsonl"));
        let of = |kind: Kind| -> Vec<&Line> { lines.iter().filter(|line| line.kind == kind).collect() };
        replay::<Approval>(&release, &of(Kind::Approval));
        replay::<PullRequest>(&release, &of(Kind::PullRequest));
        replay::<Run>(&release, &of(Kind::Run));
        replay::<Sprint>(&release, &of(Kind::Sprint));
        replay::<Story>(&release, &of(Kind::Story));
    }
}

fn takes_over<M: Machine>(release: &Path, left: Vec<&Left>) {
    let phases: BTreeSet<&str> = left.iter().map(|left| left.phase.as_str()).collect();
    assert!(!phases.is_empty(), "{}: no state of a {}", release.display(), M::KIND.name());
    for left in left {
        let read = revision::read::<M>(left.revision, &left.phase, left.state.clone());
        assert!(read.is_ok(), "{}: {}", release.display(), read.unwrap_err());
        let state = read.unwrap();
        assert!(M::PHASES.contains(&state.phase()));
        if left.revision == M::REVISION {
            let again = serde_json::to_value(&state).unwrap();
            assert_eq!(again, left.state, "{}: another shape is another revision", release.display());
        }
    }
}

#[test]
fn every_state_that_a_release_left_behind_is_one_of_today() {
    for release in releases() {
        let left: Vec<Left> = lines(&release.join("states.jsonl"));
        let of = |kind: Kind| -> Vec<&Left> { left.iter().filter(|left| left.kind == kind).collect() };
        takes_over::<Approval>(&release, of(Kind::Approval));
        takes_over::<PullRequest>(&release, of(Kind::PullRequest));
        takes_over::<Run>(&release, of(Kind::Run));
        takes_over::<Sprint>(&release, of(Kind::Sprint));
        takes_over::<Story>(&release, of(Kind::Story));
    }
}

fn names_its_phases<M: Sampled>() {
    let reached: BTreeSet<&str> =
        M::states().unwrap().iter().flat_map(|(_, state)| state).map(M::phase).collect();
    let named: BTreeSet<&str> = M::PHASES.iter().copied().collect();
    assert_eq!(reached, named, "PHASES of the {}", M::KIND.name());
    let lost = unmapped::<M>();
    assert!(lost.is_empty(), "of the {}, nothing leads on from {lost:?}", M::KIND.name());
}

/// Revisions and phases from which nothing leads to today. Only today's phases can be asked for: those that are gone are in
/// what the releases left behind.
fn unmapped<M: Machine>() -> Vec<(i32, &'static str)> {
    let all = (1..=M::REVISION).flat_map(|from| M::PHASES.iter().map(move |phase| (from, *phase)));
    all.filter(|(from, phase)| revision::steps::<M>(*from, phase).is_err()).collect()
}

#[test]
fn every_machine_names_all_its_phases() {
    names_its_phases::<Approval>();
    names_its_phases::<PullRequest>();
    names_its_phases::<Run>();
    names_its_phases::<Sprint>();
    names_its_phases::<Story>();
}

/// Approvals at a third revision, whose mapping from the second one forgot those that have expired.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
struct Forgetful(Approval);

impl Machine for Forgetful {
    const KIND: Kind = Kind::Approval;
    const REVISION: i32 = 3;
    const PHASES: &'static [&'static str] = Approval::PHASES;
    type Command = approval::Command;
    type Event = approval::Event;
    type Effect = approval::Effect;

    fn decide(
        state: Option<&Self>,
        command: &Self::Command,
        now: Timestamp,
    ) -> Result<Decision<Self>, Rejection> {
        let decision = Approval::decide(state.map(|of| &of.0), command, now)?;
        Ok(Decision { events: decision.events, effects: decision.effects })
    }

    fn evolve(state: Option<Self>, event: &Self::Event) -> Option<Self> {
        Approval::evolve(state.map(|of| of.0), event).map(Self)
    }

    fn phase(&self) -> &'static str {
        self.0.phase()
    }

    fn step(revision: i32, phase: &str) -> Option<Step> {
        let known = Self::PHASES.iter().find(|known| **known == phase)?;
        ((revision, phase) != (2, "expired")).then_some(Step { phase: known, map: |state| state })
    }

    fn upgraded(upgraded: Upgraded) -> Self::Event {
        approval::Event::Upgraded(upgraded)
    }
}

#[test]
fn a_mapping_that_forgets_a_phase_is_found_out_from_every_revision_that_leads_there() {
    assert_eq!(unmapped::<Forgetful>(), [(1, "expired"), (2, "expired")]);
}

#[test]
fn a_state_of_a_later_release_or_of_an_unknown_phase_is_not_read() {
    let later = revision::steps::<Run>(Run::REVISION + 1, "waiting").unwrap_err();
    assert!(matches!(later, Unmapped::Later { .. }), "{later}");
    let unknown = revision::steps::<Run>(Run::REVISION, "dreaming").unwrap_err();
    assert_eq!(unknown.to_string(), "a run in `dreaming` of revision 1 has no mapping to revision 1");
    assert!(matches!(revision::steps::<Run>(0, "waiting").unwrap_err(), Unmapped::Missing { .. }));
    let unreadable = revision::read::<Run>(Run::REVISION, "waiting", json!({})).unwrap_err();
    assert!(matches!(unreadable, Unmapped::Unreadable { .. }), "{unreadable}");
}
