//! All machines together: what one answers, the others are told, as the application does it.
//!
//! However agents, people and timers interleave: no machine refuses what another tells it, and nobody waits for
//! nobody. Pushes and closings from outside the platform are not played here.

use crate::samples::{
    approval::request, feedback, id, minute, pull_request as offered, run as sampled, story as written,
};
use proptest::prelude::*;
use std::collections::{BTreeMap, VecDeque};
use syndarix_domain::{
    approval::{self, Approval, Decided, Subject},
    ids::{ApprovalId, RunId},
    machine::{Machine, Rejection},
    pull_request::{self, PullRequest},
    run::{self, Answer, CallStatus, Outcome, Run},
    stage::StageName,
    story::{self, Change, Phase, StageOutput, Story, Work},
};

#[derive(Debug, Clone)]
enum Message {
    Story(story::Command),
    Run(RunId, run::Command),
    PullRequest(pull_request::Command),
    Approval(ApprovalId, approval::Command),
}

/// A job that was written in a transaction.
#[derive(Debug, Clone)]
enum Due {
    Work(StageName),
    Advance(RunId),
    BeginMerge,
    EndMerge,
}

#[derive(Default)]
struct World {
    story: Option<Story>,
    /// The one that the story is about; an earlier one is merged and never told anything again.
    pull_request: Option<PullRequest>,
    runs: BTreeMap<RunId, Run>,
    approvals: BTreeMap<ApprovalId, Approval>,
    due: Vec<Due>,
    ids: u128,
    minute: i64,
    /// What happened, newest last; and what was refused to another machine.
    told: Vec<Message>,
    refused: Vec<String>,
}

/// One transaction of one machine.
fn take<M: Machine>(
    state: &mut Option<M>,
    command: &M::Command,
    now: i64,
) -> Result<Vec<M::Effect>, Rejection> {
    let decision = M::decide(state.as_ref(), command, minute(now))?;
    *state = decision.events.iter().fold(state.take(), M::evolve);
    Ok(decision.effects)
}

impl World {
    fn next_id(&mut self) -> u128 {
        self.ids += 1;
        1_000 + self.ids
    }

    /// Says something from outside, which may be refused, and passes on everything that follows, which may not.
    fn tell(&mut self, first: Message) -> bool {
        let mut messages = VecDeque::from([first]);
        let mut is_first = true;
        while let Some(message) = messages.pop_front() {
            match self.hear(&message) {
                Ok(follows) => messages.extend(follows),
                Err(_) if is_first => return false,
                Err(rejection) => {
                    self.refused.push(format!("{message:?}: {rejection} ({})", rejection.guard));
                }
            }
            self.told.push(message);
            is_first = false;
        }
        true
    }

    fn hear(&mut self, message: &Message) -> Result<Vec<Message>, Rejection> {
        let now = self.minute;
        Ok(match message {
            Message::Story(command) => {
                let effects = take(&mut self.story, command, now)?;
                effects.into_iter().filter_map(|effect| self.after_story(effect)).collect()
            }
            Message::Run(run, command) => {
                let mut state = self.runs.remove(run);
                let effects = take(&mut state, command, now);
                self.runs.extend(state.map(|state| (*run, state)));
                effects?.into_iter().flat_map(|effect| self.after_run(*run, effect)).collect()
            }
            Message::PullRequest(command) => {
                let effects = take(&mut self.pull_request, command, now)?;
                effects.into_iter().flat_map(|effect| self.after_pull_request(effect)).collect()
            }
            Message::Approval(approval, command) => {
                let mut state = self.approvals.remove(approval);
                let effects = take(&mut state, command, now);
                self.approvals.extend(state.map(|state| (*approval, state)));
                effects?.into_iter().filter_map(|effect| after_approval(*approval, effect)).collect()
            }
        })
    }

    fn after_story(&mut self, effect: story::Effect) -> Option<Message> {
        use story::Effect as E;
        match effect {
            E::WorkStage { stage } => {
                self.due.push(Due::Work(stage));
                None
            }
            E::BeginReview { .. } => Some(Message::PullRequest(pull_request::Command::BeginReview)),
            E::Approve { head, .. } => Some(Message::PullRequest(pull_request::Command::Approve { head })),
            E::RequestChanges { .. } => Some(Message::PullRequest(pull_request::Command::RequestChanges)),
            E::ClosePullRequest { .. } => Some(Message::PullRequest(pull_request::Command::Close)),
            E::CancelRun { run, reason } => Some(Message::Run(run, run::Command::Cancel { reason })),
            E::WithdrawApproval { approval } => Some(withdraw(approval)),
            E::SetDeadline { .. }
            | E::ClearDeadline
            | E::JoinSprint { .. }
            | E::LeaveSprint { .. }
            | E::Notify { .. } => None,
        }
    }

