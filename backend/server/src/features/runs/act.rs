//! The tool calls of one answer: intents first, then all at once, each result recorded as it comes.

use super::{
    advance::{Turn, give_up_or_retry},
    brief,
    completion::{self, Wanted},
    control,
    steps::{self, Ended, Intent, StepRow},
    tools::Toolbox,
    transcript,
};
use crate::{
    db::{Error, Uow, retry_conflicts, storable, storable_json},
    features::approvals,
};
use chrono::Duration;
use futures::stream::{FuturesUnordered, StreamExt};
use serde_json::{Value, json};
use syndarix_domain::{
    approval::Subject,
    ids::{ApprovalId, StepId},
    policy::{Action, Verdict},
    run::{Call, CallStatus, Command, Phase, Run},
};
use syndarix_jobs::Outcome;
use syndarix_llm::Completion;
use syndarix_mcp::{CallError, ToolInfo, ToolOutcome};

/// Pauses before a call that did not reach its server is made again, in milliseconds.
const UNSENT_PAUSES: [u64; 3] = [500, 2_000, 5_000];

/// One call of the answer, as far as it can be known before it is made.
struct Planned {
    call: Call,
    kind: Plan,
}

enum Plan {
    /// A tool of a server.
    Tool { tool: ToolInfo, input: Value },
    /// One of the run's own.
    Control { input: Value },
    /// The answer is known already: the call cannot be made.
    Refused { sentence: String },
}

pub(super) async fn act(turn: &Turn) -> Result<Outcome, Error> {
    let Phase::Acting { calls } = &turn.run.phase else { return Ok(Outcome::Done) };
    let brief = brief::of(turn).await?;
    let branch = brief::branch_of(turn).await?;
    let toolbox = match Toolbox::open(turn, &brief, branch).await {
        Ok(toolbox) => toolbox,
        Err(reason) => return give_up_or_retry(turn, reason.to_string()).await,
    };
    let rows = steps::of_run(turn.app.pool(), turn.project, turn.run.id).await?;
    let Some(answer) = rows.iter().rev().find_map(transcript::answer) else {
        let reason = "the model's answer that asked for these calls is missing".to_owned();
        return turn.end_with(&Command::Fail { reason }).await;
    };
    let planned = plan(calls, &answer, &toolbox);
    if let Some(gated) = gate(turn, &planned).await? {
        return Ok(gated);
    }
    let (controls, tools): (Vec<Planned>, Vec<Planned>) =
        planned.into_iter().partition(|planned| matches!(planned.kind, Plan::Control { .. }));
    let begun = begin(turn, &tools, &rows).await?;
    let cancelled = run_all(turn, &toolbox, begun).await?;
    if cancelled {
        let until = turn.app.clock().now() + Duration::seconds(1);
        return Ok(Outcome::Snooze { until, reason: "the tool calls were interrupted".into() });
    }
    for control in controls {
        let Plan::Control { input } = &control.kind else { continue };
        if control::carry_out(turn, &control.call, input, &rows).await? {
            return Ok(Outcome::Completed);
        }
    }
    // What is due next was enqueued with the last result.
    Ok(Outcome::Done)
}

fn plan(calls: &[Call], answer: &Completion, toolbox: &Toolbox) -> Vec<Planned> {
    calls
        .iter()
        .filter(|call| call.status != CallStatus::Finished)
        .map(|call| Planned { call: call.clone(), kind: plan_one(call, answer, toolbox) })
        .collect()
}

fn plan_one(call: &Call, answer: &Completion, toolbox: &Toolbox) -> Plan {
    match completion::wanted(answer, &call.id) {
        None => Plan::Refused { sentence: "the call is not in the answer any more".into() },
        Some(Wanted::Unreadable { sentence }) => Plan::Refused { sentence },
        Some(Wanted::Call { tool, input }) if control::is_control(&tool) => Plan::Control { input },
        Some(Wanted::Call { tool, input }) => match toolbox.route(&tool) {
            Ok(info) => Plan::Tool { tool: info.clone(), input },
            Err(sentence) => Plan::Refused { sentence },
        },
    }
}

