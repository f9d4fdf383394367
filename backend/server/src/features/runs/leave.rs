//! What an agent does not do without a person's leave: what writes outside its worktree, where the policy says so, and
//! whatever may have been done already.

use super::{
    act::{Plan, Planned},
    advance::Turn,
    steps,
};
use crate::{
    db::{Error, retry_conflicts},
    features::approvals,
};
use serde_json::{Value, json};
use syndarix_domain::{
    approval::Subject,
    ids::{ApprovalId, StepId},
    policy::{Action, Category, Verdict},
    run::{Call, CallStatus, Command, Run},
};
use syndarix_jobs::Outcome;
use syndarix_mcp::ToolInfo;

/// A call that writes outside the run's worktree may need a human's leave: the first that does parks the run.
pub(super) async fn gate(turn: &Turn, planned: &[Planned]) -> Result<Option<Outcome>, Error> {
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

/// Files and commits stay in the run's own worktree and branch; tests run in a sandbox; a model only answers, and what it
/// costs is the budgets' affair.
fn writes_outside(tool: &ToolInfo) -> bool {
    let inside = match tool.server.as_str() {
        "filesystem" | "cicd" | "llm-gateway" => true,
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
    let mut uow = turn.app.store.begin(turn.author());
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

/// A call of which only a human can say how it goes on.
pub(super) struct Doubtful {
    pub(super) call: Call,
    pub(super) step: StepId,
    /// The tool and its arguments, where it can still be called.
    pub(super) what: Option<(ToolInfo, Value)>,
    /// Why nobody knows whether it took effect.
    pub(super) why: String,
}

/// Records that nobody knows, asks a human, and parks the run until the answer or the question's deadline.
pub(super) async fn ask_about(turn: &Turn, doubtful: &Doubtful) -> Result<(), Error> {
    let Doubtful { call, step, what, why } = doubtful;
    let mut uow = turn.app.store.begin(turn.author());
    steps::doubt(&mut uow, turn.project, *step, why).await?;
    let (tool, arguments) = match what {
        Some((tool, input)) => {
            let named = json!({ "server": tool.server, "tool": tool.name, "input": input, "step": step });
            (format!("`{}` of {}", tool.name, tool.server), named)
        }
        None => (format!("`{}`", call.tool), json!({ "tool": call.tool, "step": step })),
    };
    let approval = ApprovalId(uow.new_id());
    let question = approvals::Question {
        subject: Subject::Run { run: turn.run.id },
        action: Action::ToolWrite,
        category: Category::Critical,
        rule: "a call that may have taken effect is not repeated without a person's leave".into(),
        title: format!("Call {tool} again? It is not known whether it took effect"),
        summary: format!(
            "The call was begun, and its end is not known: {why}. Look whether it took effect. Approve to have it \
             called again with the same arguments. Reject it, or request changes, to leave it as it is: your words are \
             what the agent is told of it."
        ),
        story: Some(turn.run.story),
        pull_request: None,
        arguments,
        editable: false,
        confidence: None,
        alternatives: vec!["Leave it as it is, and tell the agent what you found".into()],
    };
    approvals::ask(&mut uow, turn.project, approval, question).await?;
    let command = Command::AskHuman { call: call.id.clone(), approval, expertise: false };
    uow.execute::<Run>(turn.project, turn.run.id, &command).await?;
    uow.complete_job();
    uow.commit().await?;
    Ok(())
}
