//! One model call of a run.

use super::{
    advance::{Turn, give_up_or_retry},
    brief::{self, Brief},
    completion,
    steps::{self, Ended, Intent, StepRow},
    tools::Toolbox,
    transcript,
};
use crate::{
    db::{Error, Uow, retry_conflicts},
    features::{
        agents::{self, Told},
        llm::{self, Failure, Lost, Purpose},
    },
};
use chrono::Duration;
use serde_json::json;
use syndarix_domain::{
    Timestamp,
    ids::StepId,
    run::{Command, Phase, Run, Usage, Wait},
};
use syndarix_jobs::Outcome;
use syndarix_llm::{ChatRequest, Completion, Options};
use uuid::Uuid;

/// The longest answer that is asked for, in tokens.
const MAX_ANSWER: u32 = 8_192;
/// The longest pause between two tries while every provider is down.
const LONGEST_PAUSE: Duration = Duration::minutes(15);
/// Calls in a row whose answer could not be read, before the run is given up: each may be paid for.
const MAX_GARBLED: u32 = 5;

pub(super) async fn think(turn: &Turn) -> Result<Outcome, Error> {
    let brief = brief::of(turn).await?;
    let toolbox = match Toolbox::open(turn, &brief, None).await {
        Ok(toolbox) => toolbox,
        Err(reason) => return give_up_or_retry(turn, reason.to_string()).await,
    };
    let rows = steps::of_run(turn.app.pool(), turn.project, turn.run.id).await?;
    let (unread, told) = unread(turn, &brief).await?;
    let mut request = ChatRequest {
        system: brief.system.clone(),
        messages: Vec::new(),
        tools: toolbox.specs(turn),
        max_output_tokens: MAX_ANSWER,
        temperature: None,
        stop: Vec::new(),
        options: Options::default(),
    };
    let room = llm::room(&turn.app, turn.project, &brief.definition.model_group, &request).await?;
    request.messages = transcript::messages(&brief, &rows, &told, room);
    let intent = intent(turn, &brief, &request, &told);
    let Some((number, step)) = begin(turn, &brief, intent, (&unread, &rows)).await? else {
        // A limit was reached, or the run was stopped meanwhile: that is its end, and this turn's.
        return Ok(Outcome::Done);
    };
    let purpose = Purpose::of_step(&turn.run, step, turn.lease.fence);
    let group = &brief.definition.model_group;
    match llm::complete(&turn.app, purpose, group, &request, &turn.cancel).await {
        Ok(completion) => finish(turn, number, step, completion).await,
        Err(failure) => fail(turn, number, step, failure, failures_in_a_row(&rows)).await,
    }
}

/// What the agent has been sent since the last model call. A call that is taken over is asked as it was; a new brief
/// has everything in it.
async fn unread(turn: &Turn, brief: &Brief) -> Result<(Vec<Uuid>, Vec<Told>), Error> {
    if brief.told.is_some() || matches!(turn.run.phase, Phase::Thinking { step: Some(_) }) {
        return Ok((Vec::new(), Vec::new()));
    }
    agents::unread_by(turn.app.pool(), turn.project, brief::reader(&turn.run, &brief.definition)).await
}

/// Records the intent, or takes over the intent of a worker that was lost.
pub(super) async fn begin(
    turn: &Turn,
    brief: &Brief,
    intent: Intent,
    (unread, rows): (&[Uuid], &[StepRow]),
) -> Result<Option<(u32, StepId)>, Error> {
    retry_conflicts(|| async {
        let mut uow = turn.app.store.begin(turn.author());
        let begun = match &turn.run.phase {
            Phase::Thinking { step: Some(number) } => take_over(turn, &mut uow, *number, rows).await?,
            _ => None,
        };
        if begun.is_some() {
            uow.commit().await?;
            return Ok(begun);
        }
        brief::keep(&mut uow, &turn.run, brief).await?;
        let run = uow.ask::<Run>(turn.project, turn.run.id, &Command::BeginModelCall).await?;
        let Ok(Run { phase: Phase::Thinking { step: Some(number) }, .. }) = run else {
            uow.commit().await?;
            return Ok(None);
        };
        agents::mark_delivered(&mut uow, turn.project, unread).await?;
        let intent = Intent { number, ..intent.clone() };
        let step = steps::begin(&mut uow, turn.project, &intent).await?;
        uow.commit().await?;
        Ok(Some((number, step)))
    })
    .await
}

/// A model call has no outside effect but its cost: it is asked again, and what the lost attempt may have cost is
/// charged as estimated.
async fn take_over(
    turn: &Turn,
    uow: &mut Uow,
    number: u32,
    rows: &[StepRow],
) -> Result<Option<(u32, StepId)>, Error> {
    let Some(row) = rows.iter().find(|row| u32::try_from(row.number) == Ok(number)) else { return Ok(None) };
    let step = StepId(row.id);
    llm::give_back(uow, turn.project, Lost::OfStep(step)).await?;
    steps::again(uow, turn.project, step, turn.lease.fence).await?;
    Ok(Some((number, step)))
}

/// Ends a model call that was interrupted and is not going to be taken over: its reservation, its step, and what it
/// may have cost.
pub(super) async fn abandon(run: &Run, uow: &mut Uow, why: &str) -> Result<(), Error> {
    let Phase::Thinking { step: Some(number) } = &run.phase else { return Ok(()) };
    let Some(step) = steps::open(uow, run.project, run.id, *number).await? else { return Ok(()) };
    llm::give_back(uow, run.project, Lost::OfStep(step)).await?;
    let ended = Ended { status: "interrupted", error: Some(why.to_owned()), ..Ended::default() };
    charge(run, uow, step, ended).await
}

