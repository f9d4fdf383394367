//! What a story answers to each command.

use super::types::{Change, Command, Effect, Event, Feedback, Phase, Stage, StageOutput, Story, Work};
use crate::{
    Timestamp,
    ids::{PullRequestId, RunId, SprintId},
    machine::{Command as _, Decision, Kind, Machine, Rejection},
    stage::StageName,
};

type Answer = Result<Decision<Story>, Rejection>;

/// How often work may be sent back before a human must look: agents that cannot agree only burn money.
pub const MAX_ROUNDS: u32 = 8;

pub(super) fn decide(state: Option<&Story>, command: &Command, now: Timestamp) -> Answer {
    let Some(story) = state else {
        return match command {
            Command::Create(new) => create(new, now),
            other => Err(Rejection::illegal(Kind::Story, "nothing", other.name(), &["nothing"])),
        };
    };
    match command {
        Command::Create(_) => Err(Rejection::guard("exists", "this story exists already")),
        Command::Start => start(story, now),
        Command::BeginRun { run, stage } => begin_run(story, *run, *stage, now),
        Command::Ask { run, approval } => match working(story, command)?.1 {
            Work::Running { run: mine, .. } if mine == run => {
                Ok(Decision::of(Event::Asked { run: *run, approval: *approval, at: now }))
            }
            _ => Err(stale_run(*run)),
        },
        Command::Resume { run } => match working(story, command)?.1 {
            Work::Asking { run: mine, .. } if mine == run => {
                Ok(Decision::of(Event::Resumed { run: *run, at: now }))
            }
            Work::Running { run: mine, .. } if mine == run => Ok(Decision::nothing()),
            _ => Err(stale_run(*run)),
        },
        Command::OpenPullRequest(change) => open_pull_request(story, change, now),
        Command::FinishStage { run, output } => finish_stage(story, *run, output, now),
        Command::FailStage { run, reason } => {
            // A run that was stopped because the story moved on says so too: that changes nothing.
            Ok(own_run(story, command, *run)
                .map_or_else(|_| Decision::nothing(), |_| block(story, reason, now)))
        }
        Command::RequestChanges { feedback } => request_changes(story, command, feedback, now),
        Command::Merged { pull_request, commit } => merged(story, *pull_request, commit, now),
        Command::MergeFailed { pull_request, feedback } => merge_failed(story, *pull_request, feedback, now),
        Command::FinishTests { test_run, passed, report } => {
            let (Stage::Testing { commit }, _) = working(story, command)? else {
                return Err(illegal(story, command));
            };
            if *passed {
                let done = Event::Done { commit: commit.clone(), test_run: *test_run, at: now };
                let decision = Decision::of(done).then(Effect::ClearDeadline);
                return Ok(with_stopped_work(decision, story, "the story is done"));
            }
            let feedback = Feedback {
                from: "the project's tests".into(),
                summary: report.clone(),
                comments: Vec::new(),
            };
            Ok(send_back(story, Event::TestsFailed { test_run: *test_run, feedback, at: now }, now))
        }
        Command::Block { reason } => match working(story, command)?.1 {
            Work::Merging { .. } => Err(merging()),
            _ => Ok(block(story, reason, now)),
        },
        Command::Unblock => unblock(story, command, now),
        Command::Cancel { reason } => cancel(story, command, reason, now),
        Command::MoveToSprint { sprint } => match &story.phase {
            Phase::Done { .. } | Phase::Cancelled { .. } => Err(illegal(story, command)),
            _ if story.sprint == *sprint => Ok(Decision::nothing()),
            _ => Ok(plan_in(story.sprint, *sprint, now)),
        },
        Command::PassDeadline { stage, since } => Ok(pass_deadline(story, *stage, *since, now)),
    }
}

fn create(new: &super::New, now: Timestamp) -> Answer {
    if new.title.trim().is_empty() {
        return Err(Rejection::guard("title", "a story needs a title: say in one line what is wanted"));
    }
    let join = new.sprint.map(|sprint| Effect::JoinSprint { sprint, from: None });
    Ok(Decision::of(Event::Created { story: new.clone(), at: now }).then_some(join))
}

