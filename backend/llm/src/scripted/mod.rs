//! A model endpoint that answers from a script: a real HTTP server in both wire formats, for demonstrations and
//! tests.
//!
//! Invariants:
//! - everything it answers, errors included, carries `x-syndarix-simulated: true`, and its model names begin with
//!   `scripted-`, so that no answer of it can be taken for a model's;
//! - an answer is a function of the script and the request: the same conversation, asked again after a crash,
//!   gets the same answer with the same ids. Only `times` of fault rules counts, per process and conversation;
//! - every request for an answer is counted before anything else is done with it: `GET /requests` tells how many;
//! - a conversation that no rule fits is an error that names the nearest rules, never an invented answer.
//!
//! A script is TOML, or JSON of the same shape:
//!
//! ```toml
//! name = "demo"
//!
//! [capture]                                   # looked for in the system prompt, then in the first user message
//! story_id = 'story id: (\S+)'
//!
//! [[rule]]                                    # the first rule that fits answers
//! name = "the engineer commits"
//! when = { system_contains = "engineer", tools = ["git_commit"], turn = { min = 1, max = 3 }, last_tool = "git_branch" }
//! answer.text = "Committing for {{story_id}}."
//! answer.tool = [{ name = "git_commit", arguments = { branch = "{{last_tool.branch}}" } }]
//! answer.usage = { input = 1200, output = 80 }
//!
//! [[rule]]
//! name = "the provider is busy twice"
//! when = { system_contains = "reviewer" }
//! fault = { kind = "status", status = 429, retry_after_seconds = 1 }
//! times = 2                                   # then the rule's own answer, or else the next rule that fits
//! ```
//!
//! Conditions of `when`, all of which must hold: `system_contains`, `system_matches`, `tools` (all offered), `turn`
//! (assistant messages so far), `first_contains` (the first user message: the task), `last_contains`, `last_matches`
//! (texts and results of the last message), `last_tool` (whose result came last). Faults: `status`, `hang` (`seconds`), and around an answer `slow_stream` (`chunk_ms`),
//! `malformed_tool_call`, `cut_stream` (`after_chunks`). Placeholders: a capture, `{{last_tool.field}}`,
//! `{{results.TOOL.field}}`, `{{turn}}`; `{{name|number}}` makes a captured text a number.

mod answer;
mod faults;
mod matching;
mod scenario;
mod template;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, State};
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::serve::{Listener, ListenerExt};
use axum::{Json, serve as serve_http};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};

use crate::inbound;
use crate::provider::{SIMULATED_HEADER, Wire};

use answer::Answer;
use faults::{Counters, Fault};
pub use scenario::{Script, ScriptError};

/// Every model name of this endpoint begins with this.
pub const MODEL_PREFIX: &str = "scripted-";

/// Largest request body, in bytes: more than any context window holds as text.
const MAX_REQUEST: usize = 64 << 20;

struct Endpoint {
    script: Script,
    counters: Counters,
    requests: AtomicU64,
}

/// The endpoint's routes: `POST /v1/chat/completions`, `POST /v1/messages`, `GET /v1/models`, `GET /requests`.
pub fn router(script: Script) -> Router {
    Router::new()
        .route("/v1/chat/completions", post(chat_completions))
        .route("/v1/messages", post(messages))
        .route("/v1/models", get(models))
        .route("/requests", get(requests))
        .fallback(|| async {
            refuse(Wire::OpenAi, StatusCode::NOT_FOUND, "not_found_error", "there is no such path")
        })
        .with_state(Arc::new(Endpoint { script, counters: Counters::default(), requests: AtomicU64::new(0) }))
        .layer(DefaultBodyLimit::max(MAX_REQUEST))
        .layer(map_response(label))
}

/// Serves the endpoint until the future is dropped. Nagle's algorithm is off: it would delay every streamed piece.
pub async fn serve(listener: TcpListener, script: Script) -> io::Result<()> {
    serve_http(undelayed(listener), router(script)).await
}

fn undelayed(listener: TcpListener) -> impl Listener<Io = TcpStream, Addr = SocketAddr> {
    listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY was not set");
        }
    })
}

