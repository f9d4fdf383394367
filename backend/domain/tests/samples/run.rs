//! Samples of the run machine.

use super::{Named, Sampled, id, line_comment, minute, play};
use syndarix_domain::{
    machine::Rejection,
    money::MicroUsd,
    run::{
        Answer, Call, CallStatus, Command, Limits, MAX_IDLE_ANSWERS, New, Outcome, Phase, Run, RunResult,
        Usage, Wait,
    },
    stage::StageName,
};

const QUESTION: u128 = 31;
const STRANGE_QUESTION: u128 = 32;

/// A run with room to work.
pub(crate) fn new(stage: StageName, n: u128) -> New {
    let limits =
        Limits { max_steps: 40, max_tokens: 1_000_000, max_cost: MicroUsd(2_000_000), max_seconds: 36_000 };
    New { id: id(n), project: id(n + 1), agent: id(n + 2), story: id(n + 3), stage, limits }
}

/// A tool call that has not begun.
pub(crate) fn call(id: &str, digest: &str) -> Call {
    Call {
        id: id.into(),
        tool: "files.read".into(),
        digest: digest.into(),
        step: None,
        status: CallStatus::Pending,
    }
}

/// What one model call costs.
pub(crate) const USAGE: Usage =
    Usage { input_tokens: 1_200, output_tokens: 80, cost: MicroUsd(4_200), simulated_cost: MicroUsd(0) };

/// What fits the stage.
pub(crate) fn result(stage: StageName, text: &str) -> RunResult {
    let text = text.to_owned();
    let outcome = match stage {
        StageName::Analysis => Outcome::Requirements { acceptance: vec![text.clone()] },
        StageName::Design => Outcome::Architecture { decision: text.clone() },
        StageName::Implementation => Outcome::Implementation { head: text.clone() },
        StageName::Review => Outcome::Approved { head: text.clone() },
        StageName::Testing => Outcome::Tests { test_run: id(51), passed: true, report: text.clone() },
    };
    RunResult { summary: text, confidence: 90, outcome }
}

/// Every answer that a human, or nobody, can give.
pub(crate) fn answers(text: &str, stage: StageName) -> [Answer; 5] {
    let text = text.to_owned();
    [
        Answer::Approved,
        Answer::Edited { result: Box::new(result(stage, &text)) },
        Answer::ChangesRequested {
            from: text.clone(),
            summary: text.clone(),
            comments: vec![line_comment(&text)],
        },
        Answer::Rejected { reason: text },
        Answer::Expired,
    ]
}

fn begin_tool() -> Command {
    Command::BeginToolCall { call: "a".into() }
}

fn ask(expertise: bool) -> Command {
    Command::AskHuman { call: "a".into(), approval: id(QUESTION), expertise }
}

fn park(wait: Wait) -> Command {
    Command::Park { wait }
}

fn rate_limit() -> Wait {
    Wait::RateLimit { until: minute(90), detail: "429".into() }
}

fn budget() -> Wait {
    Wait::Budget { detail: "the project's month".into() }
}

fn tight(max_steps: u32) -> New {
    let new = new(StageName::Implementation, 1);
    New { limits: Limits { max_steps, ..new.limits }, ..new }
}

fn think_idly(step: u32) -> Command {
    Command::FinishModelCall { step, calls: Vec::new(), usage: USAGE }
}

fn idle_twice() -> Result<Option<Run>, Rejection> {
    let start = Command::Start(new(StageName::Implementation, 1));
    let idle = (1..MAX_IDLE_ANSWERS).flat_map(|step| [Command::BeginModelCall, think_idly(step)]);
    play([start].into_iter().chain(idle).chain([Command::BeginModelCall]))
}

fn complete(stage: StageName, gate: Option<u128>) -> Command {
    Command::Complete { call: "a".into(), result: result(stage, "done so"), gate: gate.map(id) }
}

fn answer(answer: Answer) -> Command {
    Command::Answer { approval: id(QUESTION), answer }
}

/// A run whose model has answered with these calls, and then these commands.
fn acting(stage: StageName, calls: &[&str], then: &[Command]) -> Result<Option<Run>, Rejection> {
    let calls = calls.iter().map(|name| call(name, name)).collect();
    let way = [
        Command::Start(new(stage, 1)),
        Command::BeginModelCall,
        Command::FinishModelCall { step: 1, calls, usage: USAGE },
    ];
    play(way.into_iter().chain(then.iter().cloned()))
}

