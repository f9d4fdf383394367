//! What holds for every machine after any sequence of commands, and for any order of events.

use crate::{
    events::Recorded,
    samples::{Sampled, minute},
};
use proptest::prelude::*;
use std::collections::BTreeSet;
use syndarix_domain::{
    approval::{self, Approval},
    machine::{Command as _, Decision, Kind, Machine},
    pull_request::{self, PullRequest},
    run::{self, Run},
    sprint::Sprint,
    story::{self, Story},
};

/// Commands that end things; taken seldom, or no walk would get far.
const ENDINGS: &[&str] = &[
    "block",
    "cancel",
    "close",
    "complete",
    "expire",
    "fail",
    "fail_model_call",
    "fail_stage",
    "stall",
    "supersede",
];

/// One accepted command of a walk.
struct Step<M: Machine> {
    before: Option<M>,
    command: M::Command,
    decision: Decision<M>,
    after: Option<M>,
}

/// Walks through a machine: each number picks a command, mostly one that moves it.
fn walk<M: Sampled>(picks: &[u16]) -> Vec<Step<M>> {
    let mut state: Option<M> = None;
    let mut steps = Vec::new();
    for (n, &pick) in (0..).zip(picks) {
        let now = minute(n * 25);
        let mut commands: Vec<M::Command> = M::commands(state.as_ref()).into_iter().map(|(_, c)| c).collect();
        if pick % 4 != 0 {
            commands.retain(|command| {
                let moves = M::decide(state.as_ref(), command, now).is_ok_and(|d| !d.events.is_empty());
                moves && (pick % 32 == 1 || !ENDINGS.contains(&command.name()))
            });
        }
        let Some(command) = commands.get(usize::from(pick / 32) % commands.len().max(1)).cloned() else {
            continue;
        };
        let before = state.clone();
        let Ok(decision) = M::decide(before.as_ref(), &command, now) else { continue };
        state = decision.events.iter().fold(state, M::evolve);
        steps.push(Step { before, command, decision, after: state.clone() });
    }
    steps
}

fn history<M: Machine>(steps: &[Step<M>]) -> Vec<M::Event> {
    steps.iter().flat_map(|step| step.decision.events.iter().cloned()).collect()
}

fn picks() -> impl Strategy<Value = Vec<u16>> {
    prop::collection::vec(any::<u16>(), 0..120)
}

fn is_terminal<M: Machine>(state: &M) -> bool {
    let phase = state.phase();
    match M::KIND {
        Kind::Story | Kind::Sprint => matches!(phase, "done" | "cancelled"),
        Kind::PullRequest => matches!(phase, "merged" | "closed"),
        Kind::Run => matches!(phase, "succeeded" | "failed" | "stalled" | "cancelled"),
        Kind::Approval => phase != "pending",
    }
}

/// A walk asks thousands of commands: fewer of them are as good as many short ones.
fn walks() -> ProptestConfig {
    ProptestConfig::with_cases(48)
}

fn replays<M: Sampled>(steps: &[Step<M>]) -> Result<(), TestCaseError> {
    let mut events = Vec::new();
    for step in steps {
        events.extend(step.decision.events.iter().cloned());
        prop_assert_eq!(&M::replay(&events), &step.after);
        if step.decision.events.is_empty() {
            prop_assert!(step.decision.effects.is_empty(), "{} acts without an event", step.command.name());
        }
    }
    let stored = serde_json::to_string(&events).unwrap();
    let read: Vec<M::Event> = serde_json::from_str(&stored).unwrap();
    prop_assert_eq!(&M::replay(&read), &M::replay(&events));
    prop_assert_eq!(read, events);
    Ok(())
}

fn states_read_back<M: Sampled>(steps: &[Step<M>]) -> Result<(), TestCaseError> {
    for state in steps.iter().filter_map(|step| step.after.as_ref()) {
        let stored = serde_json::to_string(state).unwrap();
        prop_assert_eq!(&serde_json::from_str::<M>(&stored).unwrap(), state);
    }
    Ok(())
}

fn ends_are_final<M: Sampled>(steps: &[Step<M>]) -> Result<(), TestCaseError> {
    for step in steps {
        if let Some(before) = step.before.as_ref().filter(|state| is_terminal(*state)) {
            prop_assert_eq!(before.phase(), step.after.as_ref().map_or("nothing", M::phase));
        }
    }
    Ok(())
}

/// Any events in any order: nothing panics, ends stay ends, and every command still gets an answer.
fn evolve_is_total<M: Recorded>(
    text: &str,
    n: u128,
    order: &[prop::sample::Index],
) -> Result<(), TestCaseError> {
    let events = M::events(text, n);
    let mut state: Option<M> = None;
    for event in order.iter().map(|index| index.get(&events)) {
        let before = state.clone();
        state = M::evolve(state, event);
        if let Some(before) = before {
            prop_assert!(state.is_some(), "an event made a {:?} vanish", M::KIND);
            if is_terminal(&before) {
                prop_assert_eq!(state.as_ref().map(M::phase), Some(before.phase()));
            }
        }
        for (_, command) in M::commands(state.as_ref()) {
            let _ = M::decide(state.as_ref(), &command, minute(i64::try_from(n).unwrap()));
        }
    }
    Ok(())
}