/// A call that writes outside the run's worktree may need a human's leave: the first that does parks the run.
async fn gate(turn: &Turn, planned: &[Planned]) -> Result<Option<Outcome>, Error> {
    for planned in planned {
        let Plan::Tool { tool, input } = &planned.kind else { continue };
        if planned.call.status != CallStatus::Pending || !writes_outside(tool) {
            continue;
        }
        let parked = retry_conflicts(|| ask_leave(turn, &planned.call, tool, input)).await?;
        if parked {
            return Ok(Some(Outcome::Completed));
        }
    }
    Ok(None)
}

/// Files and commits stay in the run's own worktree and branch; tests run in a sandbox.
fn writes_outside(tool: &ToolInfo) -> bool {
    let inside = match tool.server.as_str() {
        "filesystem" | "cicd" => true,
        "git" => !tool.name.contains("pull_request"),
        _ => false,
    };
    !tool.read_only && !inside
}

/// What is gone for good. Tools that replace are destructive, too, and leave something to repair.
fn deletes(tool: &ToolInfo) -> bool {
    tool.destructive && tool.name.starts_with("delete")
}

async fn ask_leave(turn: &Turn, call: &Call, tool: &ToolInfo, input: &Value) -> Result<bool, Error> {
    let mut uow = turn.app.store.begin(turn.author()).await?;
    let action = if deletes(tool) { Action::DataDelete } else { Action::ToolWrite };
    let verdict = approvals::verdict(&mut uow, turn.project, action, None).await?;
    let Verdict::Ask { category, rule } = verdict else { return Ok(false) };
    let approval = ApprovalId(uow.new_id());
    let question = approvals::Question {
        subject: Subject::Run { run: turn.run.id },
        action,
        category,
        rule,
        title: format!("Call `{}` of {}", tool.name, tool.server),
        summary: format!(
            "An agent wants to call a tool that writes outside its worktree: {}",
            tool.description
        ),
        story: Some(turn.run.story),
        pull_request: None,
        arguments: json!({ "server": tool.server, "tool": tool.name, "input": input }),
        editable: false,
        confidence: None,
        alternatives: Vec::new(),
    };
    approvals::ask(&mut uow, turn.project, approval, question).await?;
    let command = Command::AskHuman { call: call.id.clone(), approval, expertise: false };
    uow.execute::<Run>(turn.project, turn.run.id, &command).await?;
    uow.complete_job();
    uow.commit().await?;
    Ok(true)
}

/// A call whose intent is recorded.
struct Begun {
    call: Call,
    step: StepId,
    todo: Todo,
}

enum Todo {
    Call { tool: ToolInfo, input: Value },
    Answer { ended: Ended },
}

/// Records all intents in one transaction; takes over those of a worker that was lost.
async fn begin(turn: &Turn, planned: &[Planned], rows: &[StepRow]) -> Result<Vec<Begun>, Error> {
    if planned.is_empty() {
        return Ok(Vec::new());
    }
    retry_conflicts(|| async {
        let mut uow = turn.app.store.begin(turn.author()).await?;
        let mut begun = Vec::new();
        for planned in planned {
            begun.push(begin_one(turn, &mut uow, planned, rows).await?);
        }
        uow.commit().await?;
        Ok(begun)
    })
    .await
}

