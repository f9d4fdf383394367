//! Samples of the story machine.

use super::{Named, Sampled, feedback, id, minute, play};
use syndarix_domain::{
    ids::PullRequestId,
    machine::Rejection,
    stage::StageName,
    story::{Change, Command, MAX_ROUNDS, New, Phase, StageOutput, Story},
};

const RUN: u128 = 21;
const STRANGE_RUN: u128 = 22;
const QUESTION: u128 = 31;
const PULL_REQUEST: u128 = 41;
const TEST_RUN: u128 = 51;
const MERGE_COMMIT: &str = "c0ffee";

/// A story as its client wrote it.
pub(crate) fn new(text: &str, n: u128) -> New {
    New {
        id: id(n),
        project: id(n + 1),
        number: 7,
        title: text.into(),
        description: text.into(),
        points: Some(3),
        sprint: Some(id(n + 2)),
    }
}

fn change() -> Change {
    Change { pull_request: id(PULL_REQUEST), branch: "story-7".into() }
}

fn begin(stage: StageName) -> Command {
    Command::BeginRun { run: id(RUN), stage }
}

fn finish(output: StageOutput) -> Command {
    Command::FinishStage { run: id(RUN), output }
}

fn acceptance(text: &str) -> StageOutput {
    StageOutput::Analysis { acceptance: vec![text.into()] }
}

/// The way from nothing to done, one accepted command after the other.
fn way() -> Vec<Command> {
    use StageName::{Analysis, Design, Implementation, Review, Testing};
    vec![
        Command::Create(new("export as CSV", 1)),
        Command::Start,
        begin(Analysis),
        finish(acceptance("a file comes down")),
        begin(Design),
        finish(StageOutput::Design { decision: "stream it".into() }),
        begin(Implementation),
        Command::OpenPullRequest(change()),
        finish(StageOutput::Implementation),
        begin(Review),
        finish(StageOutput::Review { head: "abc".into() }),
        Command::Merged { pull_request: id(PULL_REQUEST), commit: MERGE_COMMIT.into() },
        begin(Testing),
        tests(true),
    ]
}

fn tests(passed: bool) -> Command {
    Command::FinishTests { test_run: id(TEST_RUN), passed, report: "2 failed".into() }
}

fn ask() -> Command {
    Command::Ask { run: id(RUN), approval: id(QUESTION) }
}

fn block() -> Command {
    Command::Block { reason: "the VPN is down".into() }
}

fn after(steps: usize, then: &[Command]) -> Result<Option<Story>, Rejection> {
    play(way().into_iter().take(steps).chain(then.iter().cloned()))
}

/// One more word from the reviewer, and a human must look.
fn last_round() -> Result<Option<Story>, Rejection> {
    let again = [
        Command::RequestChanges { feedback: feedback("name it better") },
        begin(StageName::Implementation),
        finish(StageOutput::Implementation),
        begin(StageName::Review),
    ];
    let rounds = usize::try_from(MAX_ROUNDS).unwrap_or_default() - 1;
    play(way().into_iter().take(10).chain(again.into_iter().cycle().take(4 * rounds)))
}

impl Sampled for Story {
    fn states() -> Result<Vec<Named<Option<Self>>>, Rejection> {
        Ok(vec![
            ("nothing", None),
            ("analysis, idle", after(1, &[])?),
            ("analysis, queued", after(2, &[])?),
            ("analysis, running", after(3, &[])?),
            ("analysis, asking", after(3, &[ask()])?),
            ("design, queued", after(4, &[])?),
            ("design, running", after(5, &[])?),
            ("design, asking", after(5, &[ask()])?),
            ("implementation, queued", after(6, &[])?),
            ("implementation, running", after(7, &[])?),
            ("implementation, asking", after(7, &[ask()])?),
            ("implementation, pull request open", after(8, &[])?),
            ("review, queued", after(9, &[])?),
            ("review, running", after(10, &[])?),
            ("review, asking", after(10, &[ask()])?),
            ("review, last round", last_round()?),
            ("review, merging", after(11, &[])?),
            ("testing, queued", after(12, &[])?),
            ("testing, running", after(13, &[])?),
            ("testing, asking", after(13, &[ask()])?),
            ("blocked from analysis", after(3, &[block()])?),
            ("blocked from design", after(5, &[block()])?),
            ("blocked from implementation", after(7, &[block()])?),
            ("blocked from review", after(10, &[block()])?),
            ("blocked from testing", after(13, &[block()])?),
            ("done", after(14, &[])?),
            ("cancelled", after(7, &[Command::Cancel { reason: "not wanted".into() }])?),
        ])
    }