async fn label(mut response: Response) -> Response {
    response.headers_mut().insert(SIMULATED_HEADER, HeaderValue::from_static("true"));
    response
}

async fn models(State(endpoint): State<Arc<Endpoint>>) -> Json<Value> {
    let name = format!("{MODEL_PREFIX}{}", endpoint.script.name());
    Json(json!({"object": "list", "data": [
        {"id": name, "object": "model", "created": 0, "owned_by": "simulated", "simulated": true}]}))
}

/// For whoever keeps accounts of model calls, and wants to know whether one is missing.
async fn requests(State(endpoint): State<Arc<Endpoint>>) -> Json<Value> {
    Json(json!({"requests": endpoint.requests.load(Ordering::Relaxed)}))
}

async fn chat_completions(State(endpoint): State<Arc<Endpoint>>, body: Bytes) -> Response {
    respond(&endpoint, Wire::OpenAi, &body).await
}

async fn messages(State(endpoint): State<Arc<Endpoint>>, body: Bytes) -> Response {
    respond(&endpoint, Wire::Anthropic, &body).await
}

async fn respond(endpoint: &Endpoint, wire: Wire, body: &[u8]) -> Response {
    endpoint.requests.fetch_add(1, Ordering::Relaxed);
    let bad = |message: &str| refuse(wire, StatusCode::BAD_REQUEST, "invalid_request_error", message);
    let parsed = serde_json::from_slice::<Value>(body).map_err(|error| error.to_string());
    let inbound =
        match parsed.and_then(|value| inbound::parse(wire, &value).map_err(|error| error.to_string())) {
            Ok(inbound) => inbound,
            Err(error) => return bad(&format!("the request cannot be read: {error}")),
        };
    let choice = match matching::choose(&endpoint.script, &endpoint.counters, &inbound.request) {
        Ok(choice) => choice,
        Err(no_match) => return bad(&no_match),
    };
    tracing::debug!(rule = %choice.rule.name, fault = ?choice.fault, "the scripted endpoint answers");
    match choice.fault {
        Some(Fault::Status { status, retry_after_seconds, message }) => {
            return fail(wire, *status, *retry_after_seconds, message.as_deref());
        }
        Some(Fault::Hang { seconds }) => {
            tokio::time::sleep(faults::bounded(*seconds)).await;
            return refuse(wire, StatusCode::GATEWAY_TIMEOUT, "timeout_error", "the script hung and gave up");
        }
        _ => {}
    }
    let answer = match Answer::of(&endpoint.script, choice.rule, &inbound, choice.fault) {
        Ok(answer) => answer,
        Err(error) => return bad(&format!("rule `{}`: {error}", choice.rule.name)),
    };
    let kind = if inbound.stream { "text/event-stream" } else { "application/json" };
    let body = Body::from_stream(faults::body(answer.pieces(wire, &inbound), choice.fault));
    ([(CONTENT_TYPE, kind)], body).into_response()
}

fn fail(wire: Wire, status: u16, retry_after_seconds: Option<u64>, message: Option<&str>) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let kind = match status.as_u16() {
        401 => "authentication_error",
        403 => "permission_error",
        429 => "rate_limit_error",
        503 | 529 => "overloaded_error",
        400..=499 => "invalid_request_error",
        _ => "api_error",
    };
    let mut response = refuse(wire, status, kind, message.unwrap_or("a fault that the script asks for"));
    if let Some(seconds) = retry_after_seconds {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

fn refuse(wire: Wire, status: StatusCode, kind: &str, message: &str) -> Response {
    (status, Json(inbound::error(wire, kind, &format!("[simulated] {message}")))).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn accepted_connections_do_not_wait_to_fill_packets() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut listener = undelayed(listener);
        // Measured with the delay on, every other stream of twenty small pieces took 40 ms longer.
        let (client, (accepted, _)) = tokio::join!(TcpStream::connect(address), listener.accept());
        assert!(client.is_ok() && accepted.nodelay().unwrap());
    }
}