    fn after_run(&mut self, run: RunId, effect: run::Effect) -> Vec<Message> {
        use run::Effect as E;
        match effect {
            E::Advance | E::AdvanceAt { .. } => {
                self.due.push(Due::Advance(run));
                Vec::new()
            }
            E::TellAsked { approval } => {
                let subject = Subject::Run { run };
                let asked = approval::Request { id: approval, subject, ..request("go on?", 1) };
                vec![
                    Message::Approval(approval, approval::Command::Ask(Box::new(asked))),
                    Message::Story(story::Command::Ask { run, approval }),
                ]
            }
            E::TellResumed => vec![Message::Story(story::Command::Resume { run })],
            E::TellSucceeded { result } => vec![Message::Story(handed_on(run, result.outcome))],
            E::TellFailed { reason } => vec![Message::Story(story::Command::FailStage { run, reason })],
            E::WithdrawApproval { approval } => vec![withdraw(approval)],
            E::Release => Vec::new(),
        }
    }

    fn after_pull_request(&mut self, effect: pull_request::Effect) -> Vec<Message> {
        use pull_request::Effect as E;
        let Some(pull_request) = self.pull_request.as_ref().map(|pr| pr.id) else { return Vec::new() };
        match effect {
            E::Merge => {
                self.due.push(Due::BeginMerge);
                Vec::new()
            }
            E::TellMerged { commit } => vec![Message::Story(story::Command::Merged { pull_request, commit })],
            E::TellMergeFailed { reason, .. } => {
                let feedback = feedback(&reason);
                vec![Message::Story(story::Command::MergeFailed { pull_request, feedback })]
            }
            E::WithdrawApprovals => {
                let asked =
                    self.approvals.iter().filter(|(_, approval)| approval.request.pull_request.is_some());
                asked.map(|(id, _)| withdraw(*id)).collect()
            }
            E::SupersedeApprovals => {
                let reason = "new commits".to_owned();
                let asked =
                    self.approvals.iter().filter(|(_, approval)| approval.request.pull_request.is_some());
                let supersede = approval::Command::Supersede { reason };
                asked.map(|(id, _)| Message::Approval(*id, supersede.clone())).collect()
            }
        }
    }

    /// Does one job, with this pick as the model's, the tool's or the forge's answer.
    fn work(&mut self, due: &Due, pick: u16) {
        match due {
            Due::Work(stage) => self.begin_stage(*stage),
            Due::Advance(run) => self.advance(*run, pick),
            Due::BeginMerge => {
                if self.tell(Message::PullRequest(pull_request::Command::BeginMerge)) {
                    self.due.push(Due::EndMerge);
                }
            }
            Due::EndMerge if pick.is_multiple_of(3) => {
                let failed =
                    pull_request::Command::FailMerge { conflicts: Vec::new(), reason: "conflict".into() };
                self.tell(Message::PullRequest(failed));
            }
            Due::EndMerge => {
                let commit = format!("merge {}", self.next_id());
                self.tell(Message::PullRequest(pull_request::Command::FinishMerge { commit }));
            }
        }
    }

    fn begin_stage(&mut self, stage: StageName) {
        let queued = self.story.as_ref().is_some_and(|story| {
            let work = matches!(&story.phase, Phase::Working { work: Work::Queued { .. }, .. });
            work && story.phase() == stage.name()
        });
        if queued {
            let run = id(self.next_id());
            let new = run::New { id: run, ..sampled::new(stage, 1) };
            self.tell(Message::Run(run, run::Command::Start(new)));
            self.tell(Message::Story(story::Command::BeginRun { run, stage }));
            self.due.push(Due::Advance(run));
        }
    }

    fn advance(&mut self, id: RunId, pick: u16) {
        let run = &self.runs[&id];
        let (stage, call) = (run.stage, "a".to_owned());
        let command = match &run.phase {
            run::Phase::Started | run::Phase::Thinking { step: None } => run::Command::BeginModelCall,
            run::Phase::Thinking { step: Some(step) } => {
                let calls = vec![sampled::call("a", &format!("step {step}"))];
                run::Command::FinishModelCall { step: *step, calls, usage: sampled::USAGE }
            }
            run::Phase::Acting { calls } if calls[0].status != CallStatus::Started => {
                run::Command::BeginToolCall { call }
            }
            run::Phase::Acting { .. } => self.use_tool(stage, pick),
            _ => return,
        };
        self.tell(Message::Run(id, command));
        let run = &self.runs[&id];
        let goes_on =
            matches!(&run.phase, run::Phase::Thinking { step: Some(_) } | run::Phase::Acting { .. });
        if goes_on && !self.due.iter().any(|due| matches!(due, Due::Advance(other) if *other == id)) {
            self.due.push(Due::Advance(id));
        }
    }