fn plan_in(from: Option<SprintId>, to: Option<SprintId>, now: Timestamp) -> Decision<Story> {
    Decision::of(Event::Planned { sprint: to, at: now })
        .then_some(from.map(|sprint| Effect::LeaveSprint { sprint, to }))
        .then_some(to.map(|sprint| Effect::JoinSprint { sprint, from }))
}

fn start(story: &Story, now: Timestamp) -> Answer {
    match &story.phase {
        Phase::Working { stage, work: Work::Idle, .. } => {
            let stage = stage.name();
            Ok(Decision::of(Event::Started { at: now })
                .then(Effect::WorkStage { stage })
                .then(deadline(stage, now)))
        }
        Phase::Working { .. } => Ok(Decision::nothing()),
        _ => Err(illegal(story, &Command::Start)),
    }
}

fn begin_run(story: &Story, run: RunId, stage: StageName, now: Timestamp) -> Answer {
    let (current, work) = working(story, &Command::BeginRun { run, stage })?;
    if current.name() != stage {
        return Err(Rejection::guard(
            "stage",
            format!("the story is in {}, not in {} any more", current.name().name(), stage.name()),
        ));
    }
    match work {
        Work::Queued { .. } => {
            let review = match current {
                Stage::Review { pull_request } => Some(Effect::BeginReview { pull_request: *pull_request }),
                _ => None,
            };
            Ok(Decision::of(Event::RunStarted { run, at: now }).then_some(review))
        }
        Work::Running { run: mine, .. } | Work::Asking { run: mine, .. } if *mine == run => {
            Ok(Decision::nothing())
        }
        _ => Err(Rejection::guard("owner", "another run works on this stage already")),
    }
}

fn open_pull_request(story: &Story, change: &Change, now: Timestamp) -> Answer {
    let command = Command::OpenPullRequest(change.clone());
    match working(story, &command)?.0 {
        Stage::Implementation if story.change.as_ref() == Some(change) => Ok(Decision::nothing()),
        Stage::Implementation if story.change.is_some() => Err(Rejection::guard(
            "one_pull_request",
            "this story has an open pull request: push commits to its branch instead",
        )),
        Stage::Implementation => {
            Ok(Decision::of(Event::PullRequestOpened { change: change.clone(), at: now }))
        }
        _ => Err(illegal(story, &command)),
    }
}

fn finish_stage(story: &Story, run: RunId, output: &StageOutput, now: Timestamp) -> Answer {
    let command = Command::FinishStage { run, output: output.clone() };
    let stage = own_run(story, &command, run)?;
    let finished = Event::StageFinished { run, output: output.clone(), at: now };
    match (stage, output) {
        (Stage::Analysis, StageOutput::Analysis { .. }) => Ok(go_on(finished, Stage::Design, now)),
        (Stage::Design, StageOutput::Design { .. }) => Ok(go_on(finished, Stage::Implementation, now)),
        (Stage::Implementation, StageOutput::Implementation) => match &story.change {
            Some(change) => Ok(go_on(finished, Stage::Review { pull_request: change.pull_request }, now)),
            None => Err(Rejection::guard(
                "pull_request",
                "implementation ends with an open pull request: create one first",
            )),
        },
        (Stage::Review { pull_request }, StageOutput::Review { head }) => {
            Ok(Decision::of(Event::ReviewPassed { run, head: head.clone(), at: now })
                .then(Effect::Approve { pull_request: *pull_request, head: head.clone() }))
        }
        (stage, _) => Err(Rejection::guard(
            "output",
            format!("this is not what the {} stage hands on", stage.name().name()),
        )),
    }
}

fn request_changes(story: &Story, command: &Command, feedback: &Feedback, now: Timestamp) -> Answer {
    let (Stage::Review { .. }, work) = working(story, command)? else {
        return Err(illegal(story, command));
    };
    if let Work::Merging { .. } = work {
        return Err(merging());
    }
    Ok(send_back(story, Event::ChangesRequested { feedback: feedback.clone(), at: now }, now))
}

