//! Rules that tables do not show, because they are about effects, numbers and time.

use crate::samples::{
    Sampled, feedback, id, minute, play,
    run::{USAGE, call, new},
};
use syndarix_domain::{
    approval::{self, Approval},
    machine::Machine,
    money::MicroUsd,
    pull_request::{self, PullRequest},
    run::{self, Limits, MAX_IDLE_ANSWERS, Run, Wait},
    sprint::{self, Sprint},
    stage::StageName,
    story::{self, Effect, MAX_ROUNDS, Phase, Stage, Story},
};

fn sample<M: Sampled>(name: &str) -> M {
    let mut states = M::states().unwrap().into_iter();
    states.find(|(other, _)| *other == name).and_then(|(_, state)| state).unwrap()
}

fn command<M: Sampled>(state: &M, name: &str) -> M::Command {
    let mut commands = M::commands(Some(state)).into_iter();
    commands.find(|(other, _)| *other == name).unwrap().1
}

/// Asks a sampled state a sampled command.
fn ask<M: Sampled>(state: &str, name: &str) -> (M, Vec<M::Effect>) {
    let state: M = sample(state);
    let decision = M::decide(Some(&state), &command(&state, name), minute(30)).unwrap();
    let after = decision.events.iter().fold(Some(state), M::evolve).unwrap();
    (after, decision.effects)
}

#[test]
fn the_first_deadline_counts_from_the_start_and_rings() {
    let idle: Story = sample("analysis, idle");
    let started = minute(10_000);
    let decision = Story::decide(Some(&idle), &story::Command::Start, started).unwrap();
    let story = decision.events.iter().fold(Some(idle), Story::evolve);
    let set = decision.effects.iter().find_map(|effect| match effect {
        Effect::SetDeadline { stage, since, at } => Some((*stage, *since, *at)),
        _ => None,
    });
    let (stage, since, at) = set.unwrap();
    assert_eq!((since, at), (started, started + StageName::Analysis.deadline()));
    let rings = story::Command::PassDeadline { stage, since };
    let reminded = Story::decide(story.as_ref(), &rings, at).unwrap();
    assert!(matches!(reminded.effects[0], Effect::Notify { escalated: false, .. }));
    assert!(matches!(reminded.effects[1], Effect::SetDeadline { .. }));
    let escalated = Story::decide(story.as_ref(), &rings, since + stage.deadline() * 2).unwrap();
    assert!(matches!(escalated.effects[..], [Effect::Notify { escalated: true, .. }]));
}

#[test]
fn a_merge_stops_the_review_that_still_runs() {
    let (_, effects) = ask::<Story>("review, asking", "merged");
    assert!(effects.iter().any(|effect| matches!(effect, Effect::CancelRun { .. })));
    assert!(effects.iter().any(|effect| matches!(effect, Effect::WithdrawApproval { .. })));
}

#[test]
fn a_cancelled_story_closes_its_pull_request_unless_that_is_merged() {
    let closes = |state| {
        let (_, effects) = ask::<Story>(state, "cancel");
        effects.iter().any(|effect| matches!(effect, Effect::ClosePullRequest { .. }))
    };
    assert!(closes("implementation, pull request open"));
    assert!(closes("review, running"));
    assert!(closes("blocked from review"));
    assert!(!closes("implementation, running"));
    assert!(!closes("testing, running"));
    assert!(!closes("blocked from testing"));
}

#[test]
fn a_failed_merge_reaches_a_story_that_was_blocked_meanwhile() {
    let (story, _) = ask::<Story>("blocked from review", "merge_failed");
    assert!(
        matches!(&story.phase, Phase::Blocked { from: Stage::Implementation, reason, .. } if reason == "the VPN is down")
    );
    assert_eq!(story.feedback.last().unwrap().summary, "conflict");
}

