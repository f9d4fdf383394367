//! What happens on each answer, in sentences that the person who answers understands.

use super::views::{ApprovalRow, author};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::HashMap;
use syndarix_domain::{approval::Request, policy::Action};
use utoipa::ToSchema;
use uuid::Uuid;

/// What happens on each answer.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Consequences {
    /// When approved.
    pub approve: String,
    /// When changes are requested.
    pub request_changes: String,
    /// When rejected.
    pub reject: String,
}

pub(super) fn consequences(row: &ApprovalRow, names: &HashMap<Uuid, String>) -> Consequences {
    let request = &row.state.request;
    let agent = author(request.requested_by, names).name;
    let [approve, request_changes, reject] = match request.action {
        Action::PullRequestMerge => merge(row, &agent),
        Action::StoryRequirements => [
            "The story moves on to its design with these criteria.".to_owned(),
            format!("Your note goes to {agent}, who revises the requirements and asks again."),
            "The story is blocked until somebody says how to go on.".into(),
        ],
        Action::ArchitectureDecision => [
            "The implementation starts with this design.".into(),
            format!("Your note goes to {agent}, who revises the design and asks again."),
            "The story is blocked until somebody says how to go on.".into(),
        ],
        Action::StageWork => [
            "The work is accepted and the story moves on to its review.".into(),
            format!("Your comments go to {agent}, who goes on working and asks again."),
            "The story is blocked until somebody says how to go on.".into(),
        ],
        Action::ToolWrite | Action::DataDelete => tool(request, &agent),
        Action::HumanInput => [
            format!("{agent} goes on with your note as the answer."),
            format!("{agent} gets your note as the answer and goes on with it."),
            format!("{agent} is told that you will not answer, and goes on without it."),
        ],
        Action::SprintStart => [
            "The sprint starts.".into(),
            "The sprint stays in planning; your note is kept with the question.".into(),
            "The sprint stays in planning.".into(),
        ],
        Action::SprintComplete => [
            "The sprint is completed.".into(),
            "The sprint stays in review; your note is kept with the question.".into(),
            "The sprint stays in review.".into(),
        ],
        Action::AgentSpawn => [
            format!("An agent{} joins the project.", of_type(request)),
            "No agent is added; your note is kept with the question.".into(),
            "No agent is added.".into(),
        ],
        Action::Deployment | Action::BudgetRaise | Action::NewHost => [
            "It is done.".into(),
            format!("It is not done; {agent} gets your note."),
            "It is not done.".into(),
        ],
    };
    Consequences { approve, request_changes, reject }
}

fn merge(row: &ApprovalRow, reviewer: &str) -> [String; 3] {
    let number = row.pull_request_number.map(|number| format!(" {number}")).unwrap_or_default();
    let base = row.base_branch.as_deref().unwrap_or("the default branch");
    [
        format!(
            "Pull request{number} is merged into {base} by the merge queue, then the project's tests run."
        ),
        "Your comments go to the engineer, who changes the branch; then it is reviewed and asked again."
            .into(),
        format!(
            "Nothing is merged. {reviewer}'s review ends and the story is blocked until somebody says how to go on."
        ),
    ]
}

fn tool(request: &Request, agent: &str) -> [String; 3] {
    let tool = request.arguments.get("tool").and_then(Value::as_str).unwrap_or("the tool");
    // A step is named where the call was begun before, and may have taken effect.
    if request.arguments.get("step").is_some() {
        return [
            format!(
                "`{tool}` is called again, with exactly these arguments; what it did already, it may do twice."
            ),
            format!("`{tool}` is not called again; {agent} gets your note and goes on."),
            format!("`{tool}` is not called again; {agent} is told why and goes on."),
        ];
    }
    [
        format!("`{tool}` is called once, with exactly these arguments."),
        format!("`{tool}` is not called; {agent} gets your note and looks for another way."),
        format!("`{tool}` is not called; {agent} is told why and goes on."),
    ]
}

fn of_type(request: &Request) -> String {
    match request.arguments.get("agent_type").and_then(Value::as_str) {
        Some(name) => format!(" of type {name}"),
        None => String::new(),
    }
}