impl Sampled for Run {
    fn states() -> Result<Vec<Named<Option<Self>>>, Rejection> {
        let work = StageName::Implementation;
        let (begun, review) = (begin_tool(), StageName::Review);
        let offered = |stage| acting(stage, &["a"], &[begin_tool(), complete(stage, Some(QUESTION))]);
        let parked = |wait| acting(work, &["a"], &[park(wait)]);
        let approved = answer(Answer::Approved);
        let cancel = Command::Cancel { reason: "stopped".into() };
        let stall = Command::Stall { reason: "no progress".into() };
        Ok(vec![
            ("nothing", None),
            ("started", play([Command::Start(new(work, 1))])?),
            ("thinking, under way", play([Command::Start(new(work, 1)), Command::BeginModelCall])?),
            ("thinking, due", acting(work, &[], &[])?),
            ("thinking, under way, two idle answers", idle_twice()?),
            (
                "thinking, due, at its limit",
                play([Command::Start(tight(1)), Command::BeginModelCall, think_idly(1)])?,
            ),
            ("acting, one call", acting(work, &["a"], &[])?),
            ("acting, one call, allowed", acting(work, &["a"], &[ask(false), approved])?),
            ("acting, one call, begun", acting(work, &["a"], std::slice::from_ref(&begun))?),
            ("acting, two calls, one begun", acting(work, &["a", "b"], &[begun])?),
            ("acting in review, begun", acting(review, &["a"], &[begin_tool()])?),
            ("waiting for leave", acting(work, &["a"], &[ask(false)])?),
            ("waiting for a human's knowledge", acting(work, &["a"], &[ask(true)])?),
            ("waiting with a result", offered(work)?),
            ("waiting with a review", offered(review)?),
            ("waiting for the rate limit", parked(rate_limit())?),
            ("waiting for budget", parked(budget())?),
            ("waiting for budget, to think", acting(work, &[], &[park(budget())])?),
            ("waiting, paused", parked(Wait::Paused { by: id(71) })?),
            ("succeeded", acting(work, &["a"], &[begin_tool(), complete(work, None)])?),
            ("failed", acting(work, &["a"], &[Command::Fail { reason: "no tools".into() }])?),
            ("stalled", acting(work, &["a"], &[stall])?),
            ("cancelled", acting(work, &["a"], &[cancel])?),
        ])
    }

    fn commands(from: Option<&Self>) -> Vec<Named<Command>> {
        let step = match from.map(|run| &run.phase) {
            Some(Phase::Thinking { step: Some(step) }) => *step,
            _ => 1,
        };
        let stage = from.map_or(StageName::Implementation, |run| run.stage);
        let other = if stage == StageName::Design { StageName::Review } else { StageName::Design };
        // Fresh digests: a walk that only reads the same thing is the watchdog's, not the table's.
        let digest = format!("digest {}", from.map_or(0, |run| run.steps));
        let think = |step, calls| Command::FinishModelCall { step, calls, usage: USAGE };
        let [approved, edited, changes, rejected, expired] = answers("Maria", stage).map(answer);
        let misfit = Answer::Edited { result: Box::new(result(other, "Maria")) };
        let text = || "gone".to_owned();
        vec![
            ("start", Command::Start(new(StageName::Implementation, 1))),
            ("begin_model_call", Command::BeginModelCall),
            ("finish_model_call, one call", think(step, vec![call("a", &digest)])),
            ("finish_model_call, two calls", think(step, vec![call("a", &digest), call("b", "other")])),
            ("finish_model_call, two calls with one id", think(step, vec![call("a", "1"), call("a", "2")])),
            ("finish_model_call, no call", think(step, Vec::new())),
            ("finish_model_call, another step", think(99, Vec::new())),
            ("fail_model_call", Command::FailModelCall { step, reason: text() }),
            ("fail_model_call, another step", Command::FailModelCall { step: 99, reason: text() }),
            ("charge", Command::Charge { usage: USAGE }),
            ("begin_tool_call", begin_tool()),
            ("begin_tool_call, the other", Command::BeginToolCall { call: "b".into() }),
            ("begin_tool_call, unknown", Command::BeginToolCall { call: "z".into() }),
            ("finish_tool_call", Command::FinishToolCall { call: "a".into(), artefact: true }),
            ("finish_tool_call, the other", Command::FinishToolCall { call: "b".into(), artefact: false }),
            ("complete", complete(stage, None)),
            ("complete, gated", complete(stage, Some(QUESTION))),
            ("complete, another outcome", complete(other, None)),
            ("ask_human, leave", ask(false)),
            ("ask_human, knowledge", ask(true)),
            ("park, rate limit", park(rate_limit())),
            ("park, budget", park(budget())),
            ("park, paused", park(Wait::Paused { by: id(71) })),
            ("answer, approved", approved),
            ("answer, edited", edited),
            ("answer, edited to another outcome", answer(misfit)),
            ("answer, changes requested", changes),
            ("answer, rejected", rejected),
            ("answer, expired", expired),
            (
                "answer, another question",
                Command::Answer { approval: id(STRANGE_QUESTION), answer: Answer::Approved },
            ),
            ("wake", Command::Wake),
            ("fail", Command::Fail { reason: text() }),
            ("stall", Command::Stall { reason: text() }),
            ("cancel", Command::Cancel { reason: text() }),
        ]
    }
}