fn merged(story: &Story, pull_request: PullRequestId, commit: &str, now: Timestamp) -> Answer {
    let command = Command::Merged { pull_request, commit: commit.to_owned() };
    match &story.phase {
        // A blocked story counts too: the queue may have been merging when somebody blocked it.
        Phase::Working { stage: Stage::Review { pull_request: mine }, .. }
        | Phase::Blocked { from: Stage::Review { pull_request: mine }, .. }
            if *mine == pull_request =>
        {
            let merged = Event::Merged { pull_request, commit: commit.to_owned(), at: now };
            let decision = go_on(merged, Stage::Testing { commit: commit.to_owned() }, now);
            Ok(with_stopped_work(decision, story, "the pull request is merged"))
        }
        Phase::Working { stage: Stage::Testing { commit: mine }, .. } if mine == commit => {
            Ok(Decision::nothing())
        }
        _ => Err(illegal(story, &command)),
    }
}

fn merge_failed(story: &Story, pull_request: PullRequestId, feedback: &Feedback, now: Timestamp) -> Answer {
    let command = Command::MergeFailed { pull_request, feedback: feedback.clone() };
    let cause = Event::ChangesRequested { feedback: feedback.clone(), at: now };
    match &story.phase {
        Phase::Working { stage: Stage::Review { pull_request: mine }, .. } if *mine == pull_request => {
            Ok(send_back(story, cause, now))
        }
        // The queue was merging when somebody blocked it: it stays blocked, and goes on with the repair.
        Phase::Blocked { from: Stage::Review { pull_request: mine }, reason, .. }
            if *mine == pull_request =>
        {
            Ok(Decision::of(cause)
                .and(Event::Moved { stage: Stage::Implementation, at: now })
                .and(Event::Blocked { reason: reason.clone(), at: now }))
        }
        _ => Err(illegal(story, &command)),
    }
}

fn unblock(story: &Story, command: &Command, now: Timestamp) -> Answer {
    let Phase::Blocked { from, .. } = &story.phase else {
        return Err(illegal(story, command));
    };
    let stage = from.name();
    Ok(Decision::of(Event::Unblocked { at: now })
        .then(Effect::WorkStage { stage })
        .then(deadline(stage, now)))
}

fn cancel(story: &Story, command: &Command, reason: &str, now: Timestamp) -> Answer {
    match &story.phase {
        Phase::Done { .. } => Err(illegal(story, command)),
        Phase::Cancelled { .. } => Ok(Decision::nothing()),
        Phase::Working { work: Work::Merging { .. }, .. } => Err(merging()),
        Phase::Working { stage, .. } | Phase::Blocked { from: stage, .. } => {
            // In testing the change is merged: there is no pull request left to close.
            let close = story
                .change
                .as_ref()
                .filter(|_| stage.name() != StageName::Testing)
                .map(|change| Effect::ClosePullRequest { pull_request: change.pull_request });
            let decision = Decision::of(Event::Cancelled { reason: reason.to_owned(), at: now })
                .then(Effect::ClearDeadline);
            // The open question is withdrawn before its pull request goes: nothing newer takes its place.
            let leave = story.sprint.map(|sprint| Effect::LeaveSprint { sprint, to: None });
            Ok(with_stopped_work(decision, story, reason).then_some(close).then_some(leave))
        }
    }
}

fn pass_deadline(story: &Story, stage: StageName, since: Timestamp, now: Timestamp) -> Decision<Story> {
    match &story.phase {
        Phase::Working { stage: current, since: entered, .. }
            if current.name() == stage && *entered == since =>
        {
            let escalated = now >= since + stage.deadline() * 2;
            let sentence = format!(
                "story {} \"{}\" has been in {} since {}",
                story.number,
                story.title,
                stage.name(),
                since.format("%Y-%m-%d %H:%M UTC")
            );
            let again =
                (!escalated).then(|| Effect::SetDeadline { stage, since, at: since + stage.deadline() * 2 });
            Decision::of(Event::DeadlinePassed { stage, escalated, at: now })
                .then(Effect::Notify { sentence, escalated })
                .then_some(again)
        }
        _ => Decision::nothing(),
    }
}

fn go_on(finished: Event, to: Stage, now: Timestamp) -> Decision<Story> {
    let stage = to.name();
    Decision::of(finished)
        .and(Event::Moved { stage: to, at: now })
        .then(Effect::WorkStage { stage })
        .then(deadline(stage, now))
}

