//! The run's own tools: ending the task, asking a human, writing to a colleague.

use super::{
    act::said,
    advance::Turn,
    steps::{self, Ended, Intent, StepRow},
};
use crate::{
    db::{Error, Uow, retry_conflicts},
    features::{agents, approvals},
};
use serde::Deserialize;
use serde_json::{Value, json};
use syndarix_domain::{
    approval::Subject,
    ids::{ApprovalId, StepId, TestRunId},
    policy::{Action, Verdict},
    pull_request::PullRequest,
    run::{Call, CallStatus, Command, Outcome, Phase, Run, RunResult},
    stage::StageName,
    story::{LineComment, Side, Story},
};
use syndarix_forge::BranchName;
use syndarix_llm::ToolSpec;

const COMPLETE: &str = "complete_task";
const ASK: &str = "request_input";
const SEND: &str = "send_message";

/// The tail of a failed test run that travels to the engineer, in characters.
const REPORT_TAIL: usize = 4_000;

/// Whether the run itself carries this call out.
pub(super) fn is_control(tool: &str) -> bool {
    [COMPLETE, ASK, SEND].contains(&tool)
}

/// As offered to the model.
pub(super) fn specs(stage: StageName) -> Vec<ToolSpec> {
    let (properties, required) = match stage {
        StageName::Analysis => (
            json!({ "acceptance_criteria": { "type": "array", "items": { "type": "string" }, "minItems": 1 } }),
            vec!["acceptance_criteria"],
        ),
        StageName::Design => (json!({ "decision": { "type": "string" } }), vec!["decision"]),
        StageName::Review => (
            json!({
                "verdict": { "type": "string", "enum": ["approve", "request_changes"] },
                "comments": { "type": "array", "items": {
                    "type": "object",
                    "properties": { "path": { "type": "string" }, "line": { "type": "integer" }, "body": { "type": "string" } },
                    "required": ["path", "body"]
                } }
            }),
            vec!["verdict"],
        ),
        StageName::Implementation | StageName::Testing => (json!({}), Vec::new()),
    };
    let mut schema = json!({
        "type": "object",
        "properties": {
            "summary": { "type": "string", "description": "What was done or found, in a few sentences." },
            "confidence": { "type": "number", "minimum": 0, "maximum": 1 }
        }
    });
    if let (Some(all), Some(own)) = (schema["properties"].as_object_mut(), properties.as_object()) {
        all.extend(own.clone());
    }
    schema["required"] = ["summary", "confidence"].into_iter().chain(required).collect();
    let spec = |name: &str, description: &str, input_schema: Value| ToolSpec {
        name: name.into(),
        description: description.into(),
        input_schema,
    };
    vec![
        spec(COMPLETE, "End your task with its result. Call it on its own.", schema),
        spec(
            ASK,
            "Ask a human for what you cannot find out. The run waits for the answer.",
            json!({ "type": "object", "properties": { "question": { "type": "string" } }, "required": ["question"] }),
        ),
        spec(
            SEND,
            "Send a message to the agents of a role, or to all.",
            json!({ "type": "object", "properties": {
                "role": { "type": "string" }, "text": { "type": "string" } }, "required": ["text"] }),
        ),
    ]
}

/// Carries a call of the run's own tools out. True when it ended the turn: the run is over or waits.
pub(super) async fn carry_out(
    turn: &Turn,
    call: &Call,
    input: &Value,
    rows: &[StepRow],
) -> Result<bool, Error> {
    match call.tool.as_str() {
        COMPLETE => complete(turn, call, input, rows).await,
        ASK => ask_human(turn, call, input).await,
        _ => send(turn, call, input, rows).await.map(|()| false),
    }
}

#[derive(Debug, Deserialize)]
struct Offered {
    summary: String,
    confidence: f64,
    #[serde(default)]
    acceptance_criteria: Vec<String>,
    #[serde(default)]
    decision: String,
    #[serde(default)]
    verdict: String,
    #[serde(default)]
    comments: Vec<Remark>,
}

#[derive(Debug, Deserialize)]
struct Remark {
    path: String,
    line: Option<u32>,
    body: String,
}

async fn complete(turn: &Turn, call: &Call, input: &Value, rows: &[StepRow]) -> Result<bool, Error> {
    let offered = match serde_json::from_value::<Offered>(input.clone()) {
        Ok(offered) => offered,
        Err(error) => {
            let sentence = format!("the result is not complete: {error}");
            return refuse(turn, call, input, rows, &sentence).await.map(|()| false);
        }
    };
    let outcome = match outcome(turn, &offered).await? {
        Ok(outcome) => outcome,
        Err(sentence) => return refuse(turn, call, input, rows, &sentence).await.map(|()| false),
    };
    let result =
        RunResult { summary: offered.summary.clone(), confidence: percent(offered.confidence), outcome };
    let refused = retry_conflicts(|| offer(turn, call, input, rows, &result)).await?;
    match refused {
        None => Ok(true),
        Some(sentence) => refuse(turn, call, input, rows, &sentence).await.map(|()| false),
    }
}

