//! Steps of which nothing comes, for the benchmark: their intents and results go the way of all others, through the
//! journal and under the lease of their job. But no model is asked, no tool is called, and there is no worktree.

use super::{
    act::{self, Plan, Planned},
    advance::{self, Payload, Turn},
    brief::Brief,
    steps::Intent,
    think,
};
use crate::{
    db::Error,
    features::{
        agents::{Definition, Limits, Personality},
        job,
    },
    state::App,
};
use serde_json::{Value, json};
use syndarix_domain::{
    ids::{ProjectId, RunId},
    run::{Call, CallStatus, Phase, Run},
    stage::Role,
};
use syndarix_jobs::{Job, Lease, Outcome};
use syndarix_llm::{Block, Completion, StopReason, Usage};
use syndarix_mcp::{Recovery, ToolInfo};
use tokio_util::sync::CancellationToken;

const SERVER: &str = "bench";
/// By its name it makes something: a run that makes nothing new is stopped after a while.
const TOOL: &str = "write_nothing";
const MODEL: &str = "bench";

/// Does the step that is due next for the run of this job, from its intent to its result. Says whose it was, and what
/// its job answers.
pub async fn step(app: &App, job: &Job, lease: Lease) -> Result<(RunId, Outcome), Error> {
    let (project, Payload { run }): (ProjectId, Payload) = job::read(job)?;
    let run = app.store.read::<Run>(project, run).await?.state;
    let cancel = CancellationToken::new();
    let turn = Turn { app: app.clone(), project, run, lease, cancel, last_attempt: false };
    if advance::held_up(&turn).await? {
        return Err(over(&turn.run));
    }
    let outcome = match &turn.run.phase {
        Phase::Acting { calls } => tool_calls(&turn, calls).await?,
        Phase::Started | Phase::Thinking { .. } => model_call(&turn).await?,
        _ => return Err(over(&turn.run)),
    };
    Ok((turn.run.id, outcome))
}

async fn model_call(turn: &Turn) -> Result<Outcome, Error> {
    let begun = think::begin(turn, &brief(), intent(turn), (&[], &[])).await?;
    let (number, step) = begun.ok_or_else(|| over(&turn.run))?;
    think::finish(turn, number, step, answer(number)).await
}

async fn tool_calls(turn: &Turn, calls: &[Call]) -> Result<Outcome, Error> {
    let pending = calls.iter().filter(|call| call.status != CallStatus::Finished);
    let planned: Vec<Planned> = pending.map(|call| planned(call, turn.run.steps)).collect();
    for begun in act::begin(turn, &planned, &[]).await? {
        let ended = act::said("Nothing was done.", false);
        act::record(turn, (&begun.call, begun.step), &ended, false).await?;
    }
    Ok(Outcome::Done)
}

fn over(run: &Run) -> Error {
    Error::Outside(format!("run {} takes no more steps: it is {}", run.id, run.phase.name()))
}

fn intent(turn: &Turn) -> Intent {
    Intent {
        run: turn.run.id,
        number: 0,
        kind: "model",
        server: None,
        name: MODEL.into(),
        call_id: None,
        request: json!({ "model_group": MODEL, "messages": 1, "last": null, "told": [], "tools": [TOOL] }),
        target: None,
        fence: turn.lease.fence,
        recovery: None,
    }
}

fn brief() -> Brief {
    let definition = Definition {
        name: "Nobody".into(),
        role: Role::Engineer,
        model_group: MODEL.into(),
        expertise: Vec::new(),
        personality: Personality::default(),
        system_prompt: "Do nothing.".into(),
        capabilities: Vec::new(),
        limits: Limits::default(),
    };
    Brief { definition, system: "Do nothing.".into(), task: "Nothing.".into(), told: None }
}

/// What the model would have said. No two calls are the same: a run that repeats itself is stopped.
fn answer(number: u32) -> Completion {
    let call = Block::ToolUse {
        id: format!("call-{number}"),
        name: format!("{SERVER}__{TOOL}"),
        input: arguments(number),
    };
    Completion {
        blocks: vec![call],
        stop: StopReason::ToolUse,
        usage: Usage::default(),
        deployment: MODEL.into(),
        provider: MODEL.into(),
        model: MODEL.into(),
        simulated: true,
        latency_ms: 0,
        cost_micro_usd: 0,
        price_unknown: false,
        before: Vec::new(),
    }
}

fn arguments(number: u32) -> Value {
    json!({ "path": format!("nothing-{number}.txt") })
}

fn planned(call: &Call, number: u32) -> Planned {
    let tool = ToolInfo {
        server: SERVER.into(),
        name: TOOL.into(),
        description: String::new(),
        input_schema: Value::Null,
        read_only: false,
        destructive: false,
        idempotent: true,
        recovery: Recovery::Repeat,
        hash: String::new(),
    };
    Planned { call: call.clone(), kind: Plan::Tool { tool, input: arguments(number) } }
}