    fn commands(from: Option<&Self>) -> Vec<Named<Command>> {
        let stage = from.and_then(stage_of).unwrap_or(StageName::Analysis);
        let next = StageName::ALL.into_iter().find(|other| *other != stage).unwrap_or(stage);
        let pull_request: PullRequestId = id(PULL_REQUEST);
        let other: PullRequestId = id(PULL_REQUEST + 1);
        let commit = MERGE_COMMIT.to_owned();
        vec![
            ("create", Command::Create(new("export as CSV", 1))),
            ("create, no title", Command::Create(new(" ", 1))),
            ("start", Command::Start),
            ("begin_run", begin(stage)),
            ("begin_run, another run", Command::BeginRun { run: id(STRANGE_RUN), stage }),
            ("begin_run, another stage", begin(next)),
            ("ask", ask()),
            ("ask, another run", Command::Ask { run: id(STRANGE_RUN), approval: id(QUESTION) }),
            ("resume", Command::Resume { run: id(RUN) }),
            ("resume, another run", Command::Resume { run: id(STRANGE_RUN) }),
            ("open_pull_request", Command::OpenPullRequest(change())),
            (
                "open_pull_request, a second one",
                Command::OpenPullRequest(Change { pull_request: other, branch: "again".into() }),
            ),
            ("finish_stage", finish(output_of(stage))),
            ("finish_stage, another output", finish(output_of(next))),
            (
                "finish_stage, another run",
                Command::FinishStage { run: id(STRANGE_RUN), output: output_of(stage) },
            ),
            ("fail_stage", Command::FailStage { run: id(RUN), reason: "the model is gone".into() }),
            ("fail_stage, another run", Command::FailStage { run: id(STRANGE_RUN), reason: "late".into() }),
            ("request_changes", Command::RequestChanges { feedback: feedback("name it better") }),
            ("merged", Command::Merged { pull_request, commit: commit.clone() }),
            ("merged, another pull request", Command::Merged { pull_request: other, commit: "dead".into() }),
            ("merge_failed", Command::MergeFailed { pull_request, feedback: feedback("conflict") }),
            (
                "merge_failed, another pull request",
                Command::MergeFailed { pull_request: other, feedback: feedback("conflict") },
            ),
            ("finish_tests, passed", tests(true)),
            ("finish_tests, failed", tests(false)),
            ("block", block()),
            ("unblock", Command::Unblock),
            ("cancel", Command::Cancel { reason: "not wanted".into() }),
            ("move_to_sprint", Command::MoveToSprint { sprint: Some(id(62)) }),
            (
                "move_to_sprint, where it is",
                Command::MoveToSprint { sprint: from.and_then(|story| story.sprint) },
            ),
            ("pass_deadline", deadline(from, stage)),
            ("pass_deadline, an earlier visit", Command::PassDeadline { stage, since: minute(-9) }),
        ]
    }
}

fn stage_of(story: &Story) -> Option<StageName> {
    match &story.phase {
        Phase::Working { stage, .. } | Phase::Blocked { from: stage, .. } => Some(stage.name()),
        Phase::Done { .. } | Phase::Cancelled { .. } => None,
    }
}

fn output_of(stage: StageName) -> StageOutput {
    match stage {
        StageName::Analysis => acceptance("a file comes down"),
        StageName::Design => StageOutput::Design { decision: "stream it".into() },
        StageName::Implementation => StageOutput::Implementation,
        StageName::Review | StageName::Testing => StageOutput::Review { head: "abc".into() },
    }
}

fn deadline(story: Option<&Story>, stage: StageName) -> Command {
    let since = match story.map(|story| &story.phase) {
        Some(Phase::Working { since, .. }) => *since,
        _ => minute(0),
    };
    Command::PassDeadline { stage, since }
}
