//! Who asks: the virtual key of a request, under either format's header.

use super::{looked_up, refusal::Refusal};
use crate::{features::gateway::keys::Key, state::App};
use axum::http::{HeaderMap, header};
use std::sync::Arc;
use syndarix_llm::{ModelGroup, ModelGroups, inbound::Fault};

/// Anthropic's clients send their key so, OpenAI's as a bearer token; either is taken everywhere.
const API_KEY: &str = "x-api-key";

/// The key that a request comes with.
pub(super) async fn admit(app: &App, headers: &HeaderMap) -> Result<Arc<Key>, Refusal> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let bearer = text(header::AUTHORIZATION.as_str()).and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
    });
    let Some(sent) = bearer.or_else(|| text(API_KEY)).filter(|sent| !sent.is_empty()) else {
        let message =
            "send a virtual key of a project, as `Authorization: Bearer <key>` or as `x-api-key: <key>`";
        return Err(Fault::new(401, "invalid_api_key", message).into());
    };
    looked_up(app.gateway.keyring.find(app, sent)).await?.ok_or_else(|| {
        let message =
            "this virtual key is unknown, revoked, or has run out: ask an admin of the project for another";
        Fault::new(401, "invalid_api_key", message).into()
    })
}

/// The groups and deployments that this key's project has.
pub(super) async fn groups(app: &App, key: &Key) -> Result<Arc<ModelGroups>, Refusal> {
    looked_up(app.gateway.groups_of(app, key.project)).await
}

/// The model group or deployment that is named, if this key may use it.
pub(super) fn model(groups: &ModelGroups, key: &Key, name: &str) -> Result<Arc<ModelGroup>, Fault> {
    let Some(group) = groups.resolve(name) else {
        let known: Vec<&str> = groups.names().filter(|name| key.allows(name)).collect();
        let message = format!("there is no model `{name}`; this key may ask for: {}", known.join(", "));
        return Err(Fault::new(404, "model_not_found", message));
    };
    if key.allows(name) {
        return Ok(group);
    }
    let message = format!("this key may not ask for `{name}`: an admin of the project can allow it");
    Err(Fault::new(403, "model_not_allowed", message))
}