#[test]
fn blocking_comes_back_to_the_stage_it_came_from() {
    for from in [
        "analysis, running",
        "design, running",
        "implementation, running",
        "review, asking",
        "testing, running",
    ] {
        let before: Story = sample(from);
        let (blocked, _) = ask::<Story>(from, "block");
        let decision = Story::decide(Some(&blocked), &story::Command::Unblock, minute(40)).unwrap();
        let after = decision.events.iter().fold(Some(blocked), Story::evolve).unwrap();
        assert_eq!(after.phase(), before.phase());
    }
}

#[test]
fn failed_tests_hand_their_report_to_the_engineer_and_ask_for_a_new_pull_request() {
    let (story, effects) = ask::<Story>("testing, running", "finish_tests, failed");
    assert_eq!(story.phase(), "implementation");
    assert_eq!(story.feedback.last().unwrap().summary, "2 failed");
    assert_eq!(story.change, None);
    assert!(effects.contains(&Effect::WorkStage { stage: StageName::Implementation }));
}

#[test]
fn agents_that_cannot_agree_are_stopped_and_a_human_is_asked() {
    let mut story: Story = sample("review, running");
    story.round = MAX_ROUNDS - 1;
    let changes = story::Command::RequestChanges { feedback: feedback("again") };
    let decision = Story::decide(Some(&story), &changes, minute(30)).unwrap();
    let after = decision.events.iter().fold(Some(story), Story::evolve).unwrap();
    assert!(matches!(after.phase, Phase::Blocked { from: Stage::Implementation, .. }));
    assert!(!decision.effects.iter().any(|effect| matches!(effect, Effect::WorkStage { .. })));
}

fn start(limits: Limits) -> run::Command {
    run::Command::Start(run::New { limits, ..new(StageName::Implementation, 1) })
}

const ROOMY: Limits =
    Limits { max_steps: 1_000, max_tokens: 1_000_000, max_cost: MicroUsd(1_000_000), max_seconds: 3_600 };

/// One model call that asks for one tool call, which is begun and ended.
fn round(step: u32, digest: &str, artefact: bool) -> [run::Command; 4] {
    [
        run::Command::BeginModelCall,
        run::Command::FinishModelCall { step, calls: vec![call("a", digest)], usage: USAGE },
        run::Command::BeginToolCall { call: "a".into() },
        run::Command::FinishToolCall { call: "a".into(), artefact },
    ]
}

/// The run after these rounds, asked for one more model call at this time.
fn next_call(limits: Limits, rounds: u32, now: i64) -> &'static str {
    let rounds = (0..rounds).flat_map(|n| round(1 + 2 * n, &n.to_string(), true));
    let run = play::<Run>(std::iter::once(start(limits)).chain(rounds)).unwrap();
    let decision = Run::decide(run.as_ref(), &run::Command::BeginModelCall, minute(now)).unwrap();
    decision.events.iter().fold(run, Run::evolve).unwrap().phase()
}

#[test]
fn the_first_limit_that_is_reached_ends_the_run() {
    assert_eq!(next_call(ROOMY, 3, 13), "thinking");
    assert_eq!(next_call(Limits { max_steps: 6, ..ROOMY }, 3, 13), "failed");
    assert_eq!(next_call(Limits { max_steps: 7, ..ROOMY }, 3, 13), "thinking");
    assert_eq!(next_call(Limits { max_tokens: 3 * 1_280, ..ROOMY }, 3, 13), "failed");
    assert_eq!(next_call(Limits { max_tokens: 3 * 1_280 + 1, ..ROOMY }, 3, 13), "thinking");
    assert_eq!(next_call(Limits { max_cost: MicroUsd(3 * 4_200), ..ROOMY }, 3, 13), "failed");
    assert_eq!(next_call(ROOMY, 3, 60), "failed");
    assert_eq!(next_call(ROOMY, 3, 59), "thinking");
}

#[test]
fn one_answer_with_more_calls_than_steps_are_left_ends_the_run_and_a_single_call_is_let_through() {
    let answered = |max_steps, calls: usize| {
        let calls = (0..calls).map(|n| call(&n.to_string(), &n.to_string())).collect();
        let finish = run::Command::FinishModelCall { step: 1, calls, usage: USAGE };
        let limits = Limits { max_steps, ..ROOMY };
        play::<Run>([start(limits), run::Command::BeginModelCall, finish]).unwrap().unwrap()
    };
    assert_eq!(answered(6, 5).phase(), "acting");
    assert_eq!(answered(6, 512).phase(), "failed");
    assert_eq!(answered(1, 1).phase(), "acting");
    assert_eq!(answered(1, 2).phase(), "failed");
}