    fn use_tool(&mut self, stage: StageName, pick: u16) -> run::Command {
        let call = "a".to_owned();
        let offered = self.story.as_ref().is_some_and(|story| story.change.is_some());
        if stage == StageName::Implementation && !offered {
            self.offer_pull_request();
            return run::Command::FinishToolCall { call, artefact: true };
        }
        match pick % 8 {
            0 => run::Command::FinishToolCall { call, artefact: false },
            1 => run::Command::AskHuman { call, approval: id(self.next_id()), expertise: pick % 16 == 1 },
            2 if stage == StageName::Implementation => {
                let head = format!("commit {}", self.next_id());
                self.tell(Message::PullRequest(pull_request::Command::Push { head }));
                run::Command::FinishToolCall { call, artefact: true }
            }
            _ => {
                let gate = (pick.is_multiple_of(2)).then(|| id(self.next_id()));
                run::Command::Complete { call, result: self.result(stage, pick), gate }
            }
        }
    }

    fn offer_pull_request(&mut self) {
        let pull_request = id(self.next_id());
        self.pull_request = None;
        let new = pull_request::New { id: pull_request, ..offered::new("CSV export", 1) };
        self.tell(Message::PullRequest(pull_request::Command::Submit(new)));
        let change = Change { pull_request, branch: "story-7".into() };
        self.tell(Message::Story(story::Command::OpenPullRequest(change)));
    }

    fn result(&self, stage: StageName, pick: u16) -> run::RunResult {
        let result = sampled::result(stage, "done so");
        let outcome = match (stage, &self.pull_request) {
            (StageName::Review, _) if pick.is_multiple_of(5) => Outcome::ChangesRequested {
                from: "the reviewer".into(),
                summary: "name it better".into(),
                comments: Vec::new(),
            },
            (StageName::Review, Some(pr)) => Outcome::Approved { head: pr.head.clone() },
            (StageName::Testing, _) => {
                Outcome::Tests { test_run: id(1), passed: !pick.is_multiple_of(3), report: "2 failed".into() }
            }
            _ => result.outcome,
        };
        run::RunResult { outcome, ..result }
    }

    fn pending(&self) -> Option<ApprovalId> {
        let mut approvals = self.approvals.iter();
        approvals.find(|(_, approval)| approval.phase == approval::Phase::Pending).map(|(id, _)| *id)
    }

    /// A human answers, or nobody does.
    fn answer(&mut self, approval: ApprovalId, pick: u16) {
        use approval::Outcome::{Approved, ChangesRequested, Rejected};
        let outcome = match pick % 8 {
            0 => Rejected,
            1 => ChangesRequested,
            2 => {
                self.tell(Message::Approval(approval, approval::Command::Expire));
                return;
            }
            _ => Approved,
        };
        let digest = self.approvals[&approval].request.digest.clone();
        let (by, at) = (id(71), minute(self.minute));
        let note = "because".to_owned();
        let decided = Decided { outcome, by, at, note, comments: Vec::new(), arguments: None };
        self.tell(Message::Approval(approval, approval::Command::Decide { digest, decided }));
    }

    /// Somebody does something that nobody asked for.
    fn meddle(&mut self, pick: u16) {
        let reason = "somebody said so".to_owned();
        let run = self.runs.keys().next_back().copied();
        let message = match (pick % 6, run) {
            (0, _) => Message::Story(story::Command::Block { reason }),
            (1, _) => Message::Story(story::Command::RequestChanges { feedback: feedback(&reason) }),
            (2, Some(run)) => Message::Run(run, run::Command::Cancel { reason }),
            (3, Some(run)) => Message::Run(run, run::Command::Fail { reason }),
            (4, Some(run)) => Message::Run(run, run::Command::Stall { reason }),
            _ if pick.is_multiple_of(5) => Message::Story(story::Command::Cancel { reason }),
            _ => return,
        };
        self.tell(message);
    }