fn events_read_back<M: Recorded>(text: &str, n: u128) -> Result<(), TestCaseError> {
    for event in M::events(text, n) {
        let stored = serde_json::to_string(&event).unwrap();
        prop_assert_eq!(serde_json::from_str::<M::Event>(&stored).unwrap(), event);
    }
    Ok(())
}

macro_rules! every_machine {
    ($($module:ident: $machine:ty),* $(,)?) => {$(
        mod $module {
            use super::*;

            proptest! {
                #![proptest_config(walks())]

                #[test]
                fn an_accepted_history_replays_to_the_same_state(picks in picks()) {
                    replays(&walk::<$machine>(&picks))?;
                }

                #[test]
                fn every_state_reads_back_from_what_is_stored(picks in picks()) {
                    states_read_back(&walk::<$machine>(&picks))?;
                }

                #[test]
                fn every_event_reads_back_from_what_is_stored(text in any::<String>(), n in 0..u128::MAX / 2) {
                    events_read_back::<$machine>(&text, n)?;
                }

                #[test]
                fn an_end_is_final(picks in picks()) {
                    ends_are_final(&walk::<$machine>(&picks))?;
                }

                #[test]
                fn evolve_takes_any_events_in_any_order(
                    text in "\\PC{0,12}", n in 0_u128..1_000,
                    order in prop::collection::vec(any::<prop::sample::Index>(), 0..40),
                ) {
                    evolve_is_total::<$machine>(&text, n, &order)?;
                }
            }

            #[test]
            fn walks_reach_every_phase() {
                walks_reach_every_sampled_phase::<$machine>();
            }

            #[test]
            fn a_refusal_names_the_phases_that_take_the_command() {
                refusals_tell_the_truth::<$machine>();
            }
        }
    )*};
}

every_machine! {
    approvals: Approval,
    pull_requests: PullRequest,
    runs: Run,
    sprints: Sprint,
    stories: Story,
}

/// Without this, the properties could hold because nothing ever happens.
fn walks_reach_every_sampled_phase<M: Sampled>() {
    let mut reached = BTreeSet::new();
    let mut noise = 1_u64;
    for _ in 0..400 {
        let picks: Vec<u16> = (0..120)
            .map(|_| {
                noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                u16::try_from(noise >> 48).unwrap()
            })
            .collect();
        reached.extend(walk::<M>(&picks).iter().filter_map(|step| step.after.as_ref().map(M::phase)));
    }
    for (name, state) in M::states().unwrap() {
        let phase = state.as_ref().map_or("nothing", M::phase);
        assert!(phase == "nothing" || reached.contains(phase), "no walk comes to `{name}`");
    }
}

/// `legal_from` is what the machine really takes: no phase too many, none missing.
fn refusals_tell_the_truth<M: Sampled>() {
    let mut asked = Vec::new();
    for (_, state) in M::states().unwrap() {
        let phase = state.as_ref().map_or("nothing", M::phase);
        for (_, command) in M::commands(state.as_ref()) {
            asked.push((phase, command.name(), M::decide(state.as_ref(), &command, minute(30))));
        }
    }
    for (phase, command, answer) in &asked {
        let Err(refusal) = answer else { continue };
        if refusal.guard != "phase" || *phase == "nothing" {
            continue;
        }
        let of_command = || asked.iter().filter(|(_, other, _)| other == command);
        for listed in &refusal.legal_from {
            let taken = of_command().any(|(other, _, answer)| other == listed && answer.is_ok());
            assert!(taken, "`{phase}` refuses {command} and points to `{listed}`, which refuses it too");
        }
        for (other, _, answer) in of_command() {
            let moves = answer.as_ref().is_ok_and(|decision| !decision.events.is_empty());
            let listed = refusal.legal_from.iter().any(|listed| listed == other);
            assert!(!moves || listed, "`{phase}` refuses {command} and does not say that `{other}` takes it");
        }
    }
}

