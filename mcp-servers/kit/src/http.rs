//! The HTTP side of a mounted server: who may come in, and how much they may send.

use std::sync::Arc;

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use rmcp::transport::streamable_http_server::{
    StreamableHttpServerConfig, StreamableHttpService, session::never::NeverSessionManager,
};

use crate::{
    handler::{Caller, Handler},
    host::Host,
    server::ToolServer,
    token::{Bearer, TokenError, audience},
};

#[derive(Clone)]
struct Gate {
    host: Host,
    audience: Arc<str>,
}

impl<S: Clone + Send + Sync + 'static> ToolServer<S> {
    /// The server under `/mcp/<name>`; routers of several servers can be merged into one.
    pub fn mount(self, host: &Host) -> Router {
        let gate = Gate { host: host.clone(), audience: audience(self.name).into() };
        let path = format!("/mcp/{}", self.name);
        let options = host.options();
        let config = StreamableHttpServerConfig::default()
            .with_legacy_session_mode(false)
            .with_json_response(true)
            .with_allowed_hosts(options.allowed_hosts.clone())
            .with_allowed_origins(options.allowed_origins.clone())
            .enforce_origin_validation()
            .with_max_request_body_bytes(options.max_body_bytes);
        let handler = Handler::new(self, host.clone());
        let service = StreamableHttpService::new(
            move || Ok(handler.clone()),
            Arc::new(NeverSessionManager::default()),
            config,
        );
        Router::new().nest_service(&path, service).route_layer(middleware::from_fn_with_state(gate, enter))
    }
}

/// Verifies the token and reads the body within its limits before rmcp sees anything of it.
async fn enter(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    let caller = match authenticate(&gate, request.headers()) {
        Ok(caller) => caller,
        Err(fault) => return unauthorized(fault),
    };
    let Ok(_permit) = gate.host.in_flight().try_acquire_owned() else {
        let retry = [(header::RETRY_AFTER, "1")];
        return (StatusCode::SERVICE_UNAVAILABLE, retry, "too many calls under way").into_response();
    };
    let options = gate.host.options();
    let (mut parts, body) = request.into_parts();
    let read = to_bytes(body, options.max_body_bytes);
    let bytes = match tokio::time::timeout(options.body_timeout, read).await {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(_)) => return (StatusCode::PAYLOAD_TOO_LARGE, "the request is too large").into_response(),
        Err(_) => return (StatusCode::REQUEST_TIMEOUT, "the request came too slowly").into_response(),
    };
    // The token has done its work: nothing behind this point can log the header by mistake.
    parts.headers.remove(header::AUTHORIZATION);
    parts.extensions.insert(caller);
    next.run(Request::from_parts(parts, Body::from(bytes))).await
}

fn authenticate(gate: &Gate, headers: &HeaderMap) -> Result<Caller, Option<TokenError>> {
    let header = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).ok_or(None)?;
    let (scheme, token) = header.split_once(' ').ok_or(Some(TokenError::Invalid))?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(Some(TokenError::Invalid));
    }
    let token = token.trim();
    let claims = gate.host.verifier().verify(token, &gate.audience).map_err(Some)?;
    Ok(Caller { claims: Arc::new(claims), bearer: Bearer::new(token) })
}

fn unauthorized(fault: Option<TokenError>) -> Response {
    let challenge = match fault {
        None => "Bearer realm=\"syndarix\"".to_owned(),
        Some(fault) => {
            tracing::warn!(%fault, "token refused");
            format!("Bearer realm=\"syndarix\", error=\"invalid_token\", error_description=\"{fault}\"")
        }
    };
    let body = fault.map_or("a bearer token is required".to_owned(), |fault| fault.to_string());
    (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, challenge)], body).into_response()
}
