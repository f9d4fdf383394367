//! `POST /v1/messages/count_tokens`: how large a prompt is, without asking a model.

use super::{answer::read, door, refusal::Refusal};
use crate::state::App;
use axum::{
    Json,
    extract::{Request, State},
    http::{HeaderMap, HeaderName},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};
use syndarix_llm::{Ask, Endpoint, inbound::Fault};
use syndarix_mcp_kit::Access;

/// The figure is counted here and not by the model's own tokenizer.
const ESTIMATED: HeaderName = HeaderName::from_static("x-syndarix-estimated");

pub(super) async fn count(State(app): State<App>, request: Request) -> Response {
    let mut headers = HeaderMap::new();
    match counted(&app, request, &mut headers).await {
        Ok(counted) => (headers, [(ESTIMATED, "true")], Json(counted)).into_response(),
        Err(refusal) => refusal.at(Endpoint::Messages).with(&headers).into_response(),
    }
}

async fn counted(app: &App, request: Request, headers: &mut HeaderMap) -> Result<Value, Refusal> {
    let asker = door::admit(app, request.headers(), Access::Read).await?;
    door::count(app, &asker, (Endpoint::Messages, headers)).await?;
    let _turn = app.gateway.turns.take(asker.id())?;
    let (native, _place) = read(app, Endpoint::Messages, request).await?;
    door::model(&*door::groups(app, &asker).await?, &asker, native.model())?;
    let ask = Ask::Native(&native);
    ask.neutral().map_err(|error| Fault::bad_request(error.to_string()))?;
    Ok(json!({"input_tokens": ask.estimate()}))
}
