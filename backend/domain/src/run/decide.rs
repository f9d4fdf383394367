//! What a run answers to each command.

use super::types::{
    Answer, Call, CallStatus, Command, Effect, Event, Outcome, Phase, Resume, Run, RunResult, Usage, Wait,
};
use super::watchdog;
use crate::{
    Timestamp,
    ids::ApprovalId,
    machine::{Command as _, Decision, Kind, Machine, Rejection},
    stage::StageName,
};

type Decided = Result<Decision<Run>, Rejection>;

/// Answers in a row without a tool call before the run counts as stalled: saying "done" is not being done.
pub const MAX_IDLE_ANSWERS: u32 = 3;

const LIVE: &[&str] = &["started", "thinking", "acting", "waiting"];

pub(super) fn decide(state: Option<&Run>, command: &Command, now: Timestamp) -> Decided {
    let Some(run) = state else {
        return match command {
            Command::Start(new) => {
                Ok(Decision::of(Event::Started { run: new.clone(), at: now }).then(Effect::Advance))
            }
            other => Err(Rejection::illegal(Kind::Run, "nothing", other.name(), &["nothing"])),
        };
    };
    match command {
        Command::Start(_) => Err(Rejection::guard("exists", "this run exists already")),
        Command::BeginModelCall => begin_model_call(run, now),
        Command::FinishModelCall { step, calls, usage } => finish_model_call(run, *step, calls, *usage, now),
        Command::FailModelCall { step, reason } => {
            thinking_at(run, command, *step)?;
            let failed = Event::ModelCallFailed { step: *step, reason: reason.clone(), at: now };
            Ok(end(vec![failed], Ending::Failed(reason.clone()), now))
        }
        Command::Charge { usage } => {
            live(run, command).map(|()| Decision::of(Event::Charged { usage: *usage, at: now }))
        }
        Command::BeginToolCall { call } => begin_tool_call(run, call, now),
        Command::FinishToolCall { call, artefact } => finish_tool_call(run, call, *artefact, now),
        Command::Complete { call, result, gate } => complete(run, call, result, *gate, now),
        Command::AskHuman { call, approval, expertise } => ask_human(run, call, *approval, *expertise, now),
        Command::Park { wait } => park(run, command, wait, now),
        Command::Answer { approval, answer } => self::answer(run, *approval, answer, now),
        Command::Wake => wake(run, now),
        Command::Fail { reason } => {
            live(run, command)?;
            Ok(end(Vec::new(), Ending::Failed(reason.clone()), now))
        }
        // The watchdog's timer may ring after the run was parked: waiting for people is not turning in circles.
        Command::Stall { .. } if matches!(run.phase, Phase::Waiting { .. }) => Ok(Decision::nothing()),
        Command::Stall { reason } => {
            live(run, command)?;
            Ok(end(Vec::new(), Ending::Stalled(reason.clone()), now))
        }
        Command::Cancel { .. } if run.phase.is_terminal() => Ok(Decision::nothing()),
        Command::Cancel { reason } => Ok(cancel(run, reason, now)),
    }
}

fn begin_model_call(run: &Run, now: Timestamp) -> Decided {
    match &run.phase {
        Phase::Started | Phase::Thinking { step: None } => {
            if let Some(reason) = used_up(run, now) {
                return Ok(end(Vec::new(), Ending::Failed(reason), now));
            }
            Ok(Decision::of(Event::ModelCallStarted { step: run.steps + 1, at: now }))
        }
        _ => Err(illegal(run, &Command::BeginModelCall, &["started", "thinking"])),
    }
}

fn finish_model_call(run: &Run, step: u32, calls: &[Call], usage: Usage, now: Timestamp) -> Decided {
    let command = Command::FinishModelCall { step, calls: calls.to_vec(), usage };
    thinking_at(run, &command, step)?;
    if let Some(twice) = repeated_id(calls) {
        return Err(Rejection::guard(
            "call_ids",
            format!("two tool calls of one answer have the id {twice}"),
        ));
    }
    let finished = Event::ModelCallFinished { step, calls: calls.to_vec(), usage, at: now };
    if calls.is_empty() && run.idle_answers + 1 >= MAX_IDLE_ANSWERS {
        let reason = format!("{MAX_IDLE_ANSWERS} answers in a row without a tool call or a result");
        return Ok(end(vec![finished], Ending::Stalled(reason), now));
    }
    if let Some(reason) = too_many(run, calls.len()) {
        return Ok(end(vec![finished], Ending::Failed(reason), now));
    }
    if let Some(reason) = watchdog::look(&run.trail, calls) {
        return Ok(end(vec![finished], Ending::Stalled(reason), now));
    }
    Ok(Decision::of(finished).then(Effect::Advance))
}

