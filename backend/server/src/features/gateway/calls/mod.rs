//! What clients of models ask: OpenAI's and Anthropic's paths, below `/v1`, where their SDKs look for them.
//!
//! Not part of `/api/v1`: errors, names and limits are those of the formats, and so is what is unknown.

mod answer;
mod asker;
mod body;
mod cache;
mod count;
mod door;
mod models;
mod refusal;
mod stream;
mod tokens;
mod turns;

use super::LOOK_WITHIN;
use crate::{db::Error, state::App};
use axum::{
    Router,
    extract::{Request, State},
    response::{IntoResponse, Response},
    routing::{any, get, post},
};
use syndarix_llm::{Endpoint, inbound::Fault};

pub(super) use body::Room;
pub(super) use cache::{forget, forget_expired};
pub(super) use turns::Turns;

pub(super) fn routes() -> Router<App> {
    let asking = |endpoint: Endpoint| {
        post(move |State(app): State<App>, request: Request| answer::answer(app, endpoint, request))
    };
    Router::new()
        .route("/v1/chat/completions", asking(Endpoint::ChatCompletions))
        .route("/v1/messages", asking(Endpoint::Messages))
        .route("/v1/messages/count_tokens", post(count::count))
        .route("/v1/responses", asking(Endpoint::Responses))
        .route("/v1/responses/{*of_one}", any(not_stored))
        .route("/v1/embeddings", asking(Endpoint::Embeddings))
        .route("/v1/models", get(models::list))
        .route("/v1/models/{*model}", get(models::show))
        .method_not_allowed_fallback(|| async {
            refusal::plain(405, "method_not_allowed", "this path does not take this method").into_response()
        })
}

/// Whoever looks for a response that was given is told that there is no memory.
async fn not_stored() -> Response {
    let message =
        "responses are not stored here: ask at `POST /v1/responses` with the whole conversation as `input`";
    refusal::plain(404, "response_not_found", message).at(Endpoint::Responses).into_response()
}

/// What is looked up in the database, or the refusal where that is away.
async fn looked_up<T>(look: impl Future<Output = Result<T, Error>>) -> Result<T, refusal::Refusal> {
    let error = match tokio::time::timeout(LOOK_WITHIN, look).await {
        Ok(Ok(found)) => return Ok(found),
        Ok(Err(error)) => error,
        Err(_) => Error::Outside("the database does not answer".into()),
    };
    tracing::error!(error = &error as &dyn std::error::Error, "a gateway call cannot be looked up");
    let message = "the gateway cannot look this up now, because its database is away: try again in a moment";
    Err(Fault::new(503, "unavailable", message).after(Some(1_000)).into())
}
