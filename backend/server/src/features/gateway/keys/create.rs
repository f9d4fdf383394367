//! `POST /projects/{project_id}/gateway-keys`.
//!
//! Takes no idempotency key: the answer would have to be kept, and the secret in it is kept nowhere.

use super::{
    queries::{self, New},
    secret::Secret,
    settings::KeySettings,
    view::MadeKey,
};
use crate::{
    db::{Author, Error, Uow, audit::Entry, audit::Severity},
    features::costs::{self, Limits, Target},
    http::{Admin, ApiError, ProjectScope, ValidJson},
    state::App,
};
use axum::{Json, extract::State, http::StatusCode};
use serde_json::{Value, json};
use syndarix_domain::ids::ProjectId;
use uuid::Uuid;

/// Make a virtual key. The answer is the only one that shows it.
#[utoipa::path(post, path = "/projects/{project_id}/gateway-keys", operation_id = "create_gateway_key", tag = "gateway",
    params(("project_id" = String, Path, description = "The project")),
    request_body = KeySettings,
    responses(
        (status = 201, description = "The key; it is not shown again", body = MadeKey),
        (status = 422, description = "A model, an agent or a person that is not of this project"),
    ))]
pub(super) async fn create(
    State(app): State<App>,
    scope: ProjectScope<Admin>,
    ValidJson(body): ValidJson<KeySettings>,
) -> Result<(StatusCode, Json<MadeKey>), ApiError> {
    body.check(&app, scope.project()).await?;
    let secret = Secret::make();
    let mut uow = app.store.begin(Author::of(scope.actor()));
    let new = New { id: uow.new_id(), prefix: secret.prefix(), hash: secret.hash(), at: uow.now() };
    limit(&mut uow, scope.project(), new.id, &body).await?;
    let key = queries::insert(uow.conn().await?, scope.project(), new, &body).await?;
    record(&mut uow, scope.project(), key.id, ("created", format!("made the gateway key `{}`", key.name)));
    uow.commit().await?;
    Ok((StatusCode::CREATED, Json(MadeKey { key, secret: secret.reveal() })))
}

/// Sets what may be spent with a key in all, or takes that limit away.
pub(super) async fn limit(
    uow: &mut Uow,
    project: ProjectId,
    key: Uuid,
    settings: &KeySettings,
) -> Result<(), Error> {
    let target = Target::of_key(project, key);
    if settings.hard_limit_micro_usd.is_none() {
        return costs::remove_limits(uow, target).await.map(|_removed| ());
    }
    let limits = Limits { hard_micro_usd: settings.hard_limit_micro_usd, ..Limits::default() };
    costs::set_limits(uow, target, limits).await
}

/// What happened to a key, in the audit and for whoever watches; never the key itself.
pub(super) fn record(uow: &mut Uow, project: ProjectId, key: Uuid, said: (&str, String)) {
    record_with(uow, project, (key, json!({ "key_id": key })), said);
}

/// The same, with more to say of it.
pub(super) fn record_with(
    uow: &mut Uow,
    project: ProjectId,
    (key, data): (Uuid, Value),
    (what, action): (&str, String),
) {
    let mut told = data.clone();
    told["change"] = json!(what);
    let entry = Entry {
        id: uow.new_id(),
        project: Some(project),
        event_type: format!("gateway_key.{what}"),
        category: "permission".into(),
        severity: Severity::Critical,
        actor: uow.actor(),
        action,
        data,
        at: uow.now(),
    };
    uow.audit(entry);
    uow.announce(project, "gateway_key", key, "gateway_key.changed.v1", told);
}