#[test]
fn what_failed_model_calls_cost_counts_against_the_limits_of_the_run() {
    let limits = Limits { max_cost: MicroUsd(4_200), ..ROOMY };
    let wait = run::Wait::RateLimit { until: minute(4), detail: "429".into() };
    let commands = [
        start(limits),
        run::Command::BeginModelCall,
        run::Command::Charge { usage: USAGE },
        run::Command::Park { wait },
        run::Command::Wake,
        run::Command::BeginModelCall,
    ];
    let run = play::<Run>(commands).unwrap().unwrap();
    assert_eq!((run.usage, run.phase()), (USAGE, "failed"));
}

#[test]
fn waiting_for_people_is_not_working_time() {
    let asked = run::Command::AskHuman { call: "a".into(), approval: id(31), expertise: false };
    let begin = [start(ROOMY)].into_iter().chain(round(1, "x", true).into_iter().take(2)).chain([asked]);
    let mut run = play::<Run>(begin).unwrap();
    let weeks_later = 3 * 7 * 24 * 60;
    let answer = run::Command::Answer { approval: id(31), answer: run::Answer::Approved };
    let rest = round(1, "x", true).into_iter().skip(2);
    for (n, command) in
        (weeks_later..).zip([answer].into_iter().chain(rest).chain([run::Command::BeginModelCall]))
    {
        let decision = Run::decide(run.as_ref(), &command, minute(n)).unwrap();
        run = decision.events.iter().fold(run, Run::evolve);
    }
    assert_eq!(run.unwrap().phase(), "thinking");
}

#[test]
fn answers_without_a_tool_call_stall_the_run() {
    let mut commands = vec![start(ROOMY)];
    for step in 1..=MAX_IDLE_ANSWERS {
        commands.push(run::Command::BeginModelCall);
        commands.push(run::Command::FinishModelCall { step, calls: Vec::new(), usage: USAGE });
    }
    assert_eq!(play::<Run>(commands).unwrap().unwrap().phase(), "stalled");
}

#[test]
fn the_same_tool_call_again_and_again_stalls_the_run() {
    let rounds = (0..4).flat_map(|n| round(1 + 2 * n, "same", true)).take(14);
    let run = play::<Run>(std::iter::once(start(ROOMY)).chain(rounds)).unwrap().unwrap();
    assert!(matches!(run.phase, run::Phase::Stalled { .. }));
    assert_eq!(run.usage.input_tokens, 4 * USAGE.input_tokens, "the last call was paid for too");
}

#[test]
fn expiry_is_never_consent() {
    for state in [
        "waiting for leave",
        "waiting for a human's knowledge",
        "waiting with a result",
        "waiting with a review",
    ] {
        let (run, _) = ask::<Run>(state, "answer, expired");
        assert_eq!(run.phase(), "failed", "{state}");
    }
    let (_, effects) = ask::<Approval>("pending", "expire");
    assert!(effects.iter().any(|effect| matches!(effect, approval::Effect::Answer { decided: None, .. })));
}

#[test]
fn a_rate_limited_run_goes_on_at_the_time_the_provider_named() {
    let (_, effects) = ask::<Run>("thinking, due", "park, rate limit");
    assert_eq!(effects, [run::Effect::AdvanceAt { at: minute(90) }]);
    let parked: Run = sample("waiting for the rate limit");
    assert!(matches!(parked.phase, run::Phase::Waiting { wait: Wait::RateLimit { .. }, .. }));
}

