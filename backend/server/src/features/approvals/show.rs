//! One question with everything that is needed to answer it. Looking never decides.

use super::{
    queries,
    views::{ApprovalDetail, TimelineEntry, author},
};
use crate::{
    db::Error,
    features::{
        runs,
        workflow::{self, DiffView},
    },
    http::{ApiError, ProjectScope, View},
    state::App,
};
use axum::{
    Json,
    extract::{Path, State},
};
use serde_json::{Value, json};
use syndarix_domain::{
    approval::{Approval, Event, Request, Subject},
    ids::{ApprovalId, ProjectId, SprintId},
    policy::Action,
    pull_request::PullRequest,
};
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(show_approval))
}

#[utoipa::path(get, path = "/projects/{project_id}/approvals/{approval_id}", operation_id = "show_approval", tag = "approvals",
    params(("project_id" = Uuid, Path), ("approval_id" = Uuid, Path)),
    responses((status = 200, body = ApprovalDetail), (status = 404)))]
async fn show_approval(
    State(app): State<App>,
    scope: ProjectScope<View>,
    Path((_project, id)): Path<(Uuid, ApprovalId)>,
) -> Result<Json<ApprovalDetail>, ApiError> {
    Ok(Json(detail(&app, scope.project(), id).await?))
}

/// A question with its change, its run, its story and what happened to it.
pub async fn detail(app: &App, project: ProjectId, id: ApprovalId) -> Result<ApprovalDetail, ApiError> {
    let request = app.store.read::<Approval>(project, id).await?.state.request;
    let approval = queries::approval(app.pool(), project, id).await?;
    let run = match request.subject {
        Subject::Run { run } => Some(runs::detail(app, project, run).await?),
        _ => None,
    };
    let story = match request.story {
        Some(story) => Some(workflow::story(app, project, story.0).await?),
        None => None,
    };
    let pull_request = match request.pull_request {
        Some(pr) => Some(workflow::pull_request(app, project, pr.0).await?),
        None => None,
    };
    let (diff, diff_unavailable) = diff(app, project, &request).await?;
    let payload = payload(app, project, &request).await?;
    let timeline = timeline(app, project, id).await?;
    Ok(ApprovalDetail { approval, payload, diff, diff_unavailable, run, story, pull_request, timeline })
}

/// The change at the head that was asked for, which is what the digest binds: not at the branch's newest commit.
async fn diff(
    app: &App,
    project: ProjectId,
    request: &Request,
) -> Result<(Option<DiffView>, Option<String>), ApiError> {
    let head = request.arguments.get("head").and_then(Value::as_str);
    let (Some(pr), Some(head)) = (request.pull_request, head) else { return Ok((None, None)) };
    let mut pr = app.store.read::<PullRequest>(project, pr).await?.state;
    pr.head = head.to_owned();
    // A repository that cannot be read must not hide the question; that there is no diff must not be hidden either.
    Ok(match workflow::diff(app, &pr).await {
        Ok(diff) => (Some(diff), None),
        Err(_) => (None, Some(format!("the repository cannot show the change at {head} just now"))),
    })
}

async fn payload(app: &App, project: ProjectId, request: &Request) -> Result<Value, Error> {
    match (request.action, &request.subject) {
        // The diff is the payload.
        (Action::PullRequestMerge | Action::StageWork, _) => Ok(Value::Null),
        (_, Subject::Sprint { sprint, .. }) => {
            let mut payload = request.arguments.clone();
            payload["stories"] = sprint_stories(app, project, *sprint).await?;
            Ok(payload)
        }
        _ => Ok(request.arguments.clone()),
    }
}

async fn sprint_stories(app: &App, project: ProjectId, sprint: SprintId) -> Result<Value, Error> {
    let rows: Vec<(i64, String, String)> = sqlx::query_as(
        "select (state ->> 'number')::bigint, state ->> 'title', phase from story
         where project_id = $1 and state ->> 'sprint' = $2 and phase <> 'cancelled' order by 1 limit 200",
    )
    .bind(project.0)
    .bind(sprint.to_string())
    .fetch_all(app.pool())
    .await?;
    Ok(rows.into_iter().map(|(number, title, phase)| json!(format!("{number} {title} ({phase})"))).collect())
}

async fn timeline(app: &App, project: ProjectId, id: ApprovalId) -> Result<Vec<TimelineEntry>, ApiError> {
    let history = app.store.history(project, id, None).await?;
    let ids: Vec<Uuid> = history.iter().filter_map(|event| event.actor.id()).collect();
    let names = workflow::names(app.pool(), project, &ids).await?;
    let entries = history.iter().map(|event| {
        let text = sentence(&event.decode::<Approval>()?);
        let kind = event.envelope().kind;
        Ok(TimelineEntry { at: event.at, kind, actor: author(event.actor.0, &names), text })
    });
    Ok(entries.collect::<Result<_, Error>>()?)
}

fn sentence(event: &Event) -> String {
    match event {
        Event::Requested { request, .. } => format!("asked: {}", request.title),
        Event::Decided(decided) if decided.note.trim().is_empty() => decided.outcome.name().replace('_', " "),
        Event::Decided(decided) => format!("{}: {}", decided.outcome.name().replace('_', " "), decided.note),
        Event::Reminded { escalated: false, .. } => "people were reminded".into(),
        Event::Reminded { escalated: true, .. } => {
            "escalated to the owners: nobody answered the reminder".into()
        }
        Event::Expired { .. } => "expired: nobody answered in time, which is not consent".into(),
        Event::Cancelled { reason, .. } => format!("withdrawn: {reason}"),
        Event::Superseded { reason, .. } => format!("superseded: {reason}"),
        Event::Upgraded(_) => "taken over by a newer release".into(),
    }
}