/// A confidence of 0..1 as a percentage; nonsense counts as none at all.
fn percent(confidence: f64) -> u8 {
    let percent = (confidence * 100.0).round().clamp(0.0, 100.0);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to 0..=100; NaN casts to 0"
    )]
    let percent = percent as u8;
    percent
}

/// What the stage produced, checked against the world; else what the model must still do.
async fn outcome(turn: &Turn, offered: &Offered) -> Result<Result<Outcome, String>, Error> {
    let refuse = |sentence: &str| Ok(Err(sentence.to_owned()));
    match turn.run.stage {
        StageName::Analysis if offered.acceptance_criteria.is_empty() => {
            refuse("give at least one acceptance criterion")
        }
        StageName::Analysis => {
            Ok(Ok(Outcome::Requirements { acceptance: offered.acceptance_criteria.clone() }))
        }
        StageName::Design if offered.decision.trim().is_empty() => {
            refuse("say in `decision` how it is going to be built")
        }
        StageName::Design => Ok(Ok(Outcome::Architecture { decision: offered.decision.clone() })),
        StageName::Implementation => implementation(turn).await,
        StageName::Review if offered.verdict == "approve" => reviewed(turn).await,
        StageName::Review if offered.verdict == "request_changes" => {
            if offered.comments.is_empty() && offered.summary.trim().is_empty() {
                return refuse("say what must change, in the summary or in comments");
            }
            let from = agents::name_of(turn.app.pool(), turn.project, turn.run.agent).await?;
            let summary = offered.summary.clone();
            let comments = offered.comments.iter().map(line_comment).collect();
            Ok(Ok(Outcome::ChangesRequested { from, summary, comments }))
        }
        StageName::Review => refuse("`verdict` is `approve` or `request_changes`"),
        StageName::Testing => tested(turn).await,
    }
}

fn line_comment(remark: &Remark) -> LineComment {
    LineComment { path: remark.path.clone(), line: remark.line, side: Side::New, body: remark.body.clone() }
}

async fn implementation(turn: &Turn) -> Result<Result<Outcome, String>, Error> {
    let Some(pr) = open_pull_request(turn).await? else {
        return Ok(Err("commit your work and open a pull request with `create_pull_request` first".into()));
    };
    let Some(head) = branch_head(turn, &pr).await else {
        return Ok(Err(format!("the branch `{}` cannot be read", pr.head_branch)));
    };
    let sent_back = pr.phase == syndarix_domain::pull_request::Phase::ChangesRequested;
    if sent_back && head == pr.head {
        return Ok(Err("changes were requested, and the branch has no new commit: commit them first".into()));
    }
    Ok(Ok(Outcome::Implementation { head }))
}

async fn reviewed(turn: &Turn) -> Result<Result<Outcome, String>, Error> {
    let Some(pr) = open_pull_request(turn).await? else {
        return Ok(Err("there is no open pull request to approve".into()));
    };
    match branch_head(turn, &pr).await {
        Some(head) if head == pr.head => Ok(Ok(Outcome::Approved { head })),
        _ => Ok(Err("the branch has other commits than the pull request: request changes".into())),
    }
}

async fn tested(turn: &Turn) -> Result<Result<Outcome, String>, Error> {
    let last: Option<(uuid::Uuid, bool, String)> = sqlx::query_as(
        "select id, passed, output from test_run where project_id = $1 and run_id = $2 order by at desc, id desc limit 1",
    )
    .bind(turn.project.0)
    .bind(turn.run.id.0)
    .fetch_optional(turn.app.pool())
    .await?;
    Ok(match last {
        None => Err("run the tests with `run_tests` first: only a recorded run counts".into()),
        Some((id, passed, output)) => {
            let skip = output.chars().count().saturating_sub(REPORT_TAIL);
            let report = output.chars().skip(skip).collect();
            Ok(Outcome::Tests { test_run: TestRunId(id), passed, report })
        }
    })
}

async fn open_pull_request(turn: &Turn) -> Result<Option<PullRequest>, Error> {
    let story = turn.app.store.read::<Story>(turn.project, turn.run.story).await?.state;
    let Some(change) = story.change else { return Ok(None) };
    Ok(Some(turn.app.store.read::<PullRequest>(turn.project, change.pull_request).await?.state))
}

async fn branch_head(turn: &Turn, pr: &PullRequest) -> Option<String> {
    let branch = BranchName::new(&pr.head_branch).ok()?;
    let head = turn.app.forge.head(turn.project.0, &branch).await.ok()??;
    Some(head.to_string())
}

