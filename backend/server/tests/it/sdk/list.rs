//! The list of scenarios that the programs of all languages share, and what of it a program leaves out.

use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

const LIST: &str = include_str!("../../sdk/scenarios.json");

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    /// The models that every scenario is done over: one for each format that providers are asked in.
    models: Vec<String>,
    groups: Vec<Group>,
}

/// Scenarios that each of these must pass: ways to ask, or SDKs.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    each: Vec<String>,
    scenarios: Vec<Scenario>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Scenario {
    name: String,
    proves: String,
    /// To whom it does not apply, and why.
    #[serde(default)]
    not: BTreeMap<String, String>,
}

fn list() -> List {
    serde_json::from_str(LIST).unwrap()
}

/// Every line that a program prints when it leaves nothing out.
fn lines() -> BTreeSet<String> {
    let List { models, groups } = list();
    let mut lines = BTreeSet::new();
    for Group { each, scenarios } in &groups {
        for scenario in scenarios {
            for who in each.iter().filter(|who| !scenario.not.contains_key(*who)) {
                lines.extend(models.iter().map(|model| format!("{who}_{} over {model}", scenario.name)));
            }
        }
    }
    lines
}

/// How a program's scenarios differ from the list.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Difference {
    pub(super) left_out: Vec<String>,
    pub(super) unlisted: Vec<String>,
}

/// Compares what a program printed with the list.
pub(super) fn difference(printed: &str) -> Difference {
    let (listed, done) = (lines(), scenarios_of(printed));
    Difference {
        left_out: listed.difference(&done).cloned().collect(),
        unlisted: done.difference(&listed).cloned().collect(),
    }
}

fn scenarios_of(printed: &str) -> BTreeSet<String> {
    printed.lines().filter(|line| line.contains(" over ")).map(str::to_owned).collect()
}

#[test]
fn a_scenario_that_does_not_apply_says_to_whom_and_why() {
    for Group { each, scenarios } in list().groups {
        for Scenario { name, proves, not } in scenarios {
            assert!(!proves.is_empty(), "{name}");
            assert!(not.len() < each.len(), "{name} applies to nobody");
            for (who, why) in not {
                assert!(each.contains(&who), "{name} is not asked of {who} anyway");
                assert!(!why.is_empty(), "{name} says not why it does not apply to {who}");
            }
        }
    }
}

#[test]
fn a_language_that_leaves_a_scenario_out_is_told_which() {
    let whole: Vec<String> = lines().into_iter().collect();
    let nothing = Difference { left_out: Vec::new(), unlisted: Vec::new() };
    assert_eq!(difference(&(whole.join("\n") + "\nall done\n")), nothing);

    let others: Vec<String> =
        whole.iter().filter(|line| *line != "message_vision over gpt").cloned().collect();
    let printed = others.join("\n") + "\nmessage_embeddings over gpt\nall done\n";
    let expected = Difference {
        left_out: vec!["message_vision over gpt".to_owned()],
        unlisted: vec!["message_embeddings over gpt".to_owned()],
    };
    assert_eq!(difference(&printed), expected);
}

#[test]
fn what_does_not_apply_to_an_sdk_is_not_asked_of_it() {
    let lines = lines();
    assert!(lines.contains("openai_embeddings over claude"));
    assert!(!lines.iter().any(|line| line.starts_with("anthropic_embeddings")), "{lines:?}");
}
