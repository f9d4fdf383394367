//! The default matrix is the one that users were promised.

use syndarix_domain::policy::{Action, Answer, Autonomy, Category, DEFAULT_THRESHOLD, Policy, Row, Verdict};

const LEVELS: [Autonomy; 3] = [Autonomy::FullControl, Autonomy::Milestone, Autonomy::Autonomous];

/// One line for each action: full control, milestone, autonomous, and the lane that it is asked in.
const MATRIX: [(Action, [&str; 3], Category); 13] = {
    use Action as A;
    use Category as C;
    [
        (A::StoryRequirements, ["ask", "ask", "ask"], C::Critical),
        (A::ArchitectureDecision, ["ask", "ask", "ask"], C::Critical),
        (A::SprintStart, ["ask", "ask", "auto"], C::Milestone),
        (A::SprintComplete, ["ask", "ask", "auto"], C::Milestone),
        (A::StageWork, ["ask", "auto", "auto"], C::Routine),
        (A::AgentSpawn, ["ask", "auto", "auto"], C::Routine),
        (A::ToolWrite, ["ask", "auto", "auto"], C::Routine),
        (A::PullRequestMerge, ["ask", "ask", "auto"], C::Milestone),
        (A::Deployment, ["ask", "ask", "ask"], C::Critical),
        (A::DataDelete, ["ask", "ask", "ask"], C::Critical),
        (A::BudgetRaise, ["ask", "ask", "ask"], C::Critical),
        (A::NewHost, ["ask", "ask", "ask"], C::Critical),
        (A::HumanInput, ["ask", "ask", "ask"], C::Expertise),
    ]
};

fn word(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Ask { .. } => "ask",
        Verdict::Auto { .. } => "auto",
    }
}

#[test]
fn the_default_matrix_is_the_promised_one() {
    let policy = Policy::default();
    for (action, wanted, lane) in MATRIX {
        for (level, wanted) in LEVELS.into_iter().zip(wanted) {
            let verdict = policy.judge(level, action, Some(100));
            assert_eq!(word(&verdict), wanted, "{action:?} at {level:?}");
            if let Verdict::Ask { category, rule } = verdict {
                assert_eq!(category, lane, "{action:?} at {level:?}");
                let level = level.name().replace('_', " ");
                assert!(rule.contains(action.title()) && rule.contains(&level), "{rule}");
            }
        }
    }
    assert_eq!(policy.rows.len(), MATRIX.len(), "a row without a line here");
    assert_eq!(policy.threshold, 85);
}

#[test]
fn every_action_of_the_source_has_a_default_row() {
    let source = include_str!("../../src/policy.rs");
    let body = source.split_once("pub enum Action {").unwrap().1.split_once("\n}\n").unwrap().0;
    let actions = body.lines().filter(|line| line.trim().starts_with(char::is_uppercase)).count();
    assert_eq!(Policy::default().rows.len(), actions);
}

#[test]
fn an_action_without_a_row_is_asked_at_every_level() {
    for (action, ..) in MATRIX {
        let mut policy = Policy::default();
        policy.rows.retain(|row| row.action != action);
        for level in LEVELS {
            let verdict = policy.judge(level, action, Some(100));
            assert!(matches!(verdict, Verdict::Ask { category: Category::Critical, .. }), "{verdict:?}");
        }
    }
}

#[test]
fn low_confidence_is_asked_at_every_level() {
    let policy = Policy::default();
    for (action, wanted, _) in MATRIX {
        for (level, wanted) in LEVELS.into_iter().zip(wanted) {
            let unsure = policy.judge(level, action, Some(DEFAULT_THRESHOLD - 1));
            assert_eq!(word(&unsure), "ask", "{action:?} at {level:?}");
            if let (Verdict::Ask { category, rule }, "auto") = (&unsure, wanted) {
                assert_eq!(*category, Category::Uncertainty);
                assert!(rule.contains("84 %") && rule.contains("85 %"), "{rule}");
            }
            assert_eq!(word(&policy.judge(level, action, Some(DEFAULT_THRESHOLD))), wanted);
        }
    }
}

#[test]
fn an_edited_row_decides_in_place_of_the_default() {
    let mut policy = Policy::default();
    let (action, auto) = (Action::Deployment, Answer::Auto);
    policy.rows.retain(|row| row.action != action);
    policy.rows.push(Row { action, full_control: auto, milestone: auto, autonomous: auto });
    for level in LEVELS {
        assert_eq!(word(&policy.judge(level, action, None)), "auto");
    }
}

#[test]
fn a_policy_reads_back_from_what_is_stored() {
    let policy = Policy::default();
    let stored = serde_json::to_string(&policy).unwrap();
    assert_eq!(serde_json::from_str::<Policy>(&stored).unwrap(), policy);
}
