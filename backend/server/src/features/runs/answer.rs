//! A human's answer reaches the parked run, in the transaction of the decision.

use super::{act::said, steps};
use crate::db::{Error, Uow};
use serde::Deserialize;
use serde_json::{Value, json};
use std::fmt::Write as _;
use syndarix_domain::{
    approval::{Approval, Phase as Asked},
    ids::{RunId, StepId},
    machine::Rejection,
    policy::Action,
    run::{Answer, CallStatus, Command, Outcome, Phase, Resume, Run, RunResult},
};
use uuid::Uuid;

/// Wakes the run with the answer. A run that is over already is left alone.
pub async fn answer(uow: &mut Uow, approval: &Approval, run: RunId, answer: Answer) -> Result<(), Error> {
    let project = approval.request.project;
    let before: Run = uow.load(project, run).await?;
    let id = approval.request.id;
    let command = Command::Answer { approval: id, answer: answer.clone() };
    let Phase::Waiting { resume, .. } = &before.phase else {
        return uow.tell::<Run>(project, run, &command).await;
    };
    match resume {
        // The offered result's own call gets the answer as its result.
        Resume::Result { call, .. } => {
            let step = step_of(uow, &before, call).await?;
            if let Some(step) = step {
                steps::end(uow, project, step, &said(&sentence(&answer), false)).await?;
            }
            uow.tell::<Run>(project, run, &command).await
        }
        Resume::Leave { call, .. } => {
            let knowledge = matches!(approval.request.action, syndarix_domain::policy::Action::HumanInput);
            uow.tell::<Run>(project, run, &command).await?;
            match answer {
                Answer::Approved if !knowledge => Ok(()),
                Answer::Expired => Ok(()),
                answer => settle(uow, &before, call, &reply(approval, &answer, knowledge), !knowledge).await,
            }
        }
        Resume::Think | Resume::Act { .. } => uow.tell::<Run>(project, run, &command).await,
    }
}

/// The answer that hands on what the human made of the offered result.
pub async fn edited(
    uow: &mut Uow,
    approval: &Approval,
    run: RunId,
    arguments: &Value,
) -> Result<Answer, Error> {
    let outcome = edited_outcome(approval.request.action, arguments)
        .map_err(|sentence| Rejection::guard("arguments", sentence))?;
    let run: Run = uow.load(approval.request.project, run).await?;
    let Phase::Waiting { resume: Resume::Result { result, .. }, .. } = run.phase else {
        return Err(Rejection::guard("edited", "the run does not offer a result any more").into());
    };
    Ok(Answer::Edited { result: Box::new(RunResult { outcome, ..result }) })
}

/// What edited arguments mean, in the same shape in which they were asked; else what is wrong with them.
pub fn edited_outcome(action: Action, arguments: &Value) -> Result<Outcome, String> {
    match action {
        Action::StoryRequirements => {
            let Requirements { acceptance_criteria } = shaped(arguments)?;
            if acceptance_criteria.is_empty() || acceptance_criteria.iter().any(|one| one.trim().is_empty()) {
                return Err("acceptance_criteria: give at least one criterion, and no empty one".into());
            }
            Ok(Outcome::Requirements { acceptance: acceptance_criteria })
        }
        Action::ArchitectureDecision => {
            let Design { decision } = shaped(arguments)?;
            if decision.trim().is_empty() {
                return Err("decision: say how it is going to be built".into());
            }
            Ok(Outcome::Architecture { decision })
        }
        _ => Err("the arguments of this request cannot be changed".into()),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Requirements {
    acceptance_criteria: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Design {
    decision: String,
}

fn shaped<T: for<'de> Deserialize<'de>>(arguments: &Value) -> Result<T, String> {
    T::deserialize(arguments).map_err(|error| error.to_string())
}

fn sentence(answer: &Answer) -> String {
    match answer {
        Answer::Approved => "A human approved the result.".into(),
        Answer::Edited { .. } => "A human changed the result and approved it as changed.".into(),
        Answer::ChangesRequested { from, summary, comments } => {
            let mut text = format!("{from} wants changes: {summary}");
            for comment in comments {
                let line = comment.line.map(|line| format!(":{line}")).unwrap_or_default();
                let _ = write!(text, "\n- {}{line}: {}", comment.path, comment.body);
            }
            text
        }
        Answer::Rejected { reason } => format!("The result was {reason}"),
        Answer::Expired => "Nobody answered in time.".into(),
    }
}

/// What a question for knowledge is answered with: the human's own words.
fn reply(approval: &Approval, answer: &Answer, knowledge: bool) -> String {
    match &approval.phase {
        Asked::Decided(decided) if knowledge && !decided.note.trim().is_empty() => decided.note.clone(),
        _ => sentence(answer),
    }
}

/// Gives the call that waited its end, which is known now: it must not be asked again.
async fn settle(uow: &mut Uow, run: &Run, call: &str, text: &str, declined: bool) -> Result<(), Error> {
    let now: Run = uow.load(run.project, run.id).await?;
    let Phase::Acting { calls } = &now.phase else { return Ok(()) };
    if calls.iter().any(|this| this.id == call && this.status == CallStatus::Started) {
        return leave_as_it_is(uow, run, call, text).await;
    }
    settle_new(uow, run, call, text, declined).await
}

/// A call that may have taken effect, and that a human does not want called again.
async fn leave_as_it_is(uow: &mut Uow, run: &Run, call: &str, text: &str) -> Result<(), Error> {
    let Some(step) = step_of(uow, run, call).await? else { return Ok(()) };
    let sentence = format!("It is not known whether this call took effect, and it is not made again. {text}");
    let ended = steps::Ended {
        status: "unknown",
        resolution: Some(steps::Resolution::Declined),
        ..said(&sentence, true)
    };
    steps::end(uow, run.project, step, &ended).await?;
    let finished = Command::FinishToolCall { call: call.to_owned(), artefact: false };
    uow.tell::<Run>(run.project, run.id, &finished).await
}

/// Records a call as begun and ended.
async fn settle_new(uow: &mut Uow, run: &Run, call: &str, text: &str, declined: bool) -> Result<(), Error> {
    let begun = Command::BeginToolCall { call: call.to_owned() };
    let Ok(now) = uow.ask::<Run>(run.project, run.id, &begun).await? else { return Ok(()) };
    let Phase::Acting { calls } = &now.phase else { return Ok(()) };
    let Some(found) = calls.iter().find(|this| this.id == call) else { return Ok(()) };
    let intent = steps::Intent {
        run: run.id,
        number: found.step.unwrap_or_default(),
        kind: "tool",
        server: None,
        name: found.tool.clone(),
        call_id: Some(call.to_owned()),
        request: json!({}),
        target: None,
        fence: 0,
        recovery: None,
    };
    let step = steps::begin(uow, run.project, &intent).await?;
    steps::end(uow, run.project, step, &said(text, declined)).await?;
    let finished = Command::FinishToolCall { call: call.to_owned(), artefact: false };
    uow.tell::<Run>(run.project, run.id, &finished).await
}

async fn step_of(uow: &mut Uow, run: &Run, call: &str) -> Result<Option<StepId>, Error> {
    let id: Option<Uuid> = sqlx::query_scalar(
        "select id from step where project_id = $1 and run_id = $2 and call_id = $3 and ended_at is null",
    )
    .bind(run.project.0)
    .bind(run.id.0)
    .bind(call)
    .fetch_optional(uow.conn().await?)
    .await?;
    Ok(id.map(StepId))
}
