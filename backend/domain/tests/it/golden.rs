//! Stored events stay readable for ever: one file for each kind of event, as it was once written.
//!
//! A file is a history that exists somewhere. When one of these tests fails, give the event a new version and
//! upcast the old one; never change a file.

use crate::{events::Recorded, samples::minute};
use serde_json::{Value, json};
use std::{collections::BTreeSet, fs, path::Path};
use syndarix_domain::{
    approval::Approval, pull_request::PullRequest, revision::Upgraded, run::Run, sprint::Sprint, story::Story,
};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/events");

#[test]
fn a_stored_event_of_every_kind_reads_and_writes_the_same() {
    check::<Approval>();
    check::<PullRequest>();
    check::<Run>();
    check::<Sprint>();
    check::<Story>();
}

#[test]
fn no_golden_file_is_left_without_its_event() {
    let known = [
        kinds(Approval::SOURCE),
        kinds(PullRequest::SOURCE),
        kinds(Run::SOURCE),
        kinds(Sprint::SOURCE),
        kinds(Story::SOURCE),
    ]
    .concat();
    for file in fs::read_dir(FOLDER).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        let kind = name.strip_suffix(".json").unwrap_or(&name).to_owned();
        assert!(
            known.contains(&kind),
            "{name}: histories hold this event, and the code cannot read it any more"
        );
    }
}

/// A file holds a list: one event of the kind for each shape that its data can have.
fn check<M: Recorded>() {
    let mut samples = M::events("read me", 1);
    samples.push(M::upgraded(Upgraded {
        from: 1,
        to: 2,
        phase: "read me".into(),
        state: json!({ "phase": { "name": "read me" } }),
        at: minute(3),
    }));
    let covered: BTreeSet<String> = samples.iter().map(kind_of::<M>).collect();
    for kind in kinds(M::SOURCE) {
        assert!(covered.contains(&kind), "no sample of `{kind}`");
        let path = Path::new(FOLDER).join(format!("{kind}.json"));
        let current: Vec<&M::Event> = samples.iter().filter(|event| kind_of::<M>(event) == kind).collect();
        let text = fs::read_to_string(&path).unwrap_or_default();
        let wanted = serde_json::to_string_pretty(&current).unwrap();
        assert!(!text.is_empty(), "{} is missing; it would be:\n{wanted}", path.display());
        let stored: Value = serde_json::from_str(&text).unwrap();
        let read = serde_json::from_value::<Vec<M::Event>>(stored.clone());
        assert!(read.is_ok(), "{}: does not read any more: {:?}", path.display(), read.err());
        let events = read.unwrap();
        assert!(!events.is_empty(), "{}: is empty", path.display());
        assert_eq!(
            serde_json::to_value(&events).unwrap(),
            stored,
            "{}: reads, writes differently",
            path.display()
        );
        for event in current {
            assert!(events.contains(event), "{}: lacks the sample {event:?}", path.display());
        }
    }
}

fn kind_of<M: Recorded>(event: &M::Event) -> String {
    let value = serde_json::to_value(event).unwrap();
    value["type"].as_str().unwrap().to_owned()
}

/// The names of the events in the source, one for each variant.
fn kinds(source: &str) -> Vec<String> {
    let body = source.split_once("pub enum Event {").unwrap().1.split_once("\n}\n").unwrap().0;
    let named =
        |line: &str| line.trim().strip_prefix("#[serde(rename = \"")?.strip_suffix("\")]").map(String::from);
    let kinds: Vec<String> = body.lines().filter_map(named).collect();
    let is_variant = |line: &&str| line.starts_with("    ") && line[4..].starts_with(char::is_uppercase);
    assert_eq!(kinds.len(), body.lines().filter(is_variant).count(), "every event has a versioned name");
    kinds
}
