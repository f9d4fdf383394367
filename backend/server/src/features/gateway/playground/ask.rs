//! `POST /projects/{project_id}/gateway/playground`.

use super::{body::PlaygroundQuestion, end::PlaygroundEnd, stream};
use crate::{
    db::{
        Author,
        audit::{Entry, Severity},
    },
    features::{gateway, llm::Purpose},
    http::{ApiError, Edit, ProjectScope, ValidJson},
    state::App,
};
use axum::{extract::State, response::Response};
use serde_json::json;
use std::sync::Arc;
use syndarix_domain::{actor::Actor, ids::CallId};

/// Ask a model, at the project's cost. Answers with events: `head` says who answers, `text` and `thinking` carry the
/// answer as it is made, `end` comes last, with the way that the call took, and with the reason when there is no answer.
/// Whoever closes the connection stops the model; what was used is recorded.
#[utoipa::path(post, path = "/projects/{project_id}/gateway/playground", operation_id = "ask_playground",
    tag = "gateway", params(("project_id" = String, Path, description = "The project")),
    request_body = PlaygroundQuestion,
    responses(
        (status = 200, description = "Events; the data of the last one is a PlaygroundEnd",
            content_type = "text/event-stream", body = PlaygroundEnd),
        (status = 403, description = "Who may not start work may not spend money either"),
        (status = 422, description = "A model that is not there, an empty question, a limit out of bounds"),
    ))]
pub(super) async fn ask(
    State(app): State<App>,
    scope: ProjectScope<Edit>,
    ValidJson(body): ValidJson<PlaygroundQuestion>,
) -> Result<Response, ApiError> {
    let (group, native) = body.check(&*app.gateway.groups_of(&app, scope.project()).await?)?;
    let call = CallId(app.store.new_id());
    record(&app, &scope, call, &body.model).await?;
    let user = match scope.actor() {
        Actor::User(user) => Some(user),
        Actor::Agent(_) | Actor::System => None,
    };
    let purpose = Purpose { user, ..Purpose::of_project(scope.project(), call) };
    let events = gateway::run(&app, purpose, (group, Arc::new(native)), ());
    Ok(stream::respond(&app, purpose, events))
}

/// Usage rows say who has spent how much; here nobody can take it back that somebody asked.
async fn record(app: &App, scope: &ProjectScope<Edit>, call: CallId, model: &str) -> Result<(), ApiError> {
    let mut uow = app.store.begin(Author::of(scope.actor()));
    let entry = Entry {
        id: uow.new_id(),
        project: Some(scope.project()),
        event_type: "playground.asked".into(),
        category: "gateway".into(),
        severity: Severity::Info,
        actor: scope.actor(),
        action: format!("asked `{model}` in the playground"),
        data: json!({ "call_id": call, "model": model }),
        at: uow.now(),
    };
    uow.audit(entry);
    uow.commit().await?;
    Ok(())
}
