//! The tool calls of one answer: intents first, then all at once, each result recorded as it comes.

use super::{
    advance::{Turn, give_up_or_retry},
    brief,
    completion::{self, Wanted},
    control,
    leave::{self, Doubtful},
    resolve::{self, Fate, Sending},
    steps::{self, Ended, Intent, StepRow},
    think,
    tools::Toolbox,
    transcript,
};
use crate::db::{Error, Uow, retry_conflicts, storable};
use futures::stream::{FuturesUnordered, StreamExt};
use serde_json::{Value, json};
use std::time::Duration;
use syndarix_domain::{
    ids::StepId,
    run::{Call, CallStatus, Command, Phase, Run},
};
use syndarix_jobs::Outcome;
use syndarix_llm::Completion;
use syndarix_mcp::ToolInfo;

/// One call of the answer, as far as it can be known before it is made.
pub(super) struct Planned {
    pub(super) call: Call,
    pub(super) kind: Plan,
}

pub(super) enum Plan {
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
    if let Some(gated) = leave::gate(turn, &planned).await? {
        return Ok(gated);
    }
    let (controls, tools): (Vec<Planned>, Vec<Planned>) =
        planned.into_iter().partition(|planned| matches!(planned.kind, Plan::Control { .. }));
    let begun = begin(turn, &tools, &rows).await?;
    let left = run_all(turn, &toolbox, begun).await?;
    if left.interrupted {
        let wait = Duration::from_secs(1);
        return Ok(Outcome::Snooze { wait, reason: "the tool calls were interrupted".into() });
    }
    // One question at a time: the others are asked when the run goes on.
    if let Some(doubtful) = left.doubtful.first() {
        retry_conflicts(|| leave::ask_about(turn, doubtful)).await?;
        return Ok(Outcome::Completed);
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

/// A call whose intent is recorded.
pub(super) struct Begun {
    pub(super) call: Call,
    pub(super) step: StepId,
    todo: Todo,
}

enum Todo {
    Call {
        tool: ToolInfo,
        input: Value,
    },
    /// It was begun before, and may have taken effect.
    Recover {
        tool: ToolInfo,
        input: Value,
    },
    Answer {
        ended: Ended,
    },
    /// It was begun before, and cannot be looked into: a human is asked.
    Doubt {
        why: String,
    },
}

/// Records all intents in one transaction; takes over those of a worker that was lost.
pub(super) async fn begin(turn: &Turn, planned: &[Planned], rows: &[StepRow]) -> Result<Vec<Begun>, Error> {
    if planned.is_empty() {
        return Ok(Vec::new());
    }
    retry_conflicts(|| async {
        let mut uow = turn.app.store.begin(turn.author());
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
        let row = row.ok_or(Error::NotFound("step"))?;
        steps::again(uow, turn.project, StepId(row.id), turn.lease.fence).await?;
        return Ok(Begun { call, step: StepId(row.id), todo: take_over(planned, row) });
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
    let (server, name, request, recovery) = match &planned.kind {
        Plan::Tool { tool, input } => {
            (Some(tool.server.clone()), tool.name.clone(), input.clone(), Some(tool.recovery))
        }
        Plan::Control { input } => (None, call.tool.clone(), input.clone(), None),
        Plan::Refused { .. } => (None, call.tool.clone(), Value::Null, None),
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
        recovery,
    };
    let step = steps::begin(uow, turn.project, &intent).await?;
    Ok((step, call))
}

/// The intent is recorded, the result is not. The key may be used again for the very same request only.
fn take_over(planned: &Planned, row: &StepRow) -> Todo {
    match &planned.kind {
        Plan::Tool { input, .. } if steps::hash_of(input) != row.request_hash => {
            Todo::Doubt { why: "what was begun is not what would be called now".into() }
        }
        // A human had it called again.
        Plan::Tool { tool, input } if row.status == "unknown" => {
            Todo::Call { tool: tool.clone(), input: input.clone() }
        }
        Plan::Tool { tool, input } => Todo::Recover { tool: tool.clone(), input: input.clone() },
        Plan::Refused { sentence } if row.server.is_some() && row.status == "started" => {
            Todo::Doubt { why: format!("{}, and it cannot be called any more: {sentence}", resolve::LOST) }
        }
        Plan::Refused { sentence } => Todo::Answer { ended: refusal(sentence) },
        Plan::Control { .. } => Todo::Answer { ended: refusal("this call is made on its own") },
    }
}

/// The one-line summary of a call's target, for the timeline.
fn target(request: &Value) -> Option<String> {
    let keys = ["path", "name", "branch", "title", "query", "message", "pattern", "command"];
    keys.iter()
        .find_map(|key| request.get(key).and_then(Value::as_str))
        .map(|text| text.lines().next().unwrap_or_default().chars().take(120).collect())
}

/// What is left to do when all calls have been looked after.
#[derive(Default)]
struct Left {
    interrupted: bool,
    doubtful: Vec<Doubtful>,
}

/// Makes all calls at once, and records each end as it comes.
async fn run_all(turn: &Turn, toolbox: &Toolbox, begun: Vec<Begun>) -> Result<Left, Error> {
    let mut running = FuturesUnordered::new();
    for begun in begun {
        running.push(async move {
            let fate = fate(turn, toolbox, &begun).await;
            (begun, fate)
        });
    }
    let mut left = Left::default();
    while let Some((Begun { call, step, todo }, fate)) = running.next().await {
        match fate {
            Fate::Ended(ended) => record(turn, (&call, step), &ended, asks_models(&todo)).await?,
            Fate::Interrupted => left.interrupted = true,
            Fate::Doubt(why) => left.doubtful.push(doubtful(call, step, todo, why)),
        }
    }
    Ok(left)
}

async fn fate(turn: &Turn, toolbox: &Toolbox, begun: &Begun) -> Fate {
    let sending = |tool, input| Sending { turn, toolbox, tool, input, step: begun.step };
    match &begun.todo {
        Todo::Call { tool, input } => sending(tool, input).call().await,
        Todo::Recover { tool, input } => sending(tool, input).recover(resolve::LOST.into()).await,
        Todo::Answer { ended } => Fate::Ended(ended.clone()),
        Todo::Doubt { why } => Fate::Doubt(why.clone()),
    }
}

fn doubtful(call: Call, step: StepId, todo: Todo, why: String) -> Doubtful {
    let what = match todo {
        Todo::Call { tool, input } | Todo::Recover { tool, input } => Some((tool, input)),
        Todo::Answer { .. } | Todo::Doubt { .. } => None,
    };
    Doubtful { call, step, what, why }
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

/// Whether the tool may have asked a model, at the cost of the run.
fn asks_models(todo: &Todo) -> bool {
    match todo {
        Todo::Call { tool, .. } | Todo::Recover { tool, .. } => tool.server == syndarix_mcp_gateway::NAME,
        Todo::Answer { .. } | Todo::Doubt { .. } => false,
    }
}

pub(super) async fn record(
    turn: &Turn,
    (call, step): (&Call, StepId),
    ended: &Ended,
    asks_models: bool,
) -> Result<(), Error> {
    retry_conflicts(|| async {
        let mut uow = turn.app.store.begin(turn.author());
        if asks_models {
            // What it cost counts for the run as its own thinking does.
            think::charge(&turn.run, &mut uow, step, ended.clone()).await?;
        } else {
            steps::end(&mut uow, turn.project, step, ended).await?;
        }
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
    use syndarix_mcp::Recovery;
    use uuid::Uuid;

    /// The call as it would be made now.
    fn planned(input: &Value) -> Planned {
        let tool = ToolInfo {
            server: "filesystem".into(),
            name: "write_file".into(),
            description: String::new(),
            input_schema: Value::Null,
            read_only: false,
            destructive: false,
            idempotent: true,
            recovery: Recovery::Repeat,
            hash: String::new(),
        };
        let call = Call {
            id: "call-1".into(),
            tool: "filesystem__write_file".into(),
            digest: String::new(),
            step: Some(2),
            status: CallStatus::Started,
        };
        Planned { call, kind: Plan::Tool { tool, input: input.clone() } }
    }

    /// The intent that was recorded.
    fn recorded(request: &Value, status: &str) -> StepRow {
        StepRow {
            id: Uuid::nil(),
            number: 2,
            kind: "tool".into(),
            name: "write_file".into(),
            call_id: Some("call-1".into()),
            server: Some("filesystem".into()),
            status: status.into(),
            request_hash: steps::hash_of(request),
            result: None,
            told: None,
        }
    }

    #[test]
    fn a_key_is_used_again_for_the_very_same_request_only_whatever_a_human_said_of_the_first() {
        let (begun, other) = (json!({ "path": "a", "content": "1" }), json!({ "path": "a", "content": "2" }));
        for status in ["started", "unknown"] {
            let todo = take_over(&planned(&other), &recorded(&begun, status));
            assert!(matches!(todo, Todo::Doubt { .. }), "{status}");
        }
        assert!(matches!(take_over(&planned(&begun), &recorded(&begun, "started")), Todo::Recover { .. }));
        assert!(matches!(take_over(&planned(&begun), &recorded(&begun, "unknown")), Todo::Call { .. }));
    }
}
