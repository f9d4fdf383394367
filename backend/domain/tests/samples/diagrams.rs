//! The machines as diagrams: what `decide` and `evolve` really do, drawn.

use super::{Sampled, minute};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use syndarix_domain::{
    approval::Approval,
    machine::{Command as _, Rejection},
    pull_request::PullRequest,
    run::Run,
    sprint::Sprint,
    story::Story,
};

/// Where the diagrams are kept, from this crate's folder.
pub(crate) const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/machines.md");

const INTRODUCTION: &str = "# Machines

Generated from the code by `cargo run -p syndarix-domain --example diagrams`; a test compares.
An arrow is `phase --command--> phase`; commands that are refused, or that ask for what is already so, have none.
";

/// The whole page.
pub(crate) fn page() -> Result<String, Rejection> {
    let mut page = INTRODUCTION.to_owned();
    let diagrams = [
        ("Sprint", diagram::<Sprint>()?),
        ("Story", diagram::<Story>()?),
        ("Pull request", diagram::<PullRequest>()?),
        ("Run", diagram::<Run>()?),
        ("Approval", diagram::<Approval>()?),
    ];
    for (title, diagram) in diagrams {
        // Writing to a string cannot fail.
        let _ = write!(page, "\n## {title}\n\n```mermaid\nstateDiagram-v2\n{diagram}```\n");
    }
    Ok(page)
}

fn diagram<M: Sampled>() -> Result<String, Rejection> {
    let mut arrows: BTreeMap<(&str, &str), BTreeSet<&str>> = BTreeMap::new();
    let mut order = Vec::new();
    for (_, state) in M::states()? {
        let from = state.as_ref().map_or("[*]", M::phase);
        if !order.contains(&from) {
            order.push(from);
        }
        for (_, command) in M::commands(state.as_ref()) {
            let Ok(decision) = M::decide(state.as_ref(), &command, minute(30)) else { continue };
            if decision.events.is_empty() {
                continue;
            }
            let after = decision.events.iter().fold(state.clone(), M::evolve);
            let to = after.as_ref().map_or("[*]", M::phase);
            arrows.entry((from, to)).or_default().insert(command.name());
        }
    }
    let mut lines = String::new();
    for from in &order {
        for to in &order {
            if let Some(commands) = arrows.get(&(*from, *to)) {
                let commands = commands.iter().copied().collect::<Vec<_>>().join(", ");
                let _ = writeln!(lines, "    {from} --> {to}: {commands}");
            }
        }
        if !arrows.keys().any(|(start, end)| start == from && end != from) {
            let _ = writeln!(lines, "    {from} --> [*]");
        }
    }
    Ok(lines)
}
