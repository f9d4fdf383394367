//! Asking: what the project's policy says, and the question that follows from it.

use crate::db::{Error, Uow};
use chrono::Duration;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use sqlx::types::Json;
use syndarix_domain::{
    approval::{Approval, Command, Request, Subject},
    ids::{ApprovalId, ProjectId, PullRequestId, RunId, StoryId},
    policy::{Action, Autonomy, Category, Policy, Verdict},
};
use uuid::Uuid;

/// People are reminded after this many hours, and again after as many more.
const REMIND_AFTER_HOURS: i64 = 24;
/// A question lapses after this many days: what it is about will have changed by then.
const EXPIRES_AFTER_DAYS: i64 = 14;

/// What is going to be asked.
#[derive(Debug, Clone)]
pub struct Question {
    /// What waits for the answer.
    pub subject: Subject,
    /// What would be done.
    pub action: Action,
    /// Why it is asked, from the verdict.
    pub category: Category,
    /// The policy line, from the verdict.
    pub rule: String,
    /// One line.
    pub title: String,
    /// A few sentences.
    pub summary: String,
    /// The story that it is about.
    pub story: Option<StoryId>,
    /// The pull request that it is about.
    pub pull_request: Option<PullRequestId>,
    /// What exactly is asked for: the decision binds to it.
    pub arguments: Value,
    /// The approver may change the arguments.
    pub editable: bool,
    /// How sure the agent is, in percent.
    pub confidence: Option<u8>,
    /// What else could be done.
    pub alternatives: Vec<String>,
}

/// What the project's policy says of an action.
pub async fn verdict(
    uow: &mut Uow,
    project: ProjectId,
    action: Action,
    confidence: Option<u8>,
) -> Result<Verdict, Error> {
    let (autonomy, Json(policy)): (String, Json<Policy>) =
        sqlx::query_as("select autonomy, policy from project where id = $1")
            .bind(project.0)
            .fetch_optional(uow.conn().await?)
            .await?
            .ok_or(Error::NotFound("project"))?;
    let autonomy: Autonomy = serde_json::from_value(json!(autonomy))
        .map_err(|source| Error::Corrupt { what: "autonomy level", source })?;
    Ok(policy.judge(autonomy, action, confidence))
}

/// Asks. The id is the caller's, so that what waits can name it in the same transaction.
pub async fn ask(
    uow: &mut Uow,
    project: ProjectId,
    id: ApprovalId,
    question: Question,
) -> Result<Approval, Error> {
    let now = uow.now();
    let request = Request {
        id,
        project,
        digest: digest(question.action, &question.arguments),
        subject: question.subject,
        action: question.action,
        category: question.category,
        rule: question.rule,
        title: question.title,
        summary: question.summary,
        requested_by: uow.actor(),
        story: question.story,
        pull_request: question.pull_request,
        arguments: question.arguments,
        editable: question.editable,
        confidence: question.confidence,
        alternatives: question.alternatives,
        remind_at: Some(now + Duration::hours(REMIND_AFTER_HOURS)),
        expires_at: Some(now + Duration::days(EXPIRES_AFTER_DAYS)),
    };
    uow.create::<Approval>(project, id, &Command::Ask(Box::new(request))).await
}

/// What a decision binds to: the action and exactly these arguments. serde_json keeps object keys sorted.
fn digest(action: Action, arguments: &Value) -> String {
    hex::encode(Sha256::digest(json!({ "action": action, "arguments": arguments }).to_string()))
}

/// Supersedes or withdraws the open questions about a pull request; returns the runs that waited for them.
pub async fn retire_for_pull_request(
    uow: &mut Uow,
    project: ProjectId,
    pull_request: PullRequestId,
    command: &Command,
) -> Result<Vec<RunId>, Error> {
    let open: Vec<Uuid> = sqlx::query_scalar(
        "select id from approval where project_id = $1 and phase = 'pending'
           and state -> 'request' ->> 'pull_request' = $2 order by id",
    )
    .bind(project.0)
    .bind(pull_request.to_string())
    .fetch_all(uow.conn().await?)
    .await?;
    let mut waiting = Vec::new();
    for id in open {
        let approval: Approval = uow.load(project, id).await?;
        uow.tell::<Approval>(project, id, command).await?;
        if let Subject::Run { run } = approval.request.subject {
            waiting.push(run);
        }
    }
    Ok(waiting)
}