async fn begin_one(turn: &Turn, uow: &mut Uow, planned: &Planned, rows: &[StepRow]) -> Result<Begun, Error> {
    let call = planned.call.clone();
    if let (CallStatus::Started, Some(number)) = (call.status, call.step) {
        let row = rows.iter().find(|row| u32::try_from(row.number) == Ok(number));
        let step = StepId(row.ok_or(Error::NotFound("step"))?.id);
        steps::again(uow, turn.project, step, turn.lease.fence).await?;
        return Ok(Begun { call, step, todo: resolve(planned) });
    }
    let (step, call) = record_intent(turn, uow, planned).await?;
    let todo = match &planned.kind {
        Plan::Tool { tool, input } => Todo::Call { tool: tool.clone(), input: input.clone() },
        Plan::Refused { sentence } => Todo::Answer { ended: refusal(sentence) },
        Plan::Control { .. } => Todo::Answer { ended: refusal("this call is made on its own") },
    };
    Ok(Begun { call, step, todo })
}

async fn record_intent(turn: &Turn, uow: &mut Uow, planned: &Planned) -> Result<(StepId, Call), Error> {
    let id = &planned.call.id;
    let command = Command::BeginToolCall { call: id.clone() };
    let run = uow.execute::<Run>(turn.project, turn.run.id, &command).await?;
    let call = match &run.phase {
        Phase::Acting { calls } => calls.iter().find(|call| call.id == *id).cloned(),
        _ => None,
    };
    let call = call.ok_or(Error::NotFound("tool call"))?;
    let (server, name, request) = match &planned.kind {
        Plan::Tool { tool, input } => (Some(tool.server.clone()), tool.name.clone(), input.clone()),
        Plan::Control { input } => (None, call.tool.clone(), input.clone()),
        Plan::Refused { .. } => (None, call.tool.clone(), Value::Null),
    };
    let intent = Intent {
        run: turn.run.id,
        number: call.step.unwrap_or_default(),
        kind: "tool",
        server,
        name,
        call_id: Some(id.clone()),
        target: target(&request),
        request,
        fence: turn.lease.fence,
    };
    let step = steps::begin(uow, turn.project, &intent).await?;
    Ok((step, call))
}

/// The intent is recorded, the result is not: nobody knows whether it took effect.
fn resolve(planned: &Planned) -> Todo {
    match &planned.kind {
        // Read-only: repeat. Idempotent by its key, which is the step's id: repeat with the same key.
        Plan::Tool { tool, input } if tool.read_only || tool.idempotent => {
            Todo::Call { tool: tool.clone(), input: input.clone() }
        }
        Plan::Refused { sentence } => Todo::Answer { ended: refusal(sentence) },
        _ => Todo::Answer {
            ended: Ended {
                status: "unknown",
                error: Some("the worker was lost during the call".into()),
                ..said(steps::INTERRUPTED, true)
            },
        },
    }
}

/// The one-line summary of a call's target, for the timeline.
fn target(request: &Value) -> Option<String> {
    let keys = ["path", "name", "branch", "title", "query", "message", "pattern", "command"];
    keys.iter()
        .find_map(|key| request.get(key).and_then(Value::as_str))
        .map(|text| text.lines().next().unwrap_or_default().chars().take(120).collect())
}

/// Makes all calls at once. True when the turn was interrupted before the end.
async fn run_all(turn: &Turn, toolbox: &Toolbox, begun: Vec<Begun>) -> Result<bool, Error> {
    let mut running = FuturesUnordered::new();
    for begun in begun {
        running.push(async move {
            let ended = match begun.todo {
                Todo::Answer { ended } => Some(ended),
                Todo::Call { tool, input } => call(turn, toolbox, &tool, &input, begun.step).await,
            };
            (begun.call, begun.step, ended)
        });
    }
    let mut interrupted = false;
    while let Some((call, step, ended)) = running.next().await {
        match ended {
            Some(ended) => record(turn, &call, step, &ended).await?,
            None => interrupted = true,
        }
    }
    Ok(interrupted)
}

/// None when the turn was interrupted: the intent stays for whoever comes next.
async fn call(turn: &Turn, toolbox: &Toolbox, tool: &ToolInfo, input: &Value, step: StepId) -> Option<Ended> {
    for pause in UNSENT_PAUSES {
        match toolbox.call(turn, tool, input, step).await {
            Err(CallError::Unreachable { sent: false, .. }) => {}
            answer => return ended(answer),
        }
        tokio::select! {
            () = turn.cancel.cancelled() => return None,
            () = tokio::time::sleep(std::time::Duration::from_millis(pause)) => {}
        }
    }
    ended(toolbox.call(turn, tool, input, step).await)
}