/// Offers the result; where the policy says so, a human is asked first. A sentence when the run refused it.
async fn offer(
    turn: &Turn,
    call: &Call,
    input: &Value,
    rows: &[StepRow],
    result: &RunResult,
) -> Result<Option<String>, Error> {
    let mut uow = turn.app.store.begin(turn.author());
    let step = begin(turn, &mut uow, call, input, rows).await?;
    let gate = gate(turn, &mut uow, result).await?;
    let command = Command::Complete { call: call.id.clone(), result: result.clone(), gate };
    if gate.is_none() {
        let done = said("The result was accepted.", false);
        steps::end(&mut uow, turn.project, step, &done).await?;
    }
    if let Err(rejection) = uow.ask::<Run>(turn.project, turn.run.id, &command).await? {
        // The transaction is dropped with everything that it would have written.
        return Ok(Some(rejection.sentence));
    }
    uow.complete_job();
    uow.commit().await?;
    Ok(None)
}

/// The open question, where the policy wants one for this result.
async fn gate(turn: &Turn, uow: &mut Uow, result: &RunResult) -> Result<Option<ApprovalId>, Error> {
    let action = match (&result.outcome, turn.run.stage) {
        // Sending work back or reporting tests needs nobody's leave.
        (Outcome::ChangesRequested { .. } | Outcome::Tests { .. }, _) => return Ok(None),
        (Outcome::Approved { .. }, _) => Action::PullRequestMerge,
        (_, StageName::Analysis) => Action::StoryRequirements,
        (_, StageName::Design) => Action::ArchitectureDecision,
        _ => Action::StageWork,
    };
    let verdict = approvals::verdict(uow, turn.project, action, Some(result.confidence)).await?;
    let Verdict::Ask { category, rule } = verdict else { return Ok(None) };
    let story: Story = uow.load(turn.project, turn.run.story).await?;
    let pull_request = match &result.outcome {
        Outcome::Approved { .. } | Outcome::Implementation { .. } => {
            story.change.as_ref().map(|change| change.pull_request)
        }
        _ => None,
    };
    let question = approvals::Question {
        subject: Subject::Run { run: turn.run.id },
        action,
        category,
        rule,
        title: title(action, &story),
        summary: result.summary.clone(),
        story: Some(story.id),
        pull_request,
        arguments: arguments(result, &story),
        // Words can be put right by who reads them; commits cannot.
        editable: matches!(action, Action::StoryRequirements | Action::ArchitectureDecision),
        confidence: Some(result.confidence),
        alternatives: Vec::new(),
    };
    let id = ApprovalId(uow.new_id());
    approvals::ask(uow, turn.project, id, question).await?;
    Ok(Some(id))
}

fn title(action: Action, story: &Story) -> String {
    let what = match action {
        Action::PullRequestMerge => "Merge the pull request of",
        Action::StoryRequirements => "Agree to the requirements of",
        Action::ArchitectureDecision => "Agree to the design of",
        _ => "Agree to the work on",
    };
    format!("{what} story {}: {}", story.number, story.title)
}

fn arguments(result: &RunResult, story: &Story) -> Value {
    let branch = story.change.as_ref().map(|change| change.branch.clone());
    match &result.outcome {
        Outcome::Approved { head } | Outcome::Implementation { head } => {
            json!({ "head": head, "branch": branch })
        }
        Outcome::Requirements { acceptance } => json!({ "acceptance_criteria": acceptance }),
        Outcome::Architecture { decision } => json!({ "decision": decision }),
        Outcome::ChangesRequested { .. } | Outcome::Tests { .. } => json!({}),
    }
}

async fn ask_human(turn: &Turn, call: &Call, input: &Value) -> Result<bool, Error> {
    let question = input.get("question").and_then(Value::as_str).unwrap_or_default().to_owned();
    retry_conflicts(|| async {
        let mut uow = turn.app.store.begin(turn.author());
        let approval = ApprovalId(uow.new_id());
        let asked = approvals::Question {
            subject: Subject::Run { run: turn.run.id },
            action: Action::HumanInput,
            category: syndarix_domain::policy::Category::Expertise,
            rule: "an agent asks for what it cannot find out".into(),
            title: question.chars().take(200).collect(),
            summary: question.clone(),
            story: Some(turn.run.story),
            pull_request: None,
            arguments: json!({ "question": question }),
            editable: false,
            confidence: None,
            alternatives: Vec::new(),
        };
        approvals::ask(&mut uow, turn.project, approval, asked).await?;
        let command = Command::AskHuman { call: call.id.clone(), approval, expertise: true };
        uow.execute::<Run>(turn.project, turn.run.id, &command).await?;
        uow.complete_job();
        uow.commit().await
    })
    .await?;
    Ok(true)
}