proptest! {
    #![proptest_config(walks())]

    #[test]
    fn a_story_is_done_only_when_its_merged_commit_passed_the_tests(picks in picks()) {
        let steps = walk::<Story>(&picks);
        let events = history(&steps);
        for (n, event) in events.iter().enumerate() {
            let story::Event::Done { commit: tested, test_run, .. } = event else { continue };
            let merged = events[..n].iter().rev().find_map(|event| match event {
                story::Event::Merged { commit, .. } => Some(Some(commit)),
                story::Event::TestsFailed { .. } => Some(None),
                _ => None,
            });
            prop_assert_eq!(merged.flatten(), Some(tested));
            let proof = steps.iter().any(|step| {
                matches!(&step.command, story::Command::FinishTests { test_run: run, passed: true, .. } if run == test_run)
                    && step.decision.events.contains(event)
            });
            prop_assert!(proof, "done without a passing test run");
        }
    }

    #[test]
    fn a_story_leaves_no_run_and_no_question_behind(picks in picks()) {
        for step in walk::<Story>(&picks) {
            let (run, question) = work_of(step.before.as_ref());
            let (still, still_asked) = work_of(step.after.as_ref());
            let own_end = matches!(
                step.command,
                story::Command::FinishStage { .. } | story::Command::Resume { .. } | story::Command::Ask { .. }
            );
            if let Some(run) = run.filter(|run| still != Some(*run) && !own_end) {
                let stopped = step.decision.effects.iter().any(
                    |effect| matches!(effect, story::Effect::CancelRun { run: stopped, .. } if *stopped == run));
                prop_assert!(stopped, "{:?} forgets the run", step.command);
            }
            if let Some(question) = question.filter(|question| still_asked != Some(*question) && !own_end) {
                let effect = story::Effect::WithdrawApproval { approval: question };
                prop_assert!(step.decision.effects.contains(&effect), "{:?} forgets the question", step.command);
            }
        }
    }

    /// A timer that names another moment than the stage's own would be taken for one of an earlier visit.
    #[test]
    fn every_deadline_that_a_story_sets_fits_the_stage_it_is_in(picks in picks()) {
        for step in walk::<Story>(&picks) {
            for effect in &step.decision.effects {
                let story::Effect::SetDeadline { stage, since, at } = effect else { continue };
                let command = story::Command::PassDeadline { stage: *stage, since: *since };
                let rung = Story::decide(step.after.as_ref(), &command, *at).unwrap();
                prop_assert!(!rung.events.is_empty(), "{:?} sets a deadline that is moot at once", step.command);
            }
        }
    }

    #[test]
    fn a_pull_request_is_merged_only_at_the_head_that_was_approved(picks in picks()) {
        let mut approved = None;
        for step in walk::<PullRequest>(&picks) {
            for event in &step.decision.events {
                match event {
                    pull_request::Event::Approved { head, .. } => approved = Some(head.clone()),
                    pull_request::Event::Pushed { .. } | pull_request::Event::ChangesRequested { .. } => {
                        approved = None;
                    }
                    pull_request::Event::Merged { .. } => {
                        let head = step.before.as_ref().map(|pr| pr.head.clone());
                        prop_assert!(head.is_some() && head == approved, "merged {head:?}, approved {approved:?}");
                    }
                    _ => {}
                }
            }
        }
    }

    #[test]
    fn a_question_is_answered_once_at_most(picks in picks()) {
        let events = history(&walk::<Approval>(&picks));
        let ends = events.iter().filter(|event| !matches!(
            event, approval::Event::Requested { .. } | approval::Event::Reminded { .. }));
        prop_assert!(ends.count() <= 1, "{events:?}");
    }

    #[test]
    fn a_run_records_every_step_before_and_after(picks in picks()) {
        let mut begun: Vec<String> = Vec::new();
        let mut asked: Vec<String> = Vec::new();
        let mut last_step = 0;
        for step in walk::<Run>(&picks) {
            for event in &step.decision.events {
                match event {
                    run::Event::ModelCallStarted { step, .. } => {
                        prop_assert!(asked.is_empty(), "the model is called before {asked:?} have results");
                        prop_assert!(*step > last_step);
                        last_step = *step;
                    }
                    run::Event::ModelCallFinished { calls, .. } => {
                        asked = calls.iter().map(|call| call.id.clone()).collect();
                    }
                    run::Event::ToolCallStarted { call, step, .. } => {
                        prop_assert!(*step > last_step);
                        last_step = *step;
                        prop_assert!(asked.contains(call) && !begun.contains(call));
                        begun.push(call.clone());
                    }
                    run::Event::ToolCallFinished { call, .. } => {
                        prop_assert!(begun.contains(call), "{call} ends without having begun");
                        begun.retain(|other| other != call);
                        asked.retain(|other| other != call);
                    }
                    _ => {}
                }
            }
            let open = step.after.as_ref().is_some_and(
                |run| is_terminal(run) || matches!(run.phase(), "acting" | "waiting"));
            prop_assert!(begun.is_empty() || open, "{begun:?} began and the run goes on without their results");
        }
    }

    #[test]
    fn a_run_that_ends_frees_its_agent_and_tells_its_story(picks in picks()) {
        for step in walk::<Run>(&picks) {
            let ended = step.after.as_ref().is_some_and(is_terminal) && !step.decision.events.is_empty();
            prop_assert_eq!(step.decision.effects.contains(&run::Effect::Release), ended);
            let told = step.decision.effects.iter().any(|effect| matches!(
                effect, run::Effect::TellSucceeded { .. } | run::Effect::TellFailed { .. }));
            prop_assert_eq!(told, ended);
        }
    }
}

fn work_of(
    story: Option<&Story>,
) -> (Option<syndarix_domain::ids::RunId>, Option<syndarix_domain::ids::ApprovalId>) {
    match story.map(|story| &story.phase) {
        Some(story::Phase::Working { work: story::Work::Running { run, .. }, .. }) => (Some(*run), None),
        Some(story::Phase::Working { work: story::Work::Asking { run, approval, .. }, .. }) => {
            (Some(*run), Some(*approval))
        }
        _ => (None, None),
    }
}
