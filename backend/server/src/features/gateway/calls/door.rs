//! Who may ask: the virtual key of a request, or the service token of an agent, under either format's header.

use super::{
    asker::{Asker, AtWork},
    looked_up,
    refusal::{Refusal, exceeded, limits},
};
use crate::{
    db::Error,
    features::{auth, gateway::keys::is_key},
    http::{ApiError, CallerKind},
    state::App,
};
use axum::http::{HeaderMap, header};
use std::sync::Arc;
use syndarix_domain::ids::StepId;
use syndarix_llm::{Endpoint, ModelGroup, ModelGroups, inbound::Fault};
use syndarix_mcp_gateway::NAME;
use syndarix_mcp_kit::{Access, allows};

/// Anthropic's clients send their key so, OpenAI's as a bearer token; either is taken everywhere.
const API_KEY: &str = "x-api-key";
/// What our MCP servers send with what they write: `<step>/<number>`.
const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// Whose call it is. An agent needs the capability of the tool server that asks on its behalf; a key has one for all.
pub(super) async fn admit(app: &App, headers: &HeaderMap, access: Access) -> Result<Asker, Refusal> {
    let bearer = text(headers, header::AUTHORIZATION.as_str()).and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
    });
    let sent = bearer.or_else(|| text(headers, API_KEY)).filter(|sent| !sent.is_empty());
    let Some(sent) = sent else {
        let message =
            "send a virtual key of a project, as `Authorization: Bearer <key>` or as `x-api-key: <key>`";
        return Err(Fault::new(401, "invalid_api_key", message).into());
    };
    // A key is looked up without a signature being checked.
    if !is_key(sent) && app.keys.agent(sent).is_some() {
        return agent(app, sent, (headers, access)).await;
    }
    let key = looked_up(app.gateway.keyring.find(app, sent)).await?;
    key.map(Asker::Key).ok_or_else(|| {
        let message = "this virtual key is unknown, revoked, or has run out, or whom it is for has left the project: ask an \
                       admin of the project for another";
        Fault::new(401, "invalid_api_key", message).into()
    })
}

/// Counts a request against the limits of a minute, and says in these headers, as the endpoint's format does, what is left.
pub(super) async fn count(
    app: &App,
    asker: &Asker,
    (endpoint, headers): (Endpoint, &mut HeaderMap),
) -> Result<(), Refusal> {
    let (quota, admitted) = asker.count(app).await;
    headers.extend(limits(endpoint, &quota, app.clock().now()));
    Ok(admitted.map_err(|refused| exceeded(&refused))?)
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim)
}

async fn agent(app: &App, token: &str, (headers, access): (&HeaderMap, Access)) -> Result<Asker, Refusal> {
    let caller = auth::identify(app, token).await.map_err(|error| refused(&error))?;
    let CallerKind::Agent { capabilities, .. } = &caller.kind else {
        return Err(Fault::new(401, "invalid_api_key", "this is for virtual keys and agents").into());
    };
    if !allows(capabilities, NAME, access) {
        let message = format!("this agent needs the capability {NAME}:{} for that", access.as_str());
        return Err(Fault::new(403, "not_allowed", message).into());
    }
    let step = text(headers, IDEMPOTENCY_KEY).and_then(|key| key.split('/').next()?.parse().ok()).map(StepId);
    let found = looked_up(async { AtWork::of(app, &caller.kind, step).await?.ok_or(Error::NotFound("run")) });
    Ok(Asker::Agent(Arc::new(found.await?)))
}

fn refused(error: &ApiError) -> Refusal {
    match error.status().as_u16() {
        401 => Fault::new(401, "invalid_api_key", "the agent's run is over, or the agent was stopped").into(),
        status => Fault::new(status.max(500), "unavailable", "the gateway cannot look this up now").into(),
    }
}

/// The groups and deployments that the asker's project has.
pub(super) async fn groups(app: &App, asker: &Asker) -> Result<Arc<ModelGroups>, Refusal> {
    looked_up(app.gateway.groups_of(app, asker.project())).await
}

/// The model group or deployment that is named, if the asker may use it.
pub(super) fn model(groups: &ModelGroups, asker: &Asker, name: &str) -> Result<Arc<ModelGroup>, Fault> {
    let Some(group) = groups.resolve(name) else {
        let known = asker.models(groups).join(", ");
        let message = format!("there is no model `{name}`; {} may ask for: {known}", asker.kind());
        return Err(Fault::new(404, "model_not_found", message));
    };
    if asker.allows(groups, name) {
        return Ok(kept_within(groups, asker, group));
    }
    let message = match asker {
        Asker::Key(_) => format!("this key may not ask for `{name}`: an admin of the project can allow it"),
        Asker::Agent(_) => format!(
            "this agent may not ask for `{name}`, only for its own model group and cheaper ones: {}",
            asker.models(groups).join(", ")
        ),
    };
    Err(Fault::new(403, "model_not_allowed", message))
}

/// The group without a cheaper one that the asker may not use: no budget leads anybody to a model that they may not name.
fn kept_within(groups: &ModelGroups, asker: &Asker, group: Arc<ModelGroup>) -> Arc<ModelGroup> {
    let leads_out = group.cheaper.as_deref().is_some_and(|cheaper| !asker.allows(groups, cheaper));
    if leads_out { Arc::new(ModelGroup { cheaper: None, ..ModelGroup::clone(&group) }) } else { group }
}
