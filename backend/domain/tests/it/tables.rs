//! Every state with every command: what the machine answers, as tables that people can read.
//!
//! Under each command stand its answers with the states that give them: the phase that it leads to, `nothing` when it
//! asks for what is already so, or `refused` with the guard. A pair of state and command that the table does not hold
//! fails, and so does a phase or a command of the source without a sample.

use crate::{
    events::Recorded,
    samples::{Sampled, minute},
};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use syndarix_domain::{
    approval::Approval,
    machine::{Command as _, Machine},
    pull_request::PullRequest,
    run::Run,
    sprint::Sprint,
    stage::StageName,
    story::Story,
};

/// Later than everything in the samples, and within every deadline of them.
const NOW: i64 = 30;

/// Of a table, in characters.
const WIDTH: usize = 110;

#[test]
fn a_story_answers_as_its_table_says() {
    let states = Story::states().unwrap();
    for stage in StageName::ALL {
        assert!(states.iter().flat_map(|(_, state)| state).any(|story| story.phase() == stage.name()));
    }
    check::<Story>(include_str!("tables/story.txt"));
}

#[test]
fn a_run_answers_as_its_table_says() {
    check::<Run>(include_str!("tables/run.txt"));
}

#[test]
fn a_pull_request_answers_as_its_table_says() {
    check::<PullRequest>(include_str!("tables/pull_request.txt"));
}

#[test]
fn a_sprint_answers_as_its_table_says() {
    check::<Sprint>(include_str!("tables/sprint.txt"));
}

#[test]
fn an_approval_answers_as_its_table_says() {
    check::<Approval>(include_str!("tables/approval.txt"));
}

fn check<M: Recorded>(expected: &str) {
    covers_the_source::<M>();
    let answers = answers::<M>();
    let expected = read(expected);
    let mut wrong = String::new();
    for (pair, answer) in &answers {
        match expected.get(pair) {
            None => writeln!(wrong, "no line for {pair:?}: {answer}").unwrap(),
            Some(wanted) if wanted == answer => {}
            Some(wanted) => {
                writeln!(wrong, "{pair:?}: the table says {wanted}, the machine {answer}").unwrap();
            }
        }
    }
    for pair in expected.keys().filter(|pair| !answers.iter().any(|(other, _)| other == *pair)) {
        writeln!(wrong, "the table has a line without a sample: {pair:?}").unwrap();
    }
    assert!(wrong.is_empty(), "{wrong}\nthe whole table would be:\n{}", write(&answers));
}

/// A command and the state that it is asked of.
type Pair = (String, String);

fn answers<M: Sampled>() -> Vec<(Pair, String)> {
    let mut answers = Vec::new();
    for (name, state) in M::states().unwrap() {
        for (label, command) in M::commands(state.as_ref()) {
            answers.push(((label.to_owned(), name.to_owned()), answer(state.clone(), &command)));
        }
    }
    answers
}

fn answer<M: Machine>(state: Option<M>, command: &M::Command) -> String {
    match M::decide(state.as_ref(), command, minute(NOW)) {
        Err(rejection) => format!("refused ({})", rejection.guard),
        Ok(decision) if decision.events.is_empty() => {
            assert!(decision.effects.is_empty(), "effects without an event would be lost to the history");
            "nothing".into()
        }
        Ok(decision) => decision.events.iter().fold(state, M::evolve).unwrap().phase().into(),
    }
}

/// A table as it is kept: a command, then each answer with the states that give it.
fn write(answers: &[(Pair, String)]) -> String {
    let mut table = String::new();
    let mut seen = Vec::new();
    for ((command, _), _) in answers {
        if seen.contains(&command) {
            continue;
        }
        seen.push(command);
        writeln!(table, "{command}").unwrap();
        let own: Vec<_> = answers.iter().filter(|((other, _), _)| other == command).collect();
        for (n, (_, answer)) in own.iter().enumerate() {
            if own[..n].iter().any(|(_, earlier)| earlier == answer) {
                continue;
            }
            let states =
                own.iter().filter(|(_, other)| other == answer).map(|((_, state), _)| state.as_str());
            wrap(&mut table, &format!("    {answer}:"), states);
        }
    }
    table
}

fn wrap<'s>(table: &mut String, head: &str, states: impl Iterator<Item = &'s str>) {
    let mut line = head.to_owned();
    for (n, state) in states.enumerate() {
        line.push_str(if n == 0 { " " } else { " |" });
        if line.len() + state.len() > WIDTH {
            writeln!(table, "{}", line.trim_end()).unwrap();
            line = " ".repeat(7);
        }
        line.push_str(if n == 0 { "" } else { " " });
        line.push_str(state);
    }
    writeln!(table, "{line}").unwrap();
}

fn read(table: &str) -> BTreeMap<Pair, String> {
    let mut answers = BTreeMap::new();
    let (mut command, mut answer) = (String::new(), String::new());
    for line in table.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if !line.starts_with(' ') {
            line.clone_into(&mut command);
            continue;
        }
        let states = if line.starts_with("        ") {
            line
        } else {
            let (head, states) = line.split_once(": ").unwrap();
            head.trim().clone_into(&mut answer);
            states
        };
        for state in states.split('|').map(str::trim).filter(|state| !state.is_empty()) {
            let before = answers.insert((command.clone(), state.to_owned()), answer.clone());
            assert_eq!(before, None, "two answers for `{command}` from `{state}`");
        }
    }
    answers
}

/// A new phase or command must get samples: their names are read from the source.
fn covers_the_source<M: Recorded>() {
    let states = M::states().unwrap();
    let phases: BTreeSet<&str> =
        states.iter().filter_map(|(_, state)| state.as_ref().map(M::phase)).collect();
    // An approval's decided phase is named by its outcome.
    let known = ["impl Phase {", "impl Outcome {"].map(|after| names(M::SOURCE, after)).concat();
    assert!(!known.is_empty(), "the phases' names are not where this test looks for them");
    for phase in known {
        assert!(phases.contains(phase.as_str()), "no sample state in phase `{phase}`");
    }
    let commands: BTreeSet<&str> = M::commands(None).iter().map(|(_, command)| command.name()).collect();
    let known = names(M::SOURCE, "impl crate::machine::Command for Command {");
    assert!(!known.is_empty(), "the commands' names are not where this test looks for them");
    for command in known {
        assert!(commands.contains(command.as_str()), "no sample of command `{command}`");
    }
    for (label, command) in M::commands(None) {
        assert!(label.starts_with(command.name()), "`{label}` is a `{}`", command.name());
    }
    for (name, state) in &states {
        let phase = state.as_ref().map_or("nothing", M::phase);
        assert!(name.starts_with(phase), "`{name}` is in phase `{phase}`");
    }
}

/// The string literals of the first `name` function after this line.
fn names(source: &str, after: &str) -> Vec<String> {
    let body = source.split_once(after).map_or("", |(_, rest)| rest);
    let body = body.split_once("\n    }\n").map_or(body, |(body, _)| body);
    body.lines()
        .filter_map(|line| line.trim().split_once("=> \"")?.1.split_once('"'))
        .map(|(name, _)| name.to_owned())
        .collect()
}
