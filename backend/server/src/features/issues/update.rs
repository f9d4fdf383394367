//! Changing an issue: title, text, state, labels, assignee; what is left out stays.

use super::{
    limits,
    queries::{self, IssueRow},
    read,
    view::IssueView,
};
use crate::{
    db::{Author, Uow, retry_conflicts},
    http::{ApiError, Idempotency, ProjectScope, ValidJson, Work, idempotent, keyed},
    state::App,
};
use axum::{
    Json,
    extract::{Path, State},
};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::json;
use syndarix_domain::{Timestamp, ids::ProjectId};
use utoipa::ToSchema;
use uuid::Uuid;

/// Whether it is still to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum IssueState {
    /// Still to be done.
    Open,
    /// Done or dropped.
    Closed,
}

impl IssueState {
    fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closed => "closed",
        }
    }
}

/// What to change; what is left out stays.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateIssue {
    /// One line, at most 200 characters.
    pub title: Option<String>,
    /// The whole text.
    pub body: Option<String>,
    /// open or closed.
    pub state: Option<IssueState>,
    /// All labels it shall have.
    pub labels: Option<Vec<String>>,
    /// Who shall do it; null for nobody.
    #[serde(default, deserialize_with = "said", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub assignee: Option<Option<String>>,
}

#[expect(clippy::option_option, reason = "left out is not null: one stays, the other unassigns")]
fn said<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

#[utoipa::path(patch, path = "/projects/{project_id}/issues/{number}", operation_id = "update_issue", tag = "issues",
    params(("project_id" = Uuid, Path), ("number" = i64, Path)), request_body = UpdateIssue,
    responses((status = 200, body = IssueView), (status = 404), (status = 422)))]
pub(super) async fn update_issue(
    State(app): State<App>,
    scope: ProjectScope<Work>,
    Path((_project, number)): Path<(Uuid, i64)>,
    key: Option<Idempotency>,
    ValidJson(body): ValidJson<UpdateIssue>,
) -> Result<Json<IssueView>, ApiError> {
    let (author, project) = (keyed(Author::of(scope.actor()), key, &body)?, scope.project());
    let work = || update(&app, author, (project, number), &body);
    Ok(Json(idempotent(&app, author, work, |()| read::show(&app, project, number)).await?))
}

async fn update(
    app: &App,
    author: Author,
    (project, number): (ProjectId, i64),
    body: &UpdateIssue,
) -> Result<(), ApiError> {
    retry_conflicts(|| async {
        let mut uow = app.store.begin(author);
        let old = queries::lock(&mut uow, project, number).await?;
        let mut new = changed(&old, body, uow.now())?;
        if announce(&mut uow, project, &old, &new) {
            new.updated_at = uow.now();
            queries::update(&mut uow, &new).await?;
        }
        uow.commit().await?;
        Ok(())
    })
    .await
}

fn changed(old: &IssueRow, body: &UpdateIssue, now: Timestamp) -> Result<IssueRow, ApiError> {
    let mut new = old.clone();
    if let Some(title) = &body.title {
        new.title = limits::title(title)?;
    }
    if let Some(text) = &body.body {
        new.body = Some(limits::body(text)?);
    }
    if let Some(labels) = &body.labels {
        new.labels = limits::labels(labels)?;
    }
    if let Some(assignee) = &body.assignee {
        new.assignee = assignee.as_deref().map(|name| limits::word("assignee", name)).transpose()?;
    }
    if let Some(state) = body.state.filter(|state| state.name() != old.state) {
        new.state = state.name().into();
        new.closed_at = (state == IssueState::Closed).then_some(now);
    }
    Ok(new)
}

/// Tells what changed; false when nothing did.
fn announce(uow: &mut Uow, project: ProjectId, old: &IssueRow, new: &IssueRow) -> bool {
    let fields = [
        ("title", old.title != new.title),
        ("body", old.body != new.body),
        ("labels", old.labels != new.labels),
    ];
    let fields: Vec<&str> = fields.iter().filter(|(_, changed)| *changed).map(|(name, _)| *name).collect();
    let mut tell = |event: &str, mut data: serde_json::Value| {
        data["number"] = new.number.into();
        data["title"] = new.title.clone().into();
        uow.announce(project, "issue", new.id, event, data);
    };
    if !fields.is_empty() {
        tell("issue.updated.v1", json!({ "fields": fields, "labels": new.labels }));
    }
    if old.assignee != new.assignee {
        tell("issue.assigned.v1", json!({ "assignee": new.assignee, "before": old.assignee }));
    }
    if old.state != new.state {
        let event = if new.closed_at.is_some() { "issue.closed.v1" } else { "issue.reopened.v1" };
        tell(event, json!({}));
    }
    !fields.is_empty() || old.assignee != new.assignee || old.state != new.state
}
