//! How events change a run. Total: what does not fit changes nothing.

use super::types::{Answer, Call, CallStatus, Event, New, Phase, Resume, Run, Trail, Usage};
use super::watchdog;
use crate::Timestamp;

pub(super) fn evolve(state: Option<Run>, event: &Event) -> Option<Run> {
    if let Event::Upgraded(upgraded) = event {
        return upgraded.apply(state);
    }
    let Some(mut run) = state else {
        return match event {
            Event::Started { run, at } => Some(started(run, *at)),
            _ => None,
        };
    };
    if !run.phase.is_terminal() {
        run.updated_at = apply(&mut run, event);
    }
    Some(run)
}

fn started(new: &New, at: Timestamp) -> Run {
    Run {
        id: new.id,
        project: new.project,
        agent: new.agent,
        story: new.story,
        stage: new.stage,
        limits: new.limits,
        steps: 0,
        usage: Usage::default(),
        idle_answers: 0,
        trail: Trail::default(),
        phase: Phase::Started,
        started_at: at,
        updated_at: at,
    }
}

fn apply(run: &mut Run, event: &Event) -> Timestamp {
    match event {
        Event::Started { .. } | Event::Upgraded(_) => run.updated_at,
        Event::ModelCallStarted { step, at } => {
            run.steps = run.steps.max(*step);
            run.phase = Phase::Thinking { step: Some(*step) };
            *at
        }
        Event::ModelCallFinished { calls, usage, at, .. } => {
            answered(run, calls, *usage);
            *at
        }
        Event::ModelCallFailed { at, .. } => {
            run.phase = Phase::Thinking { step: None };
            *at
        }
        Event::Charged { usage, at } => {
            run.usage = run.usage.plus(*usage);
            *at
        }
        Event::ToolCallStarted { call, step, at, .. } => {
            run.steps = run.steps.max(*step);
            set_call(run, call, CallStatus::Started, Some(*step));
            *at
        }
        Event::ToolCallFinished { call, artefact, at, .. } => {
            set_call(run, call, CallStatus::Finished, None);
            run.trail.since_artefact = if *artefact { 0 } else { run.trail.since_artefact + 1 };
            think_when_all_finished(run);
            *at
        }
        Event::Waiting { wait, resume, at } => {
            run.phase = Phase::Waiting { wait: wait.clone(), resume: resume.clone(), since: *at };
            *at
        }
        Event::Woken { answer, at } => {
            woken(run, answer.as_ref(), *at);
            *at
        }
        Event::Succeeded { result, at } => {
            run.phase = Phase::Succeeded { result: result.clone(), at: *at };
            *at
        }
        Event::Failed { reason, at } => {
            run.phase = Phase::Failed { reason: reason.clone(), at: *at };
            *at
        }
        Event::Stalled { reason, at } => {
            run.phase = Phase::Stalled { reason: reason.clone(), at: *at };
            *at
        }
        Event::Cancelled { reason, at } => {
            run.phase = Phase::Cancelled { reason: reason.clone(), at: *at };
            *at
        }
    }
}

fn answered(run: &mut Run, calls: &[Call], usage: Usage) {
    run.usage = run.usage.plus(usage);
    for call in calls {
        watchdog::push(&mut run.trail.calls, &call.digest);
    }
    if calls.is_empty() {
        run.idle_answers += 1;
        run.phase = Phase::Thinking { step: None };
    } else {
        run.idle_answers = 0;
        run.phase = Phase::Acting { calls: calls.to_vec() };
    }
}

fn woken(run: &mut Run, answer: Option<&Answer>, at: Timestamp) {
    let Phase::Waiting { resume, since, .. } = &run.phase else { return };
    run.trail.waited_seconds += (at - *since).num_seconds();
    run.phase = match resume.clone() {
        // A model call that was interrupted by the wait is begun again, as a new step.
        Resume::Think => Phase::Thinking { step: None },
        Resume::Act { calls } | Resume::Result { calls, .. } => Phase::Acting { calls },
        Resume::Leave { mut calls, call } => {
            if let (Some(call), Some(Answer::Approved)) =
                (calls.iter_mut().find(|c| c.id == call && c.status == CallStatus::Pending), answer)
            {
                call.status = CallStatus::Allowed;
            }
            Phase::Acting { calls }
        }
    };
}

fn set_call(run: &mut Run, id: &str, status: CallStatus, step: Option<u32>) {
    if let Phase::Acting { calls } = &mut run.phase
        && let Some(call) = calls.iter_mut().find(|call| call.id == id)
    {
        call.status = status;
        call.step = step.or(call.step);
    }
}

fn think_when_all_finished(run: &mut Run) {
    if let Phase::Acting { calls } = &run.phase
        && calls.iter().all(|call| call.status == CallStatus::Finished)
    {
        run.phase = Phase::Thinking { step: None };
    }
}
