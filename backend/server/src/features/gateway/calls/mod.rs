//! What clients of models ask: OpenAI's and Anthropic's paths, below `/v1`, where their SDKs look for them.
//!
//! Not part of `/api/v1`: errors, names and limits are those of the formats, and so is what is unknown.

mod answer;
mod count;
mod door;
mod models;
mod refusal;
mod stream;

use crate::{http::ApiError, state::App};
use axum::{
    Router,
    extract::{DefaultBodyLimit, Request, State},
    response::{IntoResponse, Response},
    routing::{any, get, post},
};
use syndarix_llm::Endpoint;

/// The largest request, in bytes: as Anthropic takes it, a conversation with pictures.
const MAX_BODY: usize = 32 << 20;

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
        .layer(DefaultBodyLimit::max(MAX_BODY))
}

/// Whoever looks for a response that was given is told that there is no memory.
async fn not_stored() -> Response {
    let message =
        "responses are not stored here: ask at `POST /v1/responses` with the whole conversation as `input`";
    refusal::plain(404, "response_not_found", message).at(Endpoint::Responses).into_response()
}

/// The database is away: whoever asks is told to come back.
fn unavailable(error: crate::db::Error) -> refusal::Refusal {
    let status = ApiError::from(error).status().as_u16();
    refusal::plain(
        status.max(500),
        "unavailable",
        "the gateway cannot look this up now: try again in a moment",
    )
}