fn begin_tool_call(run: &Run, id: &str, now: Timestamp) -> Decided {
    let command = Command::BeginToolCall { call: id.to_owned() };
    let call = acting_call(run, &command, id)?;
    match call.status {
        CallStatus::Pending | CallStatus::Allowed => Ok(Decision::of(Event::ToolCallStarted {
            call: id.to_owned(),
            tool: call.tool.clone(),
            step: run.steps + 1,
            at: now,
        })),
        CallStatus::Started | CallStatus::Finished => {
            Err(Rejection::guard("begun", "this tool call has begun already"))
        }
    }
}

fn finish_tool_call(run: &Run, id: &str, artefact: bool, now: Timestamp) -> Decided {
    let command = Command::FinishToolCall { call: id.to_owned(), artefact };
    let call = acting_call(run, &command, id)?;
    let (CallStatus::Started, Some(step)) = (call.status, call.step) else {
        return Err(Rejection::guard("begun", "a tool call ends only after its beginning was recorded"));
    };
    let finished =
        Event::ToolCallFinished { call: id.to_owned(), tool: call.tool.clone(), step, artefact, at: now };
    let last = is_last(run, id);
    Ok(Decision::of(finished).then_some(last.then_some(Effect::Advance)))
}

fn complete(run: &Run, id: &str, result: &RunResult, gate: Option<ApprovalId>, now: Timestamp) -> Decided {
    let command = Command::Complete { call: id.to_owned(), result: result.clone(), gate };
    let call = acting_call(run, &command, id)?;
    let (CallStatus::Started, Some(step)) = (call.status, call.step) else {
        return Err(Rejection::guard("begun", "a result is offered by a tool call that has begun"));
    };
    if !fits(run.stage, &result.outcome) {
        return Err(Rejection::guard(
            "outcome",
            format!("this is not what the {} stage hands on", run.stage.name()),
        ));
    }
    if !is_last(run, id) {
        return Err(Rejection::guard(
            "last",
            "the other tool calls of this answer have not ended: offer the result on its own",
        ));
    }
    if let Some(approval) = gate {
        let resume = Resume::Result { calls: calls_of(run), call: id.to_owned(), result: result.clone() };
        return Ok(wait_for(Wait::Approval { approval }, resume, Some(approval), now));
    }
    let finished = Event::ToolCallFinished {
        call: id.to_owned(),
        tool: call.tool.clone(),
        step,
        artefact: true,
        at: now,
    };
    Ok(end(vec![finished], Ending::Succeeded(result.clone()), now))
}

fn ask_human(run: &Run, id: &str, approval: ApprovalId, expertise: bool, now: Timestamp) -> Decided {
    let command = Command::AskHuman { call: id.to_owned(), approval, expertise };
    if acting_call(run, &command, id)?.status == CallStatus::Finished {
        return Err(Rejection::guard(
            "ended",
            "this tool call has ended: there is nothing left to ask leave for",
        ));
    }
    let wait = if expertise { Wait::Human { approval } } else { Wait::Approval { approval } };
    let resume = Resume::Leave { calls: calls_of(run), call: id.to_owned() };
    Ok(wait_for(wait, resume, Some(approval), now))
}

fn park(run: &Run, command: &Command, wait: &Wait, now: Timestamp) -> Decided {
    let resume = match &run.phase {
        Phase::Started | Phase::Thinking { .. } => Resume::Think,
        Phase::Acting { calls } => Resume::Act { calls: calls.clone() },
        _ => return Err(illegal(run, command, &["started", "thinking", "acting"])),
    };
    let decision = wait_for(wait.clone(), resume, None, now);
    Ok(match wait {
        Wait::RateLimit { until, .. } => decision.then(Effect::AdvanceAt { at: *until }),
        _ => decision,
    })
}

