//! `GET /v1/models`: what this key or agent may ask for, in the format of whoever asks.

use super::{asker::Asker, door, refusal::Refusal};
use crate::state::App;
use axum::{
    Json,
    extract::{Path, State},
    http::HeaderMap,
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};
use syndarix_llm::{Endpoint, ModelGroups, inbound::Fault};
use syndarix_mcp_kit::Access;

/// Every request of Anthropic's clients has it.
const VERSION: &str = "anthropic-version";

pub(super) async fn list(State(app): State<App>, headers: HeaderMap) -> Response {
    respond(&app, &headers, |asker, groups, endpoint| {
        let names = asker.models(groups);
        let models: Vec<Value> = names.iter().map(|name| model(name, endpoint)).collect();
        Ok(match endpoint {
            Endpoint::Messages => json!({
                "data": models, "has_more": false, "first_id": names.first(), "last_id": names.last(),
            }),
            _ => json!({"object": "list", "data": models}),
        })
    })
    .await
}

pub(super) async fn show(State(app): State<App>, Path(name): Path<String>, headers: HeaderMap) -> Response {
    respond(&app, &headers, |asker, groups, endpoint| {
        door::model(groups, asker, &name)?;
        Ok(model(&name, endpoint))
    })
    .await
}

async fn respond(
    app: &App,
    headers: &HeaderMap,
    show: impl FnOnce(&Asker, &ModelGroups, Endpoint) -> Result<Value, Fault>,
) -> Response {
    let endpoint = if headers.contains_key(VERSION) { Endpoint::Messages } else { Endpoint::ChatCompletions };
    let shown = match door::admit(app, headers, Access::Read).await {
        Ok(asker) => match door::groups(app, &asker).await {
            Ok(groups) => show(&asker, &groups, endpoint).map_err(Refusal::from),
            Err(refusal) => Err(refusal),
        },
        Err(refusal) => Err(refusal),
    };
    match shown {
        Ok(value) => Json(value).into_response(),
        Err(refusal) => refusal.at(endpoint).into_response(),
    }
}

fn model(name: &str, endpoint: Endpoint) -> Value {
    match endpoint {
        Endpoint::Messages => json!({
            "type": "model", "id": name, "display_name": name, "created_at": "1970-01-01T00:00:00Z",
        }),
        _ => json!({"id": name, "object": "model", "created": 0, "owned_by": "syndarix"}),
    }
}
