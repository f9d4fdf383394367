//! Deciding: the first answer wins, bound to exactly what was shown.

use super::{
    queries,
    views::{ApprovalView, RemarkView},
};
use crate::{
    db::{Author, retry_conflicts},
    features::runs,
    http::{ApiError, Approve, Idempotency, ProjectScope, ValidJson, idempotent, keyed},
    state::App,
};
use axum::{
    Json,
    extract::{Path, State},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use syndarix_domain::{
    Timestamp,
    actor::Actor,
    approval::{ALREADY_DECIDED, Approval, CHANGED, Command, Decided, Outcome, Phase},
    ids::{ApprovalId, ProjectId, UserId},
    machine::{Machine as _, Rejection},
    policy::Action,
    story::{LineComment, Side},
};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

/// The longest note, in characters: it travels to an agent whole.
const MAX_NOTE: usize = 10_000;
/// The most remarks of one decision: what one person writes about one diff.
const MAX_COMMENTS: usize = 200;
/// The longest remark, in characters.
const MAX_COMMENT: usize = 4_000;
/// The longest path of a remark, in bytes, as git allows it.
const MAX_PATH: usize = 4_096;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(decide_approval))
}

/// An answer.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Decision)]
pub struct Decision {
    /// approved, approved_with_changes, changes_requested, rejected.
    #[schema(value_type = String, example = "approved")]
    pub outcome: Outcome,
    /// The digest of what was shown.
    pub digest: String,
    /// Why, or what is wanted; the answer itself, where an agent asked for knowledge.
    #[serde(default)]
    pub note: String,
    /// Remarks on lines of the diff, sent together.
    #[serde(default)]
    pub comments: Vec<RemarkView>,
    /// The arguments that are to hold; with `approved_with_changes` only.
    #[serde(default)]
    pub arguments: Option<Value>,
}

#[utoipa::path(post, path = "/projects/{project_id}/approvals/{approval_id}/decision", operation_id = "decide_approval", tag = "approvals",
    params(("project_id" = Uuid, Path), ("approval_id" = Uuid, Path)), request_body = Decision,
    responses((status = 200, body = ApprovalView), (status = 403), (status = 404),
        (status = 409, description = "`approval_already_decided` with decided_by, decided_at, outcome; `approval_changed` with current_digest"),
        (status = 422)))]
async fn decide_approval(
    State(app): State<App>,
    scope: ProjectScope<Approve>,
    Path((_project, id)): Path<(Uuid, ApprovalId)>,
    key: Option<Idempotency>,
    ValidJson(body): ValidJson<Decision>,
) -> Result<Json<ApprovalView>, ApiError> {
    let (author, project) = (keyed(Author::of(scope.actor()), key, &body)?, scope.project());
    let work = || decide(&app, author, project, id, &body);
    let show = async |()| Ok(queries::approval(app.pool(), project, id).await?);
    Ok(Json(idempotent(&app, author, work, show).await?))
}

/// Answers a question and wakes what waits for the answer, in one transaction. Who calls this has made sure that
/// the person may decide in this project. When somebody was quicker, the error says who, when and what.
pub async fn decide(
    app: &App,
    author: Author,
    project: ProjectId,
    id: ApprovalId,
    decision: &Decision,
) -> Result<(), ApiError> {
    let Actor::User(user) = author.actor else { return Err(ApiError::forbidden("only a person decides")) };
    let asked = app.store.read::<Approval>(project, id).await?.state;
    if asked.phase != Phase::Pending {
        return Err(already_decided(app, &asked).await?);
    }
    let comments = check(&asked, decision)?;
    let refused = retry_conflicts(|| async {
        let mut uow = app.store.begin(author);
        let decided = Decided {
            outcome: decision.outcome,
            by: user,
            at: uow.now(),
            note: decision.note.trim().to_owned(),
            comments: comments.clone(),
            arguments: decision.arguments.clone(),
        };
        let command = Command::Decide { digest: decision.digest.clone(), decided };
        if let Err(rejection) = uow.ask::<Approval>(project, id, &command).await? {
            return Ok::<_, ApiError>(Some(rejection));
        }
        uow.commit().await?;
        Ok(None)
    })
    .await?;
    match refused {
        Some(rejection) => Err(refusal(app, project, id, rejection).await?),
        None => Ok(()),
    }
}