/// Ends a step; what its attempts at models used up counts for the run.
pub(super) async fn charge(run: &Run, uow: &mut Uow, step: StepId, ended: Ended) -> Result<(), Error> {
    let usage = llm::used(uow.conn().await?, run.project, step).await?;
    steps::end(uow, run.project, step, &priced(ended, usage)).await?;
    if usage != Usage::default() {
        uow.tell::<Run>(run.project, run.id, &Command::Charge { usage }).await?;
    }
    Ok(())
}

/// With what all attempts of the step used up.
fn priced(ended: Ended, usage: Usage) -> Ended {
    let tokens = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    Ended {
        tokens: Some((tokens(usage.input_tokens), tokens(usage.output_tokens))),
        cost_micro_usd: usage.cost.plus(usage.simulated_cost).0,
        simulated: usage.simulated_cost > usage.cost,
        ..ended
    }
}

fn intent(turn: &Turn, brief: &Brief, request: &ChatRequest, told: &[Told]) -> Intent {
    let tools: Vec<&str> = request.tools.iter().map(|tool| tool.name.as_str()).collect();
    Intent {
        run: turn.run.id,
        number: 0,
        kind: "model",
        server: None,
        name: brief.definition.model_group.clone(),
        call_id: None,
        // The conversation itself is in the brief and the earlier steps; it is made anew from them.
        request: json!({
            "model_group": brief.definition.model_group,
            "messages": request.messages.len(),
            "last": request.messages.last(),
            "told": told,
            "tools": tools,
        }),
        target: None,
        fence: turn.lease.fence,
        recovery: None,
    }
}

pub(super) async fn finish(
    turn: &Turn,
    number: u32,
    step: StepId,
    completion: Completion,
) -> Result<Outcome, Error> {
    let completion = &completion::with_distinct_ids(completion);
    let ended = Ended { status: "done", result: completion::stored(completion), ..Ended::default() };
    let calls = completion::calls(completion);
    retry_conflicts(|| async {
        let mut uow = turn.app.store.begin(turn.author());
        let usage = llm::used(uow.conn().await?, turn.project, step).await?;
        let ended = Ended { simulated: completion.simulated, ..priced(ended.clone(), usage) };
        steps::end(&mut uow, turn.project, step, &ended).await?;
        let command = Command::FinishModelCall { step: number, calls: calls.clone(), usage };
        if let Err(refused) = uow.ask::<Run>(turn.project, turn.run.id, &command).await? {
            // A run that was stopped does not listen to this either; any other must not be left thinking for ever.
            let command = Command::FailModelCall { step: number, reason: refused.sentence };
            uow.tell::<Run>(turn.project, turn.run.id, &command).await?;
        }
        uow.complete_job();
        uow.commit().await
    })
    .await?;
    Ok(Outcome::Completed)
}

/// Model calls that failed since the last one that was answered: each doubles the next pause.
fn failures_in_a_row(rows: &[StepRow]) -> u32 {
    let failed = rows.iter().rev().take_while(|row| row.kind == "model" && row.status == "failed").count();
    u32::try_from(failed).unwrap_or(u32::MAX)
}

/// What was asked for, doubled for every failure before it, up to the longest pause.
fn lengthened(now: Timestamp, until: Timestamp, failures: u32) -> Timestamp {
    let asked = (until - now).max(Duration::zero());
    let pause = Duration::milliseconds(asked.num_milliseconds().saturating_mul(1 << failures.min(10)));
    now + pause.min(LONGEST_PAUSE).max(asked)
}

async fn fail(
    turn: &Turn,
    number: u32,
    step: StepId,
    failure: Failure,
    failures: u32,
) -> Result<Outcome, Error> {
    let mut needed = None;
    let (reason, command) = match failure {
        Failure::Store(error) => return Err(error),
        Failure::NotRecorded { detail } => return give_up_or_retry(turn, detail).await,
        Failure::Cancelled => {
            // Shutdown, or the run was stopped: the intent stays, and whoever comes next takes it over.
            let wait = std::time::Duration::from_secs(1);
            return Ok(Outcome::Snooze { wait, reason: "the model call was interrupted".into() });
        }
        Failure::Budget { detail, needed: amount, place } => {
            needed = Some((place, amount));
            (detail.clone(), Command::Park { wait: Wait::Budget { detail } })
        }
        Failure::Later { detail, garbled: true, .. } if failures + 1 >= MAX_GARBLED => {
            let detail = format!("{MAX_GARBLED} answers in a row could not be read: {detail}");
            (detail.clone(), Command::FailModelCall { step: number, reason: detail })
        }
        Failure::Later { until, detail, .. } => {
            let until = lengthened(turn.app.clock().now(), until, failures);
            (detail.clone(), Command::Park { wait: Wait::RateLimit { until, detail } })
        }
        Failure::Fatal { detail } => {
            (detail.clone(), Command::FailModelCall { step: number, reason: detail })
        }
    };
    let ended = Ended { status: "failed", error: Some(reason), ..Ended::default() };
    retry_conflicts(|| async {
        let mut uow = turn.app.store.begin(turn.author());
        let mut command = command.clone();
        let now = uow.now();
        if let Some((place, amount)) = needed
            && llm::affordable(uow.conn().await?, place, amount, now).await?
        {
            // Raised between the refusal and now: whoever raised it did not see this run wait, and will not wake it.
            let (until, detail) = (now, "the budget was raised".into());
            command = Command::Park { wait: Wait::RateLimit { until, detail } };
        }
        charge(&turn.run, &mut uow, step, ended.clone()).await?;
        uow.tell::<Run>(turn.project, turn.run.id, &command).await?;
        uow.complete_job();
        uow.commit().await
    })
    .await?;
    Ok(Outcome::Completed)
}