async fn send(turn: &Turn, call: &Call, input: &Value, rows: &[StepRow]) -> Result<(), Error> {
    retry_conflicts(|| async {
        let mut uow = turn.app.store.begin(turn.author());
        let step = begin(turn, &mut uow, call, input, rows).await?;
        let role = input.get("role").and_then(Value::as_str);
        let text = input.get("text").and_then(Value::as_str).unwrap_or_default();
        agents::send_message(&mut uow, turn.project, turn.run.story.0, role, text).await?;
        end(turn, &mut uow, call, step, &said("The message was sent.", false)).await?;
        uow.commit().await
    })
    .await?;
    Ok(())
}

/// Tells the model what is wrong; the run goes on.
async fn refuse(
    turn: &Turn,
    call: &Call,
    input: &Value,
    rows: &[StepRow],
    sentence: &str,
) -> Result<(), Error> {
    retry_conflicts(|| async {
        let mut uow = turn.app.store.begin(turn.author());
        let step = begin(turn, &mut uow, call, input, rows).await?;
        end(turn, &mut uow, call, step, &said(sentence, true)).await?;
        uow.commit().await
    })
    .await?;
    Ok(())
}

async fn end(turn: &Turn, uow: &mut Uow, call: &Call, step: StepId, ended: &Ended) -> Result<(), Error> {
    steps::end(uow, turn.project, step, ended).await?;
    let command = Command::FinishToolCall { call: call.id.clone(), artefact: false };
    uow.tell::<Run>(turn.project, turn.run.id, &command).await
}

/// Records the intent of one of the run's own calls, or finds the one that is there.
async fn begin(
    turn: &Turn,
    uow: &mut Uow,
    call: &Call,
    input: &Value,
    rows: &[StepRow],
) -> Result<StepId, Error> {
    if call.status == CallStatus::Started {
        let row = rows.iter().find(|row| row.call_id.as_deref() == Some(&call.id) && row.status == "started");
        return row.map(|row| StepId(row.id)).ok_or(Error::NotFound("step"));
    }
    let begun = Command::BeginToolCall { call: call.id.clone() };
    let run = uow.execute::<Run>(turn.project, turn.run.id, &begun).await?;
    let number = match &run.phase {
        Phase::Acting { calls } => calls.iter().find(|this| this.id == call.id).and_then(|this| this.step),
        _ => None,
    };
    let intent = Intent {
        run: turn.run.id,
        number: number.unwrap_or_default(),
        kind: "tool",
        server: None,
        name: call.tool.clone(),
        call_id: Some(call.id.clone()),
        request: input.clone(),
        target: None,
        fence: turn.lease.fence,
        recovery: None,
    };
    steps::begin(uow, turn.project, &intent).await
}

/// A test run is a fact of its own: `testing -> done` looks for it, not for what a model says.
pub(super) async fn keep_test_run(
    turn: &Turn,
    uow: &mut Uow,
    tool: &str,
    step: StepId,
    ended: &Ended,
) -> Result<(), Error> {
    let structured = ended.result.get("structured").filter(|value| value.is_object());
    let (true, Some(report)) = (tool.ends_with("run_tests"), structured) else { return Ok(()) };
    let commit = match turn.run.stage {
        StageName::Testing => tested_commit(turn, uow).await?,
        _ => String::new(),
    };
    let number = |key: &str| report.get(key).and_then(Value::as_i64);
    let text = |key: &str| report.get(key).and_then(Value::as_str).unwrap_or_default();
    sqlx::query(
        "insert into test_run (id, project_id, story_id, run_id, step_id, commit_id, command, passed, exit_code, duration_ms, output, isolation, at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) on conflict (step_id) do nothing",
    )
    .bind(uow.new_id())
    .bind(turn.project.0)
    .bind(turn.run.story.0)
    .bind(turn.run.id.0)
    .bind(step.0)
    .bind(commit)
    .bind(text("command"))
    .bind(report.get("passed").and_then(Value::as_bool).unwrap_or(false))
    .bind(number("exit_code").and_then(|code| i32::try_from(code).ok()))
    .bind(number("duration_ms").unwrap_or_default())
    .bind(text("output"))
    .bind(report.get("isolation").cloned().unwrap_or_default())
    .bind(uow.now())
    .execute(uow.conn().await?)
    .await?;
    Ok(())
}

async fn tested_commit(turn: &Turn, uow: &mut Uow) -> Result<String, Error> {
    use syndarix_domain::story::{Phase as StoryPhase, Stage};
    let story = uow.load::<Story>(turn.project, turn.run.story).await?;
    Ok(match story.phase {
        StoryPhase::Working { stage: Stage::Testing { commit }, .. } => commit,
        _ => String::new(),
    })
}