#[test]
fn a_human_who_wants_changes_in_a_review_decides_the_review() {
    let (run, _) = ask::<Run>("waiting with a review", "answer, changes requested");
    let run::Phase::Succeeded { result, .. } = run.phase else { panic!("{:?}", run.phase) };
    assert!(matches!(result.outcome, run::Outcome::ChangesRequested { .. }));
    let (run, _) = ask::<Run>("waiting with a result", "answer, changes requested");
    assert_eq!(run.phase(), "thinking", "any other stage revises its own work");
}

#[test]
fn a_cancelled_run_withdraws_its_question() {
    let (_, effects) = ask::<Run>("waiting for leave", "cancel");
    assert_eq!(effects[..2], [run::Effect::Release, run::Effect::WithdrawApproval { approval: id(31) }]);
}

#[test]
fn people_are_reminded_once_and_then_it_escalates() {
    let (reminded, effects) = ask::<Approval>("pending", "remind");
    assert!(!reminded.escalated);
    assert!(effects.iter().any(|effect| matches!(effect, approval::Effect::SetReminder { .. })));
    let (escalated, effects) = ask::<Approval>("pending, reminded", "remind");
    assert!(escalated.escalated);
    assert!(!effects.iter().any(|effect| matches!(effect, approval::Effect::SetReminder { .. })));
}

#[test]
fn only_an_approval_is_leave() {
    let status = |answer| {
        let (run, _) = ask::<Run>("waiting for leave", answer);
        let run::Phase::Acting { calls } = run.phase else { panic!("{:?}", run.phase) };
        calls[0].status
    };
    assert_eq!(status("answer, approved"), run::CallStatus::Allowed);
    assert_eq!(status("answer, rejected"), run::CallStatus::Pending);
    assert_eq!(status("answer, changes requested"), run::CallStatus::Pending);
}

#[test]
fn an_answered_question_is_open_no_more() {
    let (asked, _) = ask::<Sprint>("planning", "start, gated");
    assert_eq!(asked.asked, Some(id(31)));
    for (state, command) in [
        ("planning, asked", "start"),
        ("planning, asked", "decline"),
        ("review, asked", "complete"),
        ("planning, asked", "cancel"),
        ("planning, asked", "edit"),
        ("planning, asked", "add_story"),
        ("review, asked", "remove_story"),
    ] {
        let (sprint, _) = ask::<Sprint>(state, command);
        assert_eq!(sprint.asked, None, "{state}, {command}");
    }
}

#[test]
fn a_sprint_that_is_over_takes_no_story_and_lets_go_of_what_it_has() {
    for state in ["done", "cancelled"] {
        let over: Sprint = sample(state);
        let refused = Sprint::decide(Some(&over), &command(&over, "add_story"), minute(30)).unwrap_err();
        assert_eq!(refused.sentence, format!("the sprint Sprint 3 is {state}: choose one that is not over"));
        assert!(Sprint::decide(Some(&over), &command(&over, "remove_story"), minute(30)).is_ok());
    }
}

#[test]
fn a_closed_pull_request_has_its_question_withdrawn_and_one_with_new_commits_superseded() {
    use pull_request::Effect::{SupersedeApprovals, WithdrawApprovals};
    assert_eq!(ask::<PullRequest>("reviewing", "close").1, [WithdrawApprovals]);
    assert_eq!(ask::<PullRequest>("reviewing", "push").1, [SupersedeApprovals]);
}

#[test]
fn a_sprint_of_one_day_is_a_sprint() {
    let planned: Sprint = sample("planning");
    let day = planned.starts_on;
    let (name, goal) = (planned.name.clone(), planned.goal.clone());
    let command = sprint::Command::Edit { name, goal, starts_on: day, ends_on: day };
    assert!(Sprint::decide(Some(&planned), &command, minute(30)).is_ok());
}

#[test]
fn what_a_human_edited_is_handed_on_instead_of_what_was_offered() {
    let (run, effects) = ask::<Run>("waiting with a result", "answer, edited");
    let run::Phase::Succeeded { result, .. } = run.phase else { panic!("{:?}", run.phase) };
    assert_eq!(result.summary, "Maria");
    assert!(effects.contains(&run::Effect::TellSucceeded { result }));
}