fn answer(run: &Run, approval: ApprovalId, answer: &Answer, now: Timestamp) -> Decided {
    let Phase::Waiting {
        wait: Wait::Approval { approval: asked } | Wait::Human { approval: asked },
        resume,
        ..
    } = &run.phase
    else {
        let command = Command::Answer { approval, answer: answer.clone() };
        return Err(illegal(run, &command, &["waiting"]));
    };
    if *asked != approval {
        return Err(Rejection::guard("approval", "the run waits for another answer"));
    }
    let woken = Event::Woken { answer: Some(answer.clone()), at: now };
    if let Answer::Edited { result } = answer {
        return edited(run, resume, woken, result, now);
    }
    Ok(match (resume, answer) {
        (_, Answer::Expired) => {
            let reason = "nobody answered before the approval expired".to_owned();
            end(vec![woken], Ending::Failed(reason), now)
        }
        (Resume::Result { .. }, Answer::Rejected { reason }) => {
            end(vec![woken], Ending::Failed(reason.clone()), now)
        }
        (Resume::Result { calls, call, result }, Answer::Approved) => {
            end(vec![woken, finished_call(calls, call, now)], Ending::Succeeded(result.clone()), now)
        }
        (Resume::Result { calls, call, result }, Answer::ChangesRequested { from, summary, comments })
            if run.stage == StageName::Review =>
        {
            let outcome = Outcome::ChangesRequested {
                from: from.clone(),
                summary: summary.clone(),
                comments: comments.clone(),
            };
            let result = RunResult { outcome, ..result.clone() };
            end(vec![woken, finished_call(calls, call, now)], Ending::Succeeded(result), now)
        }
        // Any other stage revises its own work: the answer is the result of the call that offered it.
        (Resume::Result { calls, call, .. }, Answer::ChangesRequested { .. }) => Decision::of(woken)
            .and(finished_call(calls, call, now))
            .then(Effect::TellResumed)
            .then(Effect::Advance),
        (_, _) => Decision::of(woken).then(Effect::TellResumed).then(Effect::Advance),
    })
}

/// A human's version of the offered result is handed on like the run's own; it must fit the stage as well.
fn edited(run: &Run, resume: &Resume, woken: Event, result: &RunResult, now: Timestamp) -> Decided {
    let Resume::Result { calls, call, .. } = resume else {
        return Err(Rejection::guard("edited", "only an offered result can be edited"));
    };
    if !fits(run.stage, &result.outcome) {
        return Err(Rejection::guard(
            "outcome",
            format!("this is not what the {} stage hands on", run.stage.name()),
        ));
    }
    Ok(end(vec![woken, finished_call(calls, call, now)], Ending::Succeeded(result.clone()), now))
}

fn wake(run: &Run, now: Timestamp) -> Decided {
    match &run.phase {
        Phase::Waiting {
            wait: Wait::Budget { .. } | Wait::RateLimit { .. } | Wait::Paused { .. }, ..
        } => Ok(Decision::of(Event::Woken { answer: None, at: now }).then(Effect::Advance)),
        Phase::Waiting { .. } => {
            Err(Rejection::guard("approval", "the run waits for a human's answer, not for time or money"))
        }
        _ if run.phase.is_terminal() => Err(illegal(run, &Command::Wake, &["waiting"])),
        _ => Ok(Decision::nothing()),
    }
}

fn cancel(run: &Run, reason: &str, now: Timestamp) -> Decision<Run> {
    let open = match &run.phase {
        Phase::Waiting { wait: Wait::Approval { approval } | Wait::Human { approval }, .. } => {
            Some(Effect::WithdrawApproval { approval: *approval })
        }
        _ => None,
    };
    Decision::of(Event::Cancelled { reason: reason.to_owned(), at: now })
        .then(Effect::Release)
        .then_some(open)
        // Who cancels a run by hand leaves its story waiting for nobody; a story that moved on does not listen.
        .then(Effect::TellFailed { reason: format!("the run was cancelled: {reason}") })
}

enum Ending {
    Succeeded(RunResult),
    Failed(String),
    Stalled(String),
}

fn end(before: Vec<Event>, ending: Ending, now: Timestamp) -> Decision<Run> {
    let (event, effect) = match ending {
        Ending::Succeeded(result) => {
            (Event::Succeeded { result: result.clone(), at: now }, Effect::TellSucceeded { result })
        }
        Ending::Failed(reason) => {
            (Event::Failed { reason: reason.clone(), at: now }, Effect::TellFailed { reason })
        }
        Ending::Stalled(reason) => {
            let tell = format!("the run stalled: {reason}");
            (Event::Stalled { reason, at: now }, Effect::TellFailed { reason: tell })
        }
    };
    let mut decision = Decision { events: before, effects: Vec::new() };
    decision.events.push(event);
    decision.then(Effect::Release).then(effect)
}