    fn phase(&self) -> &'static str {
        self.story.as_ref().map_or("nothing", Story::phase)
    }

    fn step(&mut self, pick: u16) {
        self.minute += 1;
        let rest = pick / 32;
        match self.pending() {
            _ if pick.is_multiple_of(32) => self.meddle(rest),
            Some(approval) if pick.is_multiple_of(3) || self.due.is_empty() => self.answer(approval, rest),
            _ if !self.due.is_empty() => {
                let due = self.due.remove(usize::from(rest) % self.due.len());
                self.work(&due, rest);
            }
            _ if self.phase() == "blocked" => {
                self.tell(Message::Story(story::Command::Unblock));
            }
            _ => {}
        }
    }

    fn last(&self) -> &[Message] {
        &self.told[self.told.len().saturating_sub(12)..]
    }
}

fn withdraw(approval: ApprovalId) -> Message {
    Message::Approval(approval, approval::Command::Cancel { reason: "moot".into() })
}

fn handed_on(run: RunId, outcome: Outcome) -> story::Command {
    let output = match outcome {
        Outcome::Requirements { acceptance } => StageOutput::Analysis { acceptance },
        Outcome::Architecture { decision } => StageOutput::Design { decision },
        Outcome::Implementation { .. } => StageOutput::Implementation,
        Outcome::Approved { head } => StageOutput::Review { head },
        Outcome::ChangesRequested { summary, .. } => {
            return story::Command::RequestChanges { feedback: feedback(&summary) };
        }
        Outcome::Tests { test_run, passed, report } => {
            return story::Command::FinishTests { test_run, passed, report };
        }
    };
    story::Command::FinishStage { run, output }
}

fn after_approval(approval: ApprovalId, effect: approval::Effect) -> Option<Message> {
    let approval::Effect::Answer { subject: Subject::Run { run }, decided } = effect else { return None };
    let answer = match decided.map(|decided| (decided.outcome, decided.note)) {
        None => Answer::Expired,
        Some((approval::Outcome::Approved | approval::Outcome::ApprovedWithChanges, _)) => Answer::Approved,
        Some((approval::Outcome::Rejected, reason)) => Answer::Rejected { reason },
        Some((approval::Outcome::ChangesRequested, summary)) => {
            Answer::ChangesRequested { from: "Maria".into(), summary, comments: Vec::new() }
        }
    };
    Some(Message::Run(run, run::Command::Answer { approval, answer }))
}

fn play(picks: &[u16]) -> World {
    let mut world = World::default();
    world.tell(Message::Story(story::Command::Create(written::new("export as CSV", 1))));
    world.tell(Message::Story(story::Command::Start));
    for &pick in picks {
        if matches!(world.phase(), "done" | "cancelled") {
            break;
        }
        world.step(pick);
    }
    world
}

fn picks() -> impl Strategy<Value = Vec<u16>> {
    prop::collection::vec(any::<u16>(), 0..250)
}

proptest! {
    #[test]
    fn no_machine_refuses_what_another_tells_it(picks in picks()) {
        let world = play(&picks);
        prop_assert!(world.refused.is_empty(), "{:?}\nafter {:#?}", world.refused, world.last());
    }

    #[test]
    fn nobody_waits_for_nobody(picks in picks()) {
        let world = play(&picks);
        let somebody = !world.due.is_empty() || world.pending().is_some();
        let over = matches!(world.phase(), "done" | "cancelled" | "blocked");
        prop_assert!(somebody || over, "{:?}\nafter {:#?}", world.story, world.last());
    }

    #[test]
    fn a_story_at_rest_leaves_nothing_running(picks in picks()) {
        let world = play(&picks);
        if matches!(world.phase(), "done" | "cancelled" | "blocked") {
            for run in world.runs.values() {
                prop_assert!(run.phase.is_terminal(), "{run:?}\nafter {:#?}", world.last());
            }
            prop_assert!(world.pending().is_none(), "a question about a story that rests: {:#?}", world.last());
        }
        if world.phase() == "done" {
            prop_assert_eq!(world.pull_request.as_ref().map(PullRequest::phase), Some("merged"));
        }
    }
}

#[test]
fn most_stories_get_done() {
    let mut noise = 1_u64;
    let mut done = 0;
    for _ in 0..100 {
        let mut pick = || {
            noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            u16::try_from(noise >> 48).unwrap()
        };
        let picks: Vec<u16> = (0..400).map(|_| pick()).collect();
        done += u32::from(play(&picks).phase() == "done");
    }
    assert!(done > 50, "{done} of 100: the walks do not get far enough to prove anything");
}