/// Back to implementation with the reason, or to a human when that has happened too often.
fn send_back(story: &Story, cause: Event, now: Timestamp) -> Decision<Story> {
    let pull_request = match &story.phase {
        Phase::Working { stage: Stage::Review { pull_request }, .. } => Some(*pull_request),
        _ => None,
    };
    let tell = pull_request.map(|pull_request| Effect::RequestChanges { pull_request });
    let decision = Decision::of(cause).then_some(tell);
    let decision = with_stopped_work(decision, story, "the work was sent back to implementation");
    if story.round + 1 >= MAX_ROUNDS {
        let reason = format!("sent back {MAX_ROUNDS} times: a human must say how to go on");
        return decision
            .and(Event::Moved { stage: Stage::Implementation, at: now })
            .and(Event::Blocked { reason, at: now })
            .then(Effect::ClearDeadline);
    }
    decision
        .and(Event::Moved { stage: Stage::Implementation, at: now })
        .then(Effect::WorkStage { stage: StageName::Implementation })
        .then(deadline(StageName::Implementation, now))
}

fn block(story: &Story, reason: &str, now: Timestamp) -> Decision<Story> {
    let decision =
        Decision::of(Event::Blocked { reason: reason.to_owned(), at: now }).then(Effect::ClearDeadline);
    with_stopped_work(decision, story, reason)
}

fn with_stopped_work(decision: Decision<Story>, story: &Story, reason: &str) -> Decision<Story> {
    match &story.phase {
        Phase::Working { work: Work::Running { run, .. }, .. } => {
            decision.then(Effect::CancelRun { run: *run, reason: reason.to_owned() })
        }
        Phase::Working { work: Work::Asking { run, approval, .. }, .. } => decision
            .then(Effect::WithdrawApproval { approval: *approval })
            .then(Effect::CancelRun { run: *run, reason: reason.to_owned() }),
        _ => decision,
    }
}

fn deadline(stage: StageName, since: Timestamp) -> Effect {
    Effect::SetDeadline { stage, since, at: since + stage.deadline() }
}

fn working<'s>(story: &'s Story, command: &Command) -> Result<(&'s Stage, &'s Work), Rejection> {
    match &story.phase {
        Phase::Working { stage, work, .. } => Ok((stage, work)),
        _ => Err(illegal(story, command)),
    }
}

/// A run may speak for the story only while it is the one that works on it.
fn own_run<'s>(story: &'s Story, command: &Command, run: RunId) -> Result<&'s Stage, Rejection> {
    match working(story, command)? {
        (stage, Work::Running { run: mine, .. } | Work::Asking { run: mine, .. }) if *mine == run => {
            Ok(stage)
        }
        _ => Err(stale_run(run)),
    }
}

/// From approval to the outcome of the merge, a matter of seconds, only the outcome counts.
fn merging() -> Rejection {
    Rejection::guard("merging", "the pull request is being merged: wait for its outcome")
}

fn stale_run(run: RunId) -> Rejection {
    Rejection::guard("owner", format!("run {run} does not work on this story any more"))
}

fn illegal(story: &Story, command: &Command) -> Rejection {
    Rejection::illegal(Kind::Story, story.phase(), command.name(), legal_from(command))
}

/// The phases from which each command can be legal.
fn legal_from(command: &Command) -> &'static [&'static str] {
    match command {
        Command::Create(_) => &["nothing"],
        Command::FinishStage { .. } => &["analysis", "design", "implementation", "review"],
        Command::OpenPullRequest(_) => &["implementation"],
        Command::RequestChanges { .. } => &["review"],
        Command::Merged { .. } | Command::MergeFailed { .. } => &["review", "blocked"],
        Command::FinishTests { .. } => &["testing"],
        Command::Unblock => &["blocked"],
        Command::Cancel { .. } | Command::MoveToSprint { .. } => {
            &["analysis", "design", "implementation", "review", "testing", "blocked"]
        }
        Command::Start
        | Command::BeginRun { .. }
        | Command::Ask { .. }
        | Command::Resume { .. }
        | Command::FailStage { .. }
        | Command::Block { .. }
        | Command::PassDeadline { .. } => &["analysis", "design", "implementation", "review", "testing"],
    }
}