fn wait_for(wait: Wait, resume: Resume, asked: Option<ApprovalId>, now: Timestamp) -> Decision<Run> {
    Decision::of(Event::Waiting { wait, resume, at: now })
        .then_some(asked.map(|approval| Effect::TellAsked { approval }))
}

/// The first limit that is reached, in words.
fn used_up(run: &Run, now: Timestamp) -> Option<String> {
    let limits = run.limits;
    let tokens = run.usage.input_tokens.saturating_add(run.usage.output_tokens);
    let cost = run.usage.cost.plus(run.usage.simulated_cost);
    let worked = (now - run.started_at).num_seconds() - run.trail.waited_seconds;
    if run.steps >= limits.max_steps {
        Some(format!("the run reached its limit of {} steps", limits.max_steps))
    } else if tokens >= limits.max_tokens {
        Some(format!("the run reached its limit of {} tokens", limits.max_tokens))
    } else if cost >= limits.max_cost {
        Some(format!("the run reached its limit of {}", limits.max_cost))
    } else if worked >= i64::from(limits.max_seconds) {
        Some(format!("the run reached its limit of {} s of work", limits.max_seconds))
    } else {
        None
    }
}

/// One answer must not pass the limit of steps by all its calls; a single one is let through, since it may be the result.
fn too_many(run: &Run, calls: usize) -> Option<String> {
    let (limit, asked) = (run.limits.max_steps, u32::try_from(calls).unwrap_or(u32::MAX));
    (asked > limit.saturating_sub(run.steps).max(1)).then(|| {
        format!("the run reached its limit of {limit} steps: one answer asks for {calls} tool calls")
    })
}

fn fits(stage: StageName, outcome: &Outcome) -> bool {
    matches!(
        (stage, outcome),
        (StageName::Analysis, Outcome::Requirements { .. })
            | (StageName::Design, Outcome::Architecture { .. })
            | (StageName::Implementation, Outcome::Implementation { .. })
            | (StageName::Review, Outcome::Approved { .. } | Outcome::ChangesRequested { .. })
            | (StageName::Testing, Outcome::Tests { .. })
    )
}

fn calls_of(run: &Run) -> Vec<Call> {
    match &run.phase {
        Phase::Acting { calls } => calls.clone(),
        _ => Vec::new(),
    }
}

/// No other call of the answer is still to be done.
fn is_last(run: &Run, id: &str) -> bool {
    calls_of(run).iter().all(|call| call.id == id || call.status == CallStatus::Finished)
}

fn finished_call(calls: &[Call], id: &str, now: Timestamp) -> Event {
    let call = calls.iter().find(|call| call.id == id);
    Event::ToolCallFinished {
        call: id.to_owned(),
        tool: call.map(|call| call.tool.clone()).unwrap_or_default(),
        step: call.and_then(|call| call.step).unwrap_or_default(),
        artefact: true,
        at: now,
    }
}

/// Results find their calls by id: two calls with one id could never both end.
fn repeated_id(calls: &[Call]) -> Option<&str> {
    let mut rest = calls;
    while let [call, later @ ..] = rest {
        if later.iter().any(|other| other.id == call.id) {
            return Some(&call.id);
        }
        rest = later;
    }
    None
}

fn thinking_at(run: &Run, command: &Command, step: u32) -> Result<(), Rejection> {
    match &run.phase {
        Phase::Thinking { step: Some(current) } if *current == step => Ok(()),
        Phase::Thinking { .. } => Err(Rejection::guard("step", "another step is under way")),
        _ => Err(illegal(run, command, &["thinking"])),
    }
}

fn acting_call<'r>(run: &'r Run, command: &Command, id: &str) -> Result<&'r Call, Rejection> {
    let Phase::Acting { calls } = &run.phase else {
        return Err(illegal(run, command, &["acting"]));
    };
    calls
        .iter()
        .find(|call| call.id == id)
        .ok_or_else(|| Rejection::guard("call", "the model did not ask for this tool call"))
}

fn live(run: &Run, command: &Command) -> Result<(), Rejection> {
    if run.phase.is_terminal() { Err(illegal(run, command, LIVE)) } else { Ok(()) }
}

fn illegal(run: &Run, command: &Command, legal_from: &[&str]) -> Rejection {
    Rejection::illegal(Kind::Run, run.phase(), command.name(), legal_from)
}
