//! Makes a folder of `tests/histories` from the events that a release recorded: one for its good path, another for
//! what happens off it.
//!
//! Run a `demo --yes` and whatever else should be remembered with the release, then:
//! `psql -Atc "select json_build_object('kind', kind, 'stream', stream_id, 'version', version, 'type', type, 'data', data)
//! from event where version > 0 order by project_id, seq" | cargo run -p syndarix-domain --example history -- VERSION`
//!
//! `SYNDARIX_RECORD_HISTORY=FILE .ci/with-postgres cargo test -p syndarix --test it fire::histories` plays what happens off
//! the good path in a whole process, and writes such lines: they are `VERSION-off-the-path`.

use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error,
    fmt::Write as _,
    fs,
    io::{self, BufRead},
    path::Path,
};
use syndarix_domain::{
    approval::Approval, machine::Machine, pull_request::PullRequest, run::Run, sprint::Sprint, story::Story,
};

/// The machines' states by stream, as JSON, one for each phase that was reached, and the last one of each stream.
#[derive(Default)]
struct Replayed {
    streams: BTreeMap<String, Value>,
    last: BTreeMap<String, Value>,
    left: BTreeMap<(String, String), Value>,
}

impl Replayed {
    /// The phase after the event.
    fn apply<M: Machine>(&mut self, line: &Value) -> Result<String, Box<dyn Error>> {
        let event = serde_json::from_value(json!({ "type": line["type"], "data": line["data"] }))?;
        let stream = line["stream"].to_string();
        let before = self.streams.remove(&stream).map(serde_json::from_value::<M>).transpose()?;
        let state = M::evolve(before, &event).ok_or("an event that leads to nothing")?;
        let (phase, json) = (state.phase().to_owned(), serde_json::to_value(&state)?);
        let left = json!({ "kind": M::KIND, "revision": M::REVISION, "phase": phase, "state": json });
        self.last.insert(stream.clone(), left.clone());
        self.left.insert((M::KIND.name().to_owned(), phase.clone()), left);
        self.streams.insert(stream, json);
        Ok(phase)
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let release = std::env::args().nth(1).ok_or("name the release, such as 0.1.0")?;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/histories").join(release);
    if folder.exists() {
        return Err(format!("{} is there: what a release left behind never changes", folder.display()).into());
    }
    let (mut replayed, mut events) = (Replayed::default(), String::new());
    for line in io::stdin().lock().lines() {
        let mut line: Value = serde_json::from_str(&line?)?;
        let phase = match line["kind"].as_str() {
            Some("approval") => replayed.apply::<Approval>(&line)?,
            Some("pull_request") => replayed.apply::<PullRequest>(&line)?,
            Some("run") => replayed.apply::<Run>(&line)?,
            Some("sprint") => replayed.apply::<Sprint>(&line)?,
            Some("story") => replayed.apply::<Story>(&line)?,
            other => return Err(format!("no machine is called {other:?}").into()),
        };
        line["phase"] = phase.into();
        writeln!(events, "{line}")?;
    }
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("events.jsonl"), events)?;
    let states = replayed.left.values().chain(replayed.last.values());
    let states: BTreeSet<String> = states.map(|left| format!("{left}\n")).collect();
    fs::write(folder.join("states.jsonl"), states.into_iter().collect::<String>())?;
    Ok(())
}