fn ended(answer: Result<ToolOutcome, CallError>) -> Option<Ended> {
    match answer {
        Ok(outcome) => {
            let mut ended = said(&outcome.text, outcome.is_error);
            ended.lines = lines(outcome.structured.as_ref());
            if let Some(result) = ended.result.as_object_mut() {
                let structured = outcome.structured.map(storable_json).unwrap_or_default();
                result.insert("structured".into(), structured);
            }
            Some(ended)
        }
        Err(CallError::Cancelled) => None,
        // The server has the request and may have done it, or does it still.
        Err(error @ (CallError::Timeout(_) | CallError::Unreachable { sent: true, .. })) => {
            let sentence = format!(
                "No answer came: {error}. It is not known whether the call took effect. Look before you repeat it."
            );
            Some(Ended {
                status: "unknown",
                error: Some(storable(error.to_string())),
                ..said(&sentence, true)
            })
        }
        Err(error) => {
            let sentence = format!("The tool could not be called: {error}");
            Some(Ended { error: Some(storable(error.to_string())), ..said(&sentence, true) })
        }
    }
}

/// Lines added and removed, where a tool says so.
fn lines(structured: Option<&Value>) -> Option<(i32, i32)> {
    let count = |key: &str| structured?.get(key)?.as_i64().and_then(|n| i32::try_from(n).ok());
    Some((count("additions")?, count("deletions")?))
}

/// A result in words.
pub(super) fn said(text: &str, is_error: bool) -> Ended {
    let text = storable(steps::head(text, steps::MAX_RESULT));
    Ended {
        status: if is_error { "failed" } else { "done" },
        result: json!({ "text": text, "is_error": is_error }),
        error: is_error.then(|| text.chars().take(500).collect()),
        ..Ended::default()
    }
}

fn refusal(sentence: &str) -> Ended {
    said(sentence, true)
}

async fn record(turn: &Turn, call: &Call, step: StepId, ended: &Ended) -> Result<(), Error> {
    retry_conflicts(|| async {
        let mut uow = turn.app.store.begin(turn.author()).await?;
        steps::end(&mut uow, turn.project, step, ended).await?;
        control::keep_test_run(turn, &mut uow, &call.tool, step, ended).await?;
        let artefact = ended.status == "done" && makes_something(&call.tool);
        let command = Command::FinishToolCall { call: call.id.clone(), artefact };
        uow.tell::<Run>(turn.project, turn.run.id, &command).await?;
        uow.commit().await
    })
    .await?;
    Ok(())
}

/// What the watchdog counts as progress.
fn makes_something(tool: &str) -> bool {
    let name = tool.rsplit("__").next().unwrap_or(tool);
    ["write", "edit", "commit", "create", "run_tests", "move", "delete", "update", "comment", "ingest"]
        .iter()
        .any(|verb| name.starts_with(verb))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_lost_answer_is_unknown_and_a_call_that_was_never_sent_is_a_failure() {
        let reason = || "the connection was closed".to_owned();
        let of = |error| ended(Err(error)).unwrap();
        for lost in [
            CallError::Timeout(Duration::from_secs(1)),
            CallError::Unreachable { reason: reason(), sent: true },
        ] {
            let ended = of(lost);
            let text = ended.result["text"].as_str().unwrap();
            assert_eq!(ended.status, "unknown");
            assert!(
                text.contains("not known whether") && text.contains("Look before you repeat it"),
                "{text}"
            );
        }
        let ended = of(CallError::Unreachable { reason: reason(), sent: false });
        assert_eq!(ended.status, "failed");
        assert!(ended.result["text"].as_str().unwrap().contains("could not be called"));
    }
}