/// What can be said before the machine is asked; the remarks in the machine's words.
fn check(asked: &Approval, decision: &Decision) -> Result<Vec<LineComment>, ApiError> {
    if decision.note.chars().count() > MAX_NOTE {
        return Err(ApiError::invalid("note", format!("has at most {MAX_NOTE} characters")));
    }
    if decision.comments.len() > MAX_COMMENTS {
        return Err(ApiError::invalid("comments", format!("are at most {MAX_COMMENTS}")));
    }
    let unanswered = asked.request.action == Action::HumanInput && decision.note.trim().is_empty();
    if unanswered && decision.outcome == Outcome::Approved {
        return Err(ApiError::invalid("note", "write the answer to the agent's question here"));
    }
    if let (Outcome::ApprovedWithChanges, true, Some(arguments)) =
        (decision.outcome, asked.request.editable, &decision.arguments)
    {
        runs::edited_outcome(asked.request.action, arguments)
            .map_err(|sentence| ApiError::invalid("arguments", sentence))?;
    }
    decision.comments.iter().enumerate().map(|(n, comment)| remark(n, comment)).collect()
}

fn remark(n: usize, comment: &RemarkView) -> Result<LineComment, ApiError> {
    let invalid =
        |field: &str, message: String| ApiError::invalid(&format!("comments[{n}].{field}"), message);
    let side = match comment.side.as_str() {
        "new" => Side::New,
        "old" => Side::Old,
        _ => return Err(invalid("side", "is new or old".into())),
    };
    if comment.path.is_empty() || comment.path.len() > MAX_PATH {
        return Err(invalid("path", format!("has 1 to {MAX_PATH} bytes")));
    }
    if comment.line == Some(0) {
        return Err(invalid("line", "counts from 1".into()));
    }
    let body = comment.body.trim();
    if body.is_empty() || body.chars().count() > MAX_COMMENT {
        return Err(invalid("body", format!("has 1 to {MAX_COMMENT} characters")));
    }
    Ok(LineComment { path: comment.path.clone(), line: comment.line, side, body: body.to_owned() })
}

async fn refusal(
    app: &App,
    project: ProjectId,
    id: ApprovalId,
    rejection: Rejection,
) -> Result<ApiError, ApiError> {
    let now = app.store.read::<Approval>(project, id).await?.state;
    Ok(match rejection.guard.as_str() {
        ALREADY_DECIDED => already_decided(app, &now).await?,
        CHANGED => ApiError::conflict("approval_changed", rejection.sentence)
            .with("current_digest", now.request.digest),
        // Wrong in what was sent, not in when it came.
        "arguments" | "note" => ApiError::invalid(&rejection.guard, rejection.sentence),
        "editable" => ApiError::invalid("outcome", rejection.sentence),
        _ => rejection.into(),
    })
}

/// Who was quicker, when, and with what.
async fn already_decided(app: &App, asked: &Approval) -> Result<ApiError, ApiError> {
    let outcome = asked.phase();
    let (by, at): (Option<UserId>, Option<Timestamp>) = match &asked.phase {
        Phase::Decided(decided) => (Some(decided.by), Some(decided.at)),
        Phase::Expired { at } | Phase::Cancelled { at, .. } | Phase::Superseded { at, .. } => {
            (None, Some(*at))
        }
        Phase::Pending => (None, None),
    };
    let name: Option<String> = sqlx::query_scalar("select name from app_user where id = $1")
        .bind(by.map(|user| user.0))
        .fetch_optional(app.pool())
        .await?;
    let what = outcome.replace('_', " ");
    let detail = match (&name, at) {
        (Some(name), Some(at)) => {
            format!("{name} was quicker: {what} at {}", at.format("%Y-%m-%d %H:%M UTC"))
        }
        _ => format!("this question is {what} and takes no answer any more"),
    };
    let by = by.map(|user| json!({ "id": user, "name": name.unwrap_or_else(|| "a former user".into()) }));
    Ok(ApiError::conflict("approval_already_decided", detail)
        .with("decided_by", by)
        .with("decided_at", at.map(|at| at.to_rfc3339()))
        .with("outcome", outcome))
}
